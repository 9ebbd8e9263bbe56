"""Real evalx processes, without the half second that each would take to import what evalx is made of.

The process that calls `preload` has everything imported and no threads; a child that it forks becomes the command line: a process with a
pid, a lease, files and an end of its own, which a real SIGKILL ends.
"""

from __future__ import annotations

import gc
import importlib
import os
import pkgutil
import random
import signal
import sys
import threading
import traceback
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

EVERYTHING = ("evalx", "evalx_local", "evalx_lepton")
LIBRARIES = (
    "hydra.core.global_hydra",
    "leptonai.api.v2.client",
    "requests",
    "psutil",
    "sqlite3",
    "cattrs",
    "structlog",
    "rich.table",
    "uvicorn",
)

NOT_THESE = {"__main__", "testing"}


def preload() -> None:
    """Import all that a command may need. To be called before anything is forked, in a process without threads."""
    warnings.simplefilter("ignore")
    for library in LIBRARIES:
        importlib.import_module(library)
    for package in EVERYTHING:
        _import_all(package)
    gc.collect()
    gc.freeze()
    assert threading.active_count() == 1 and len(os.listdir("/proc/self/task")) == 1, "a process with threads cannot be forked safely"


def _import_all(name: str) -> None:
    module = importlib.import_module(name)
    for found in pkgutil.iter_modules(getattr(module, "__path__", ())):
        if found.name not in NOT_THESE:
            _import_all(f"{name}.{found.name}")


def evalx(
    args: Sequence[str], *, folder: Path, environment: Mapping[str, str], output: Path, change: Callable[[], None] = lambda: None
) -> int:
    """Start `evalx ARGS` and return its pid. output: the file that stdout and stderr are added to. change: called in the child, before."""
    pid = os.fork()
    if pid == 0:
        try:
            _become(folder, environment, output)
            change()
            os._exit(_command(args))
        except BaseException:  # noqa: BLE001 -- nothing may return into the parent's code
            traceback.print_exc()
        finally:
            os._exit(99)
    return pid


def _become(folder: Path, environment: Mapping[str, str], output: Path) -> None:
    os.setsid()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(folder)
    file = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(file, 1)
    os.dup2(file, 2)
    os.closerange(3, 64)
    sys.argv[0] = "evalx"
    random.seed()


def _command(args: Sequence[str]) -> int:
    """What the installed command does, to the end of the interpreter: it waits for threads."""
    from evalx.cli import main

    try:
        main(list(args))
        code = 0
    except SystemExit as ended:
        code = ended.code if isinstance(ended.code, int) else 0
    threading._shutdown()  # type: ignore[attr-defined]
    sys.stdout.flush()
    sys.stderr.flush()
    return code
