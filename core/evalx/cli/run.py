"""`evalx run`: from a config to scores."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from evalx.cli.driving import detach as hand_over
from evalx.cli.driving import display_option, drive, supervised
from evalx.cli.options import ConfigChoice, asked, common_options, config_options, seconds

if TYPE_CHECKING:
    from evalx.cli.terminal import RunTerminal
    from evalx.display.base import Display
    from evalx.summaries import RunSummary


@click.command("run")
@config_options
@click.option("--detach", is_flag=True, help="Let the run go on in the background; evalx watch follows it.")
@click.option("--dry-run", is_flag=True, help="Show the plan and create nothing; the same as evalx plan.")
@click.option("--fail-fast", is_flag=True, help="The first task without a score ends the run.")
@click.option("--keep-endpoints", callback=seconds, metavar="TIME", help="Keep endpoints up this long after the last task: 30m, 2h.")
@click.option("--max-cost", type=click.FloatRange(min=0), metavar="AMOUNT", help="End the run when it has cost this; see execution.prices.")
@click.option("--max-duration", callback=seconds, metavar="TIME", help="End the run after this long: 45s, 90m, 1h30m.")
@click.option("--trust-commands", is_flag=True, help="Allow pre_cmd and post_cmd of the config to run.")
@display_option
@common_options
def command(
    choice: ConfigChoice,
    detach: bool,
    dry_run: bool,
    fail_fast: bool,
    keep_endpoints: float | None,
    max_cost: float | None,
    max_duration: float | None,
    trust_commands: bool,
    display: str,
    as_json: bool,
) -> int:
    """Deploy a model endpoint for every task, run the tasks in parallel, print the scores and delete what was created.

    CONFIG is a file or the name of a config in ./, ./configs or among the shipped ones. KEY=VALUE changes it, in Hydra's grammar.

    \b
    Examples:
      evalx run quickstart
      evalx run my.yaml --executor local -t ifeval execution.endpoints=shared
    """
    if detach and not dry_run and not supervised():
        return hand_over(asked().args, as_json)
    limits = {"keep_endpoints": keep_endpoints, "max_cost": max_cost, "max_duration": max_duration}
    config = choice.load([f"++execution.{name}={value!r}" for name, value in limits.items() if value is not None])
    if dry_run:
        from evalx.cli.plan import show

        return show(config, trust_commands, as_json)
    from evalx import runs

    def work(observer: Display, terminal: RunTerminal | None) -> RunSummary:
        observers = [observer, terminal] if terminal else [observer]
        return runs.start(config, observers=observers, trust_commands=trust_commands, fail_fast=fail_fast, terminal=terminal)

    return drive(work, display, as_json, successor=["--fail-fast"] * fail_fast + ["--trust-commands"] * trust_commands)
