"""`evalx status`: where a run stands."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import click

from evalx.cli.options import common_options
from evalx.cli.output import emit, width, write

if TYPE_CHECKING:
    from evalx.cost import Cost
    from evalx.display.model import Board
    from evalx.store import ResourceRecord, RunRecord, Store


@click.command("status")
@click.argument("run", default="last")
@click.option("--exit-status", is_flag=True, help="End with the run's exit code; 8 while it is running.")
@common_options
def command(run: str, exit_status: bool, as_json: bool) -> int:
    """Show where a run stands. RUN is an id, a unique beginning of one, or last."""
    from evalx.cli.stored import board_of, exit_code
    from evalx.store import Store

    with Store() as store:
        record = store.find(run)
        code = exit_code(store, record)
        if as_json:
            emit(_as_json(store, record, int(code)))
        else:
            write(_screen(store, record, board_of(store, record)))
    return int(code) if exit_status else 0


def _screen(store: Store, record: RunRecord, board: Board) -> list[str]:
    from evalx.cli.stored import condition, is_working, kept_of, left_alive, only_whole, uncared_for
    from evalx.cli.summary import kept_lines
    from evalx.reasons import whole

    lines = [*_head(store, record, condition(store, record)), "", *_tasks(board)]
    if (kept := kept_of(store, record)) is not None:
        lines += ["", *kept_lines(record.run_id, kept)]
    working = is_working(store, record)
    left = left_alive(store, record) if working else uncared_for(store, record)
    names = _resources(left) if left else [whole(record.run_id)] * only_whole(store, record)
    if names:
        title = "alive:" if working else f"may be alive (evalx cleanup {record.run_id}):"
        lines += ["", title, *(f"  {text}" for text in names)]
    return lines


def _cost(store: Store, record: RunRecord) -> Cost:
    from evalx.cost import cost_of

    return cost_of(record.plan, store.resources(record.run_id), store.tasks(record.run_id))


def _head(store: Store, record: RunRecord, condition: str) -> list[str]:
    from evalx.cli.stored import kept_of
    from evalx.cost import spent_in_words
    from evalx.display.text import clean, duration, plural
    from evalx.keeping.kept import clock

    holder = store.holder(record.run_id)
    cost = _cost(store, record)
    ago = duration(time.time() - record.created)
    kept = kept_of(store, record)
    if kept is not None:
        condition = f"{condition}, {plural(len(kept.endpoints), 'endpoint')} kept until {clock(kept.until)}"
    by = f", process {holder.pid} on {clean(holder.host)}" if condition == "running" and holder is not None else ""
    hint = f"  (go on: evalx resume {record.run_id})" if condition == "interrupted" else ""
    if holder is not None and holder.stopped:
        hint = f"  (stopped; go on: kill -CONT {holder.pid})"
    return [
        f"run        {record.run_id}",
        f"state      {condition}{by}{hint}",
        f"executor   {record.executor}",
        f"started    {time.strftime('%Y-%m-%d %H:%M:%S', time.localtime(record.created))}, {ago} ago",
        f"directory  {clean(record.directory)}",
        *([f"cost       {clean(spent_in_words(cost))}"] if cost.billed else []),
    ]


def _tasks(board: Board) -> list[str]:
    from evalx.display.text import duration, table

    now = time.time()
    rows = []
    for task in board.tasks.values():
        phase, reason = board.shown(task)
        elapsed = board.elapsed(task, now)
        rows.append((task.name, phase, task.samples or "-", board.endpoint_of(task), duration(elapsed), reason))
    return table(
        ("task", "phase", "samples", "endpoint", "time", "detail"), rows, right=("samples", "time"), width=width(), flexible="detail"
    )


def _resources(resources: list[ResourceRecord]) -> list[str]:
    from evalx.display.text import table

    rows = [(resource.kind, resource.name, resource.state.value.replace("_", " "), resource.reason or "") for resource in resources]
    return table(("kind", "name", "state", "reason"), rows)


def _as_json(store: Store, record: RunRecord, code: int) -> dict[str, Any]:
    from evalx.cli.stored import condition, kept_of, names_left
    from evalx.cli.summary import cost_json, kept_json
    from evalx.serial import to_json

    holder = store.holder(record.run_id)
    return {
        "run_id": record.run_id,
        "condition": condition(store, record),
        "state": record.state,
        "outcome": record.outcome,
        "cleanliness": record.cleanliness,
        "exit_code": code,
        "executor": record.executor,
        "created": record.created,
        "updated": record.updated,
        "directory": str(record.directory),
        "holder": {"pid": holder.pid, "host": holder.host, "alive": holder.alive, "stopped": holder.stopped}
        if holder is not None
        else None,
        "tasks": [
            {
                "task": task.spec.name,
                "state": task.state,
                "attempt": task.attempt,
                "reason": task.reason,
                "started": task.started,
                "ended": task.ended,
            }
            for task in store.tasks(record.run_id)
        ],
        "resources": [
            {"kind": resource.kind, "name": resource.name, "state": resource.state, "attempt": resource.attempt, "reason": resource.reason}
            for resource in store.resources(record.run_id)
        ],
        "cost": cost_json(_cost(store, record)),
        "kept": kept_json(kept_of(store, record)),
        "may_be_alive": names_left(store, record),
        "endpoints": [to_json(spec) for spec in record.plan.endpoints],
    }
