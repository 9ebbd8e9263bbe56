"""`evalx resume`: go on with a run."""

from __future__ import annotations

import click

from evalx.cli.driving import display_option, drive
from evalx.cli.options import common_options


@click.command("resume")
@click.argument("run", default="last")
@click.option("--fail-fast", is_flag=True, help="The first task without a score ends the run.")
@click.option("--trust-commands", is_flag=True, help="Allow pre_cmd and post_cmd of the config to run.")
@display_option
@common_options
def command(run: str, fail_fast: bool, trust_commands: bool, display: str, as_json: bool) -> int:
    """Go on with a run that was interrupted or has tasks without a score. Scored tasks are kept and not run again.

    RUN is an id, a unique beginning of one, or last.
    """
    from evalx import runs
    from evalx.store import Store

    with Store() as store:
        record = store.find(run)
        events = store.events(record.run_id)
    return drive(
        lambda observer: runs.resume(record.run_id, observers=[observer], trust_commands=trust_commands, fail_fast=fail_fast),
        display,
        as_json,
        prepare=lambda shown: shown.prime(record, events),
    )
