"""What the driver writes down of resources and tasks, and what the next process reads of it. The store is the real one."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import pytest
from attrs import evolve

from evalx import ledger as ledger_module
from evalx.commits import Commits
from evalx.errors import EvalxError, StoreError
from evalx.ledger import Ledger, Resource
from evalx.model import EndpointHandle, EndpointSpec, Event, Outcome, TaskHandle, TaskResult, TaskSpec
from evalx.results import read_result
from evalx.store import Journal, Store
from evalx.store.states import ResourceState, TaskState
from evalx.testing import InMemoryExecutor, make_run

ENDPOINT = EndpointSpec("model", 0, "memory", "m")
FIRST, SECOND = TaskSpec("first", 0, "memory", "model"), TaskSpec("second", 1, "memory", "model")
ELSEWHERE = TaskSpec("elsewhere", 2, "memory", "other")


class Desk:
    """A run in the store; `ledger` is what a process that begins now reads of it."""

    def __init__(self, path: Path, store: Store) -> None:
        self.run = make_run(path, InMemoryExecutor(), [ENDPOINT, evolve(ENDPOINT, name="other", index=1)], [FIRST, SECOND, ELSEWHERE])
        self.store = store
        self.journal: Journal = store.create(self.run.plan, self.run.directory, "")
        self.failures: list[EvalxError] = []
        self.ledger = self.read()

    def read(self) -> Ledger:
        return Ledger(self.run, self.journal, self.run.plugins.hooks(self.run), self.failures.append)

    def do(self, work: Callable[[Ledger], Awaitable[object] | object]) -> None:
        """Let the ledger do something in a loop of its own, until all is committed; and read it anew."""

        async def doing() -> None:
            done = work(self.ledger)
            if isinstance(done, Awaitable):
                await done
            self.ledger.flush()
            await asyncio.sleep(0)

        asyncio.run(doing())
        self.ledger = self.read()

    def put(self, spec: EndpointSpec | TaskSpec, state: ResourceState) -> None:
        self.journal.resource(spec, self.run.resource_name(spec), state)
        self.ledger = self.read()

    def events(self, kind: str) -> list[Event]:
        return [event for event in self.store.events(self.run.run_id) if event.kind == kind]

    def name(self, spec: EndpointSpec | TaskSpec) -> str:
        return self.run.resource_name(spec)


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    with Store() as store:
        desk = Desk(tmp_path, store)
        yield desk
        desk.journal.close()


def passed(task: TaskSpec, **changes: object) -> TaskResult:
    return evolve(TaskResult(task, Outcome.PASSED), **changes)


def retry(spec: TaskSpec, attempt: int = 1) -> TaskSpec:
    return evolve(spec, attempt=attempt)


def test_nothing_is_known_of_a_new_run(desk: Desk) -> None:
    resource = desk.ledger.resource(ENDPOINT, needed=True)
    assert (resource.spec, resource.name, resource.state, resource.handle) == (ENDPOINT, desk.name(ENDPOINT), None, None)
    assert not resource.may_exist
    assert resource.age == 0.0
    assert desk.ledger.left == () == tuple(desk.ledger.strays) == tuple(desk.ledger.forgotten)
    assert desk.ledger.resource(ENDPOINT, needed=False) is resource


def test_an_intent_may_exist_and_is_of_now(desk: Desk) -> None:
    before = time.time()
    desk.do(lambda ledger: ledger.intend(ledger.resource(FIRST, needed=True)))
    resource = desk.ledger.resource(FIRST, needed=True)
    assert resource.state is ResourceState.INTENT and resource.may_exist
    assert before <= resource.created <= time.time()
    assert 0.0 <= resource.age <= time.time() - before
    assert desk.ledger.left == (desk.name(FIRST),)
    assert [record.state for record in desk.journal.tasks()] == [TaskState.SUBMITTED, TaskState.PENDING, TaskState.PENDING]


def test_asking_again_keeps_the_time_of_the_first_intent(desk: Desk) -> None:
    resource = Resource(ENDPOINT, desk.name(ENDPOINT), created=5.0)
    desk.do(lambda ledger: ledger.intend(resource))
    assert resource.created == 5.0
    assert resource.state is ResourceState.INTENT


def test_age_is_never_negative() -> None:
    assert Resource(ENDPOINT, "n", created=time.time() + 1000).age == 0.0


def test_without_an_answer_a_handle_has_the_name_alone() -> None:
    assert Resource(ENDPOINT, "e").best_handle == EndpointHandle(ENDPOINT, "e")
    assert Resource(FIRST, "t").best_handle == TaskHandle(FIRST, "t")
    handle = EndpointHandle(ENDPOINT, "e", "http://x")
    assert Resource(ENDPOINT, "e", handle=handle).best_handle is handle


def test_a_handle_is_kept_and_written_once(desk: Desk) -> None:
    handle = EndpointHandle(ENDPOINT, desk.name(ENDPOINT), "http://x")
    resource = desk.ledger.resource(ENDPOINT, needed=True)

    async def work(ledger: Ledger) -> None:
        await ledger.intend(resource)
        await ledger.created(resource, handle)
        assert (resource.state, resource.handle, resource.stored) == (ResourceState.CREATED, handle, handle)
        ledger.record(resource, ResourceState.READY, "answers")
        resource.handle = evolve(handle, url="http://y")
        ledger.record(resource, ResourceState.DEGRADED)

    desk.do(work)
    assert [(event.state, event.reason, event.data.get("url")) for event in desk.events("endpoint")] == [
        ("intent", None, None),
        ("created", None, "http://x"),
        ("ready", "answers", None),
        ("degraded", None, "http://y"),
    ]
    again = desk.ledger.resource(ENDPOINT, needed=True)
    assert again.handle == again.stored == resource.handle
    assert again.state is ResourceState.DEGRADED


@pytest.mark.parametrize("state", [ResourceState.GONE, ResourceState.DELETING, ResourceState.LEAK_SUSPECTED])
def test_what_is_over_is_replaced_only_if_needed_and_not_forgotten(desk: Desk, state: ResourceState) -> None:
    desk.put(ENDPOINT, state)
    may_exist = state is not ResourceState.GONE
    assert desk.ledger.resource(ENDPOINT, needed=False).spec.attempt == 0
    replaced = desk.ledger.resource(ENDPOINT, needed=True)
    assert (replaced.spec.attempt, replaced.name, replaced.state) == (1, desk.name(evolve(ENDPOINT, attempt=1)), None)
    assert [stray.name for stray in desk.ledger.strays] == [desk.name(ENDPOINT)] * may_exist
    assert desk.ledger.left == (desk.name(ENDPOINT),) * may_exist


def test_what_is_over_in_this_process_becomes_a_stray_once(desk: Desk) -> None:
    resource = desk.ledger.resource(ENDPOINT, needed=True)
    resource.state = ResourceState.LEAK_SUSPECTED
    desk.ledger.resource(ENDPOINT, needed=True)
    assert desk.ledger.strays == [resource]
    gone = desk.ledger.resource(FIRST, needed=True)
    gone.state = ResourceState.GONE
    desk.ledger.resource(FIRST, needed=True)
    assert desk.ledger.strays == [resource]


@pytest.mark.parametrize("state", [ResourceState.INTENT, ResourceState.CREATED, ResourceState.UNKNOWN, ResourceState.READY])
def test_what_is_not_over_is_gone_on_with(desk: Desk, state: ResourceState) -> None:
    desk.put(ENDPOINT, state)
    assert desk.ledger.resource(ENDPOINT, needed=True).state is state
    assert desk.ledger.strays == []
    assert [resource.name for resource in desk.ledger.forgotten] == [desk.name(ENDPOINT)]


def test_a_suspected_leak_is_left_but_not_forgotten_by_a_flow(desk: Desk) -> None:
    desk.put(ENDPOINT, ResourceState.LEAK_SUSPECTED)
    assert desk.ledger.forgotten == []
    assert desk.ledger.left == (desk.name(ENDPOINT),)


def test_earlier_attempts_are_strays_each_once_and_in_any_order(desk: Desk) -> None:
    for attempt, state in ((2, ResourceState.READY), (0, ResourceState.DELETING), (1, ResourceState.CREATED)):
        desk.put(retry(FIRST, attempt), state)  # type: ignore[arg-type]
    assert [stray.name for stray in desk.ledger.strays] == [desk.name(FIRST), desk.name(retry(FIRST))]
    assert desk.ledger.resource(FIRST, needed=True).spec.attempt == 2
    assert sorted(desk.ledger.left) == sorted(desk.name(retry(FIRST, attempt)) for attempt in range(3))


def test_endpoints_and_tasks_of_one_index_are_two(desk: Desk) -> None:
    desk.put(ENDPOINT, ResourceState.READY)
    desk.put(FIRST, ResourceState.CREATED)
    assert desk.ledger.strays == []
    assert set(desk.ledger.left) == {desk.name(ENDPOINT), desk.name(FIRST)}


@pytest.mark.parametrize(("outcome", "state"), list(ledger_module.STATE_OF.items()))
def test_a_result_ends_its_task_and_is_read_again(desk: Desk, outcome: Outcome, state: TaskState) -> None:
    result = TaskResult(FIRST, outcome, reason="because")
    desk.do(lambda ledger: ledger.keep(result))
    assert desk.ledger.results[FIRST.index].outcome is outcome
    record = desk.journal.tasks()[0]
    assert (record.state, record.reason) == (state, "because")
    assert (desk.run.task_dir(FIRST) / "result.json").exists() == (outcome is not Outcome.SKIPPED)
    open_tasks = desk.ledger.open_tasks(desk.run.plan, ENDPOINT, False)
    assert open_tasks == ([SECOND] if outcome is Outcome.PASSED else [FIRST, SECOND])
    assert desk.ledger.open_tasks(desk.run.plan, ENDPOINT, True) == [SECOND]


def test_the_job_of_a_task_that_is_over_is_a_stray_and_its_next_attempt_begins_anew(desk: Desk) -> None:
    desk.do(lambda ledger: ledger.intend(ledger.resource(FIRST, needed=True)))
    desk.do(lambda ledger: ledger.keep(TaskResult(FIRST, Outcome.FAILED)))
    assert [stray.name for stray in desk.ledger.strays] == [desk.name(FIRST)]
    again = desk.ledger.resource(FIRST, needed=True)
    assert again.spec.attempt == 1
    assert len(desk.ledger.strays) == 1
    desk.do(lambda ledger: ledger.intend(again))
    assert [event.state for event in desk.events("task")] == ["submitted", "failed", "pending", "submitted"]
    assert desk.journal.tasks()[0].result is None


def test_a_result_that_cannot_be_written_is_told_and_stays_known(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left")

    monkeypatch.setattr(ledger_module, "write_result", full)
    desk.do(lambda ledger: ledger.keep(passed(FIRST)))
    assert [failure.message for failure in desk.failures] == ["the result of first cannot be written: [Errno 28] No space left"]
    assert desk.failures[0].hint == f"make room there, then: evalx resume {desk.run.run_id}"
    assert desk.journal.tasks()[0].state is TaskState.SCORED


def test_what_the_result_writer_says_is_told_as_it_is(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: object) -> None:
        raise StoreError("said there")

    monkeypatch.setattr(ledger_module, "write_result", refused)
    desk.do(lambda ledger: ledger.keep(passed(FIRST)))
    assert [failure.message for failure in desk.failures] == ["said there"]


def test_a_write_that_fails_is_told_and_one_that_must_succeed_raises(desk: Desk) -> None:
    desk.journal.close()
    desk.do(lambda ledger: ledger.running(FIRST))
    assert [type(failure).__name__ for failure in desk.failures] == ["RunBusy"]
    resource = desk.ledger.resource(ENDPOINT, needed=True)
    with pytest.raises(EvalxError):
        desk.do(lambda ledger: ledger.intend(resource))
    assert resource.state is None


def test_writes_of_one_turn_are_all_or_none(desk: Desk) -> None:
    async def work(ledger: Ledger) -> None:
        ledger.running(FIRST)
        ledger.write(lambda: (_ for _ in ()).throw(ValueError("a bug")))

    desk.do(work)
    assert len(desk.failures) == 2
    assert all(isinstance(failure, StoreError) and "a bug" in str(failure) for failure in desk.failures)
    assert desk.events("task") == []


def test_how_long_a_task_has_run_survives_a_restart(desk: Desk) -> None:
    assert desk.ledger.ran(FIRST) is None
    desk.do(lambda ledger: ledger.running(FIRST))
    ran = desk.ledger.ran(FIRST)
    assert ran is not None and 0.0 <= ran < 600.0
    assert desk.ledger.ran(retry(FIRST)) is None
    assert desk.ledger.ran(SECOND) is None


def test_only_news_is_told_of_progress(desk: Desk) -> None:
    run, heard = desk.run, []

    def work(ledger: Ledger) -> None:
        heard.append(ledger.progress(FIRST))
        for done, activity in ((1, 1), (1, 1), (1, 2), (2, 2)):
            run.report(FIRST, "running", "so far", done, 4, activity)
            heard.append(ledger.progress(FIRST))
        run.report(ENDPOINT, "queued")
        heard.append(ledger.progress(ENDPOINT))

    desk.do(work)
    assert heard == [False, True, False, True, True, True]
    assert [(event.name, event.reason, dict(event.data)) for event in desk.events("progress")] == [
        ("first", "so far", {"subject": "task", "phase": "running", "done": 1, "total": 4}),
        ("first", "so far", {"subject": "task", "phase": "running", "done": 2, "total": 4}),
        ("model", None, {"subject": "endpoint", "phase": "queued", "done": None, "total": None}),
    ]


def test_a_replaced_attempt_tells_the_same_anew(desk: Desk) -> None:
    def work(ledger: Ledger) -> None:
        for spec in (FIRST, retry(FIRST)):
            desk.run.report(spec, "running")
            assert ledger.progress(spec)

    desk.do(work)
    assert len(desk.events("progress")) == 2


def test_the_process_that_writes_knows_what_it_wrote(desk: Desk) -> None:
    """Without reading it anew, as it goes on with the same ledger."""
    ledger, resource = desk.ledger, desk.ledger.resource(FIRST, needed=True)

    def left_to_do() -> tuple[list[TaskSpec], list[TaskSpec]]:
        return tuple(ledger.open_tasks(desk.run.plan, ENDPOINT, ending) for ending in (False, True))  # type: ignore[return-value]

    async def work(_: Ledger) -> None:
        await ledger.intend(resource)
        assert ledger.ran(FIRST) is None and left_to_do() == ([FIRST, SECOND], [FIRST, SECOND])
        resource.handle = TaskHandle(FIRST, resource.name)
        ledger.record(resource, ResourceState.READY)
        assert resource.state is ResourceState.READY and resource.stored is resource.handle
        await ledger.write(lambda: desk.journal.task(FIRST, TaskState.RUNNING))
        assert ledger.ran(FIRST) is None
        ledger.running(FIRST)
        ledger.flush()
        began = desk.journal.began(FIRST)
        ran = ledger.ran(FIRST)
        assert began is not None and ran is not None and 0.0 <= ran <= time.time() - began
        result = TaskResult(FIRST, Outcome.FAILED, reason="no")
        await ledger.keep(result)
        assert ledger.results == {FIRST.index: result}
        assert left_to_do() == ([FIRST, SECOND], [SECOND])
        assert read_result(desk.run.task_dir(FIRST)) == result
        await ledger.keep(passed(SECOND))
        assert left_to_do() == ([FIRST], [])

    desk.do(work)


def test_dying_between_the_result_and_the_store_has_a_place(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    reached: list[str] = []
    monkeypatch.setattr(ledger_module.failpoints, "reach", reached.append)
    desk.do(lambda ledger: ledger.keep(passed(FIRST)))
    assert reached[0] == "result.written"


def test_a_write_that_nobody_waits_for_any_more_is_no_failure(desk: Desk) -> None:
    async def work(ledger: Ledger) -> None:
        ledger.write(lambda: desk.journal.task(FIRST, TaskState.RUNNING)).cancel()
        ledger.flush()
        await asyncio.sleep(0.01)

    desk.do(work)
    assert desk.failures == []
    assert desk.journal.tasks()[0].state is TaskState.RUNNING


def test_what_is_committed_is_told_in_order(desk: Desk) -> None:
    heard: list[Event] = []

    async def work(_: Ledger) -> None:
        commits = Commits(desk.journal, heard.append)
        first = commits.add(lambda: desk.journal.note("warning", "a"), lambda: desk.journal.note("warning", "b"))
        await commits.add(lambda: desk.journal.note("warning", "c"))
        assert first.done()

    desk.do(work)
    assert heard == desk.events("warning") and [event.name for event in heard] == ["a", "b", "c"]
