"""For those who write plugins: the suite that every executor passes, and what tests are made of.

Needs pytest, which evalx itself does not.
"""

import pytest

pytest.register_assert_rewrite("evalx.testing.bench", "evalx.testing.conformance")

from evalx.testing.conformance import ExecutorConformance  # noqa: E402
from evalx.testing.memory import Ending, Fault, InMemoryExecutor, World  # noqa: E402
from evalx.testing.runs import make_run  # noqa: E402

__all__ = ["Ending", "ExecutorConformance", "Fault", "InMemoryExecutor", "World", "make_run"]
