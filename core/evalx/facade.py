"""The typed calls of a run's hooks: the only place in the core that calls them.

A plugin's answer is checked before anything is made of it, so that a wrong type is blamed on the plugin and hook it came from and not
on the line of the core that stumbled over it.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, TypeVar

from evalx import failpoints
from evalx.errors import PluginError
from evalx.model import Billing, EndpointHandle, EndpointSpec, Event, Finding, Found, Handle, Json, Spec, TaskHandle, TaskResult, TaskSpec

if TYPE_CHECKING:
    from evalx.context import RunContext
    from evalx.manager import RunManager

T = TypeVar("T")
H = TypeVar("H", EndpointHandle, TaskHandle)

POOL_SIZE = 8
"""Threads for the hook calls of a run whose executor brings no pool."""


class Hooks:
    """The hooks of one run, with `run` filled in. Exceptions of plugins pass through, with a note that names plugin and hook; an answer
    of the wrong type raises PluginError. May be used from several threads; observers are called in the caller's."""

    def __init__(self, manager: RunManager, run: RunContext, on_warning: Callable[[str], None] | None = None) -> None:
        self._manager = manager
        self._run = run
        self._warn = on_warning or _log_warning

    def deploy(self, endpoint: EndpointSpec) -> EndpointHandle:
        """Create the endpoint or adopt it; does not wait."""
        return self._handle("deploy", EndpointHandle, endpoint, endpoint=endpoint)

    def wait_ready(self, handle: EndpointHandle) -> EndpointHandle | None:
        """The handle with its url once the endpoint answers; None: not yet."""
        answer: EndpointHandle | None = self._checked("wait_ready", (EndpointHandle, type(None)), handle=handle)
        if answer is None:
            return None
        if not answer.url:
            raise self._error("wait_ready", "a handle without url")
        return self._same_spec("wait_ready", answer, handle.spec)

    def run_task(self, task: TaskSpec, endpoint: EndpointHandle) -> TaskHandle:
        """Submit the task or adopt it."""
        return self._handle("run_task", TaskHandle, task, task=task, endpoint=endpoint)

    def collect(self, handle: TaskHandle) -> TaskResult | None:
        """The result of a task that is over; None: not yet."""
        answer: TaskResult | None = self._checked("collect", (TaskResult, type(None)), handle=handle)
        return answer and self._same_spec("collect", answer, handle.spec)

    def cleanup(self, handle: Handle) -> bool:
        """Delete; True when it is gone."""
        return bool(self._checked("cleanup", (bool,), handle=handle))

    def setup(self) -> None:
        """Let the executor register its sub-plugins; once per process, before any other hook."""
        self._manager.call("setup", run=self._run)

    def teardown(self) -> bool:
        """Delete what belongs to the run as a whole; True when it is gone."""
        return bool(self._checked("teardown", (bool,)))

    def discover(self) -> list[Found]:
        """All at the backend that bears evalx's marks."""
        found: list[Found] = self._checked("discover", (list, type(None))) or []
        return found

    def purge(self) -> bool:
        """Delete the run's files at the backend; True when they are gone."""
        return bool(self._checked("purge", (bool,)))

    def preflight(self) -> list[Finding]:
        """What the executor finds wrong before anything is created."""
        findings: list[Finding] = self._checked("preflight", (list, type(None))) or []
        for finding in findings:
            if not isinstance(finding, Finding):
                raise self._error("preflight", f"a list with {_a(finding)} in it")
        return findings

    def preview(self) -> Json | None:
        """What exactly would be sent to the backend; None: the executor does not tell."""
        told: Json | None = self._checked("preview", (Mapping, type(None)))
        return told

    def backend_id(self) -> str | None:
        """Which backend this process would use; None: there is but one, or the executor does not tell."""
        told: str | None = self._checked("backend_id", (str, type(None)))
        return told

    def billing(self, spec: Spec) -> Billing | None:
        """What a planned endpoint or task will be billed as; None: the executor does not tell."""
        told: Billing | None = self._checked("billing", (Billing, type(None)), spec=spec)
        return told

    def make_pool(self) -> Executor:
        """The pool for this run's hook calls; the caller shuts it down."""
        pool: Executor | None = self._checked("make_pool", (Executor, type(None)))
        return pool or ThreadPoolExecutor(POOL_SIZE, thread_name_prefix="evalx-hook")

    def read_logs(self, handle: Handle, follow: bool, since: float | None = None) -> Iterator[str] | None:
        """Lines of a resource's log; None: the executor has none to show. since: see the hook; PluginError if the executor cannot tell."""
        if since is not None and not self._manager.takes("read_logs", "since"):
            message = f"{self._manager.implementers('read_logs')} does not tell when a line was written"
            raise PluginError(message, "without --since the whole log is shown, with --tail N its end")
        lines: Iterator[str] | None = self._checked("read_logs", (Iterator, type(None)), handle=handle, follow=follow, since=since)
        return lines if lines is None else self._lines(lines)

    def cancel(self, handle: TaskHandle) -> bool:
        """Ask a task to stop early. False: nobody did, clean it up instead."""
        return bool(self._checked("cancel", (bool, type(None)), handle=handle))

    def poll_interval(self, handle: Handle, age: float) -> float:
        """Seconds until the handle should be looked at again, `age` seconds after it was created."""
        seconds = self._checked("poll_interval", (int, float, type(None)), handle=handle, age=age)
        if seconds is None:
            return min(5.0, 0.2 + age / 20)
        if isinstance(seconds, bool) or not math.isfinite(seconds) or seconds <= 0:
            raise self._error("poll_interval", f"{seconds!r}, not a positive number of seconds")
        return float(seconds)

    def on_event(self, event: Event) -> None:
        """Tell the observers of an event."""
        self._observe("on_event", event=event)

    def finish(self, results: Sequence[TaskResult]) -> None:
        """Tell the observers that the run is over."""
        self._observe("finish", results=results)

    def _observe(self, hook: str, **arguments: object) -> None:
        for name, call in self._manager.call_each(hook, run=self._run, **arguments):
            if name in self._manager.muted:
                continue
            try:
                call()
            except (Exception, SystemExit) as error:  # noqa: BLE001  whatever an observer does, the run goes on
                self._manager.muted.add(name)
                detail = str(error).partition("\n")[0][:200]
                who = self._manager.describe(name)
                self._warn(f"{who} failed in {hook} and is muted for the rest of the run: {type(error).__name__}: {detail}")

    def _handle(self, hook: str, kind: type[H], spec: Spec, **arguments: object) -> H:
        handle: H = self._checked(hook, (kind,), **arguments)
        try:
            json.dumps(handle.data)
        except (TypeError, ValueError) as error:
            raise self._error(hook, f"a handle whose data is not JSON ({error})") from error
        return self._same_spec(hook, handle, spec)

    def _same_spec(self, hook: str, answer: T, spec: Spec) -> T:
        found = getattr(answer, "spec", None)
        if found != spec:
            raise self._error(hook, f'an answer for another spec than "{spec.name}"')
        return answer

    def _checked(self, hook: str, types: tuple[type, ...], **arguments: object) -> Any:
        failpoints.reach(f"hook.{hook}.before")
        answer = self._manager.call(hook, run=self._run, **arguments)
        failpoints.reach(f"hook.{hook}.after")
        if not isinstance(answer, types):
            expected = " or ".join("None" if kind is type(None) else kind.__name__ for kind in types)
            raise self._error(hook, f"{_a(answer)}, not {expected}")
        return answer

    def _lines(self, lines: Iterator[str]) -> Iterator[str]:
        try:
            yield from lines
        except Exception as error:
            error.add_note(f"raised by {self._manager.implementers('read_logs')} in hook read_logs")
            raise

    def _error(self, hook: str, returned: str) -> PluginError:
        return PluginError(
            f"{self._manager.implementers(hook)}: hook {hook} returned {returned}", "its author should run: evalx plugins check"
        )


def _a(value: object) -> str:
    return "None" if value is None else f"a value of type {type(value).__name__}"


def _log_warning(message: str) -> None:
    import structlog

    structlog.get_logger("evalx").warning(message)
