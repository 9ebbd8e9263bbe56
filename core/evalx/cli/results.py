"""`evalx results`: the scores of a run."""

from __future__ import annotations

import click

from evalx.cli.options import common_options
from evalx.cli.output import tell, write


@click.command("results")
@click.argument("run", default="last")
@common_options
def command(run: str, as_json: bool) -> None:
    """Show all scores of a run. RUN is an id, a unique beginning of one, or last. Its files say more: see the run directory."""
    from evalx.cli.stored import summarise
    from evalx.cli.summary import emit_summary, print_failure, score_table
    from evalx.model import Outcome
    from evalx.store import Store

    with Store() as store:
        summary = summarise(store, store.find(run))
    if as_json:
        emit_summary(summary)
        return
    if not summary.results:
        tell(f"run {summary.run_id} has no results yet; evalx status {summary.run_id} says where it stands")
        return
    write(score_table(summary.results))
    for result in summary.results:
        if result.outcome is not Outcome.PASSED:
            tell()
            print_failure(summary.directory, result)
