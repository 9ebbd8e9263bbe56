"""evalx: evaluate language models anywhere, through plugins that run the work where you want it.

    import evalx

    run = evalx.run("quickstart-tinyqa")
    summary = run.wait()

What stands here is loaded when it is used, so that `import evalx` costs nothing.
"""

from __future__ import annotations

TYPE_CHECKING = False  # type checkers know the name; importing typing would take longer than all else that the command line does first
if TYPE_CHECKING:
    from typing import Any

    from evalx.api import Run, RunStatus, TaskStatus, list_runs, open_run, resume, run
    from evalx.errors import ConfigError, EvalxError, ExitCode, RunInterrupted
    from evalx.model import Metric, Outcome, TaskResult
    from evalx.summaries import RunSummary

__version__ = "0.1.0"

_HOMES = {
    "evalx.api": ("Run", "RunStatus", "TaskStatus", "list_runs", "open_run", "resume", "run"),
    "evalx.errors": ("ConfigError", "EvalxError", "ExitCode", "RunInterrupted"),
    "evalx.model": ("Metric", "Outcome", "TaskResult"),
    "evalx.summaries": ("RunSummary",),
}

__all__ = [
    "ConfigError",
    "EvalxError",
    "ExitCode",
    "Metric",
    "Outcome",
    "Run",
    "RunInterrupted",
    "RunStatus",
    "RunSummary",
    "TaskResult",
    "TaskStatus",
    "__version__",
    "list_runs",
    "open_run",
    "resume",
    "run",
]


def __getattr__(name: str) -> Any:
    from importlib import import_module

    for home, names in _HOMES.items():
        if name in names:
            return getattr(import_module(home), name)
    raise AttributeError(f"module 'evalx' has no attribute '{name}'")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
