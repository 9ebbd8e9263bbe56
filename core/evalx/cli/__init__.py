"""The command line. Importing it costs nothing, calling it click and the standard library; each command brings what it needs."""

from __future__ import annotations

import signal

TYPE_CHECKING = False  # type checkers know the name; see evalx/__init__.py
if TYPE_CHECKING:
    from collections.abc import Sequence


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command line and end the process with its exit code. argv: without the program's name; None takes the process's own.

    Until the command line is there to answer a Ctrl-C, it just ends the process: Python would show where its imports had got to.
    """
    early = signal.getsignal(signal.SIGINT) is signal.default_int_handler
    if early:
        try:
            signal.signal(signal.SIGINT, signal.SIG_DFL)
        except ValueError:  # not in the main thread, to which signals go
            early = False
    from evalx.cli.app import main as run

    run(argv, early=early)
