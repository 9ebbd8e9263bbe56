"""For those who write plugins: the suites that every executor and every exporter passes, and what tests are made of.

Needs pytest, which evalx itself does not.
"""

import pytest

pytest.register_assert_rewrite("evalx.testing.bench", "evalx.testing.conformance", "evalx.testing.exporters")

from evalx.testing.conformance import ExecutorConformance  # noqa: E402
from evalx.testing.exporters import ExporterConformance  # noqa: E402
from evalx.testing.memory import Ending, Fault, InMemoryExecutor, World  # noqa: E402
from evalx.testing.runs import make_run  # noqa: E402

__all__ = ["Ending", "ExecutorConformance", "ExporterConformance", "Fault", "InMemoryExecutor", "World", "make_run"]
