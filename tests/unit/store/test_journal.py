from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Protocol

import pytest
from attrs import evolve
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from evalx import failpoints
from evalx.errors import StoreError
from evalx.model import EndpointHandle, Metric, Outcome, RunPlan, TaskHandle, TaskResult, TaskSpec
from evalx.store import Journal, Store
from evalx.store.states import Cleanliness, ResourceState, RunOutcome, RunState, TaskState


class Clock(Protocol):
    seconds: float


@pytest.fixture
def journal(store: Store, make_plan: Callable[..., RunPlan], tmp_path: Path) -> Iterator[Journal]:
    with store.create(make_plan(), tmp_path / "run", "") as journal:
        yield journal


def passed(task: TaskSpec) -> TaskResult:
    return TaskResult(task, Outcome.PASSED, (Metric("acc", 0.5, 0.1, 20),), started=1.0, ended=2.0)


def lines(journal: Journal) -> list[dict[str, object]]:
    return [json.loads(line) for line in (journal.directory / "events.jsonl").read_text().splitlines()]


class TestResources:
    def test_an_endpoint_from_intent_to_gone(self, journal: Journal, clock: Clock) -> None:
        (spec,) = journal.plan.endpoints
        intent = journal.resource(spec, "r-model", ResourceState.INTENT)
        assert (intent.kind, intent.name, intent.state, intent.data) == (
            "endpoint",
            "model",
            "intent",
            {"resource": "r-model", "attempt": 0},
        )
        (record,) = journal.resources()
        assert (record.kind, record.name, record.spec, record.handle, record.created) == ("endpoint", "r-model", spec, None, 1e6)
        assert (record.run_id, record.index) == ("abcdefghijk", 0)
        clock.seconds += 9
        handle = EndpointHandle(spec, "r-model", "http://127.0.0.1:1", data={"pid": 7, "routes": {"chat": "/v1"}})
        ready = journal.resource(spec, "r-model", ResourceState.READY, handle=handle)
        assert ready.data["url"] == "http://127.0.0.1:1"
        journal.resource(spec, "r-model", ResourceState.GONE, reason="deleted")
        (record,) = journal.resources()
        assert (record.state, record.reason, record.handle) == (ResourceState.GONE, "deleted", handle)
        assert (record.created, record.updated) == (1e6, 1e6 + 9)

    def test_the_job_of_a_task_is_told_apart_from_the_task(self, journal: Journal) -> None:
        task = journal.plan.tasks[0]
        event = journal.resource(task, "r-task", ResourceState.CREATED, handle=TaskHandle(task, "r-task", {"pid": 1}))
        assert (event.kind, event.name) == ("job", "task-0")
        (record,) = journal.resources()
        assert (record.kind, record.handle) == ("task", TaskHandle(task, "r-task", {"pid": 1}))

    def test_every_attempt_has_a_record_of_its_own(self, journal: Journal) -> None:
        task = journal.plan.tasks[0]
        journal.resource(task, "r-task", ResourceState.LEAK_SUSPECTED)
        journal.resource(evolve(task, attempt=1), "r-task-r1", ResourceState.INTENT)
        assert [(record.attempt, record.name, record.state) for record in journal.resources()] == [
            (0, "r-task", ResourceState.LEAK_SUSPECTED),
            (1, "r-task-r1", ResourceState.INTENT),
        ]

    def test_a_name_is_never_forgotten(self, journal: Journal) -> None:
        (spec,) = journal.plan.endpoints
        journal.resource(spec, "r-model", ResourceState.INTENT)
        with pytest.raises(StoreError, match="known under another resource name"):
            journal.resource(spec, "r-other", ResourceState.INTENT)
        assert [record.name for record in journal.resources()] == ["r-model"]
        assert journal.note("warning", reason="what was refused is rolled back, and one can go on").seq == 3

    def test_a_handle_that_is_not_json_is_refused_before_anything_is_written(self, journal: Journal) -> None:
        (spec,) = journal.plan.endpoints
        with pytest.raises(StoreError, match="not JSON"):
            journal.resource(spec, "r-model", ResourceState.CREATED, handle=EndpointHandle(spec, "r-model", data={"x": object()}))
        assert journal.resources() == []


