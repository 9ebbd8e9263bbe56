"""What tests of the store run in other processes: `python children.py PART ARGUMENT...`. Each prints a line once its part is committed."""

from __future__ import annotations

import itertools
import os
import resource
import signal
import sys
from pathlib import Path

from evalx.errors import EvalxError
from evalx.model import TaskHandle
from evalx.store import Journal, Store
from evalx.store.states import ResourceState


def say(*words: object) -> None:
    print(*words, flush=True)


def write_for_ever(journal: Journal, start: int = 0) -> None:
    """Say the seq of every event whose commit was acknowledged."""
    task = journal.plan.tasks[0]
    for number in itertools.count(start):
        journal.resource(task, "r-task", ResourceState.CREATED, handle=TaskHandle(task, "r-task", {"number": number}))
        say(journal.last_seq, number)


def writer(run_id: str) -> None:
    with Store() as store:
        write_for_ever(store.open(run_id))


def owner(run_id: str) -> None:
    """Own the run, and write once for each line that is read."""
    with Store() as store:
        journal = store.open(run_id)
        say("open")
        for _line in sys.stdin:
            try:
                journal.note("warning", reason="still here")
                say("written")
            except EvalxError as error:
                say(type(error).__name__)


def racer(run_id: str) -> None:
    """Wait for the starting signal, then try to own the run; keep it until told."""
    with Store() as store:
        say("ready")
        sys.stdin.readline()
        try:
            journal = store.open(run_id)
        except EvalxError as error:
            say(type(error).__name__)
        else:
            say("won")
            sys.stdin.readline()
            journal.close()


def opener() -> None:
    """Open a database that may not exist yet, as soon as told."""
    say("ready")
    sys.stdin.readline()
    with Store() as store:
        say(len(store.runs()))


def limited(run_id: str, limit: str) -> None:
    """Write until no file may grow beyond the limit in bytes; then say what was raised and what was committed last."""
    with Store() as store:
        journal = store.open(run_id)
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (int(limit), int(limit)))
        try:
            write_for_ever(journal)
        except EvalxError as error:
            say(type(error).__name__, str(error).replace("\n", " "))
        say("closing")
        journal.close()
        say("closed", os.getpid(), Path(journal.directory).name)


if __name__ == "__main__":
    {"writer": writer, "owner": owner, "racer": racer, "opener": opener, "limited": limited}[sys.argv[1]](*sys.argv[2:])
