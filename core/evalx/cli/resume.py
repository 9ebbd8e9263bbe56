"""`evalx resume`: go on with a run."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from evalx.cli.driving import detach as hand_over
from evalx.cli.driving import display_option, drive, supervised
from evalx.cli.options import asked, common_options, seconds

if TYPE_CHECKING:
    from evalx.cli.terminal import RunTerminal
    from evalx.display.base import Display
    from evalx.summaries import RunSummary


@click.command("resume")
@click.argument("run", default="last")
@click.option("--detach", is_flag=True, help="Let the run go on in the background; evalx watch follows it.")
@click.option("--fail-fast", is_flag=True, help="The first task without a score ends the run.")
@click.option("--max-cost", type=click.FloatRange(min=0), metavar="AMOUNT", help="What the run may cost, counted from its beginning.")
@click.option("--max-duration", callback=seconds, metavar="TIME", help="How long the run may be worked on, counted from its beginning.")
@click.option("--trust-commands", is_flag=True, help="Allow pre_cmd and post_cmd of the config to run.")
@display_option
@common_options
def command(
    run: str,
    detach: bool,
    fail_fast: bool,
    max_cost: float | None,
    max_duration: float | None,
    trust_commands: bool,
    display: str,
    as_json: bool,
) -> int:
    """Go on with a run that was interrupted or has tasks without a score. Scored tasks are kept and not run again.

    RUN is an id, a unique beginning of one, or last.
    """
    if detach and not supervised():
        return hand_over(asked().args, as_json)
    from evalx import runs
    from evalx.store import Store

    with Store() as store:
        record = store.find(run)
        events = store.events(record.run_id)

    def work(observer: Display, terminal: RunTerminal | None) -> RunSummary:
        observers = [observer, terminal] if terminal else [observer]
        return runs.resume(
            record.run_id,
            observers=observers,
            trust_commands=trust_commands,
            fail_fast=fail_fast,
            max_duration=max_duration,
            max_cost=max_cost,
            terminal=terminal,
        )

    limits = {"--max-cost": max_cost, "--max-duration": max_duration}
    successor = [f"{name}={value!r}" for name, value in limits.items() if value is not None]
    successor += ["--fail-fast"] * fail_fast + ["--trust-commands"] * trust_commands
    return drive(work, display, as_json, prepare=lambda shown: shown.prime(record, events), successor=successor)
