"""The loop of a run: deploy → ready → run → collect → cleanup, for every endpoint and task at once.

Every endpoint and every task is one coroutine of asyncio's event loop; the short hook calls run in the executor's pool. So nothing
blocks a thread while something provisions, and a thousand tasks need no thousand threads. What is written down is written before it
is done: a resource's name is committed before the call that creates it, and a result before the resource that held it is deleted.

Stopping (a signal, a deadline, fail-fast, or a run that is only to be cleaned up) is one path: no new work, endpoints are deleted at
once, each task is asked once more for its result, and what is not finished is cancelled and deleted.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any, TypeVar

from attrs import define, evolve

from evalx.calls import Calls, Stopped, now
from evalx.context import Report, RunContext
from evalx.errors import AuthError, DeadlineExceeded, EndpointFailed, EvalxError, ExitCode, RunBusy, StoreError, TransientError
from evalx.manager import Hooks
from evalx.model import EndpointHandle, EndpointSpec, Event, Handle, Outcome, Spec, TaskHandle, TaskResult, TaskSpec
from evalx.results import write_result
from evalx.store import Journal
from evalx.store.states import ResourceState, RunState, TaskState

T = TypeVar("T")
H = TypeVar("H", EndpointHandle, TaskHandle)

CLEANUP_DEADLINE = 300.0
"""Seconds in which a deleted resource must be proven gone; afterwards it is reported as a suspected leak."""

HARD_STOP_SLACK = 60.0
"""The time limit of a task acts inside its command; this much later the driver ends it from outside."""

LAST_LOOK = 30.0
"""Seconds for asking a task that is being stopped for what it has."""

HEARTBEAT = 15.0

STATE_OF = {
    Outcome.PASSED: TaskState.SCORED,
    Outcome.FAILED: TaskState.FAILED,
    Outcome.CANCELLED: TaskState.CANCELLED,
    Outcome.TIMED_OUT: TaskState.TIMED_OUT,
    Outcome.NO_RESULT: TaskState.NO_RESULT,
    Outcome.LOST: TaskState.LOST,
    Outcome.SKIPPED: TaskState.SKIPPED,
}


@define(eq=False)
class Resource:
    """What the driver knows of an endpoint, or of a task's job, at the backend. state None: nothing was ever asked for."""

    spec: Spec
    name: str
    state: ResourceState | None = None
    handle: Handle | None = None
    created: float = 0.0

    @property
    def may_exist(self) -> bool:
        return self.state is not None and self.state.may_exist

    @property
    def age(self) -> float:
        """Seconds since it was asked for; survives a restart of evalx."""
        return max(time.time() - self.created, 0.0) if self.created else 0.0


