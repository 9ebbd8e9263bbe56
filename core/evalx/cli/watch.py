"""`evalx watch`: follow a run that another process drives, from its events in the store."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import click

from evalx.cli.driving import display_option
from evalx.cli.options import common_options
from evalx.cli.output import tell

if TYPE_CHECKING:
    from evalx.display.base import Display
    from evalx.store import RunRecord, Store

INTERVAL = 0.5


@click.command("watch")
@click.argument("run", default="last")
@display_option
@common_options
def command(run: str, display: str, as_json: bool) -> int:
    """Follow a run until it is over, or but keeps endpoints. Ctrl-C ends the watching only; the run goes on.

    RUN is an id, a unique beginning of one, or last. The exit code is that of the run.
    """
    from evalx.cli.driving import show
    from evalx.cli.stored import account_of, is_working
    from evalx.display.choose import choose
    from evalx.store import Store

    with Store() as store:
        record = store.find(run)
        alive = is_working(store, record)
        if not alive and not record.state.settled:
            tell(f"no process is working on run {record.run_id}")
        with choose("none" if not alive and display != "jsonl" else display, notice="Ctrl-C stops watching; the run goes on") as shown:
            _follow(store, record, shown, from_start=display == "jsonl")
        account = account_of(store, store.find(record.run_id))
    show(account, display, as_json)
    return account.exit_code


def _follow(store: Store, record: RunRecord, display: Display, from_start: bool) -> None:
    """Feed the display until the run is over or nobody works on it any more."""
    from evalx.cli.stored import is_working

    past = [] if from_start else store.events(record.run_id)
    seen = past[-1].seq if past else 0
    if not from_start:
        display.prime(record, past)
    while True:
        alive = is_working(store, store.find(record.run_id))
        for event in store.events(record.run_id, after=seen):
            display.on_event(record, event)
            seen = event.seq
        if not alive:
            return
        time.sleep(INTERVAL)
