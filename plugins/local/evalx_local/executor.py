"""The local executor: model servers and evaluation tasks as processes, or containers, of this machine.

Read this to learn how an executor is written. The five hooks are short because each only starts or looks at one thing: `Runtime` does
the starting and looking (processes.py, containers.py), a deployment variant says what a server is (deployments.py), the harness what
a task is, and the core owns everything else.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from attrs import evolve

from evalx import failpoints
from evalx.errors import AuthError, EndpointFailed, EvalxError, TaskRefused
from evalx.hookspecs import hookimpl
from evalx.model import (
    Billing,
    EndpointHandle,
    EndpointSpec,
    Finding,
    Found,
    Handle,
    Json,
    Outcome,
    Secret,
    ServerSpec,
    Spec,
    TaskHandle,
    TaskResult,
    TaskSpec,
)
from evalx.results.logs import last_line, tail
from evalx.serving import api_key_data, asked_type, probe, target_of
from evalx_local import logs, ports
from evalx_local.containers import ContainerRuntime
from evalx_local.deployments import LocalHooks
from evalx_local.environment import secret_value
from evalx_local.jobs import place_of, server_job, task_job, task_site
from evalx_local.processes import ProcessRuntime
from evalx_local.runtime import Place, Runtime
from evalx_local.settings import LocalSettings

if TYPE_CHECKING:
    from evalx.context import RunContext


PROGRESS_LINES = 200
"""How much of a task's log is looked at for its progress."""


