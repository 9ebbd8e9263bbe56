"""The life of one resource: asked for once it is written down, looked at until there is an answer, deleted until it is proven gone."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import TypeVar

from evalx import failpoints
from evalx.calls import Calls, Stopped, named, now
from evalx.context import RunContext
from evalx.errors import DeadlineExceeded, EvalxError, StoreError, TransientError
from evalx.facade import Hooks
from evalx.keeping.kept import remove_key
from evalx.ledger import Ledger, Resource
from evalx.model import EndpointHandle, EndpointSpec, Handle, Spec, TaskHandle, TaskSpec
from evalx.patience import Patience
from evalx.reasons import has_hint, in_words
from evalx.redaction import mask_files
from evalx.store.states import ResourceState

T = TypeVar("T")
H = TypeVar("H", EndpointHandle, TaskHandle)

CLEANUP_DEADLINE = 300.0
"""Seconds in which a deleted resource must be proven gone; afterwards it is reported as a suspected leak."""

ONE_LOOK = 2.0
"""Seconds that a look may take which begins at the very end of the time."""


class Lifecycle:
    """What is done with any resource of a run.

    settle: seconds after a create call of unknown outcome in which the resource may still appear. disowned: the run belongs to another
    process by now, which will delete what there is.
    """

    def __init__(self, run: RunContext, ledger: Ledger, hooks: Hooks, calls: Calls, settle: float) -> None:
        self._run, self._ledger, self._hooks, self._calls, self._settle = run, ledger, hooks, calls, settle
        self._began = now()
        self._seen: dict[str, tuple[float, str]] = {}
        self.disowned = False

    async def create(self, resource: Resource, what: str, create: Callable[[], H], deadline: float) -> H:
        """Commit the intent, then create (or adopt), then commit the handle.

        Raises StoreError or RunBusy before anything is created if the intent cannot be committed; Stopped, DeadlineExceeded, and what
        the hook raises.
        """
        if resource.state is not None:  # a process that is gone may have asked for it, too late for it to be seen yet
            await self._calls.pause(self._unsettled(resource))
        failpoints.reach("intent.before")
        await self._ledger.intend(resource)
        failpoints.reach("intent.after")
        try:
            handle = await self._calls.work(what, create, deadline, partial(self._retrying, resource.spec))
        except Stopped as stop:
            self._ledger.record(resource, ResourceState.UNKNOWN if stop.unknown else ResourceState.GONE)
            raise
        except DeadlineExceeded:
            self._ledger.record(resource, ResourceState.UNKNOWN)
            raise
        finally:
            resource.asked = now()
        failpoints.reach("create.answered")
        await self._ledger.created(resource, handle)
        failpoints.reach("create.recorded")
        return handle

    async def until(self, handle: Handle, what: str, look: Callable[[], T | None], deadline: float, clock: Patience | None = None) -> T:
        """Look until there is an answer. clock: moves the deadline of a task when it begins to run.

        Raises DeadlineExceeded at the deadline, or when nothing has moved for too long.
        """
        spec, patience = handle.spec, self._run.plan.limits.no_progress
        started = moved = now()
        while (answer := await self._look(spec, what, look, deadline)) is None:
            if clock is not None and isinstance(spec, TaskSpec):
                if clock.hear(now(), self._run.last_report(spec)):
                    self._ledger.running(spec)
                deadline = clock.deadline
            if self._ledger.progress(spec):
                moved = now()
            if now() >= deadline:
                said = clock.spent if clock is not None else "not over in time"
                seen = self._last_words(spec)
                hint = f"give it longer, or see its log: evalx logs {self._run.run_id} --endpoint {spec.name}"
                if not getattr(handle, "owned", True):
                    hint = "give it longer, or look whether target.api_endpoint.url is right"
                raise DeadlineExceeded(f"{said}; last seen: {seen}", None if clock is not None or has_hint(seen) else hint)
            if patience is not None and self._tells_progress(spec) and now() - moved > patience:
                hint = "raise execution.no_progress_timeout, if it may be silent for so long"
                raise DeadlineExceeded(f"no progress for {patience:g} s; last seen: {self._last_words(spec)}", hint)
            await self._calls.pause(min(self._interval(handle, now() - started), deadline - now()))
        self._ledger.progress(spec)
        return answer

    async def _look(self, spec: Spec, what: str, look: Callable[[], T | None], deadline: float) -> T | None:
        """One look; one that the deadline falls into may end. Raises DeadlineExceeded if it does not, with what was seen before it."""
        try:
            answer = await self._calls.work(what, look, max(deadline, now() + ONE_LOOK), partial(self._blind, spec))
        except DeadlineExceeded as error:
            raise DeadlineExceeded(f"{error}; last seen: {self._last_words(spec)}", error.hint) from error
        self._seen[self._run.resource_name(spec)] = (now(), self._last_words(spec))
        return answer

    async def remove(self, resource: Resource) -> None:
        """Delete it and prove that it is gone; else it is a suspected leak. Not if the run belongs to somebody else by now.

        Raises StoreError or RunBusy if what is done cannot be written down.
        """
        if not resource.may_exist or self.disowned:
            return
        handle = resource.best_handle
        # A job's name may be borne by two: a call that the network delivers twice makes a twin, which lists may not show yet either.
        young = isinstance(resource.spec, TaskSpec) and (self._calls.stopped or resource.asked is None)
        unsure = resource.handle is None or young
        if isinstance(handle, EndpointHandle) and not handle.owned:
            self._ledger.record(resource, ResourceState.GONE, reason="not ours: left as it was")
            return
        await asyncio.wait([self._ledger.record(resource, ResourceState.DELETING)])  # or a killed process would leave word that it exists
        failpoints.reach("delete.before")
        deadline = now() + CLEANUP_DEADLINE
        try:
            await self._until_gone(handle, deadline)
            if unsure and self._settle:
                await asyncio.sleep(self._unsettled(resource))
                await self._until_gone(handle, deadline + self._settle)
        except EvalxError as error:
            self._ledger.record(resource, ResourceState.LEAK_SUSPECTED, reason=str(error))
        else:
            failpoints.reach("delete.proven")
            self._forget_key(resource)
            self._ledger.record(resource, ResourceState.GONE)
        with suppress(OSError):  # where no folder can be made, there are no logs either
            folder = self._run.endpoint_dir(handle) if isinstance(handle, EndpointHandle) else self._run.task_dir(handle.spec)
            await asyncio.to_thread(mask_files, folder, "*.log")

    def _forget_key(self, resource: Resource) -> None:
        if self._run.plan.limits.keep is not None and isinstance(resource.spec, EndpointSpec):
            try:
                remove_key(resource.name)
            except StoreError as error:
                self._ledger.warn(in_words(error))

    def _unsettled(self, resource: Resource) -> float:
        """Seconds in which something may still appear that a create call has made. Those of a process that is gone count from this one's
        beginning if they were not answered, since nobody knows when the last of them was."""
        if resource.asked is None and resource.handle is not None:
            return max(self._settle - resource.age, 0.0)
        asked = self._began if resource.asked is None else resource.asked
        return max(asked + self._settle - now(), 0.0)

    async def _until_gone(self, handle: Handle, deadline: float) -> None:
        started = now()
        while not await self._calls.insist("cleanup", partial(self._hooks.cleanup, handle), deadline):
            if now() >= deadline:
                raise DeadlineExceeded(f"still there {CLEANUP_DEADLINE:g} s after it was deleted", f"evalx cleanup {self._run.run_id}")
            await asyncio.sleep(self._interval(handle, now() - started))

    def _tells_progress(self, spec: Spec) -> bool:
        """Whether its silence means anything: something countable was reported of it."""
        report = self._run.last_report(spec)
        return report is not None and (report.done is not None or report.activity is not None)

    def _interval(self, handle: Handle, age: float) -> float:
        """Seconds until the next look. Raises PluginError for a plugin that cannot tell."""
        return named("poll_interval", partial(self._hooks.poll_interval, handle, age))

    def _retrying(self, spec: Spec, error: TransientError) -> None:
        self._run.report(spec, "retrying", str(error))
        self._ledger.progress(spec)

    def _blind(self, spec: Spec, error: TransientError) -> None:
        """A look has failed: nothing is known of it now, neither that it is gone nor that it is as it was."""
        moment, words = self._seen.get(self._run.resource_name(spec), (None, ""))
        before = f"; {now() - moment:.0f} s ago: {words}" if moment is not None else ""
        self._run.report(spec, "unknown", f"{error}{before}")
        self._ledger.progress(spec)

    def _last_words(self, spec: Spec) -> str:
        report = self._run.last_report(spec)
        return "nothing" if report is None else report.phase + (f" ({report.reason})" if report.reason else "")