class TestTasks:
    def test_a_task_starts_when_submitted_and_ends_with_its_result(self, journal: Journal, clock: Clock) -> None:
        task = journal.plan.tasks[0]
        journal.task(task, TaskState.PENDING)
        assert journal.tasks()[0].started is None
        journal.task(task, TaskState.SUBMITTED)
        clock.seconds += 5
        journal.task(task, TaskState.RUNNING)
        journal.task(task, TaskState.SUBMITTED)
        event = journal.task(task, TaskState.SCORED, result=passed(task))
        assert event.data == {"endpoint": "model", "attempt": 0, "metrics": [{"name": "acc", "value": 0.5, "stderr": 0.1, "n": 20}]}
        record = journal.tasks()[0]
        assert (record.state, record.result, record.started, record.ended) == (TaskState.SCORED, passed(task), 1e6, 1e6 + 5)

    @pytest.mark.parametrize("state", [TaskState.PENDING, TaskState.FAILED, TaskState.SCORED])
    def test_a_score_is_never_overwritten(self, journal: Journal, state: TaskState) -> None:
        task = journal.plan.tasks[0]
        journal.task(task, TaskState.SCORED, result=passed(task))
        with pytest.raises(StoreError, match="scored already"):
            journal.task(evolve(task, attempt=1), state, result=passed(task))
        assert journal.tasks()[0].result == passed(task)
        assert len(lines(journal)) == 2

    @pytest.mark.parametrize("result", [None, TaskResult(TaskSpec("task-0", 0, "command", "model"), Outcome.FAILED)])
    def test_there_is_no_score_without_a_passed_result(self, journal: Journal, result: TaskResult | None) -> None:
        with pytest.raises(StoreError, match="without a passed result"):
            journal.task(journal.plan.tasks[0], TaskState.SCORED, result=result)

    def test_a_failed_task_may_begin_anew(self, journal: Journal, clock: Clock) -> None:
        task = journal.plan.tasks[0]
        journal.task(task, TaskState.SUBMITTED)
        journal.task(task, TaskState.FAILED, reason="no", result=TaskResult(task, Outcome.FAILED, reason="no"))
        assert journal.tasks()[0].ended == 1e6
        clock.seconds += 100
        again = evolve(task, attempt=1)
        journal.task(again, TaskState.SUBMITTED)
        record = journal.tasks()[0]
        assert (record.spec, record.attempt, record.started, record.ended, record.result) == (again, 1, 1e6 + 100, None, None)

    def test_a_task_of_no_plan_is_refused(self, journal: Journal) -> None:
        with pytest.raises(StoreError, match="not in the plan"):
            journal.task(TaskSpec("stranger", 77, "command", "model"), TaskState.RUNNING)


