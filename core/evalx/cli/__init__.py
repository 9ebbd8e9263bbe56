"""The command line. Importing it costs nothing, calling it click and the standard library; each command brings what it needs."""

from __future__ import annotations

import signal
import threading
from collections.abc import Sequence


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command line and end the process with its exit code. argv: without the program's name; None takes the process's own.

    Until the command line is there to answer a Ctrl-C, it just ends the process: Python would show where its imports had got to.
    """
    here = threading.current_thread() is threading.main_thread()
    early = here and signal.getsignal(signal.SIGINT) is signal.default_int_handler
    if early:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    from evalx.cli.app import main as run

    run(argv, early=early)
