"""The in-memory executor does what its script says, and the hooks see through it what a driver would."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from attrs import evolve

from evalx.context import RunContext
from evalx.errors import EndpointFailed, TaskRefused, TransientError
from evalx.model import EndpointHandle, EndpointSpec, Outcome, TaskHandle, TaskSpec
from evalx.testing import Ending, Fault, InMemoryExecutor, World, make_run

ENDPOINT = EndpointSpec("model", 0, "memory", "m")
TASK = TaskSpec("math", 0, "command", "model")


def begin(directory: Path, world: World) -> RunContext:
    return make_run(directory, InMemoryExecutor(world), [ENDPOINT], [TASK])


def test_an_endpoint_is_ready_after_its_polls_and_gone_after_cleanup(tmp_path: Path) -> None:
    world = World(polls_until_ready=2)
    run = begin(tmp_path, world)
    hooks = run.plugins.hooks(run)
    handle = hooks.deploy(ENDPOINT)
    assert [hooks.wait_ready(handle) is None for _ in range(3)] == [True, True, False]
    assert world.alive == (run.resource_name(ENDPOINT),)
    assert hooks.cleanup(handle) is True
    assert world.alive == ()
    with pytest.raises(EndpointFailed):
        hooks.wait_ready(handle)


def test_a_task_ends_as_scripted(tmp_path: Path) -> None:
    world = World(endings={"verse": Ending(Outcome.FAILED, reason="exit code 3")})
    run = begin(tmp_path, world)
    hooks = run.plugins.hooks(run)
    endpoint = hooks.deploy(ENDPOINT)
    for task, outcome, metrics in ((TASK, Outcome.PASSED, 1), (evolve(TASK, name="verse", index=1), Outcome.FAILED, 0)):
        handle = hooks.run_task(task, endpoint)
        assert hooks.collect(handle) is None
        result = hooks.collect(handle)
        assert result is not None
        assert (result.outcome, len(result.metrics)) == (outcome, metrics)


def test_a_restarted_executor_finds_and_adopts_what_is_there(tmp_path: Path) -> None:
    world = World(polls_until_ready=0)
    first = begin(tmp_path, world)
    handle = first.plugins.hooks(first).deploy(ENDPOINT)
    second = make_run(tmp_path, InMemoryExecutor(world), [ENDPOINT], [TASK], run_id=first.run_id)
    hooks = second.plugins.hooks(second)
    assert hooks.deploy(ENDPOINT) == handle
    assert hooks.wait_ready(handle) is not None
    assert world.created == {handle.resource: 1}


def test_what_is_not_ours_is_refused(tmp_path: Path) -> None:
    world = World()
    run = begin(tmp_path, world)
    world.create(run.resource_name(ENDPOINT), ENDPOINT, ("another run", "hash"))
    world.create(run.resource_name(TASK), TASK, ("another run", "hash"))
    hooks = run.plugins.hooks(run)
    with pytest.raises(EndpointFailed, match="not ours"):
        hooks.deploy(ENDPOINT)
    with pytest.raises(TaskRefused, match="not ours"):
        hooks.run_task(TASK, EndpointHandle(ENDPOINT, "e"))


@pytest.mark.parametrize(("applied", "alive"), [("no", 0), ("yes", 1), ("late", 0)])
def test_a_lost_response_leaves_what_the_fault_says(tmp_path: Path, applied: Any, alive: int) -> None:
    world = World(faults=[Fault("deploy", error=TransientError("reset"), applied=applied)])
    run = begin(tmp_path, world)
    hooks = run.plugins.hooks(run)
    with pytest.raises(TransientError):
        hooks.deploy(ENDPOINT)
    assert len(world.alive) == alive
    blank = EndpointHandle(ENDPOINT, run.resource_name(ENDPOINT))
    assert hooks.cleanup(blank) is True
    assert len(world.alive) == (applied == "late")
    assert hooks.cleanup(blank) is True
    assert world.alive == ()


def test_faults_strike_the_named_hook_and_name_so_often_after_so_many(tmp_path: Path) -> None:
    world = World(faults=[Fault("cleanup", name="model", error=TransientError("busy", retry_after=3), times=2, after=1)])
    run = begin(tmp_path, world)
    hooks = run.plugins.hooks(run)
    blank = EndpointHandle(ENDPOINT, run.resource_name(ENDPOINT))
    struck = []
    for _ in range(4):
        try:
            struck.append(not hooks.cleanup(blank))
        except TransientError as error:
            struck.append(error.retry_after == 3)
    assert struck == [False, True, True, False]
    assert hooks.cleanup(TaskHandle(TASK, run.resource_name(TASK))) is True
    assert world.count("cleanup") == 5
    assert world.count("cleanup", "math") == 1


def test_a_call_hangs_until_it_is_released(tmp_path: Path) -> None:
    world = World(faults=[Fault("deploy", hang=True)])
    run = begin(tmp_path, world)
    hooks = run.plugins.hooks(run)
    with ThreadPoolExecutor(1) as pool:
        call = pool.submit(hooks.deploy, ENDPOINT)
        run.stopping.set()
        assert world.alive == ()
        assert not call.done()
        world.release()
        assert call.result(10).resource in world.alive


def test_deletion_takes_the_polls_it_is_given(tmp_path: Path) -> None:
    world = World(polls_until_gone=2)
    run = begin(tmp_path, world)
    hooks = run.plugins.hooks(run)
    handle = hooks.deploy(ENDPOINT)
    assert [hooks.cleanup(handle) for _ in range(4)] == [False, False, True, True]


def test_many_threads_make_one_resource_each(tmp_path: Path) -> None:
    world = World()
    run = begin(tmp_path, world)
    hooks = run.plugins.hooks(run)
    barrier = threading.Barrier(8)

    def race(deploy: Callable[[EndpointSpec], EndpointHandle]) -> str:
        barrier.wait()
        return deploy(ENDPOINT).resource

    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(race, [hooks.deploy] * 8)) == {run.resource_name(ENDPOINT)}
    assert set(world.created.values()) == {1}
    assert world.peak["endpoint"] == 1
