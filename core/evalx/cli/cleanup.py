"""`evalx cleanup`: delete what runs may have left, and prove that it is gone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from evalx.cli.driving import ending, heed
from evalx.cli.options import common_options
from evalx.cli.output import emit, tell, write
from evalx.errors import EvalxError, ExitCode

if TYPE_CHECKING:
    from evalx.runs import RunSummary
    from evalx.store import ResourceRecord, RunRecord, Store

    Left = tuple[RunRecord, list[ResourceRecord]]


@click.command("cleanup")
@click.argument("run", required=False)
@click.option("--all-runs", is_flag=True, help="Every run of this machine that no process is working on; only lists, unless --apply.")
@click.option("--apply", "act", is_flag=True, help="With --all-runs: delete.")
@common_options
def command(run: str | None, all_runs: bool, act: bool, as_json: bool) -> int:
    """Delete what a run may have left alive: endpoints and tasks. What is finished is kept.

    RUN is an id, a unique beginning of one, or last.
    """
    if (run is None) == (not all_runs):
        raise click.UsageError("Name one run, or say --all-runs (which only lists what it would delete).")
    if act and not all_runs:
        raise click.UsageError("--apply goes with --all-runs; evalx cleanup RUN acts at once.")
    from evalx.store import Store

    with Store() as store:
        found = _everything(store) if run is None else [_one(store, run)]
    if all_runs and not act:
        return _list(found, as_json)
    return _clean(found, as_json)


def _one(store: Store, run: str) -> Left:
    from evalx.cli.stored import left_alive

    record = store.find(run)
    return record, left_alive(store, record)


def _everything(store: Store) -> list[Left]:
    from evalx.cli.stored import is_alive, left_alive

    idle = [record for record in store.runs() if not is_alive(store, record)]
    return [(record, left) for record in idle if (left := left_alive(store, record))]


def _list(found: Sequence[Left], as_json: bool) -> int:
    if as_json:
        emit({"applied": False, "runs": [_left_json(*entry) for entry in found]})
    elif not found:
        tell("nothing is known to be left alive")
    else:
        write(_lines(found))
        tell("\nnothing was deleted; to delete: evalx cleanup --all-runs --apply")
    return int(ExitCode.DIRTY if found else ExitCode.OK)


def _lines(found: Sequence[Left]) -> list[str]:
    from evalx.display.text import table

    rows = [(record.run_id, resource.kind, resource.name, resource.state.value) for record, left in found for resource in left]
    return table(("run", "kind", "name", "state"), rows)


def _left_json(record: RunRecord, left: Sequence[ResourceRecord]) -> dict[str, Any]:
    return {
        "run_id": record.run_id,
        "executor": record.executor,
        "may_be_alive": [{"kind": resource.kind, "name": resource.name, "state": resource.state} for resource in left],
    }


def _clean(found: Sequence[Left], as_json: bool) -> int:
    """Clean up run by run; one that fails does not keep the others from being cleaned."""
    from evalx import runs

    outcomes: list[dict[str, Any]] = []
    codes: list[int] = []
    failures: list[EvalxError] = []
    for record, before in found:
        try:
            with ending(record.run_id) as (run_id, display):
                summary = runs.cleanup(run_id, observers=[display])
                heed(summary)
        except EvalxError as error:
            failures.append(error)
            continue
        outcomes.append(
            {"run_id": record.run_id, "deleted": [r.name for r in before if r.name not in summary.left], "may_be_alive": list(summary.left)}
        )
        codes.append(int(ExitCode.DIRTY if summary.left else ExitCode.OK))
        if not as_json:
            _say(summary, outcomes[-1]["deleted"])
    if failures:
        raise failures[0]
    if as_json:
        emit({"applied": True, "runs": outcomes})
    elif not found:
        tell("nothing is known to be left alive")
    return max(codes, default=0)


def _say(summary: RunSummary, deleted: Sequence[str]) -> None:
    from evalx.display.text import plural

    for name in deleted:
        tell(f"  gone: {name}")
    for name in summary.left:
        tell(f"  may be alive: {name}")
    tell(
        f"run {summary.run_id}: "
        + (f"{plural(len(summary.left), 'resource')} may still be alive" if summary.left else "nothing left alive")
    )
