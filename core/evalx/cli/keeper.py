"""`python -m evalx.cli.keeper RUN`: what looks after the endpoints that a run keeps. No command: evalx starts it by itself."""

from __future__ import annotations

import os
import signal
import sys

from evalx import failpoints
from evalx.cli import messages
from evalx.cli.errors import report
from evalx.cli.options import Asked

SILENCE = 3600.0
"""Seconds between the lines that say that nothing has changed."""


def main(run_id: str, heir_of: int | None = None) -> int:
    """Look after what the run keeps, to its end; returns the exit code of the process. What it says goes to the run's evalx.log.

    heir_of: see `evalx.runs.keep`.
    """
    for number in (signal.SIGINT, signal.SIGTERM):  # whoever has started this may have ignored them
        signal.signal(number, signal.SIG_DFL)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    failpoints.arm(os.environ.get("EVALX_FAILPOINT", ""))
    messages.configure(0)
    try:
        return _keep(run_id, heir_of)
    except Exception as error:  # noqa: BLE001 -- whatever it is, it is told where evalx tells everything of this run
        return report(error, Asked())


def _keep(run_id: str, heir_of: int | None) -> int:
    from evalx import runs
    from evalx.cli.summary import Account, print_summary
    from evalx.display.plain import PlainDisplay
    from evalx.store import Store

    with Store() as store:
        record = store.find(run_id)
        events = store.events(run_id)
    with PlainDisplay(notice="", heartbeat=SILENCE) as display:
        display.prime(record, events)
        summary = runs.keep(run_id, heir_of, observers=[display])
    if summary is not None:
        print_summary(Account.of(summary), hints=False)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], *map(int, sys.argv[2:])))
