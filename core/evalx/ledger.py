"""What a run has asked for and what became of it: the driver's view of the store.

Two kinds of writes. Before something is created, and as soon as it is, the write must succeed or the caller stops (`intend`,
`created`). What has happened anyway is recorded as well as possible (`record`, `keep`): if the store fails then, the run is stopped, but
cleaning up goes on.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from functools import partial

from attrs import define, evolve

from evalx import failpoints
from evalx.commits import Commits, Write
from evalx.context import Report, RunContext
from evalx.errors import EvalxError, StoreError
from evalx.facade import Hooks
from evalx.model import EndpointHandle, EndpointSpec, Handle, Outcome, RunPlan, Spec, TaskHandle, TaskResult, TaskSpec
from evalx.redaction import redact
from evalx.results import write_result
from evalx.store import Journal
from evalx.store.states import ResourceState, TaskState

STATE_OF = {
    Outcome.PASSED: TaskState.SCORED,
    Outcome.FAILED: TaskState.FAILED,
    Outcome.CANCELLED: TaskState.CANCELLED,
    Outcome.TIMED_OUT: TaskState.TIMED_OUT,
    Outcome.NO_RESULT: TaskState.NO_RESULT,
    Outcome.LOST: TaskState.LOST,
    Outcome.SKIPPED: TaskState.SKIPPED,
}

_NEVER_AGAIN = {ResourceState.GONE, ResourceState.DELETING, ResourceState.LEAK_SUSPECTED}


@define(eq=False)
class Resource:
    """An endpoint, or a task's job, at the backend. state None: nothing was ever asked for. created: seconds since the epoch."""

    spec: Spec
    name: str
    state: ResourceState | None = None
    handle: Handle | None = None
    created: float = 0.0
    stored: Handle | None = None
    """The handle as the store has it."""
    asked: float | None = None
    """When this process's last create call was over, in the loop's time; None: it has made none."""

    @property
    def may_exist(self) -> bool:
        return self.state is not None and self.state.may_exist

    @property
    def age(self) -> float:
        """Seconds since it was asked for; survives a restart of evalx."""
        return max(time.time() - self.created, 0.0) if self.created else 0.0

    @property
    def best_handle(self) -> Handle:
        """Its handle; if its create call was never answered, one with its name alone."""
        if self.handle is not None:
            return self.handle
        return EndpointHandle(self.spec, self.name) if isinstance(self.spec, EndpointSpec) else TaskHandle(self.spec, self.name)


