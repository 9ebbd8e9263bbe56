"""HTTP faults in every hook: every route that a hook calls fails once, in every way; judged by the emulator's own record."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from typing import Any, TypeVar

import pytest
from attrs import evolve
from tests.lepton.conftest import PATIENCE, World, question, server

from evalx.errors import TransientError
from evalx.model import Outcome, TaskHandle
from evalx_lepton.emulator import Emulator
from evalx_lepton.emulator.settings import Fault

T = TypeVar("T")
Worlds = Callable[..., World]

ROUTES = [
    *(("GET", "/workspace"), ("GET", "/shapes"), ("GET", "/dedicated-node-groups"), ("GET", "/logs")),
    *(("GET", "/usersecrets"), ("POST", "/usersecrets"), ("DELETE", "/usersecrets/*")),
    *((method, f"/{kind}{part}") for kind in ("deployments", "endpoints", "jobs") for method, part in (("GET", ""), ("POST", ""))),
    *((method, f"/{kind}/*") for kind in ("deployments", "endpoints", "jobs") for method in ("GET", "DELETE", "PATCH")),
]

KINDS: dict[str, dict[str, Any]] = {
    "reset before": {"status": "reset"},
    "reset after": {"status": "reset", "when": "after"},
    "cut": {"status": "cut"},
    "slow": {"status": "slow", "seconds": 0.2},
    "408": {"status": 408},
    "408 after": {"status": 408, "when": "after"},
    "409": {"status": 409},
    "409 after": {"status": 409, "when": "after"},
    "429 in seconds": {"status": 429, "retry_after": 1},
    "429 until a date": {"status": 429, "retry_after": 1, "retry_after_date": True},
    "500": {"status": 500},
    "500 after": {"status": 500, "when": "after"},
    "503 after": {"status": 503, "when": "after", "retry_after": 1},
}


def broken(kind: str) -> list[Fault]:
    """Every route fails once."""
    return [Fault(method=method, path=path, times=1, **KINDS[kind]) for method, path in ROUTES]


def insist(look: Callable[[], T | None]) -> T:
    """Ask as the core does: again after what may pass, but sooner."""
    deadline = time.monotonic() + PATIENCE
    errors: list[str] = []
    while True:
        try:
            answer = look()
        except TransientError as error:
            errors.append(str(error))
            answer = None
        if answer is not None and answer is not False:
            return answer
        assert time.monotonic() < deadline, f"no answer in time: {errors[:3]} … {errors[-3:]}"
        time.sleep(0.02)


def made(emulator: Emulator, verb: str) -> Counter[str]:
    """How many different endpoints, jobs and secrets were created, or deleted."""
    return Counter(what.partition("/")[0] for what in {line.split()[2] for line in emulator.history if line.split()[1] == verb})


@pytest.mark.parametrize("kind", KINDS)
def test_every_call_of_every_hook_fails_once(world: Worlds, kind: str) -> None:
    task = question()
    here = world([server()], [task], emulator={"new_endpoints": kind in ("cut", "reset after", "409")})
    hooks, fail = here.hooks, here.emulator.fail
    fail(*broken(kind))
    insist(lambda: not [finding for finding in hooks.preflight() if finding.level == "error"])
    fail(*broken(kind))
    endpoint = insist(lambda: here.deploy(here.run.plan.endpoints[0]))
    fail(*broken(kind))
    ready = insist(lambda: hooks.wait_ready(endpoint))
    fail(*broken(kind))
    job = insist(lambda: here.submit(task, ready))
    fail(*broken(kind))
    result = insist(lambda: hooks.collect(job))
    assert (result.outcome, [metric.value for metric in result.metrics]) == (Outcome.PASSED, [1.0]), result.reason
    fail(*broken(kind))
    insist(lambda: hooks.cleanup(job))
    fail(*broken(kind))
    insist(lambda: hooks.cleanup(ready))
    fail(*broken(kind))
    insist(hooks.teardown)
    assert here.emulator.alive() == []
    assert made(here.emulator, "create") == {"endpoint": 1, "job": 1, "secret": 1}, here.emulator.history
    here.emulator.fail()
    here.made.clear()


@pytest.mark.parametrize("kind", ["reset before", "reset after", "cut", "409", "500 after"])
def test_a_cancelled_task_ends_whatever_fails(world: Worlds, kind: str) -> None:
    """The other way through the hooks: cancel, discover and cleaning up by name in another process."""
    task = evolve(question(), options={**question().options, "params": {"command": ["sleep", "600"]}})
    here = world([server()], [task])
    job = here.submit(task, here.ready())
    here.emulator.fail(*broken(kind))
    insist(lambda: here.hooks.cancel(job))
    other = here.again()
    here.emulator.fail(*broken(kind))
    found = insist(lambda: other.hooks.discover())
    assert {one.kind for one in found if one.mine} == {"endpoint", "task", "secret"}
    for handle in reversed(here.made):
        here.emulator.fail(*broken(kind))
        insist(lambda handle=handle: other.hooks.cleanup(handle))  # type: ignore[misc]
    here.emulator.fail(*broken(kind))
    insist(other.hooks.teardown)
    assert here.emulator.alive() == []
    here.emulator.fail()
    here.made.clear()


def test_what_a_listing_has_dropped_is_unknown(world: Worlds, monkeypatch: pytest.MonkeyPatch) -> None:
    """An endpoint and a job come in a form that the SDK cannot read: they are neither gone nor created again, and no sweep says none."""
    from evalx.errors import EvalxError
    from evalx_lepton.emulator import jobs, wire

    task = evolve(question(), options={**question().options, "params": {"command": ["sleep", "600"]}})
    here = world([server()], [task])
    ready = here.ready()
    job = here.submit(task, ready)
    before = here.emulator.alive()
    render, deployment = jobs.Job.render, wire.Deployments.render
    monkeypatch.setattr(jobs.Job, "render", lambda self: {**render(self), "status": 3})
    monkeypatch.setattr(wire.Deployments, "render", lambda self, one: {**deployment(self, one), "status": {"state": "Ready"}})
    other = here.again()
    with pytest.raises(TransientError):
        other.hooks.collect(TaskHandle(task, job.resource))
    with pytest.raises(TransientError):
        other.submit(task, ready)
    with pytest.raises(TransientError):
        other.hooks.collect(job)
    for handle in (job, ready):
        with pytest.raises(TransientError):
            other.hooks.cleanup(handle)
    with pytest.raises(EvalxError, match="cannot read all"):
        other.hooks.discover()
    assert here.emulator.alive() == before
    monkeypatch.undo()
