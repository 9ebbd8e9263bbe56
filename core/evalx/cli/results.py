"""`evalx results`: the scores of a run."""

from __future__ import annotations

import click

from evalx.cli.options import common_options
from evalx.cli.output import tell, write
from evalx.cli.wording import paragraph


@click.command("results")
@click.argument("run", default="last")
@common_options
def command(run: str, as_json: bool) -> None:
    """Show all scores of a run. RUN is an id, a unique beginning of one, or last. Its files say more: see the run directory."""
    from evalx.cli.stored import account_of
    from evalx.cli.summary import emit_summary, print_failure, score_table
    from evalx.display.text import plural
    from evalx.model import Outcome
    from evalx.store import Store

    with Store() as store:
        account = account_of(store, store.find(run))
    if as_json:
        emit_summary(account)
        return
    if not account.results:
        tell(f"run {account.run_id} has no results yet; evalx status {account.run_id} says where it stands")
        return
    write(score_table(account.results))
    for result in account.results:
        if result.outcome is not Outcome.PASSED:
            tell()
            print_failure(account.directory, result)
    if account.cost is not None and account.cost.billed:
        from evalx.cost import spent_in_words

        if account.results[-1].outcome is Outcome.PASSED:
            tell()  # below a failure there is an empty line
        for text in paragraph(f"cost: {spent_in_words(account.cost)}", indent=""):
            tell(text)
    missing = account.tasks - len(account.results)
    if missing:
        tell(f"\n{plural(missing, 'task')} without a result; evalx status {account.run_id} says more")
