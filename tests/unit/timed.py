"""Runs of the driver in virtual time, with a record of what happened when: what was written down, and which hook was called."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Any, TypeVar

from attrs import define, evolve, field

from evalx.context import RunContext
from evalx.driver import Driver
from evalx.hookspecs import hookimpl
from evalx.model import EndpointHandle, EndpointSpec, Event, Handle, Limits, Outcome, Spec, TaskHandle, TaskResult, TaskSpec
from evalx.store import Store
from evalx.testing import InMemoryExecutor, World, make_run

from .virtual import Clock, VirtualLoop, VirtualPool, run

T = TypeVar("T")

READY, TIMEOUT = 600.0, 900.0


@define(eq=False)
class Trace:
    """What happened, in order, with the virtual second: `call deploy a`, or an event as `endpoint a intent`. react: is told of each."""

    clock: Clock
    react: Callable[[str], object] = lambda what: None
    entries: list[tuple[float, str]] = field(factory=list)
    events: list[Event] = field(factory=list)

    def note(self, what: str) -> None:
        self.entries.append((round(self.clock.now, 2), what))
        self.react(what)

    @hookimpl
    def on_event(self, run: RunContext, event: Event) -> None:
        self.events.append(event)
        self.note(f"{event.kind} {event.name} {event.state}")

    def when(self, what: str) -> list[float]:
        """The seconds at which it happened."""
        return [seconds for seconds, entry in self.entries if entry == what]

    def order(self, *whats: str) -> list[str]:
        """Those of the given entries that happened, in the order in which they did."""
        return [entry for _, entry in self.entries if entry in whats]

    def reasons(self, what: str) -> list[str | None]:
        """The reasons of the events."""
        return [event.reason for event in self.events if f"{event.kind} {event.name} {event.state}" == what]

    def progress(self, name: str) -> list[tuple[Any, str | None]]:
        """Phases and reasons that were told of an endpoint or a task."""
        return [(event.data["phase"], event.reason) for event in self.events if (event.kind, event.name) == ("progress", name)]


class Pool(VirtualPool):
    """Makes each call after the seconds that are set for its hook."""

    def __init__(self, loop: VirtualLoop, takes: Mapping[str, float]) -> None:
        super().__init__(loop)
        self.takes = takes
        self.shut: list[dict[str, bool]] = []

    def submit(self, call: Callable[..., T], /, *args: Any, **kwargs: Any) -> Future[T]:
        self._latency = lambda: self.takes.get(args[0], 0.0)
        return super().submit(call, *args, **kwargs)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        self.shut.append({"wait": wait, "cancel_futures": cancel_futures})


@define(eq=False)
class Executor(InMemoryExecutor):
    """takes: seconds that a hook lasts. says: what each look reports. obeys: looks after which a task that is
    cancelled ends by itself, in the way `ends`; None: it cannot be cancelled. torn: answers of teardown, then True. ages: names and ages
    of what it was asked about, when the next look is due. mistaken: it cannot say."""

    trace: Trace = field(kw_only=True)
    loop: VirtualLoop = field(init=False)
    pool: Pool = field(init=False)
    takes: dict[str, float] = field(factory=dict)
    says: dict[str, Any] = field(factory=dict)
    obeys: int | None = None
    ends: Outcome = Outcome.PASSED
    torn: list[bool | Exception] = field(factory=list)
    owned: bool = True
    ages: list[tuple[str, float]] = field(factory=list)
    mistaken: bool = False
    cancelled: int = 0

    @hookimpl
    def make_pool(self, run: RunContext) -> Pool:
        self.pool = Pool(self.loop, self.takes)
        return self.pool

    @hookimpl
    def deploy(self, run: RunContext, endpoint: EndpointSpec) -> EndpointHandle:
        return evolve(super().deploy(run, endpoint), owned=self.owned)

    @hookimpl
    def wait_ready(self, run: RunContext, handle: EndpointHandle) -> EndpointHandle | None:
        ready = super().wait_ready(run, handle)
        self._say(run, handle)
        return None if ready is None else evolve(ready, owned=self.owned)

    @hookimpl
    def collect(self, run: RunContext, handle: TaskHandle) -> TaskResult | None:
        result = super().collect(run, handle)
        self._say(run, handle)
        if result is None and self.cancelled and self.obeys is not None:
            self.obeys -= 1
            if self.obeys < 0:
                return TaskResult(handle.spec, self.ends, reason="as it was told")
        return result

    @hookimpl
    def cancel(self, run: RunContext, handle: TaskHandle) -> bool:
        self._enter("cancel", handle.spec)
        self.cancelled += 1
        return self.obeys is not None

    @hookimpl
    def teardown(self, run: RunContext) -> bool:
        self.trace.note("call teardown")
        answer = self.torn.pop(0) if self.torn else True
        if isinstance(answer, Exception):
            raise answer
        return answer

    @hookimpl
    def poll_interval(self, run: RunContext, handle: Handle, age: float) -> float:
        self.ages.append((handle.spec.name, round(age)))
        if self.mistaken:
            raise KeyError("surprise")
        return super().poll_interval(run, handle, age)

    def _enter(self, hook: str, spec: Spec) -> None:
        self.trace.note(f"call {hook} {spec.name}")
        super()._enter(hook, spec)

    def _create(self, hook: str, run: RunContext, spec: Spec) -> Any:
        self.trace.note(f"call {hook} {spec.name}")
        return super()._create(hook, run, spec)

    def _say(self, run: RunContext, handle: Handle) -> None:
        if self.says:
            run.report(handle, **self.says)


class Bench:
    """One run after another on the same world and store. A look is due every 5 seconds, and the second one finds things ready or done."""

    def __init__(self, path: Path, clock: Clock) -> None:
        self.path, self.clock = path, clock
        self.trace = Trace(clock)
        self.world = World(poll_interval=5.0)
        self.executor = Executor(self.world, trace=self.trace)
        self.driver: Driver
        self.run: RunContext

    def go(
        self,
        endpoints: Sequence[EndpointSpec] | str = "a",
        tasks: Sequence[TaskSpec] | None = None,
        *,
        again: bool = False,
        at: Mapping[float, Callable[[Driver], object]] | None = None,
        killed_at: float | None = None,
        limits: Limits | None = None,
        start: str = "pipelined",
        run_id: str | None = None,
        **driver: Any,
    ) -> Driver:
        """at: what is done to the driver at which second. killed_at: when the process ends, without cleaning up."""
        if isinstance(endpoints, str):
            tasks = tasks if tasks is not None else [task(name, index) for index, name in enumerate(endpoints)]
            endpoints = [endpoint(name, index) for index, name in enumerate(endpoints)]
        if again:
            plan = self.run.plan
            endpoints, tasks, limits, start, run_id = plan.endpoints, plan.tasks, plan.limits, plan.start, plan.run_id
        plugins = [("trace", self.trace)]
        self.run = make_run(self.path, self.executor, endpoints, tasks or (), limits=limits, start=start, plugins=plugins, run_id=run_id)

        async def work(loop: VirtualLoop) -> None:
            self.executor.loop = loop
            with Store(now=self.clock.time) as store, self._journal(store, again) as journal:
                self.driver = Driver(self.run, journal, self.run.plugins.hooks(self.run), **driver)
                for seconds, act in (at or {}).items():
                    loop.call_at(seconds, act, self.driver)
                whole = asyncio.ensure_future(self.driver.execute())
                if killed_at is not None:
                    loop.call_at(killed_at, whole.cancel)
                await asyncio.gather(whole, return_exceptions=killed_at is not None)

        run(self.clock, work)
        return self.driver

    def _journal(self, store: Store, again: bool) -> Any:
        return store.open(self.run.run_id) if again else store.create(self.run.plan, self.run.directory, "")

    def result(self, name: str = "a") -> TaskResult:
        return next(result for result in self.driver.ledger.results.values() if result.spec.name == name)


def endpoint(name: str, index: int = 0, **more: Any) -> EndpointSpec:
    return EndpointSpec(name, index, "memory", "m", **{"ready_timeout": READY, **more})


def task(name: str, index: int = 0, on: str | None = None, **more: Any) -> TaskSpec:
    return TaskSpec(name, index, "memory", on or name, **{"timeout": TIMEOUT, **more})
