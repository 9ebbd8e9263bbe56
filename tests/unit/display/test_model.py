"""Events fold into rows that say what a person wants to know."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from evalx.display.model import Board, interrupt_notice
from evalx.store.states import ResourceState, TaskState

METRICS = [{"name": "accuracy", "value": 0.45, "stderr": 0.079, "n": 40}]


@pytest.fixture
def board(make_facts: Callable[..., Any]) -> Board:
    return Board(make_facts("math", "code").plan)


def test_a_waiting_task_shows_how_its_endpoint_is_doing(board: Board, say: Any) -> None:
    task = board.tasks["math"]
    assert board.shown(task) == ("waiting", "")
    board.apply(say("endpoint", "math", "created"))
    assert board.shown(task) == ("deploying", "")
    board.apply(say("progress", "math", reason="no node is free", subject="endpoint", phase="queueing"))
    assert board.shown(task) == ("queueing", "no node is free")
    board.apply(say("endpoint", "math", "ready"))
    assert board.shown(task) == ("waiting", "")


def test_a_running_task_shows_its_own_phase_and_samples(board: Board, say: Any) -> None:
    task = board.tasks["math"]
    for event in (say("endpoint", "math", "ready"), say("task", "math", "submitted"), say("task", "math", "running")):
        board.apply(event)
    assert board.shown(task)[0] == "running"
    board.apply(say("progress", "math", phase="evaluating", done=12, total=40, subject="task"))
    assert board.shown(task)[0] == "evaluating" and task.samples == "12/40"
    board.apply(say("task", "math", "scored", metrics=METRICS))
    assert board.shown(task) == ("scored", "accuracy 0.4500 ± 0.0790")
    assert task.samples == "12/40" and task.over


def test_the_time_left_follows_from_the_pace_so_far(board: Board, say: Any) -> None:
    task = board.tasks["math"]
    board.apply(say("task", "math", "running"))
    first = say("progress", "math", phase="evaluating", done=4, total=40, subject="task")
    board.apply(first)
    assert task.left(first.time + 10) is None, "one count is no pace"
    board.apply(say("progress", "math", phase="evaluating", done=13, total=40, subject="task"))
    assert task.left(first.time + 9) == 27
    assert task.left(first.time + 18) == 54, "the same count later"
    board.apply(say("task", "math", "scored", metrics=METRICS))
    assert task.left(first.time + 20) is None


@pytest.mark.parametrize("subject", ["endpoint", "task"])
def test_progress_reaches_the_one_it_is_about(board: Board, say: Any, subject: str) -> None:
    board.apply(say("progress", "math", phase="busy", subject=subject))
    phases = {"endpoint": board.endpoints["math"].phase, "task": board.tasks["math"].phase}
    assert phases.pop(subject) == "busy"
    assert list(phases.values()) == [None]


def test_progress_without_subject_goes_to_the_task_once_it_runs(board: Board, say: Any) -> None:
    board.apply(say("progress", "math", phase="loading"))
    assert board.endpoints["math"].phase == "loading"
    board.apply(say("task", "math", "running"))
    board.apply(say("progress", "math", phase="asking"))
    assert board.tasks["math"].phase == "asking"


def test_a_failed_task_shows_its_reason(board: Board, say: Any) -> None:
    board.apply(say("task", "math", "no_result", "the harness\nwrote \x1b[31mnothing"))
    assert board.shown(board.tasks["math"]) == ("no result", "the harness wrote nothing")
    assert board.counts() == {"waiting": 1, "failed": 1}


def test_a_reason_is_gone_with_its_state(board: Board, say: Any) -> None:
    board.apply(say("progress", "math", reason="pulling the image", phase="starting", subject="endpoint"))
    board.apply(say("endpoint", "math", "ready"))
    assert board.endpoints["math"].reason is None


def test_time_of_a_task_includes_its_own_endpoint(board: Board, say: Any) -> None:
    for event in (say("endpoint", "math", "intent"), say("endpoint", "math", "ready"), say("task", "math", "submitted")):
        board.apply(event)
    task = board.tasks["math"]
    assert board.elapsed(task, now=1011.0) == 10.0
    board.apply(say("task", "math", "scored", metrics=METRICS))
    assert board.elapsed(task, now=9999.0) == 3.0
    assert board.elapsed(board.tasks["code"], now=9999.0) is None


def test_time_of_a_task_leaves_out_a_shared_endpoint(make_facts: Callable[..., Any], say: Any) -> None:
    board = Board(make_facts("math", "code", shared=True).plan)
    for event in (say("endpoint", "model", "intent"), say("endpoint", "model", "ready"), say("task", "math", "submitted")):
        board.apply(event)
    assert board.elapsed(board.tasks["math"], now=1003.0) == 0.0
    assert board.endpoint_of(board.tasks["math"]) == "model ready"


def test_events_of_jobs_and_strangers_change_no_row(board: Board, say: Any) -> None:
    before = board.summary()
    for event in (say("job", "math", "gone"), say("task", "stranger", "scored"), say("progress", "stranger"), say("news")):
        assert board.apply(event) is None
    assert board.summary() == before == "2 tasks: 2 waiting"


def test_every_state_of_the_store_has_a_place(board: Board, say: Any) -> None:
    task = board.tasks["math"]
    for state in ResourceState:
        board.apply(say("endpoint", "math", state.value))
        assert board.shown(task)[0] and "_" not in board.endpoint_of(task)
    for state in TaskState:
        board.apply(say("task", "math", state.value))
        assert sum(board.counts().values()) == 2
        assert task.over == state.final


def test_the_outcome_of_the_run_is_kept(board: Board, say: Any) -> None:
    board.apply(say("run", state="closed", outcome="partial", cleanliness="clean"))
    assert (board.run.state, board.outcome) == ("closed", "partial")


def test_what_an_interrupt_will_do(make_facts: Callable[..., Any]) -> None:
    assert interrupt_notice(make_facts("a", "b").plan) == "Ctrl-C stops the run and deletes 2 endpoints"
    assert interrupt_notice(make_facts("a", "b", shared=True).plan) == "Ctrl-C stops the run and deletes 1 endpoint"
    assert "stays" in interrupt_notice(make_facts("a", variant="none").plan)