class Ledger:
    """The resources and tasks of one run. on_failure is told of every write that failed where nothing can be undone any more."""

    def __init__(self, run: RunContext, journal: Journal, hooks: Hooks, on_failure: Callable[[EvalxError], None]) -> None:
        self._run = run
        self._journal = journal
        self._commits = Commits(journal, hooks.on_event)
        self._on_failure = on_failure
        self._reported: dict[str, Report] = {}
        records = journal.tasks()
        self._task_states = {record.index: record.state for record in records}
        self.results = {record.index: record.result for record in records if record.result is not None}
        self._newest: dict[tuple[bool, int], Resource] = {}
        self.strays: list[Resource] = []
        self._read_resources()

    def _read_resources(self) -> None:
        """The newest attempt of each resource; and as strays what is over but may be left, of any attempt."""
        strays = []
        for record in sorted(self._journal.resources(), key=lambda record: record.attempt):
            resource = Resource(record.spec, record.name, record.state, record.handle, record.created, record.handle)
            before = self._newest.get(_key(record.spec))
            if before is not None and before not in strays:
                strays.append(before)
            self._newest[_key(record.spec)] = resource
            if self._over(resource):
                strays.append(resource)
        self.strays = [stray for stray in strays if stray.may_exist]

    # ------------------------------------------------------------------ what is known

    @property
    def left(self) -> tuple[str, ...]:
        """Names of all that may still exist at the backend."""
        return tuple({resource.name: None for resource in [*self._newest.values(), *self.strays] if resource.may_exist})

    @property
    def forgotten(self) -> list[Resource]:
        """What may exist though every flow is over, and is not kept: nothing, unless a flow came to grief."""
        seen = (ResourceState.LEAK_SUSPECTED, ResourceState.KEPT)
        return [resource for resource in self._newest.values() if resource.may_exist and resource.state not in seen]

    def open_tasks(self, plan: RunPlan, endpoint: EndpointSpec, ending: bool) -> list[TaskSpec]:
        """The endpoint's tasks that need something done: all without a score; if the run is only being ended, all that are not over."""
        tasks = [task for task in plan.tasks if task.endpoint == endpoint.name]
        if ending:
            return [task for task in tasks if not self._task_states[task.index].final]
        return [task for task in tasks if self._task_states[task.index] is not TaskState.SCORED]

    def resource(self, planned: Spec, needed: bool) -> Resource:
        """The spec's current resource. If it is needed and its last attempt is over, the next attempt."""
        known = self._newest.get(_key(planned))
        if known is None:
            known = Resource(planned, self._run.resource_name(planned))
        elif needed and self._over(known):
            if known.may_exist and known not in self.strays:
                self.strays.append(known)
            spec = evolve(known.spec, attempt=known.spec.attempt + 1)
            known = Resource(spec, self._run.resource_name(spec))
        self._newest[_key(planned)] = known
        return known

    def _over(self, resource: Resource) -> bool:
        """Whether nothing is to be had of it any more: a job that was deleted without a result, because its flow came to grief, leaves only
        traces of its being killed."""
        final = isinstance(resource.spec, TaskSpec) and self._task_states[resource.spec.index].final
        return final or resource.state in _NEVER_AGAIN

    # ------------------------------------------------------------------ writes that must succeed

    async def intend(self, resource: Resource) -> None:
        """Commit that it is about to be created. Raises StoreError, RunBusy: then it must not be."""
        resource.created = resource.created or time.time()
        writes = [partial(self._journal.resource, resource.spec, resource.name, ResourceState.INTENT)]
        if isinstance(resource.spec, TaskSpec):
            anew = self._task_states[resource.spec.index].final
            states = [TaskState.PENDING] * anew + [TaskState.SUBMITTED]
            writes += [partial(self._journal.task, resource.spec, state) for state in states]
        await self._commits.add(*writes)
        resource.state = ResourceState.INTENT
        if isinstance(resource.spec, TaskSpec):
            self._task_states[resource.spec.index] = TaskState.SUBMITTED

    async def created(self, resource: Resource, handle: Handle) -> None:
        """Commit the handle of what now exists. Raises StoreError, RunBusy."""
        resource.handle = resource.stored = handle
        resource.state = ResourceState.CREATED
        await self._commits.add(partial(self._journal.resource, resource.spec, resource.name, ResourceState.CREATED, handle=handle))

    # ------------------------------------------------------------------ writes of what has happened anyway

    def record(self, resource: Resource, state: ResourceState, reason: str | None = None) -> asyncio.Future[None]:
        resource.state = state
        handle = resource.handle if resource.handle is not resource.stored else None
        resource.stored = resource.handle
        return self.write(partial(self._journal.resource, resource.spec, resource.name, state, reason=reason, handle=handle))

    def ran(self, task: TaskSpec) -> float | None:
        """Seconds for which a task has been running, as far as an earlier process has seen it; None if it has not."""
        if self._task_states[task.index] is not TaskState.RUNNING:
            return None
        began = self._journal.began(task)
        return None if began is None else max(time.time() - began, 0.0)

    def running(self, task: TaskSpec) -> None:
        self._task_states[task.index] = TaskState.RUNNING
        self.write(partial(self._journal.task, task, TaskState.RUNNING))

    async def keep(self, result: TaskResult) -> None:
        """Write a result: first into the run directory, then into the store."""
        if result.reason:
            result = evolve(result, reason=redact(result.reason))
        spec, state = result.spec, STATE_OF[result.outcome]
        self._task_states[spec.index] = state
        self.results[spec.index] = result
        try:
            if result.outcome is not Outcome.SKIPPED:
                write_result(self._run.task_dir(spec), result)
                failpoints.reach("result.written")
        except (OSError, StoreError) as error:
            said = error.message if isinstance(error, StoreError) else f"the result of {spec.name} cannot be written: {error}"
            self._on_failure(StoreError(said, f"make room there, then: evalx resume {self._run.run_id}"))
        await asyncio.wait([self.write(partial(self._journal.task, spec, state, reason=result.reason, result=result))])

    def progress(self, spec: Spec) -> bool:
        """Tell what a hook has reported of the spec, if that is news. Whether anything has moved since the last time."""
        report, name = self._run.last_report(spec), self._run.resource_name(spec)
        before = self._reported.get(name)
        if report is None or report == before:
            return False
        self._reported[name] = report
        if report.looks_like(before):
            return True
        kind = "task" if isinstance(spec, TaskSpec) else "endpoint"
        data = {"subject": kind, "phase": report.phase, "done": report.done, "total": report.total}
        self.write(partial(self._journal.note, "progress", spec.name, reason=report.reason, data=data))
        return True

    def write(self, write: Write) -> asyncio.Future[None]:
        """Commit with the others of this turn; a failure goes to `on_failure`."""
        done = self._commits.add(write)
        done.add_done_callback(self._notice)
        return done

    def warn(self, reason: str) -> None:
        """Keep a warning with the run."""
        self.write(partial(self._journal.note, "warning", reason=reason))

    def flush(self) -> None:
        """Commit now whatever waits to be."""
        self._commits.flush()

    def _notice(self, done: asyncio.Future[None]) -> None:
        error = None if done.cancelled() else done.exception()
        if isinstance(error, EvalxError):
            self._on_failure(error)


def _key(spec: Spec) -> tuple[bool, int]:
    return isinstance(spec, TaskSpec), spec.index
