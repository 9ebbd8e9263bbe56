"""Runs as the store knows them, for the commands that look at a run which this process does not drive."""

from __future__ import annotations

from typing import TYPE_CHECKING

from evalx.display.model import Board
from evalx.errors import ExitCode
from evalx.store.states import Cleanliness, RunState

if TYPE_CHECKING:
    from evalx.cli.summary import Account
    from evalx.store import ResourceRecord, RunRecord, Store


def is_alive(store: Store, record: RunRecord) -> bool:
    """Whether a process is working on the run now."""
    holder = store.holder(record.run_id)
    return record.state is not RunState.CLOSED and holder is not None and holder.alive


def left_alive(store: Store, record: RunRecord) -> list[ResourceRecord]:
    """What may exist at the backend and is ours."""
    resources = store.resources(record.run_id)
    return [
        resource
        for resource in resources
        if resource.state.may_exist and (resource.handle is None or getattr(resource.handle, "owned", True))
    ]


def condition(store: Store, record: RunRecord) -> str:
    """In a word: running, interrupted (nobody works on it, and it is not over), or its outcome."""
    if record.state is not RunState.CLOSED:
        return "running" if is_alive(store, record) else "interrupted"
    return record.outcome.value.replace("_", " ") if record.outcome else "closed"


def board_of(store: Store, record: RunRecord) -> Board:
    """The run's rows, from all its events."""
    board = Board(record.plan)
    for event in store.events(record.run_id):
        board.apply(event)
    return board


def exit_code(store: Store, record: RunRecord) -> ExitCode:
    """What the run's exit code is or would be: 8 while it is running, 7 if something may be alive that nobody looks after."""
    if is_alive(store, record):
        return ExitCode.RUNNING
    if left_alive(store, record) or record.cleanliness is Cleanliness.DIRTY:
        return ExitCode.DIRTY
    return ExitCode(record.exit_code) if record.exit_code is not None else ExitCode.TASK_FAILED


def account_of(store: Store, record: RunRecord) -> Account:
    """The stored run in the form in which `run` reports one that it has driven."""
    from evalx.cli.summary import Account

    tasks = store.tasks(record.run_id)
    running = is_alive(store, record)
    return Account(
        run_id=record.run_id,
        directory=record.directory,
        condition=condition(store, record),
        outcome=record.outcome.value if record.outcome and record.state is RunState.CLOSED else None,
        tasks=len(tasks),
        results=tuple(task.result for task in tasks if task.result is not None),
        left=() if running else tuple(resource.name for resource in left_alive(store, record)),
        exit_code=int(exit_code(store, record)),
    )
