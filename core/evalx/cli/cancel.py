"""`evalx cancel`: end a run early."""

from __future__ import annotations

import click

from evalx.cli.driving import ending, heed, show
from evalx.cli.options import common_options
from evalx.errors import ExitCode


@click.command("cancel")
@click.argument("run", default="last")
@click.option("--now", is_flag=True, help="Kill the process that works on the run and clean up in its place.")
@common_options
def command(run: str, now: bool, as_json: bool) -> int:
    """End a run early: nothing new starts, endpoints are deleted, finished scores are kept.

    A process that is stopped (SIGSTOP, Ctrl-Z) is continued to do so, or killed with --now.

    RUN is an id, a unique beginning of one, or last. Ends with 0 if nothing is left alive.
    """
    from evalx import runs
    from evalx.cli.summary import Account

    with ending(run) as (run_id, display, terminal):
        summary = runs.cancel(run_id, now=now, observers=[display, terminal], tell=display.tell, terminal=terminal)
        heed(summary)
    show(Account.of(summary), "auto", as_json)
    return int(ExitCode.DIRTY if summary.left else ExitCode.OK)
