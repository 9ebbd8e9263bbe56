"""How long a task may still take, and that the driver counts it so: a queue does not eat the task's own time."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from evalx import driver
from evalx.context import Report
from evalx.driver import Driver
from evalx.hookspecs import hookimpl
from evalx.model import EndpointSpec, Limits, Outcome, TaskSpec
from evalx.patience import Patience
from evalx.store import Store
from evalx.testing.memory import Ending, InMemoryExecutor, World
from evalx.testing.runs import make_run

QUEUED, RUNNING, UNKNOWN = (Report("x", queued=queued) for queued in (True, False, None))


def patience(queue: float | None = 100.0, age: float = 0.0, ran: float | None = None) -> Patience:
    return Patience(1000.0, timeout=50.0, queue=queue, slack=5.0, age=age, ran=ran)


def test_time_counts_from_submission_where_the_executor_cannot_tell() -> None:
    one = patience(queue=None, age=20.0)
    assert (one.running, one.deadline) == (True, 1035.0)
    assert not one.hear(1010.0, QUEUED)
    assert one.deadline == 1035.0


def test_time_counts_from_the_first_sign_of_running() -> None:
    one = patience(age=30.0)
    assert (one.running, one.deadline) == (False, 1070.0)
    assert not one.hear(1010.0, QUEUED)
    assert not one.hear(1011.0, UNKNOWN)
    assert not one.hear(1012.0, None)
    assert one.hear(1060.0, RUNNING)
    assert (one.running, one.deadline) == (True, 1115.0)
    assert not one.hear(1061.0, UNKNOWN)
    assert not one.hear(1062.0, RUNNING)
    assert one.deadline == 1115.0


def test_a_task_that_waits_again_has_its_time_anew() -> None:
    one = patience(ran=10.0)
    assert (one.running, one.deadline) == (True, 1045.0)
    assert not one.hear(1010.0, QUEUED)
    assert (one.running, one.deadline) == (False, 1110.0)
    assert one.hear(1020.0, RUNNING)
    assert one.deadline == 1075.0


@pytest.mark.parametrize(
    ("queue", "age", "ran", "deadline"),
    [
        (None, 80.0, None, 1005.0),
        (100.0, 200.0, None, 1000.0),
        (0.0, 0.0, None, 1000.0),
        (100.0, 9.0, 0.0, 1055.0),
        (100.0, 9.0, 80.0, 1005.0),
    ],
)
def test_what_an_earlier_process_has_used_up(queue: float | None, age: float, ran: float | None, deadline: float) -> None:
    assert patience(queue, age, ran).deadline == deadline


class Queueing(InMemoryExecutor):
    """Its tasks wait for so many looks before they run."""

    looks = 0
    waits = 10**9

    @hookimpl
    def collect(self, run, handle):  # type: ignore[no-untyped-def]
        self.looks += 1
        result = super().collect(run, handle)
        run.report(handle, "queueing" if self.looks <= self.waits else "running", queued=self.looks <= self.waits)
        return result


@pytest.mark.parametrize(("waits", "polls", "queue", "outcome"), [(20, 25, 60.0, Outcome.PASSED), (10**9, 10**9, 0.1, Outcome.TIMED_OUT)])
def test_the_driver_waits_for_the_queue(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, waits: int, polls: int, queue: float, outcome: Outcome
) -> None:
    monkeypatch.setattr(driver, "HARD_STOP_SLACK", 0.1)
    world = World()
    world.poll_interval = 0.02
    world.endings["a"] = Ending(polls=polls)
    executor = Queueing(world)
    executor.waits = waits
    task = TaskSpec("a", 0, "memory", "a", timeout=0.1)
    run = make_run(tmp_path, executor, [EndpointSpec("a", 0, "memory", "m")], [task], limits=Limits(queue=queue))
    with Store() as store, store.create(run.plan, run.directory, "") as journal:
        ended = Driver(run, journal, run.plugins.hooks(run))
        asyncio.run(ended.execute())
        states = [event.state for event in store.events(run.run_id) if event.kind == "task"]
    assert ended.ledger.results[0].outcome is outcome, ended.ledger.results[0].reason
    assert ("running" in states) is (outcome is Outcome.PASSED)
    if outcome is Outcome.TIMED_OUT:
        assert "not started by the platform within 0.1 s; last seen: queueing" in (ended.ledger.results[0].reason or "")


def test_a_look_that_fails_is_unknown_not_none(tmp_path: Path) -> None:
    """The platform stops answering while a task runs: what was seen before is told with its age."""
    from evalx.errors import TransientError
    from evalx.testing.memory import Fault

    world = World()
    world.poll_interval = 0.01
    world.endings["a"] = Ending(polls=3)
    world.add(Fault("collect", "a", TransientError("HTTP 503"), times=1, after=1))
    run = make_run(tmp_path, InMemoryExecutor(world), [EndpointSpec("a", 0, "memory", "m")], [TaskSpec("a", 0, "memory", "a")])
    with Store() as store, store.create(run.plan, run.directory, "") as journal:
        asyncio.run(Driver(run, journal, run.plugins.hooks(run)).execute())
        told = [(event.data["phase"], event.reason) for event in store.events(run.run_id) if event.kind == "progress"]
    assert ("unknown", "HTTP 503; 0 s ago: running") in told
