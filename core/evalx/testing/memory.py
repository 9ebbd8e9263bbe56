"""An executor without a backend: endpoints and tasks are entries of a `World`, and what goes wrong is a script.

It implements the five hooks for real, so a driver, a store or an observer can be tested against it in milliseconds. The world outlives
executors: a second `InMemoryExecutor(world)` stands for evalx being started again.

    world = World(polls_until_ready=3)
    world.add(Fault("deploy", error=TransientError("busy", retry_after=0.01), times=2))
    world.add(Fault("deploy", name="math", error=TransientError("connection reset"), applied="yes"))      # a lost response
    run = make_run(tmp_path, InMemoryExecutor(world), endpoints, tasks)
    ...
    assert not world.alive and world.count("deploy", "math") == 2
"""

from __future__ import annotations

import itertools
import threading
import time
from collections import Counter
from typing import Literal

from attrs import Factory, define, field, frozen

from evalx.config.settings import ExecutionSettings
from evalx.context import RunContext
from evalx.errors import EndpointFailed, TaskRefused
from evalx.hookspecs import API_VERSION, hookimpl
from evalx.model import EndpointHandle, EndpointSpec, Handle, Metric, Outcome, Spec, TaskHandle, TaskResult, TaskSpec


@define(eq=False)
class Fault:
    """What goes wrong in a hook.

    hook: `deploy`, `wait_ready`, `run_task`, `collect` or `cleanup`. name: of the endpoint or task, None for all. error: raised by the
    hook. times: how often, None for ever. after: calls of the hook (for that name) that go well before. hang: the call first blocks,
    deaf to `run.stopping`, until `World.release()`. applied: whether `deploy` and `run_task` had their effect nevertheless: `yes` (the
    response was lost), or `late`, once somebody has asked for its deletion in vain.
    """

    hook: str
    name: str | None = None
    error: BaseException | None = None
    times: int | None = 1
    after: int = 0
    hang: bool = False
    applied: Literal["no", "yes", "late"] = "no"

    def strikes(self, hook: str, name: str) -> bool:
        """Whether this call is one of those that go wrong; counts it."""
        if hook != self.hook or self.name not in (None, name):
            return False
        if self.after > 0:
            self.after -= 1
            return False
        if self.times is not None:
            self.times -= 1
        return self.times is None or self.times >= 0


@frozen
class Ending:
    """How a task ends. polls: answers of "not yet" before; None: the world's `polls_until_done`."""

    outcome: Outcome = Outcome.PASSED
    metrics: tuple[Metric, ...] = (Metric("accuracy", 0.5, 0.1, 26),)
    reason: str | None = None
    polls: int | None = None


@define(eq=False)
class Entry:
    """A resource that exists. polls: how often it was looked at. deletes: how often its deletion was asked for."""

    id: int
    spec: Spec
    owner: tuple[str, str]
    polls: int = 0
    deletes: int = 0


@define(eq=False)
class World:
    """The backend. Safe to use from several threads; may be changed while a run is going on.

    polls_until_ready, polls_until_done: answers of "not yet" before an endpoint is ready and a task over. polls_until_gone: calls of
    cleanup that answer False. poll_interval: seconds, what the executor tells the driver. endings: task name → how it
    ends; others pass.
    """

    polls_until_ready: int = 1
    polls_until_done: int = 1
    polls_until_gone: int = 0
    poll_interval: float = 0.001
    endings: dict[str, Ending] = field(factory=dict)
    faults: list[Fault] = field(factory=list)
    calls: list[tuple[str, str]] = field(factory=list)
    """Every hook call so far, in order: (hook, name of the endpoint or task)."""
    created: Counter[str] = field(factory=Counter)
    """Resource name → how often it came into being."""
    peak: Counter[str] = field(factory=Counter)
    """`endpoint` and `task` → the most that existed at the same time."""
    _entries: dict[str, Entry] = field(factory=dict, init=False)
    _late: dict[str, Entry] = field(factory=dict, init=False)
    _ids: itertools.count[int] = field(factory=lambda: itertools.count(1), init=False)
    _lock: threading.RLock = field(factory=threading.RLock, init=False)
    _released: threading.Event = field(factory=threading.Event, init=False)

    @property
    def alive(self) -> tuple[str, ...]:
        """The resource names of all that exists."""
        with self._lock:
            return tuple(self._entries)

    def add(self, fault: Fault) -> Fault:
        """Something goes wrong from now on."""
        with self._lock:
            self.faults.append(fault)
        return fault

    def release(self) -> None:
        """Let all calls go on that hang, and those that would hang later."""
        self._released.set()

    def lose(self, resource: str) -> None:
        """The backend loses a resource, as if somebody else had deleted it."""
        with self._lock:
            self._entries.pop(resource, None)

    def count(self, hook: str, name: str | None = None) -> int:
        """How often a hook was called, for one endpoint or task or for all."""
        with self._lock:
            return sum(1 for called, about in self.calls if called == hook and name in (None, about))

    def enter(self, hook: str, name: str) -> Fault | None:
        """A hook is being called: what goes wrong in it, if anything. Blocks if the fault says so."""
        with self._lock:
            self.calls.append((hook, name))
            fault = next((fault for fault in self.faults if fault.strikes(hook, name)), None)
        if fault is not None and fault.hang:
            self._released.wait()
        return fault

    def create(self, resource: str, spec: Spec, owner: tuple[str, str], late: bool = False) -> Entry:
        """Create a resource, or find the one there is. Raises TaskRefused or EndpointFailed if that belongs to somebody else."""
        with self._lock:
            entry = self._entries.get(resource) or Entry(next(self._ids), spec, owner)
            if entry.owner != owner:
                refused = TaskRefused if isinstance(spec, TaskSpec) else EndpointFailed
                raise refused(f"{resource} exists and is not ours")
            if late:
                self._late[resource] = entry
            elif resource not in self._entries:
                self._late.pop(resource, None)
                self._appear(resource, entry)
            return entry

    def look(self, resource: str) -> Entry | None:
        """The resource, if it exists; counted as a poll."""
        with self._lock:
            entry = self._entries.get(resource)
            if entry is not None:
                entry.polls += 1
            return entry

    def delete(self, resource: str) -> bool:
        """Ask for its deletion. True when it is gone."""
        with self._lock:
            entry = self._entries.get(resource)
            if entry is None:
                if resource in self._late:
                    self._appear(resource, self._late.pop(resource))
                return True
            entry.deletes += 1
            if entry.deletes <= self.polls_until_gone:
                return False
            del self._entries[resource]
            return True

    def _appear(self, resource: str, entry: Entry) -> None:
        self._entries[resource] = entry
        self.created[resource] += 1
        kind = _kind(entry.spec)
        self.peak[kind] = max(self.peak[kind], sum(_kind(other.spec) == kind for other in self._entries.values()))


