"""`evalx cleanup`: delete what runs may have left, and prove that it is gone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import click
from attrs import define, field

from evalx.cli import messages
from evalx.cli.driving import ending, heed
from evalx.cli.errors import report
from evalx.cli.options import asked, common_options
from evalx.cli.output import emit, tell, write
from evalx.errors import EvalxError, ExitCode

if TYPE_CHECKING:
    from evalx.cli.sightings import Sweep
    from evalx.store import ResourceRecord, RunRecord, Store
    from evalx.summaries import RunSummary

    Left = tuple[RunRecord, list[ResourceRecord]]

ONE_OR_ALL = "Name one run, or say --all-runs (which only lists what it would delete)."


@click.command("cleanup")
@click.argument("args", nargs=-1, metavar="[RUN] [KEY=VALUE]...")
@click.option("--all-runs", is_flag=True, help="Every run of this machine that no process is working on; only lists, unless --apply.")
@click.option("--executor", metavar="NAME", help="With --all-runs: ask this executor's backend, too, what it has of any run of yours.")
@click.option("--apply", "act", is_flag=True, help="With --all-runs: delete.")
@click.option("--storage", is_flag=True, help="Also the files that the run has left at its backend.")
@common_options
def command(args: tuple[str, ...], all_runs: bool, executor: str | None, act: bool, storage: bool, as_json: bool) -> int:
    """Delete what a run may have left alive: endpoints and tasks. What is finished is kept.

    RUN is an id, a unique beginning of one, or last.

    With --all-runs --executor NAME the backend itself is asked, so that this works on a machine that never saw the run. What it lists as
    yours may belong to a run that goes on on another machine: look at the list before --apply. KEY=VALUE changes settings of the
    executor, such as execution.output_dir=DIR.
    """
    run = _checked(args, all_runs, executor, act, storage)
    messages.configure(asked().verbosity)
    from evalx.store import Store

    with Store() as store:
        if run is not None:
            return _end_one(_one(store, run), storage, as_json)
        sweep = _sweep(executor, args, store) if executor else None
        return (_apply if act else _list)(_everything(store), sweep, as_json)


def _checked(args: Sequence[str], all_runs: bool, executor: str | None, act: bool, storage: bool) -> str | None:
    """The run that was named; None for all. Raises UsageError for what does not go together."""
    overrides = [text for text in args if "=" in text or text.startswith("~")]
    if len(args) - len(overrides) != int(not all_runs):
        raise click.UsageError(ONE_OR_ALL)
    for given, name in ((act, "--apply"), (executor, "--executor")):
        if given and not all_runs:
            raise click.UsageError(f"{name} goes with --all-runs; evalx cleanup RUN acts at once, where the run was.")
    if overrides and not executor:
        raise click.UsageError(f"'{overrides[0]}': settings are changed with --all-runs --executor NAME only.")
    if storage and all_runs:
        raise click.UsageError("--storage goes with one run: evalx cleanup RUN --storage.")
    return None if all_runs else args[0]


def _one(store: Store, run: str) -> Left:
    from evalx.cli.stored import left_alive

    record = store.find(run)
    return record, left_alive(store, record)


def _everything(store: Store) -> list[Left]:
    from evalx.cli.stored import is_alive, left_alive, only_whole

    idle = [record for record in store.runs() if not is_alive(store, record)]
    return [(record, left) for record in idle if (left := left_alive(store, record)) or only_whole(store, record)]


def _sweep(executor: str, overrides: Sequence[str], store: Store) -> Sweep:
    from evalx.backend import Backend
    from evalx.cli.sightings import Sweep
    from evalx.config import execution_settings

    return Sweep(executor, Backend(executor, execution_settings(executor, overrides), store))


# ---------------------------------------------------------------------- listing


def _list(known: Sequence[Left], sweep: Sweep | None, as_json: bool) -> int:
    if sweep is not None:
        sweep.look()
    dirty = bool(known) or (sweep is not None and sweep.deletable)
    if as_json:
        emit({"applied": False, "runs": [_left_json(*entry) for entry in known], **(sweep.as_json() if sweep else {})})
    else:
        _show(known, sweep)
        tell(f"\nnothing was deleted; to delete: {_again()} --apply" if dirty else "nothing is known to be left alive")
    return int(ExitCode.DIRTY if dirty else ExitCode.OK)


def _show(known: Sequence[Left], sweep: Sweep | None) -> None:
    """What the store knows; then what the backend shows, which need not be told twice."""
    from evalx.display.text import table
    from evalx.reasons import whole

    seen = sweep.names if sweep is not None else frozenset()
    told = [(record, [resource for resource in left if resource.name not in seen]) for record, left in known]
    rows = [*_rows(told), *((record.run_id, "run", whole(record.run_id), "") for record, left in known if not left)]
    if rows:
        write(table(("run", "kind", "name", "state"), rows))
    if sweep is not None:
        write(sweep.lines())


def _again() -> str:
    """The command that the user gave, without options of form."""
    params = click.get_current_context().params
    executor = ["--executor", params["executor"], *params["args"]] if params["executor"] else []
    return " ".join(["evalx cleanup --all-runs", *executor])


def _rows(found: Sequence[Left]) -> list[tuple[str, ...]]:
    return [(record.run_id, resource.kind, resource.name, resource.state.value) for record, left in found for resource in left]


def _left_json(record: RunRecord, left: Sequence[ResourceRecord]) -> dict[str, Any]:
    from evalx.reasons import whole
    from evalx.store.states import ResourceState

    told = [{"kind": resource.kind, "name": resource.name, "state": resource.state} for resource in left]
    return {
        "run_id": record.run_id,
        "executor": record.executor,
        "may_be_alive": told or [{"kind": "run", "name": whole(record.run_id), "state": ResourceState.LEAK_SUSPECTED}],
    }


# ---------------------------------------------------------------------- deleting


@define
class Ended:
    """What became of runs that were cleaned up: what --json tells of each, and the errors of those that could not be."""

    runs: list[dict[str, Any]] = field(factory=list)
    failures: list[EvalxError] = field(factory=list)
    dirty: bool = False


def _end_one(found: Left, storage: bool, as_json: bool) -> int:
    from evalx import backend

    run_id = found[0].run_id
    if storage:
        backend.check_purge(run_id)
    ended = _clean([found], as_json)
    purged = storage and not ended.dirty and not ended.failures and backend.purge(run_id)
    return _conclude(ended, as_json, {"storage_deleted": purged} if storage else {}, dirty=storage and not purged)


def _apply(known: Sequence[Left], sweep: Sweep | None, as_json: bool) -> int:
    ended = _clean(known, as_json)
    if sweep is None:
        if not known and not as_json:
            tell("nothing is known to be left alive")
        return _conclude(ended, as_json)
    try:
        sweep.look()
    except EvalxError as error:
        ended.failures.append(error)
        return _conclude(ended, as_json)
    sweep.remove()
    if not as_json:
        sweep.tell()
    return _conclude(ended, as_json, sweep.as_json(), dirty=bool(sweep.left))


def _clean(found: Sequence[Left], as_json: bool) -> Ended:
    """Clean up run by run; one that fails does not keep the others from being cleaned."""
    from evalx import runs

    ended = Ended()
    for record, before in found:
        try:
            with ending(record.run_id) as (run_id, display, terminal):
                summary = runs.cleanup(run_id, observers=[display, terminal], terminal=terminal)
                heed(summary)
        except EvalxError as error:
            ended.failures.append(error)
            continue
        deleted = [resource.name for resource in before if resource.name not in summary.left]
        ended.runs.append({"run_id": record.run_id, "deleted": deleted, "may_be_alive": list(summary.left)})
        ended.dirty |= bool(summary.left)
        if not as_json:
            _say(summary, deleted)
    return ended


def _conclude(ended: Ended, as_json: bool, more: Mapping[str, Any] | None = None, dirty: bool = False) -> int:
    """Tell what is to be told at the end; returns the exit code. Raises the first failure, unless something may be alive, which wins."""
    dirty = dirty or ended.dirty
    if ended.failures and not dirty:
        raise ended.failures[0]
    if as_json:
        emit({"applied": True, "runs": ended.runs, **(more or {}), "errors": [str(failure) for failure in ended.failures]})
    else:
        _tell_storage(more or {})
        for failure in ended.failures:
            report(failure, asked())
    return int(ExitCode.DIRTY if dirty else ExitCode.OK)


def _tell_storage(more: Mapping[str, Any]) -> None:
    if "storage_deleted" in more:
        done = "the run's files at the backend are deleted"
        left = "the run's files may be left at the backend, and what deletes them may be at work; the same command goes on with it"
        tell(done if more["storage_deleted"] else left)


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
