"""`evalx ls`: the runs of this machine."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import click

from evalx.cli.options import common_options
from evalx.cli.output import emit, tell, width, write

if TYPE_CHECKING:
    from evalx.store import RunRecord, Store


@click.command("ls")
@click.option("-n", "--limit", type=click.IntRange(min=1), metavar="N", default=20, show_default=True, help="How many runs at most.")
@click.option("-a", "--all", "everything", is_flag=True, help="All runs.")
@common_options
def command(limit: int, everything: bool, as_json: bool) -> None:
    """List runs, the newest first."""
    from evalx.display.text import table
    from evalx.store import Store

    with Store() as store:
        facts = [_facts(store, record) for record in store.runs(None if everything else limit)]
    if as_json:
        emit({"runs": facts})
    elif not facts:
        tell("no runs yet; try: evalx run quickstart")
    else:
        write(table(("run", "state", "scored", "alive", "executor", "started", "tasks"), map(_row, facts), width=width(), flexible="tasks"))


def _facts(store: Store, record: RunRecord) -> dict[str, Any]:
    from evalx.cli.stored import condition, kept_of, names_left
    from evalx.store.states import TaskState

    tasks, kept = store.tasks(record.run_id), kept_of(store, record)
    return {
        "run_id": record.run_id,
        "condition": condition(store, record),
        "state": record.state,
        "outcome": record.outcome,
        "cleanliness": record.cleanliness,
        "executor": record.executor,
        "created": record.created,
        "directory": str(record.directory),
        "tasks": [task.spec.name for task in tasks],
        "scored": sum(task.state is TaskState.SCORED for task in tasks),
        "may_be_alive": len(names_left(store, record)),
        "kept_until": kept.until if kept is not None else None,
    }


def _row(facts: dict[str, Any]) -> tuple[str, ...]:
    from evalx.display.text import duration
    from evalx.keeping.kept import clock

    return (
        facts["run_id"],
        facts["condition"],
        f"{facts['scored']}/{len(facts['tasks'])}",
        f"until {clock(facts['kept_until'])}" if facts["kept_until"] is not None else str(facts["may_be_alive"] or "-"),
        facts["executor"],
        f"{duration(time.time() - facts['created'])} ago",
        ", ".join(facts["tasks"]),
    )
