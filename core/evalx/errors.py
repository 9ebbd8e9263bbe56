"""Everything evalx raises on purpose, and the exit code each leads to.

EvalxError                     any of the below; has a hint and an exit code
├── ConfigError                the user's config is wrong; nothing was created           2
│   └── ConfigErrors           several of them at once                                    2
├── PluginError                a plugin is missing, broken, of another version            2
├── AuthError                  the platform refused our credentials                       4
├── EndpointFailed             an endpoint will never answer (from `wait_ready`)          5
├── TaskRefused                the backend will never accept the task (from `run_task`)   1
├── TransientError             worth trying again, later; only the core retries           70
├── DeadlineExceeded           a wait had its time                                        6
├── OutputLost                 stdout takes nothing, so what was asked for is missing    70
├── ExportFailed               an exporter could not do its work; the scores are safe      70
├── RunNotFound                no run of that id                                          2
├── RunNotOver                 the run may still change                                   8
├── RunBusy                    another live process owns the run                          75
├── RunInterrupted             nobody works on a run that is not over (Python API)         1, or 7
└── StoreError                 state cannot be read or written                            70
    └── RunDamaged             a file of a run directory is not what evalx wrote           2
"""

from __future__ import annotations

from enum import IntEnum


class ExitCode(IntEnum):
    """What the process's exit code means. `DIRTY` wins over all others."""

    OK = 0
    TASK_FAILED = 1
    USAGE = 2
    GATE_FAILED = 3
    AUTH = 4
    NO_ENDPOINT = 5
    DEADLINE = 6
    DIRTY = 7
    RUNNING = 8
    INTERNAL = 70
    BUSY = 75
    SIGHUP = 129
    SIGINT = 130
    SIGTERM = 143


class EvalxError(Exception):
    """Base of all. hint: the next step, as a sentence or command; shown on a line of its own. usual_hint: shown where there is none."""

    exit_code: ExitCode = ExitCode.INTERNAL
    usual_hint = "the same command with -v shows where it comes from"

    def __init__(self, message: str, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class ConfigError(EvalxError):
    """One mistake in a config. where: `file:line key`, or as much of it as is known."""

    exit_code = ExitCode.USAGE
    usual_hint = "what each key is for: evalx config schema"

    def __init__(self, message: str, hint: str | None = None, where: str | None = None) -> None:
        super().__init__(message, hint)
        self.where = where

    def __str__(self) -> str:
        return f"{self.where}: {self.message}" if self.where else self.message


class ConfigErrors(ConfigError):
    """All mistakes of a config, found in one pass. errors: at least one."""

    def __init__(self, errors: list[ConfigError]) -> None:
        super().__init__("\n".join(map(str, errors)))
        self.errors = errors


class PluginError(EvalxError):
    exit_code = ExitCode.USAGE
    usual_hint = "what is wrong with plugins here: evalx plugins check"


class AuthError(EvalxError):
    exit_code = ExitCode.AUTH


class EndpointFailed(EvalxError):
    exit_code = ExitCode.NO_ENDPOINT


class TaskRefused(EvalxError):
    exit_code = ExitCode.TASK_FAILED


class TransientError(EvalxError):
    """A call failed in a way that may pass. retry_after: seconds the other side asked us to wait, if it did."""

    def __init__(self, message: str, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class DeadlineExceeded(EvalxError):
    exit_code = ExitCode.DEADLINE


class ExportFailed(EvalxError):
    exit_code = ExitCode.INTERNAL


class RunNotFound(EvalxError):
    exit_code = ExitCode.USAGE


class RunNotOver(EvalxError):
    exit_code = ExitCode.RUNNING


class RunBusy(EvalxError):
    exit_code = ExitCode.BUSY


class RunInterrupted(EvalxError):
    """A run is not over, and the process that drove it is gone. exit_code: 7 if something of it may be alive."""

    exit_code = ExitCode.TASK_FAILED


class OutputLost(EvalxError):
    usual_hint = "is its disk full? What evalx knows of runs is stored, and can be asked for again: evalx results"


class StoreError(EvalxError):
    exit_code = ExitCode.INTERNAL
    usual_hint = "what is wrong with folders, disk and database: evalx doctor"


class RunDamaged(StoreError):
    exit_code = ExitCode.USAGE


def internal(error: Exception) -> EvalxError:
    """A fault of evalx itself as an error that can be told and acted upon like any other."""
    return EvalxError(f"internal error: {type(error).__name__}: {error}")
