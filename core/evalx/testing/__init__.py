"""For those who write plugins: the suites that every plugin of a kind passes, and what tests are made of.

Needs pytest, which evalx itself does not.
"""

import pytest

pytest.register_assert_rewrite(
    *(f"evalx.testing.{name}" for name in ("bench", "common", "conformance", "deployments", "exporters", "harnesses"))
)

from evalx.testing.conformance import ExecutorConformance  # noqa: E402
from evalx.testing.deployments import DeploymentConformance  # noqa: E402
from evalx.testing.exporters import ExporterConformance  # noqa: E402
from evalx.testing.harnesses import HarnessConformance  # noqa: E402
from evalx.testing.memory import Ending, Fault, InMemoryExecutor, World  # noqa: E402
from evalx.testing.parts import answering, command_task, scores_script  # noqa: E402
from evalx.testing.runs import make_run  # noqa: E402

__all__ = [
    "DeploymentConformance",
    "Ending",
    "ExecutorConformance",
    "ExporterConformance",
    "Fault",
    "HarnessConformance",
    "InMemoryExecutor",
    "World",
    "answering",
    "command_task",
    "make_run",
    "scores_script",
]
