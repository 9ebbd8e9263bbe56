"""The one place that decides how a task ended."""

from __future__ import annotations

import os
import signal
from pathlib import Path

from evalx.harnesses.api import Harness, ResultError
from evalx.model import Metric, Outcome, TaskResult, TaskSpec
from evalx.results.files import artifacts
from evalx.results.logs import last_line

TIMEOUT_EXIT = 124
"""What `timeout` exits with when the task's time was up."""

NO_ROOM = 64 * 1024
"""Bytes below which a disk counts as full."""

_KILLED = {128 + signal.SIGKILL, 128 + signal.SIGTERM, -signal.SIGKILL, -signal.SIGTERM}


def conclude(
    harness: Harness,
    task: TaskSpec,
    directory: Path,
    *,
    exit_code: int | None = None,
    outcome: Outcome | None = None,
    reason: str | None = None,
    started: float | None = None,
    ended: float | None = None,
) -> TaskResult:
    """The result of a task that is over, from its exit code and the files below `directory/results`. Writes nothing.

    | given outcome, other than PASSED             | that outcome                                |
    | `timeout` ended it (124, or killed past it)   | TIMED_OUT                                   |
    | exit code other than 0                        | FAILED, with the code and the last log line |
    | 0 or unknown, and a valid result file         | PASSED, with its metrics                    |
    | 0 or unknown, without one                     | NO_RESULT, with what is wrong               |

    A task that failed has no metrics even if it left a valid result file: a harness that reports scores and then fails, as nemo-evaluator's
    post-processing does, may have scored only what went well. The file stays among the artifacts.
    """
    files, missing = artifacts(directory)
    judged, metrics, why = _judge(harness, task, directory, exit_code, outcome, _elapsed(started, ended))
    full = f"there is no room left on the disk of {directory}" if judged is not Outcome.PASSED and _is_full(directory) else None
    notes = (reason or why, missing, full)
    text = "; ".join(note for note in notes if note) or None
    return TaskResult(task, judged, metrics, files, text, started, ended)


def _judge(
    harness: Harness, task: TaskSpec, directory: Path, exit_code: int | None, outcome: Outcome | None, elapsed: float | None
) -> tuple[Outcome, tuple[Metric, ...], str | None]:
    if outcome not in (None, Outcome.PASSED):
        return outcome, (), outcome.value.replace("_", " ")
    if _timed_out(task, exit_code, elapsed):
        return Outcome.TIMED_OUT, (), f"not done within {task.timeout:g} s"
    if exit_code:
        return Outcome.FAILED, (), _with_log(describe_exit(exit_code), directory)
    try:
        return Outcome.PASSED, harness.parse(task, directory / "results"), None
    except ResultError as error:
        return Outcome.NO_RESULT, (), _with_log(error.message, directory)


def _is_full(directory: Path) -> bool:
    """Whether that is why a task could neither finish nor say so."""
    try:
        disk = os.statvfs(directory)
    except OSError:
        return False
    return disk.f_bavail * disk.f_frsize < NO_ROOM or (disk.f_files > 0 and disk.f_favail == 0)


def _elapsed(started: float | None, ended: float | None) -> float | None:
    return None if started is None or ended is None else ended - started


def _timed_out(task: TaskSpec, exit_code: int | None, elapsed: float | None) -> bool:
    """Killed with the time used up counts as well: `timeout` itself dies with a task that had to be killed."""
    return exit_code == TIMEOUT_EXIT or (exit_code in _KILLED and elapsed is not None and elapsed >= task.timeout)


def describe_exit(code: int) -> str:
    """An exit code in words. Signals are named; 137 is what the out-of-memory killer leaves."""
    number = -code if code < 0 else code - 128 if code > 128 else 0
    try:
        name = signal.Signals(number).name
    except ValueError:
        return f"exit code {code}"
    return f"killed by {name} (exit code {code}){', out of memory perhaps' if number == signal.SIGKILL else ''}"


def _with_log(reason: str, directory: Path) -> str:
    line = last_line(directory)
    return f"{reason}; last log line: {line}" if line else reason