class Driver:
    """Drives one run to its end. Use: `await Driver(...).execute()`.

    settle: seconds after a create call of unknown outcome in which the resource may still appear. fail_fast: the first task without a
    score stops the run.
    """

    def __init__(self, run: RunContext, journal: Journal, hooks: Hooks, *, settle: float = 0.0, fail_fast: bool = False) -> None:
        self.run = run
        self.journal = journal
        self.hooks = hooks
        self.settle = settle
        self.fail_fast = fail_fast
        self.stop_reason: str | None = None
        self.stop_code: ExitCode | None = None
        self.fatal: EvalxError | None = None
        self.auth_failed = self.failed_fast = False
        self.endpoints_ready: set[str] = set()
        self._dead: dict[str, EvalxError] = {}
        self._reported: dict[str, Report | None] = {}
        records = journal.tasks()
        self.results = {record.index: record.result for record in records if record.result is not None}
        self._task_states = {record.index: record.state for record in records}
        self._resources, self._strays = self._known(journal)
        self.calls: Calls

    # ------------------------------------------------------------------ the run

    async def execute(self) -> None:
        """Until every task is over and every resource is gone or given up. What a task or endpoint does never raises here."""
        plan = self.run.plan
        pool = self.hooks.make_pool()
        self.calls = Calls(pool, self.run.stopping)
        self._endpoint_slots = asyncio.Semaphore(plan.limits.max_endpoints or len(plan.endpoints) or 1)
        self._task_slots = asyncio.Semaphore(plan.limits.max_tasks or len(plan.tasks) or 1)
        self._all_up = asyncio.Barrier(len(plan.endpoints)) if plan.start == "all_ready" and plan.endpoints else None
        background = [asyncio.create_task(self._heartbeat())]
        if plan.limits.max_duration is not None:
            background.append(asyncio.create_task(self._stop_after(plan.limits.max_duration)))
        try:
            flows = [self._endpoint_flow(spec) for spec in plan.endpoints] + [self._take_down(stray) for stray in self._strays]
            await asyncio.gather(*map(self._guarded, flows))
        finally:
            for job in background:
                job.cancel()
            pool.shutdown(wait=False, cancel_futures=True)

    def stop(self, reason: str, code: ExitCode | None = None) -> None:
        """End the run early; the first reason counts. From the loop's thread only."""
        if self.stop_reason is None:
            self.stop_reason, self.stop_code = reason, code
            self.calls.stop()
            self._record(lambda: self.journal.run(RunState.CANCELLING, reason=reason))

    @property
    def endpoints_failed(self) -> bool:
        return bool(self._dead)

    @property
    def left(self) -> tuple[str, ...]:
        """Names of all that may still exist at the backend."""
        return tuple({resource.name: None for resource in [*self._resources.values(), *self._strays] if resource.may_exist})

    async def _heartbeat(self) -> None:
        while True:
            await asyncio.sleep(HEARTBEAT)
            try:
                self.journal.heartbeat()
            except EvalxError as error:
                self._fail(error)

    async def _stop_after(self, seconds: float) -> None:
        await asyncio.sleep(seconds)
        self.stop(f"max_duration of {seconds:g} s reached", ExitCode.DEADLINE)

    async def _guarded(self, flow: Coroutine[Any, Any, None]) -> None:
        """A flow that cannot go on (the store is not writable, the run was taken over) stops the run instead of being lost."""
        try:
            await flow
        except EvalxError as error:
            self._fail(error)

    def _fail(self, error: EvalxError) -> None:
        if self.fatal is None:
            self.fatal = error
        self.stop(str(error))

    # ------------------------------------------------------------------ endpoints

    async def _endpoint_flow(self, planned: EndpointSpec) -> None:
        async with self._endpoint_slots:
            tasks = [task for task in self.run.plan.tasks if task.endpoint == planned.name and self._open(task)]
            endpoint = self._resource(planned, needed=bool(tasks))
            handle: EndpointHandle | None = None
            if tasks and not self.calls.stopped:
                handle = await self._bring_up(endpoint)
            if self._all_up is not None:
                await self._wait_for_the_others(self._all_up)
            work = asyncio.gather(*(self._guarded(self._task_flow(task, handle)) for task in tasks))
            await self._done_or_stopped(work)
            await asyncio.gather(work, self._take_down(endpoint))

    async def _bring_up(self, endpoint: Resource) -> EndpointHandle | None:
        """The endpoint's handle once it answers; None if it will not, or the run was stopped. Then `_dead` says why."""
        spec = endpoint.spec
        assert isinstance(spec, EndpointSpec)
        deadline = now() + max(spec.ready_timeout - endpoint.age, 1.0)
        try:
            handle = endpoint.handle
            if handle is None:
                handle = await self._create(endpoint, partial(self.hooks.deploy, spec), deadline)
            assert isinstance(handle, EndpointHandle)
            ready = await self._poll(handle, partial(self.hooks.wait_ready, handle), deadline, "wait_ready")
        except Stopped:
            return None
        except (StoreError, RunBusy) as error:
            return self._fail(error)
        except EvalxError as error:
            return self._endpoint_failed(endpoint, error)
        endpoint.handle = ready
        self._record_resource(endpoint, ResourceState.READY)
        self.endpoints_ready.add(spec.name)
        return ready

    def _endpoint_failed(self, endpoint: Resource, error: EvalxError) -> None:
        self._dead[endpoint.spec.name] = error
        self.auth_failed |= isinstance(error, AuthError)
        self._record_resource(endpoint, ResourceState.DEGRADED if endpoint.may_exist else ResourceState.REJECTED, reason=str(error))
        self._failed(f"endpoint {endpoint.spec.name} failed")

    async def _wait_for_the_others(self, barrier: asyncio.Barrier) -> None:
        """`start: all_ready`: no task starts before every endpoint is up or has failed."""
        others = asyncio.ensure_future(barrier.wait())
        await self._done_or_stopped(others)
        if not others.done():
            others.cancel()

    async def _done_or_stopped(self, work: asyncio.Future[Any]) -> None:
        stop = asyncio.ensure_future(self.calls.until_stopped())
        await asyncio.wait({work, stop}, return_when=asyncio.FIRST_COMPLETED)
        stop.cancel()

    # ------------------------------------------------------------------ tasks

    async def _task_flow(self, planned: TaskSpec, endpoint: EndpointHandle | None) -> None:
        async with self._task_slots:
            job = self._resource(planned, needed=not self.calls.stopped)
            result = await self._run(job, endpoint)
            self._keep(result)
            await self._take_down(job)
            if result.outcome is not Outcome.PASSED:
                self._failed(f"task {planned.name}: {result.outcome.value}")

    def _failed(self, what: str) -> None:
        if self.fail_fast and not self.calls.stopped:
            self.failed_fast = True
            self.stop(f"{what} (fail-fast)")

    async def _run(self, job: Resource, endpoint: EndpointHandle | None) -> TaskResult:
        """The task's result, whatever happens."""
        spec = job.spec
        assert isinstance(spec, TaskSpec)
        dead = self._dead.get(spec.endpoint)
        if dead is not None and job.handle is None:
            return TaskResult(spec, Outcome.SKIPPED, reason=f"endpoint {spec.endpoint}: {in_words(dead)}")
        try:
            if self.calls.stopped or endpoint is None:
                raise Stopped
            result = await self._submit_and_collect(job, spec, endpoint)
        except Stopped:
            return await self._last_look(job, Outcome.CANCELLED, self.stop_reason or "stopped")
        except DeadlineExceeded as error:
            return await self._last_look(job, Outcome.TIMED_OUT, str(error))
        except (StoreError, RunBusy) as error:
            self._fail(error)
            return await self._last_look(job, Outcome.CANCELLED, str(error))
        except EvalxError as error:
            self.auth_failed |= isinstance(error, AuthError)
            return TaskResult(spec, Outcome.FAILED, reason=in_words(error), started=job.created or None, ended=time.time())
        return await self._blame(result, endpoint)

    async def _submit_and_collect(self, job: Resource, spec: TaskSpec, endpoint: EndpointHandle) -> TaskResult:
        deadline = now() + max(spec.timeout - job.age, 0.0) + HARD_STOP_SLACK
        handle = job.handle
        if handle is None:
            handle = await self._create(job, partial(self.hooks.run_task, spec, endpoint), deadline)
        assert isinstance(handle, TaskHandle)
        self._record(lambda: self.journal.task(spec, TaskState.RUNNING))
        return await self._poll(handle, partial(self.hooks.collect, handle), deadline, "collect")

    async def _last_look(self, job: Resource, outcome: Outcome, reason: str) -> TaskResult:
        """What a task that is being stopped has finished, or else its end. A result that is there is never thrown away."""
        spec, handle = job.spec, job.handle
        assert isinstance(spec, TaskSpec)
        if not isinstance(handle, TaskHandle):
            return TaskResult(spec, outcome, reason=reason)
        try:
            result = await self.calls.insist("collect", partial(self.hooks.collect, handle), now() + LAST_LOOK)
        except EvalxError as error:
            reason, result = f"{reason}; its last state is unknown: {error}", None
        return result or TaskResult(spec, outcome, reason=reason, started=job.created, ended=time.time())

    async def _blame(self, result: TaskResult, endpoint: EndpointHandle) -> TaskResult:
        """If the task failed because its endpoint died, say so, and spare the endpoint's other tasks."""
        if result.outcome not in {Outcome.FAILED, Outcome.NO_RESULT, Outcome.LOST} or self.calls.stopped:
            return result
        try:
            await self.calls.work("wait_ready", partial(self.hooks.wait_ready, endpoint), now() + LAST_LOOK, lambda _: None)
        except EndpointFailed as error:
            self._dead.setdefault(endpoint.spec.name, error)
            return evolve(result, reason=f"endpoint {endpoint.spec.name}: {error}; {result.reason}")
        except (Stopped, EvalxError):
            pass
        return result

    def _keep(self, result: TaskResult) -> None:
        """Write a result: first into the run directory, then into the store."""
        state = STATE_OF[result.outcome]
        self._task_states[result.spec.index] = state
        self.results[result.spec.index] = result
        try:
            if result.outcome is not Outcome.SKIPPED:
                write_result(self.run.task_dir(result.spec), result)
        except OSError as error:
            self._fail(
                StoreError(f"the result of {result.spec.name} cannot be written: {error}", "free some disk space, then: evalx resume")
            )
        self._record(lambda: self.journal.task(result.spec, state, reason=result.reason, result=result))

    # ------------------------------------------------------------------ one resource

    async def _create(self, resource: Resource, create: Callable[[], H], deadline: float) -> H:
        """Commit the intent, then create (or adopt); the handle is committed before anything else happens.

        Raises StoreError before anything is created if the intent cannot be committed.
        """
        resource.created = resource.created or time.time()
        spec = resource.spec
        self.hooks.on_event(self.journal.resource(spec, resource.name, ResourceState.INTENT))
        resource.state = ResourceState.INTENT
        if isinstance(spec, TaskSpec):
            self.hooks.on_event(self.journal.task(spec, TaskState.SUBMITTED))
        kind = "run_task" if isinstance(spec, TaskSpec) else "deploy"
        try:
            handle = await self.calls.work(kind, create, deadline, partial(self._retrying, spec))
        except Stopped as stop:
            self._record_resource(resource, ResourceState.UNKNOWN if stop.unknown else ResourceState.GONE)
            raise
        except DeadlineExceeded:
            self._record_resource(resource, ResourceState.UNKNOWN)
            raise
        resource.handle, resource.state = handle, ResourceState.CREATED
        self.hooks.on_event(self.journal.resource(spec, resource.name, ResourceState.CREATED, handle=handle))
        return handle

    async def _poll(self, handle: Handle, look: Callable[[], T | None], deadline: float, what: str) -> T:
        """Look until there is an answer. Raises DeadlineExceeded at the deadline, or when nothing has moved for too long."""
        spec, patience = handle.spec, self.run.plan.limits.no_progress
        started = moved = now()
        while (answer := await self.calls.work(what, look, deadline, partial(self._retrying, spec))) is None:
            if self._note_progress(spec):
                moved = now()
            if now() >= deadline:
                raise DeadlineExceeded(f"not over in time; last seen: {self._last_words(spec)}")
            if patience is not None and now() - moved > patience:
                raise DeadlineExceeded(f"no progress for {patience:g} s; last seen: {self._last_words(spec)}")
            pause = self.hooks.poll_interval(handle, now() - started)
            await self.calls.pause(min(pause, deadline - now()))
        self._note_progress(spec)
        return answer

    async def _take_down(self, resource: Resource) -> None:
        """Delete it and prove that it is gone; else it is a suspected leak. Not if the run belongs to somebody else by now."""
        if not resource.may_exist or isinstance(self.fatal, RunBusy):
            return None
        handle, unsure = resource.handle or self._blank(resource), resource.handle is None
        if isinstance(handle, EndpointHandle) and not handle.owned:
            return self._record_resource(resource, ResourceState.GONE, reason="not ours: left as it was")
        self._record_resource(resource, ResourceState.DELETING)
        deadline = now() + CLEANUP_DEADLINE
        try:
            await self._until_gone(handle, deadline)
            if unsure and self.settle:
                await asyncio.sleep(max(self.settle - resource.age, 0.0))
                await self._until_gone(handle, deadline + self.settle)
        except EvalxError as error:
            return self._record_resource(resource, ResourceState.LEAK_SUSPECTED, reason=str(error))
        return self._record_resource(resource, ResourceState.GONE)

    async def _until_gone(self, handle: Handle, deadline: float) -> None:
        started = now()
        while not await self.calls.insist("cleanup", partial(self.hooks.cleanup, handle), deadline):
            if now() >= deadline:
                raise DeadlineExceeded(f"still there {CLEANUP_DEADLINE:g} s after it was deleted")
            await asyncio.sleep(self.hooks.poll_interval(handle, now() - started))

    def _blank(self, resource: Resource) -> Handle:
        """The handle of something whose create call was never answered: its name is all we know."""
        if isinstance(resource.spec, EndpointSpec):
            return EndpointHandle(resource.spec, resource.name)
        return TaskHandle(resource.spec, resource.name)

    # ------------------------------------------------------------------ what is known

    def _known(self, journal: Journal) -> tuple[dict[tuple[str, int], Resource], list[Resource]]:
        """From the store: the newest attempt of each resource; and what is over but may be left, of any attempt."""
        newest: dict[tuple[str, int], Resource] = {}
        strays = []
        for record in sorted(journal.resources(), key=lambda record: record.attempt):
            before = newest.get((record.kind, record.index))
            if before is not None and before not in strays:
                strays.append(before)
            resource = Resource(record.spec, record.name, record.state, record.handle, record.created)
            newest[record.kind, record.index] = resource
            if self._over(resource):
                strays.append(resource)
        return newest, [stray for stray in strays if stray.may_exist]

    def _resource(self, planned: Spec, needed: bool) -> Resource:
        """The spec's current resource. If it is needed and the last attempt is over, the next attempt."""
        key = ("task" if isinstance(planned, TaskSpec) else "endpoint", planned.index)
        known = self._resources.get(key)
        if known is None:
            known = Resource(planned, self.run.resource_name(planned))
        elif needed and self._over(known):
            spec = evolve(known.spec, attempt=known.spec.attempt + 1)
            known = Resource(spec, self.run.resource_name(spec))
        self._resources[key] = known
        return known

    def _over(self, resource: Resource) -> bool:
        if isinstance(resource.spec, TaskSpec):
            return self._task_states[resource.spec.index].final
        return resource.state in {ResourceState.GONE, ResourceState.REJECTED, ResourceState.DELETING, ResourceState.LEAK_SUSPECTED}

    def _open(self, task: TaskSpec) -> bool:
        """Whether there is something to do for a task: one without a score is tried again, unless the run is only being ended."""
        state = self._task_states[task.index]
        return not state.final if self.calls.stopped else state is not TaskState.SCORED

    # ------------------------------------------------------------------ telling

    def _retrying(self, spec: Spec, error: TransientError) -> None:
        self.run.report(spec, "retrying", str(error))
        self._note_progress(spec)

    def _note_progress(self, spec: Spec) -> bool:
        """Tell if a hook has reported something new of the spec; whether it has."""
        report = self.run.last_report(spec)
        name = self.run.resource_name(spec)
        if report is None or report == self._reported.get(name):
            return False
        self._reported[name] = report
        kind = "task" if isinstance(spec, TaskSpec) else "endpoint"
        data = {"subject": kind, "phase": report.phase, "done": report.done, "total": report.total}
        self._record(lambda: self.journal.note("progress", spec.name, reason=report.reason, data=data))
        return True

    def _last_words(self, spec: Spec) -> str:
        report = self.run.last_report(spec)
        return "nothing" if report is None else report.phase + (f" ({report.reason})" if report.reason else "")

    def _record_resource(self, resource: Resource, state: ResourceState, reason: str | None = None) -> None:
        resource.state = state
        self._record(lambda: self.journal.resource(resource.spec, resource.name, state, reason=reason, handle=resource.handle))

    def _record(self, write: Callable[[], Event]) -> None:
        """Write down and tell what has happened. If the store fails, the run is stopped, but cleaning up goes on."""
        try:
            event = write()
        except EvalxError as error:
            self._fail(error)
        else:
            self.hooks.on_event(event)


def in_words(error: EvalxError) -> str:
    """An error as a reason: what it says and, if it has one, its hint."""
    return f"{error} (hint: {error.hint})" if error.hint else str(error)
