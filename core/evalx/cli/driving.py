"""What `run` and `resume` have in common: a display while it goes on, the scores when it is over."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

import click

from evalx.cli import messages
from evalx.cli.options import asked
from evalx.errors import EvalxError, ExitCode, OutputLost

if TYPE_CHECKING:
    from evalx.cli.summary import Account
    from evalx.cli.terminal import RunTerminal
    from evalx.display.base import Display
    from evalx.runs import Detached
    from evalx.summaries import RunSummary

F = TypeVar("F", bound=Callable[..., Any])


class NotTakenOver(EvalxError):
    """A run was let go of, and the process that should go on with it did not start."""

    exit_code = ExitCode.DIRTY


DISPLAYS = ("auto", "live", "plain", "jsonl", "none")


def display_option(function: F) -> F:
    """--display, how progress is shown."""
    text = "How to show progress: a live table, plain lines, or JSON lines on stdout. auto: live on a terminal."
    return click.option("--display", type=click.Choice(DISPLAYS), default="auto", show_default=True, help=text)(function)


Work = Callable[["Display", "RunTerminal | None"], "RunSummary"]


def drive(
    work: Work, display: str, as_json: bool, *, prepare: Callable[[Display], None] | None = None, successor: Sequence[str] = ()
) -> int:
    """Do the work under a display, then print what came out of it; returns the exit code of the run.

    prepare: called with the display before the work, to tell it what has happened so far. successor: further arguments of the
    `evalx resume` that goes on with the run if the user wants to detach from it.
    """
    from evalx.cli import supervisor
    from evalx.cli.summary import Account
    from evalx.runs import Detached

    if as_json and display == "jsonl":
        raise click.UsageError("--json and --display jsonl both want stdout; --display jsonl ends with the same summary.")
    messages.configure(asked().verbosity)
    quiet = display == "auto" and asked().verbosity < 0
    pipe = supervisor.pipe_to_starter()
    try:
        summary = _supervised(work, pipe, prepare) if pipe is not None else _at_terminal(work, "none" if quiet else display, prepare)
    except Detached as detached:
        asked().at_once = True  # looks may be under way that nobody waits for
        return detach(["resume", detached.run_id, *successor], as_json, detached)
    try:
        show(Account.of(summary), display, as_json)
    except OutputLost as lost:
        if summary.exit_code is ExitCode.DIRTY:
            lost.exit_code, lost.hint = ExitCode.DIRTY, f"something may be alive: evalx cleanup {summary.run_id}"
        raise
    return int(summary.exit_code)


def supervised() -> bool:
    """Whether this process is to be a supervisor."""
    from evalx.cli.supervisor import PIPE

    return PIPE in os.environ


def _supervised(work: Work, pipe: int, prepare: Callable[[Display], None] | None) -> RunSummary:
    from evalx.cli.supervisor import SupervisorDisplay

    with SupervisorDisplay(pipe) as shown:
        return _work(work, shown, None, prepare)


def _at_terminal(work: Work, display: str, prepare: Callable[[Display], None] | None) -> RunSummary:
    from evalx.cli.terminal import RunTerminal
    from evalx.display.choose import choose

    with choose(display) as shown, RunTerminal(shown) as terminal:
        return _work(work, shown, terminal, prepare)


def _work(work: Work, shown: Display, terminal: RunTerminal | None, prepare: Callable[[Display], None] | None) -> RunSummary:
    if prepare is not None:
        prepare(shown)
    summary = work(shown, terminal)
    heed(summary)
    return summary


def detach(arguments: Sequence[str], as_json: bool, detached: Detached | None = None) -> int:
    """Let a supervisor do this, and say which run it is; returns the exit code. detached: the run that it is to go on with."""
    from evalx.cli import supervisor

    run = supervisor.supervise(arguments)
    if run.run_id:
        supervisor.report(run, as_json)
        return int(ExitCode.OK)
    if detached is None:
        return run.exit_code
    raise NotTakenOver(
        f"no process goes on with run {detached.run_id}, and what it has created is alive", f"evalx resume {detached.run_id}"
    )


def heed(summary: RunSummary) -> None:
    """If the user has stopped waiting: say what is left, whatever signals still come, and end without waiting for hook calls."""
    if summary.abandoned:
        from evalx.interrupts import SIGNALS

        asked().at_once = True
        for number in SIGNALS:
            signal.signal(number, signal.SIG_IGN)


def show(account: Account, display: str, as_json: bool) -> None:
    """Print an account of a run in the form that was asked for."""
    from evalx.cli.summary import emit_line, emit_summary, print_summary

    if as_json:
        emit_summary(account)
    elif display == "jsonl":
        emit_line(account)
    else:
        print_summary(account, hints=asked().verbosity >= 0)


@contextmanager
def ending(run: str) -> Iterator[tuple[str, Display, RunTerminal]]:
    """For commands that only end a run: its full id, a display that tells what is deleted, and the terminal. run: as the user named it."""
    from evalx.cli.terminal import RunTerminal
    from evalx.display.choose import choose
    from evalx.store import Store

    messages.configure(asked().verbosity)
    with Store() as store:
        record = store.find(run)
        events = store.events(record.run_id)
    with choose("none" if asked().verbosity < 0 else "plain", notice="") as display, RunTerminal(display) as terminal:
        display.prime(record, events)
        yield record.run_id, display, terminal
