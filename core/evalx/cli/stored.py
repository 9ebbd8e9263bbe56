"""Runs as the store knows them, for the commands that look at a run which this process does not drive."""

from __future__ import annotations

from typing import TYPE_CHECKING

from evalx.display.model import Board
from evalx.reasons import whole
from evalx.standing import condition, exit_code, is_alive, is_working, kept_of, left_alive, names_left, only_whole, uncared_for

if TYPE_CHECKING:
    from evalx.cli.summary import Account
    from evalx.store import RunRecord, Store

__all__ = [
    "account_of",
    "board_of",
    "condition",
    "exit_code",
    "is_alive",
    "is_working",
    "kept_of",
    "left_alive",
    "names_left",
    "only_whole",
    "uncared_for",
]


def board_of(store: Store, record: RunRecord) -> Board:
    """The run's rows, from all its events."""
    board = Board(record.plan)
    for event in store.events(record.run_id):
        board.apply(event)
    return board


def account_of(store: Store, record: RunRecord) -> Account:
    """The stored run in the form in which `run` reports one that it has driven."""
    from evalx.cli.summary import Account
    from evalx.cost import cost_of

    tasks = store.tasks(record.run_id)
    return Account(
        run_id=record.run_id,
        directory=record.directory,
        condition=condition(store, record),
        outcome=record.outcome.value if record.outcome and record.state.settled else None,
        tasks=len(tasks),
        results=tuple(task.result for task in tasks if task.result is not None),
        left=tuple(resource.name for resource in uncared_for(store, record)) or (whole(record.run_id),) * only_whole(store, record),
        exit_code=int(exit_code(store, record)),
        cost=cost_of(record.plan, store.resources(record.run_id), tasks),
        kept=kept_of(store, record),
    )
