"""The loop of a run: deploy → ready → run → collect → cleanup, for every endpoint and task at once.

Every endpoint and every task is one coroutine of asyncio's event loop; the short hook calls run in the executor's pool. So nothing
blocks a thread while something provisions, and a thousand tasks need no thousand threads. What is written down is written before it
is done: a resource's name is committed before the call that creates it, and a result before the resource that held it is deleted.

Endpoints that the user wants to keep for a while are left as they are when every task is over, and told in `Driver.kept`; who drives the
run sees to their end. A run that was stopped keeps nothing.

Stopping (a signal, a deadline, fail-fast, or a run that is only to be cleaned up) is one path: no new work, endpoints are deleted at
once, each task is asked once more for its result, and what is not finished is cancelled and deleted.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any

from attrs import evolve

from evalx import failpoints
from evalx.calls import Calls, Stopped, now
from evalx.context import RunContext
from evalx.errors import AuthError, DeadlineExceeded, EndpointFailed, EvalxError, ExitCode, RunBusy, StoreError, internal
from evalx.facade import Hooks
from evalx.keeping.kept import hand_over_key
from evalx.ledger import Ledger, Resource
from evalx.lifecycle import CLEANUP_DEADLINE, Lifecycle
from evalx.model import EndpointHandle, EndpointSpec, Outcome, TaskHandle, TaskResult, TaskSpec
from evalx.patience import Patience
from evalx.reasons import in_words, whole
from evalx.store import Journal
from evalx.store.states import ResourceState, RunState

Watch = Callable[[Callable[[str, ExitCode], None]], Coroutine[Any, Any, None]]
"""Watches a run, and calls what it is given, with a reason and an exit code, when the run has to end."""

Flow = Callable[[], Coroutine[Any, Any, None]]
"""What is done with one endpoint or task. Begun where it is awaited: one that is broken off before that leaves nothing behind."""

HARD_STOP_SLACK = 60.0
"""The time limit of a task acts inside its command; this much later the driver ends it from outside."""

LAST_LOOK = 30.0
"""Seconds for asking a task that is being stopped for what it has, and an endpoint whether it is to blame."""

CANCEL_GRACE, CANCEL_LOOKS = 3.0, 10
"""Seconds in which a cancelled task may end by itself before it is deleted, and how often it is looked at meanwhile."""

TEARDOWN_PAUSE = 0.2

HEARTBEAT = 15.0


class Driver:
    """Drives one run to its end. Use: `await Driver(...).execute()`.

    settle: seconds after a create call of unknown outcome in which the resource may still appear. fail_fast: the first task without a
    score stops the run. ending: the run is only to be ended, for this reason. worked: seconds that other processes have driven it before.
    watch: runs beside the work, and may stop it.
    """

    def __init__(
        self,
        run: RunContext,
        journal: Journal,
        hooks: Hooks,
        *,
        settle: float = 0.0,
        fail_fast: bool = False,
        ending: str | None = None,
        worked: float = 0.0,
        watch: Watch | None = None,
    ) -> None:
        self.run = run
        self.journal = journal
        self.hooks = hooks
        self.settle = settle
        self.fail_fast = fail_fast
        self.ledger = Ledger(run, journal, hooks, self._fail)
        self.worked = worked
        self.watch = watch
        self.stop_reason = ending
        self.stop_code: ExitCode | None = None
        self.fatal: EvalxError | None = None
        self.auth_failed = self.failed_fast = self.at_once = False
        self.endpoints_ready: set[str] = set()
        self.dead: dict[str, EvalxError] = {}
        self.kept: list[Resource] = []
        self._spared: list[Resource] = []
        self._over = False
        self._torn_down = "teardown" not in run.plugins.capabilities()
        self.calls: Calls
        self.lifecycle: Lifecycle
        if ending is not None:
            run.stopping.set()

    # ------------------------------------------------------------------ the run

    async def execute(self) -> None:
        """Until every task is over and every resource is gone or given up. What a task or endpoint does never raises here."""
        plan = self.run.plan
        pool = self.hooks.make_pool()
        self.calls = Calls(pool, self.run.stopping)
        self.lifecycle = Lifecycle(self.run, self.ledger, self.hooks, self.calls, self.settle)
        self._endpoint_slots = asyncio.Semaphore(plan.limits.max_endpoints or len(plan.endpoints) or 1)
        self._task_slots = asyncio.Semaphore(plan.limits.max_tasks or len(plan.tasks) or 1)
        self._all_up = asyncio.Barrier(len(plan.endpoints)) if plan.start == "all_ready" and plan.endpoints else None
        background = [asyncio.create_task(self._heartbeat())]
        if plan.limits.max_duration is not None:
            background.append(asyncio.create_task(self._stop_after(plan.limits.max_duration)))
        if self.watch is not None:
            background.append(asyncio.create_task(self.watch(self.stop)))
        try:
            flows: list[Flow] = [partial(self._endpoint_flow, spec) for spec in plan.endpoints]
            flows += [partial(self.lifecycle.remove, stray) for stray in self.ledger.strays]
            await asyncio.gather(*map(self._guarded, flows))
            await self._keep()
            await asyncio.gather(*(self._guarded(partial(self.lifecycle.remove, resource)) for resource in self.ledger.forgotten))
            await self._wind_up()
            if self.kept and self.calls.stopped:
                await self._wind_up()
            self._over = True
        finally:
            self.ledger.flush()
            for job in background:
                job.cancel()
            pool.shutdown(wait=False, cancel_futures=True)

    def stop(self, reason: str, code: ExitCode | None = None, at_once: bool = False) -> None:
        """End the run early; the first reason counts. at_once: tasks get no time to end by themselves. From the loop's thread only."""
        self.at_once |= at_once
        if self.stop_reason is None and not (self._over and self.kept):
            self.stop_reason, self.stop_code = reason, code
            self.calls.stop()
            self.ledger.write(lambda: self.journal.run(RunState.CANCELLING, reason=reason))

    @property
    def left(self) -> tuple[str, ...]:
        """Names of all that may still exist at the backend and is not kept."""
        kept = {resource.name for resource in self.kept}
        rest = () if self._torn_down or kept else (whole(self.run.run_id),)
        return tuple(name for name in self.ledger.left if name not in kept) + rest

    async def _wind_up(self) -> None:
        """Delete what serves the run as a whole, which endpoints that are kept may need; and those as well if the run was stopped."""
        if self.kept and self.calls.stopped:
            given_up, self.kept = self.kept, []
            await asyncio.gather(*(self._guarded(partial(self.lifecycle.remove, endpoint)) for endpoint in given_up))
        if not self.kept:
            await self._teardown()
        self.ledger.flush()
        await asyncio.sleep(0)  # for the failures of these writes to be noticed

    async def _teardown(self) -> None:
        """Delete what belongs to the run as a whole, if its executor creates such things."""
        if self._torn_down or isinstance(self.fatal, RunBusy):
            return
        deadline = now() + CLEANUP_DEADLINE
        try:
            while not await self.calls.insist("teardown", self.hooks.teardown, deadline):
                await asyncio.sleep(TEARDOWN_PAUSE)
            self._torn_down = True
        except EvalxError as error:
            self.ledger.warn(f"what belongs to the run as a whole may not be gone: {in_words(error)}")

    async def _heartbeat(self) -> None:
        while True:
            await asyncio.sleep(HEARTBEAT)
            try:
                self.journal.heartbeat()
            except EvalxError as error:
                self._fail(error)

    async def _stop_after(self, seconds: float) -> None:
        await asyncio.sleep(seconds - self.worked)
        self.stop(f"max_duration of {seconds:g} s reached", ExitCode.DEADLINE)

    async def _guarded(self, flow: Flow) -> None:
        """A flow that cannot go on (the store is not writable, the run was taken over, a fault of evalx) stops the run, and is told."""
        try:
            await flow()
        except EvalxError as error:
            self._fail(error)
        except Exception as error:  # noqa: BLE001 -- whatever it is, the other flows clean up, and what this one had is deleted after them
            self._fail(internal(error))

    def _fail(self, error: EvalxError) -> None:
        if self.fatal is None:
            self.fatal = error
            self.lifecycle.disowned = isinstance(error, RunBusy)
        self.stop(str(error))

    def _failed(self, what: str) -> None:
        if self.fail_fast and not self.calls.stopped:
            self.failed_fast = True
            self.stop(f"{what} (fail-fast)")

    # ------------------------------------------------------------------ endpoints

    async def _endpoint_flow(self, planned: EndpointSpec) -> None:
        async with self._endpoint_slots:
            tasks = self.ledger.open_tasks(self.run.plan, planned, ending=self.calls.stopped)
            endpoint = self.ledger.resource(planned, needed=bool(tasks))
            handle: EndpointHandle | None = None
            if tasks and not self.calls.stopped:
                endpoint, handle = await self._up(endpoint, planned)
            if self._all_up is not None:
                await self._wait_for_the_others(self._all_up)
            work = asyncio.gather(*(self._guarded(partial(self._task_flow, task, handle)) for task in tasks))
            await self._done_or_stopped(work)
            if self._may_be_kept(endpoint):
                self._spared.append(endpoint)
                await work
            else:
                await asyncio.gather(work, self.lifecycle.remove(endpoint))

    async def _up(self, endpoint: Resource, planned: EndpointSpec) -> tuple[Resource, EndpointHandle | None]:
        """The endpoint's resource, and its handle once it answers; None if it never will (then `dead` says why) or the run was stopped.

        One that was adopted and died while nobody looked (the machine was restarted, say) gives way to the next.
        """
        adopted = endpoint.handle is not None
        try:
            try:
                return endpoint, await self._bring_up(endpoint)
            except EndpointFailed as error:
                if not adopted:
                    raise
                self.ledger.record(endpoint, ResourceState.DEGRADED, reason=in_words(error))
                await self.lifecycle.remove(endpoint)
            endpoint = self.ledger.resource(planned, needed=True)
            return endpoint, await self._bring_up(endpoint)
        except Stopped:
            pass
        except (StoreError, RunBusy) as error:
            self._fail(error)
        except EvalxError as error:
            self._endpoint_failed(endpoint, error)
        return endpoint, None

    async def _bring_up(self, endpoint: Resource) -> EndpointHandle:
        """The endpoint's handle once it answers. Raises Stopped, DeadlineExceeded, and what the hooks raise."""
        spec, handle = endpoint.spec, endpoint.handle
        assert isinstance(spec, EndpointSpec)
        deadline = now() + max(spec.ready_timeout - endpoint.age, 1.0)
        if not isinstance(handle, EndpointHandle):
            handle = await self.lifecycle.create(endpoint, "deploy", partial(self.hooks.deploy, spec), deadline)
        ready = await self.lifecycle.until(handle, "wait_ready", partial(self.hooks.wait_ready, handle), deadline)
        endpoint.handle = ready
        self.ledger.record(endpoint, ResourceState.READY)
        self.endpoints_ready.add(spec.name)
        return ready

    def _endpoint_failed(self, endpoint: Resource, error: EvalxError) -> None:
        self.dead[endpoint.spec.name] = error
        self.auth_failed |= isinstance(error, AuthError)
        self.ledger.record(endpoint, ResourceState.DEGRADED, reason=in_words(error))
        self._failed(f"endpoint {endpoint.spec.name} failed")

    def _may_be_kept(self, endpoint: Resource) -> bool:
        handle = endpoint.handle
        if self.run.plan.limits.keep is None or self.calls.stopped or endpoint.spec.name in self.dead:
            return False
        usable = isinstance(handle, EndpointHandle) and handle.owned and bool(handle.url)
        return usable and endpoint.state in (ResourceState.READY, ResourceState.KEPT)

    async def _keep(self) -> None:
        """Every task is over: keep what was spared and has not failed meanwhile, unless the run was stopped."""
        good = await asyncio.gather(*map(self._is_worth_keeping, self._spared))
        if not self.calls.stopped:
            self.kept = [endpoint for endpoint, worth in zip(self._spared, good, strict=True) if worth]
        for endpoint in self.kept:
            self.ledger.record(endpoint, ResourceState.KEPT)
        others = [endpoint for endpoint in self._spared if endpoint not in self.kept]
        await asyncio.gather(*(self._guarded(partial(self.lifecycle.remove, endpoint)) for endpoint in others))

    async def _is_worth_keeping(self, endpoint: Resource) -> bool:
        """Whether it has not failed, and its key could be handed over."""
        handle = endpoint.handle
        assert isinstance(handle, EndpointHandle)
        try:
            hand_over_key(self.run, handle)
            await self.lifecycle.until(handle, "wait_ready", partial(self.hooks.wait_ready, handle), now() + LAST_LOOK)
        except Stopped:
            return False
        except EvalxError as error:
            self.ledger.warn(f"endpoint {handle.spec.name} is not kept: {in_words(error)}")
            return False
        return True

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
            job = self.ledger.resource(planned, needed=not self.calls.stopped)
            adopted = job.handle is not None
            result = await self._finish(job, endpoint)
            # Whoever has deleted or stopped it, a process that was killed over it perhaps, this run is meant to go on.
            if adopted and result.outcome in {Outcome.LOST, Outcome.CANCELLED} and not self.calls.stopped:
                result = await self._finish(self.ledger.resource(planned, needed=True), endpoint)
            if result.outcome is not Outcome.PASSED:
                self._failed(f"task {planned.name}: {result.outcome.value}")

    async def _finish(self, job: Resource, endpoint: EndpointHandle | None) -> TaskResult:
        """The task's result, written down before what held it is deleted."""
        result = await self._result(job, endpoint)
        failpoints.reach("result.known")
        await self.ledger.keep(result)
        failpoints.reach("result.stored")
        await self.lifecycle.remove(job)
        return result

    async def _result(self, job: Resource, endpoint: EndpointHandle | None) -> TaskResult:
        """The task's result, whatever happens."""
        spec = job.spec
        assert isinstance(spec, TaskSpec)
        dead = self.dead.get(spec.endpoint)
        if dead is not None and job.handle is None:
            return TaskResult(spec, Outcome.SKIPPED, reason=f"endpoint {spec.endpoint}: {in_words(dead)}")
        try:
            if self.calls.stopped or endpoint is None:
                raise Stopped
            result = await self._submit_and_collect(job, spec, endpoint)
            return await self._blame(result, endpoint)
        except Stopped:
            return await self._last_look(job, spec, Outcome.CANCELLED, self.stop_reason or "stopped")
        except DeadlineExceeded as error:
            return await self._last_look(job, spec, Outcome.TIMED_OUT, in_words(error))
        except (StoreError, RunBusy) as error:
            self._fail(error)
            return await self._last_look(job, spec, Outcome.CANCELLED, str(error))
        except EvalxError as error:
            self.auth_failed |= isinstance(error, AuthError)
            return TaskResult(spec, Outcome.FAILED, reason=in_words(error), started=job.created or None, ended=time.time())

    async def _submit_and_collect(self, job: Resource, spec: TaskSpec, endpoint: EndpointHandle) -> TaskResult:
        queue = self.run.plan.limits.queue
        patience = Patience(now(), spec.timeout, queue, HARD_STOP_SLACK, age=job.age, ran=self.ledger.ran(spec) if queue else None)
        handle = job.handle
        if not isinstance(handle, TaskHandle):
            handle = await self.lifecycle.create(job, "run_task", partial(self.hooks.run_task, spec, endpoint), patience.deadline)
        if patience.running:
            self.ledger.running(spec)
        return await self.lifecycle.until(handle, "collect", partial(self.hooks.collect, handle), patience.deadline, patience)

    async def _last_look(self, job: Resource, spec: TaskSpec, outcome: Outcome, reason: str) -> TaskResult:
        """What a task that is being stopped has finished, or else its end. A result that is there is never thrown away."""
        handle, result = job.handle, None
        if isinstance(handle, TaskHandle):
            try:
                result = await self._collect_now(handle)
            except EvalxError as error:
                reason = f"{reason}; its last state is unknown: {error}"
        if result is None:
            return TaskResult(spec, outcome, reason=reason, started=job.created or None, ended=time.time())
        return result if result.outcome is Outcome.PASSED else evolve(result, outcome=outcome, reason=reason)

    async def _collect_now(self, handle: TaskHandle) -> TaskResult | None:
        """The result if the task is over, or ends soon after it was asked to."""
        deadline = now() + LAST_LOOK
        collect = partial(self.hooks.collect, handle)
        result = await self.calls.insist("collect", collect, deadline)
        if result is None and not self.at_once and await self.calls.insist("cancel", partial(self.hooks.cancel, handle), deadline):
            for _ in range(CANCEL_LOOKS):
                await asyncio.sleep(CANCEL_GRACE / CANCEL_LOOKS)
                result = await self.calls.insist("collect", collect, deadline)
                if result is not None or self.at_once:
                    break
        return result

    async def _blame(self, result: TaskResult, endpoint: EndpointHandle) -> TaskResult:
        """If the task failed because its endpoint died, say so, and spare the endpoint's other tasks."""
        if result.outcome not in {Outcome.FAILED, Outcome.NO_RESULT, Outcome.LOST} or self.calls.stopped:
            return result
        name = endpoint.spec.name
        try:
            await self.calls.work("wait_ready", partial(self.hooks.wait_ready, endpoint), now() + LAST_LOOK)
        except EndpointFailed as error:
            self.dead.setdefault(name, error)
            return evolve(result, reason=f"endpoint {name}: {in_words(error)}; {result.reason}")
        except (Stopped, EvalxError):
            return result
        return result