class TestRunAndNotes:
    def test_the_run_keeps_what_is_not_said_again(self, journal: Journal, store: Store, clock: Clock) -> None:
        journal.run(RunState.CANCELLING, outcome=RunOutcome.PARTIAL, cleanliness=Cleanliness.DIRTY)
        assert journal.record == store.find("abcdefghijk") and journal.record.cleanliness is Cleanliness.DIRTY
        clock.seconds += 1
        event = journal.run(RunState.CLOSED, cleanliness=Cleanliness.CLEAN, reason="over")
        assert (event.kind, event.name, event.state, event.reason) == ("run", "", "closed", "over")
        assert event.data == {"cleanliness": "clean"}
        assert journal.record == store.find("abcdefghijk")
        assert (journal.record.outcome, journal.record.cleanliness, journal.record.updated) == (
            RunOutcome.PARTIAL,
            Cleanliness.CLEAN,
            1e6 + 1,
        )

    def test_progress_is_kept_with_the_resource(self, journal: Journal) -> None:
        task = journal.plan.tasks[0]
        journal.resource(task, "r-task", ResourceState.CREATED)
        journal.note("progress", "task-0", reason="busy", data={"phase": "asking", "done": 3, "total": 20})
        (record,) = journal.resources()
        assert (record.phase, record.done, record.total, record.reason, record.state) == ("asking", 3, 20, "busy", ResourceState.CREATED)

    def test_progress_of_an_endpoint_and_a_task_of_one_name(self, journal: Journal) -> None:
        endpoint, task = evolve(journal.plan.endpoints[0], name="task-0"), journal.plan.tasks[0]
        journal.resource(endpoint, "r-e", ResourceState.CREATED)
        journal.resource(task, "r-t", ResourceState.CREATED)
        journal.note("progress", "task-0", data={"subject": "endpoint", "phase": "loading"})
        journal.note("progress", "task-0", data={"subject": "task", "phase": "asking"})
        assert [(record.kind, record.phase) for record in journal.resources()] == [("endpoint", "loading"), ("task", "asking")]

    def test_progress_of_what_does_not_exist_yet_is_an_event_all_the_same(self, journal: Journal) -> None:
        assert journal.note("progress", "model", data={"phase": "preparing"}).seq == 2

    def test_events_are_numbered_told_and_filed(self, journal: Journal, store: Store) -> None:
        told = [journal.note("warning", "model", reason=f"line\nbreak {number}") for number in range(3)]
        assert [event.seq for event in told] == [2, 3, 4]
        assert store.events("abcdefghijk", after=1) == told
        assert [line["reason"] for line in lines(journal)[1:]] == [event.reason for event in told]

    def test_bytes_that_are_no_text_do_not_stop_a_reason(self, journal: Journal) -> None:
        assert journal.note("warning", reason="caf\udce9").reason == "caf\\udce9"

    def test_a_name_that_is_no_text_is_an_error_not_a_crash(self, journal: Journal) -> None:
        with pytest.raises(StoreError, match="no valid text"):
            journal.note("warning", "\ud800")


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(reason=st.text(st.characters(), max_size=30))
def test_any_text_can_be_a_reason(journal: Journal, store: Store, reason: str) -> None:
    event = journal.note("warning", reason=reason)
    assert store.events("abcdefghijk", after=event.seq - 1) == [event]
    assert lines(journal)[-1]["reason"] == event.reason


def test_other_threads_read_whole_states_while_one_writes(journal: Journal, store: Store) -> None:
    """State and event are one transaction: no reader ever sees one without the other."""
    (spec,) = journal.plan.endpoints
    over, torn = threading.Event(), []

    def read() -> None:
        while not over.is_set():
            with store.transaction() as db:
                attempts = db.execute("SELECT count(*) FROM resources").fetchone()[0]
                told = db.execute("SELECT count(*) FROM events WHERE kind = 'endpoint'").fetchone()[0]
            torn.append(attempts != told)

    readers = [threading.Thread(target=read) for _ in range(2)]
    for reader in readers:
        reader.start()
    for attempt in range(100):
        journal.resource(evolve(spec, attempt=attempt), f"r-{attempt}", ResourceState.INTENT)
    over.set()
    for reader in readers:
        reader.join()
    assert torn and not any(torn)


class TestBatches:
    def test_a_batch_is_committed_as_a_whole(self, journal: Journal, store: Store) -> None:
        (spec,), before = journal.plan.endpoints, len(lines(journal))
        with journal.batch():
            journal.resource(spec, "r-model", ResourceState.INTENT)
            with journal.batch():
                journal.run(RunState.ACTIVE)
            assert len(lines(journal)) == before
        assert [line["state"] for line in lines(journal)[before:]] == ["intent", "active"]
        assert store.find(journal.record.run_id).state is RunState.ACTIVE

    def test_a_batch_that_fails_leaves_nothing(self, journal: Journal, store: Store) -> None:
        (spec,), before = journal.plan.endpoints, lines(journal)
        with pytest.raises(StoreError, match="another resource name"), journal.batch():
            journal.run(RunState.ACTIVE)
            journal.resource(spec, "r-model", ResourceState.INTENT)
            journal.resource(spec, "r-other", ResourceState.INTENT)
        assert lines(journal) == before and not journal.resources()
        assert journal.record.state is RunState.PLANNED is store.find(journal.record.run_id).state
        assert journal.run(RunState.ACTIVE).seq == len(before) + 1
        assert len(lines(journal)) == len(before) + 1