def _kind(spec: Spec) -> str:
    return "task" if isinstance(spec, TaskSpec) else "endpoint"


@define(eq=False)
class InMemoryExecutor:
    """The executor of a `World`. settle: seconds in which a resource may still appear whose create call was not answered."""

    evalx_api = API_VERSION
    Settings = ExecutionSettings
    deployments = "evalx.testing.deployments"

    world: World = Factory(World)
    settle: float = 0.0

    @hookimpl
    def deploy(self, run: RunContext, endpoint: EndpointSpec) -> EndpointHandle:
        entry = self._create("deploy", run, endpoint)
        return EndpointHandle(endpoint, run.resource_name(endpoint), data={"id": entry.id})

    @hookimpl
    def wait_ready(self, run: RunContext, handle: EndpointHandle) -> EndpointHandle | None:
        self._enter("wait_ready", handle.spec)
        entry = self.world.look(handle.resource)
        if entry is None:
            raise EndpointFailed(f"{handle.resource} does not exist")
        if entry.polls <= self.world.polls_until_ready:
            run.report(handle, "starting", done=entry.polls, total=self.world.polls_until_ready + 1)
            return None
        return EndpointHandle(handle.spec, handle.resource, f"memory://{handle.resource}", data=handle.data)

    @hookimpl
    def run_task(self, run: RunContext, task: TaskSpec, endpoint: EndpointHandle) -> TaskHandle:
        entry = self._create("run_task", run, task)
        return TaskHandle(task, run.resource_name(task), {"id": entry.id, "url": endpoint.url, "submitted": time.time()})

    @hookimpl
    def collect(self, run: RunContext, handle: TaskHandle) -> TaskResult | None:
        self._enter("collect", handle.spec)
        entry = self.world.look(handle.resource)
        started = handle.data.get("submitted")
        if entry is None:
            return TaskResult(handle.spec, Outcome.LOST, reason=f"{handle.resource} does not exist", started=started, ended=time.time())
        ending = self.world.endings.get(handle.spec.name, Ending())
        polls = self.world.polls_until_done if ending.polls is None else ending.polls
        if entry.polls <= polls:
            run.report(handle, "running", done=entry.polls, total=polls + 1)
            return None
        passed = ending.outcome is Outcome.PASSED
        metrics, reason = (ending.metrics, None) if passed else ((), ending.reason or ending.outcome.value)
        return TaskResult(handle.spec, ending.outcome, metrics, reason=reason, started=started, ended=time.time())

    @hookimpl
    def cleanup(self, run: RunContext, handle: Handle) -> bool:  # noqa: ARG002
        self._enter("cleanup", handle.spec)
        if isinstance(handle, EndpointHandle) and not handle.owned:
            return True
        return self.world.delete(handle.resource)

    @hookimpl
    def poll_interval(self, run: RunContext, handle: Handle, age: float) -> float:  # noqa: ARG002
        return self.world.poll_interval

    def _enter(self, hook: str, spec: Spec) -> None:
        fault = self.world.enter(hook, spec.name)
        if fault is not None and fault.error is not None:
            raise fault.error

    def _create(self, hook: str, run: RunContext, spec: Spec) -> Entry:
        fault = self.world.enter(hook, spec.name)
        resource, owner = run.resource_name(spec), (run.run_id, run.spec_hash(spec))
        if fault is None or fault.applied != "no" or fault.error is None:
            entry = self.world.create(resource, spec, owner, late=fault is not None and fault.applied == "late")
        if fault is not None and fault.error is not None:
            raise fault.error
        return entry
