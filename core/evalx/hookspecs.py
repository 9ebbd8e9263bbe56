"""The hooks: what an executor is.

Five hooks are its heart. Each starts or looks at *one* thing and returns at once; the core owns waiting, order, parallelism,
deadlines, retries, Ctrl-C and cleanup, and calls again. They are called from worker threads, several at a time, so an executor keeps
its state on `self` behind locks. Raise `TransientError` for what may pass (the core retries, nobody else does), `EndpointFailed` or
`TaskRefused` for what never will, `AuthError` for refused credentials.

    endpoint:  deploy → wait_ready … wait_ready → (its last task is over) → cleanup
    task:      run_task → collect … collect → cleanup

`run` is the `RunContext` of the run. Before `deploy` and `run_task` the core has stored the resource's name
(`run.resource_name(spec)`), so an executor that uses exactly this name can always be asked again after a crash.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import Executor
from typing import TYPE_CHECKING

import pluggy

from evalx.model import Billing, EndpointHandle, EndpointSpec, Event, Finding, Found, Handle, Json, TaskHandle, TaskResult, TaskSpec

if TYPE_CHECKING:
    from evalx.context import RunContext

API_VERSION = (1, 0)
"""Version of this contract. A plugin class states the one it was written for as `evalx_api`."""

hookspec = pluggy.HookspecMarker("evalx")
hookimpl = pluggy.HookimplMarker("evalx")


class ExecutorHooks:
    """The five. An executor implements all of them."""

    @hookspec(firstresult=True)
    def deploy(self, run: RunContext, endpoint: EndpointSpec) -> EndpointHandle:  # type: ignore[empty-body]
        """Create `run.resource_name(endpoint)`, or adopt it if it exists already and is ours. Return without waiting for it."""

    @hookspec(firstresult=True)
    def wait_ready(self, run: RunContext, handle: EndpointHandle) -> EndpointHandle | None:
        """The handle with its url once the model really answers; None: not yet, ask again. Say why with `run.report(...)`.

        Raises EndpointFailed if it never will.
        """

    @hookspec(firstresult=True)
    def run_task(self, run: RunContext, task: TaskSpec, endpoint: EndpointHandle) -> TaskHandle:  # type: ignore[empty-body]
        """Submit the task, or adopt what was submitted under its name. Return as soon as the backend has accepted it."""

    @hookspec(firstresult=True)
    def collect(self, run: RunContext, handle: TaskHandle) -> TaskResult | None:
        """The result when the task is over, whatever its outcome; None: still going, ask again.

        When the task is over, its files must be in `run.task_dir(task)` and the result is what `run.result(...)` makes of them.
        """

    @hookspec(firstresult=True)
    def cleanup(self, run: RunContext, handle: Handle) -> bool:  # type: ignore[empty-body]
        """Delete it. True when it is gone, also if it never was; False: under way, ask again.

        Repeatable, and works in a new process from the handle alone, also from a handle with empty `data` (name only). A handle
        with `owned=False` is never deleted: return True.
        """


class OptionalHooks:
    """Each of these is a capability: implementing it is declaring it."""

    @hookspec(firstresult=True)
    def setup(self, run: RunContext) -> bool | None:
        """Called once per process before any other hook: register sub-plugins in `run.plugins`. The return value is ignored."""

    @hookspec(firstresult=True)
    def teardown(self, run: RunContext) -> bool | None:
        """Delete what belongs to the run as a whole (secrets made for it, say), after everything else is gone.

        True when it is gone, also if it never was; False: under way, ask again. Called at the end of every run, resume and cleanup.
        """

    @hookspec(firstresult=True)
    def discover(self, run: RunContext) -> list[Found] | None:
        """Everything at the backend that bears evalx's marks, of whatever run; for cleaning up without local state. Changes nothing."""

    @hookspec(firstresult=True)
    def purge(self, run: RunContext) -> bool | None:
        """Delete the files that the run has left at the backend. True when they are gone; False: under way, ask again."""

    @hookspec(firstresult=True)
    def preflight(self, run: RunContext) -> list[Finding] | None:
        """Look for what is wrong before anything is created. An `error` finding stops the run. Must change nothing."""

    @hookspec(firstresult=True)
    def preview(self, run: RunContext) -> Json | None:
        """What exactly would be sent to the backend, as JSON for people to read: secrets as references only. Must change nothing."""

    @hookspec(firstresult=True)
    def backend_id(self, run: RunContext) -> str | None:
        """Which backend this process would use, for people to read and to compare: a workspace by its id and address, say. Must ask nobody.

        It is stored with the run, and a process that would use another one is refused: what is missing there is not gone. None: there is
        but one. Raises AuthError without credentials.
        """

    @hookspec(firstresult=True)
    def billing(self, run: RunContext, spec: EndpointSpec | TaskSpec) -> Billing | None:
        """What a planned endpoint or task will be billed as while it exists; None: that cannot be told. Must ask nobody.

        Prices are the user's: `execution.prices` has them by shape. Without this hook, cost is unknown and cannot be capped.
        """

    @hookspec(firstresult=True)
    def make_pool(self, run: RunContext) -> Executor | None:
        """The pool for the hook calls of this run; the core shuts it down. Default: 8 threads."""

    @hookspec(firstresult=True)
    def read_logs(self, run: RunContext, handle: Handle, follow: bool, since: float | None) -> Iterator[str] | None:
        """Lines of the resource's log, without line ends; with follow until the resource is over or `run.stopping` is set.

        since: only what was written from then on (seconds since the epoch), or somewhat more where the times of lines are not known. Who
        does not name it as a parameter is asked for whole logs only.
        """

    @hookspec(firstresult=True)
    def cancel(self, run: RunContext, handle: TaskHandle) -> bool | None:
        """Ask a task to stop early and keep what it has; `collect` is asked afterwards. Without it, cleanup does."""

    @hookspec(firstresult=True)
    def poll_interval(self, run: RunContext, handle: Handle, age: float) -> float | None:
        """Seconds until this handle should be looked at again, `age` seconds after it was created. Default: grows from 0.2 to 5."""


class ObserverHooks:
    """List hooks, called one at a time in the main thread; one that raises is muted for the rest of the run, with one warning."""

    @hookspec
    def on_event(self, run: RunContext, event: Event) -> None:
        """Something happened. Be quick."""

    @hookspec
    def finish(self, run: RunContext, results: Sequence[TaskResult]) -> None:
        """The run is over and cleaned up."""