def test_how_long_processes_have_worked_on_a_run(journal: Journal, clock: Clock) -> None:
    """Over a process that died after 30 seconds, an hour without any, and one that ended in order after 20."""
    journal.run(RunState.ACTIVE)
    clock.seconds += 30
    journal.note("warning", reason="the last that was heard of it")
    assert journal.worked() == 30
    clock.seconds += 3600
    journal.run(RunState.ACTIVE)
    clock.seconds += 15
    journal.run(RunState.CANCELLING)
    clock.seconds += 5
    journal.run(RunState.CLOSED)
    clock.seconds += 3600
    journal.note("warning", reason="exported")
    assert journal.worked() == 50


def test_time_in_which_endpoints_are_kept_is_no_work(journal: Journal, store: Store, clock: Clock) -> None:
    journal.run(RunState.ACTIVE)
    clock.seconds += 20
    assert store.kept_until(journal.record.run_id) == 0.0
    journal.run(RunState.KEEPING, outcome=RunOutcome.PARTIAL, exit_code=1, until=clock.seconds + 3600)
    assert store.kept_until(journal.record.run_id) == clock.seconds + 3600
    clock.seconds += 3600
    journal.run(RunState.KEEPING, exit_code=1, until=clock.seconds)
    clock.seconds += 5
    journal.run(RunState.CLOSED, exit_code=1)
    assert journal.worked() == 20
    assert journal.record.outcome is RunOutcome.PARTIAL


class TestWhatIsTold:
    """Every figure of an event and a record is where readers look for it."""

    def test_of_a_resource(self, journal: Journal) -> None:
        (spec,) = journal.plan.endpoints
        event = journal.resource(spec, "r-model", ResourceState.DEGRADED, reason="cra\udce9sh", handle=EndpointHandle(spec, "r-model"))
        assert (event.seq, event.time, event.run_id, event.reason) == (2, 1e6, "abcdefghijk", "cra\\udce9sh")
        assert event.data == {"resource": "r-model", "attempt": 0, "url": None}
        (record,) = journal.resources()
        assert (record.state, record.reason) == (ResourceState.DEGRADED, "cra\\udce9sh")
        assert lines(journal)[-1]["reason"] == "cra\\udce9sh"

    def test_of_a_task(self, journal: Journal) -> None:
        task = journal.plan.tasks[1]
        event = journal.task(task, TaskState.LOST, reason="cra\udce9sh", result=TaskResult(task, Outcome.LOST))
        assert (event.kind, event.name, event.state, event.reason) == ("task", "task-1", "lost", "cra\\udce9sh")
        assert event.data == {"endpoint": "model", "attempt": 0}, "metrics are told of scores alone"
        record = journal.tasks()[1]
        assert (record.state, record.reason, record.attempt) == (TaskState.LOST, "cra\\udce9sh", 0)

    def test_of_the_run(self, journal: Journal, store: Store) -> None:
        event = journal.run(RunState.CLOSED, outcome=RunOutcome.FAILED, cleanliness=Cleanliness.UNKNOWN, exit_code=7)
        assert event.data == {"outcome": "failed", "cleanliness": "unknown", "exit_code": 7}
        assert store.find("abcdefghijk").exit_code == 7 == journal.record.exit_code
        assert journal.run(RunState.ACTIVE).data == {}
        assert store.find("abcdefghijk").exit_code is None is journal.record.exit_code

    def test_of_refusals(self, journal: Journal) -> None:
        (spec,), task = journal.plan.endpoints, journal.plan.tasks[0]
        journal.resource(spec, "r-model", ResourceState.INTENT)
        with pytest.raises(StoreError) as renamed:
            journal.resource(spec, "r-other", ResourceState.INTENT)
        told = "endpoint model is known under another resource name; what exists under that one would be forgotten"
        assert renamed.value.message == told
        with pytest.raises(StoreError) as stranger:
            journal.task(evolve(task, name="stranger", index=77), TaskState.RUNNING)
        assert stranger.value.message == "task stranger is scored already, or not in the plan; its record stays as it is"
        with pytest.raises(StoreError) as unscored:
            journal.task(task, TaskState.SCORED)
        assert unscored.value.message == "task task-0 cannot be scored without a passed result"