class LocalExecutor:
    """One run's servers and tasks on this machine."""

    evalx_api = (1, 0)
    Settings = LocalSettings
    deployments = "evalx.local.deployments"
    hook_specs = (LocalHooks,)

    def __init__(self) -> None:
        self._runtime: Runtime = ProcessRuntime()

    @hookimpl
    def setup(self, run: RunContext) -> None:
        """Make the runtime, and register the variants that the plan names: their hook `server_spec` is then part of this run."""
        if run.settings.containerised:
            self._runtime = ContainerRuntime(run.settings.runtime, run.settings.containers)
        for variant in sorted({endpoint.variant for endpoint in run.plan.endpoints}):
            run.plugins.register_from(self.deployments, variant)

    # ------------------------------------------------------------------ the five

    @hookimpl
    def deploy(self, run: RunContext, endpoint: EndpointSpec) -> EndpointHandle:
        server = self.server_spec(run, endpoint)
        if server is None:
            return EndpointHandle(endpoint, run.resource_name(endpoint), owned=False, data=api_key_data(endpoint))
        place = place_of(run, endpoint)
        data = self._adopt(run, endpoint, place, EndpointFailed) or self._start_server(run, endpoint, server, place)
        facts = {"routes": dict(server.routes), "health": server.health_path}
        return EndpointHandle(endpoint, place.name, data={**data, **facts, **api_key_data(endpoint)})

    @hookimpl
    def wait_ready(self, run: RunContext, handle: EndpointHandle) -> EndpointHandle | None:
        if handle.owned:
            self._refuse_dead(run, handle)
        url, key = _url(handle), handle.data.get("api_key")
        answer = probe(
            url,
            model=handle.spec.model,
            kind=asked_type(run.plan, handle.spec),
            routes=handle.data.get("routes") or {},
            health_path=handle.data.get("health"),
            api_key=secret_value(run, Secret(key)) if key else None,
            stopping=run.stopping,
        )
        if answer.ready:
            return evolve(handle, url=url)
        if answer.hopeless:
            hint = f"its log: evalx logs {run.run_id} --endpoint {handle.spec.name}" if handle.owned else answer.hint
            raise (AuthError if answer.unauthorised else EndpointFailed)(answer.told(url), hint)
        run.report(handle, "starting" if handle.owned else "waiting", answer.reason)
        return None

    @hookimpl
    def run_task(self, run: RunContext, task: TaskSpec, endpoint: EndpointHandle) -> TaskHandle:
        place = place_of(run, task)
        data = self._adopt(run, task, place, TaskRefused) or self._start_task(run, task, endpoint, place)
        return TaskHandle(task, place.name, data)

    @hookimpl
    def collect(self, run: RunContext, handle: TaskHandle) -> TaskResult | None:
        status = self._runtime.poll(place_of(run, handle.spec), handle.data)
        if status.running:
            self._report_progress(run, handle.spec)
            return None
        lost = status.exit_code is None
        return run.result(
            handle.spec,
            exit_code=status.exit_code,
            outcome=Outcome.LOST if lost else None,
            reason="its process is gone and has left no exit code" if lost else None,
            started=status.started,
            ended=status.ended,
        )

    @hookimpl
    def cleanup(self, run: RunContext, handle: Handle) -> bool:
        if isinstance(handle, EndpointHandle) and not handle.owned:
            return True
        planned = handle.resource == run.resource_name(handle.spec)  # not so for what `discover` has found
        place = place_of(run, handle.spec) if planned else Place(handle.resource, run.directory / handle.resource)
        return self._runtime.stop(place, handle.data)

    # ------------------------------------------------------------------ the optional ones

    @hookimpl
    def discover(self, run: RunContext) -> list[Found]:  # noqa: ARG002
        from evalx_local.search import find_all

        return find_all()

    @hookimpl
    def preflight(self, run: RunContext) -> list[Finding]:
        from evalx_local.checks import findings

        return list(findings(run, self))

    @hookimpl
    def billing(self, run: RunContext, spec: Spec) -> Billing:  # noqa: ARG002 -- the hook's signature
        """This machine is nobody's by the hour."""
        return Billing()

    @hookimpl
    def read_logs(self, run: RunContext, handle: Handle, follow: bool, since: float | None) -> Iterator[str]:
        place = place_of(run, handle.spec)

        def more() -> bool:
            return follow and not run.stopping.wait(0.2) and self._runtime.poll(place, handle.data).running

        return logs.lines(place.log, more, since)

    @hookimpl
    def cancel(self, run: RunContext, handle: TaskHandle) -> bool:
        self._runtime.stop(place_of(run, handle.spec), handle.data)
        return True

    @hookimpl
    def poll_interval(self, run: RunContext, handle: Handle, age: float) -> float:  # noqa: ARG002
        """Looking costs no more than reading a file or asking a server of our own."""
        return min(0.1 + age / 20, 2.0)

    # ------------------------------------------------------------------ what they are made of

    def server_spec(self, run: RunContext, endpoint: EndpointSpec) -> ServerSpec | None:
        """What the deployment variant says of an endpoint's server."""
        server: ServerSpec | None = run.plugins.call("server_spec", run=run, endpoint=endpoint)
        return server

    def find(self, run: RunContext, spec: Spec) -> Json | None:
        """What is known of a server or task that was started before, by whatever process."""
        return self._runtime.find(place_of(run, spec))

    def _adopt(self, run: RunContext, spec: Spec, place: Place, refusal: type[EvalxError]) -> Json | None:
        found = self._runtime.find(place)
        if found is not None and found["spec"] != run.spec_hash(spec):
            raise refusal(f"{place.name} exists already, for another configuration", f"evalx cleanup {run.run_id}")
        return found

    def _start_server(self, run: RunContext, endpoint: EndpointSpec, server: ServerSpec, place: Place) -> Json:
        try:
            with ports.reserve(server.port) as port:
                job = server_job(run, endpoint, server, place.folder, port.number)
                failpoints.reach("executor.endpoint.before")
                data = self._runtime.start(place, job, port)
                failpoints.reach("executor.endpoint.after")
                return data
        except ports.PortTaken as error:
            raise EndpointFailed(str(error), ports.HINT) from error
        except OSError as error:
            raise EndpointFailed(
                f"the model server cannot be started: {error}", "is there memory, and room on the disk? see: evalx doctor"
            ) from error

    def _start_task(self, run: RunContext, task: TaskSpec, endpoint: EndpointHandle, place: Place) -> Json:
        try:
            with ports.reserve() as port:
                command = run.command(task, endpoint, task_site(run, task, place.folder, port.number))
                job = task_job(run, task, command, place.folder)
                failpoints.reach("executor.task.before")
                data = self._runtime.start(place, job, port)
                failpoints.reach("executor.task.after")
                return data
        except OSError as error:
            raise TaskRefused(f"the task cannot be started: {error}", "is there memory, and room on the disk? see: evalx doctor") from error

    def _refuse_dead(self, run: RunContext, handle: EndpointHandle) -> None:
        place = place_of(run, handle.spec)
        status = self._runtime.poll(place, handle.data)
        if not status.running:
            how = "is gone" if status.exit_code is None else f"exited with code {status.exit_code}"
            said = last_line(place.folder)
            raise EndpointFailed(
                f"the model server {how}" + (f": {said}" if said else ""), f"its log: evalx logs {run.run_id} --endpoint {handle.spec.name}"
            )

    def _report_progress(self, run: RunContext, task: TaskSpec) -> None:
        progress = getattr(run.plugins.harness(task.harness), "progress", None)
        log = place_of(run, task).log
        done, total = (progress(tail(log, PROGRESS_LINES)) if progress else None) or (None, None)
        run.report(task, "running", done=done, total=total, activity=log.stat().st_size if log.exists() else 0)


def _url(handle: EndpointHandle) -> str:
    return f"http://{ports.HOST}:{handle.data['port']}" if handle.owned else str(target_of(handle.spec)["url"])