def test_a_spec_that_changes_is_written_as_it_is_then(journal: Journal, store: Store) -> None:
    """What is kept is the text of one object, not of one index or name."""
    task = journal.plan.tasks[0]
    journal.task(task, TaskState.SUBMITTED)
    journal.task(task, TaskState.RUNNING)
    assert journal.tasks()[0].spec == task
    later = evolve(task, attempt=3, timeout=5.0)
    journal.task(later, TaskState.PENDING)
    assert journal.tasks()[0].spec == later


def test_when_a_task_was_last_seen_to_begin(journal: Journal, clock: Clock) -> None:
    first, second = journal.plan.tasks
    assert journal.began(first) is None
    for spec in (first, second, evolve(first, attempt=1), first):
        journal.task(spec, TaskState.SUBMITTED)
        clock.seconds += 10
        journal.task(spec, TaskState.RUNNING)
    journal.resource(first, "r", ResourceState.READY)
    assert [journal.began(spec) for spec in (first, second, evolve(first, attempt=1), evolve(first, attempt=2))] == [
        1e6 + 40,
        1e6 + 20,
        1e6 + 30,
        None,
    ]


def test_a_task_that_begins_anew_has_no_start(journal: Journal) -> None:
    task = journal.plan.tasks[0]
    journal.task(task, TaskState.SUBMITTED)
    journal.task(task, TaskState.PENDING)
    assert journal.tasks()[0].started is None


def test_progress_goes_to_the_newest_attempt_and_says_when(journal: Journal, clock: Clock) -> None:
    (spec,) = journal.plan.endpoints
    for attempt in range(2):
        journal.resource(evolve(spec, attempt=attempt), f"r-{attempt}", ResourceState.CREATED)
    clock.seconds += 3
    data = {"subject": "endpoint", "phase": "loading", "done": 1, "total": 9}
    event = journal.note("progress", "model", reason="cra\udce9sh", data=data)
    assert (event.kind, event.name, event.state, event.reason, event.data) == ("progress", "model", "", "cra\\udce9sh", data)
    old, new = journal.resources()
    assert (old.phase, old.updated) == (None, 1e6)
    assert (new.phase, new.done, new.total, new.reason, new.updated) == ("loading", 1, 9, "cra\\udce9sh", 1e6 + 3)


def test_a_note_that_is_no_progress_changes_no_record(journal: Journal) -> None:
    (spec,) = journal.plan.endpoints
    journal.resource(spec, "r", ResourceState.READY, reason="as it was")
    event = journal.note("warning", "model", reason="w", data={"phase": "loading"})
    assert event.data == {"phase": "loading"}
    bare = journal.note("warning")
    assert (bare.name, bare.data) == ("", {})
    assert [(record.phase, record.reason) for record in journal.resources()] == [(None, "as it was")]


def test_a_process_that_works_now_counts_until_its_last_event(journal: Journal, clock: Clock) -> None:
    assert journal.worked() == 0
    clock.seconds += 100
    assert journal.worked() == 0
    journal.run(RunState.ACTIVE)
    assert journal.worked() == 0
    clock.seconds += 7
    journal.run(RunState.CLOSED)
    assert journal.worked() == 7


def test_a_closed_journal_has_given_its_run_up_and_closes_again(journal: Journal, store: Store) -> None:
    assert store.holder("abcdefghijk") is not None
    assert journal.directory == journal.record.directory and journal.plan == journal.record.plan
    for _ in range(2):
        journal.close()
        assert store.holder("abcdefghijk") is None


def test_closing_does_not_fail_with_the_database(journal: Journal, store: Store) -> None:
    """Whoever closes has other troubles then, which must be told; the lease ends with the process."""
    with store.transaction() as db:
        db.execute("DROP TABLE leases")
    with pytest.raises(StoreError):
        journal.heartbeat()
    journal.close()


@pytest.mark.parametrize(("place", "act"), [("events.written", lambda journal: journal.note("warning")), ("lease.returned", Journal.close)])
def test_a_process_can_be_made_to_die_here(journal: Journal, store: Store, place: str, act: Callable[[Journal], object]) -> None:
    failpoints.arm(f"{place}:1:raise")
    try:
        with pytest.raises(failpoints.Failpoint):
            act(journal)
    finally:
        failpoints.arm("")
    assert len(lines(journal)) == len(store.events("abcdefghijk")) and store.holder("abcdefghijk") is not None
