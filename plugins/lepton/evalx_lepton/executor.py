"""The Lepton executor: endpoints and evaluation jobs on NVIDIA DGX Cloud Lepton.

The hooks are short. `Endpoints` (endpoints.py) and `Jobs` (tasks.py) say what each does; `Backend` (backend.py) holds what they share: one
SDK client, one listing of each kind per tick, the run's secrets. Only sdk.py touches leptonai.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import suppress
from typing import TYPE_CHECKING

from evalx.errors import ConfigError, EvalxError
from evalx.hookspecs import hookimpl
from evalx.model import (
    Billing,
    EndpointHandle,
    EndpointSpec,
    EnvValue,
    Event,
    Finding,
    Found,
    Handle,
    Spec,
    TaskHandle,
    TaskResult,
    TaskSpec,
)
from evalx.serving import target_of
from evalx.store.states import RunState
from evalx_lepton import emulated
from evalx_lepton.backend import Backend
from evalx_lepton.bodies import Json
from evalx_lepton.deployments import LeptonHooks
from evalx_lepton.endpoints import Endpoints, endpoint_data
from evalx_lepton.job import job_command
from evalx_lepton.ownership import all_of_evalx
from evalx_lepton.purge import Purge
from evalx_lepton.sdk import Workspace
from evalx_lepton.secrets import needed, readable
from evalx_lepton.settings import LeptonSettings
from evalx_lepton.tasks import Jobs

if TYPE_CHECKING:
    from evalx.context import RunContext

THREADS = 32
"""Most hook calls at a time, and connections to the platform."""

PLACE = "http://endpoint.invalid"
"""Stands for the address of an endpoint that is not deployed yet."""

FIRST_TICK, LONGEST_TICK, PATIENCE = 0.2, 3.0, 0.02
"""Seconds between two looks at a resource: at least, and at most; in between this part of the time for which it has been waited."""

LOOK = 0.002
"""Seconds of the interval for each resource of a large run, so that looking at all of them leaves time for everything else."""


class LeptonExecutor:
    """One run's endpoints and jobs in a Lepton workspace."""

    evalx_api = (1, 0)
    Settings = LeptonSettings
    deployments = "evalx.lepton.deployments"
    hook_specs = (LeptonHooks,)
    settle = 10.0

    def __init__(self) -> None:
        self._backend: Backend
        self._endpoints: Endpoints
        self._jobs: Jobs
        self._purge: Purge
        self._ticks: dict[str, float] = {}

    @hookimpl
    def setup(self, run: RunContext) -> None:
        """Register the variants that the plan names. The workspace is not touched, nor an emulated one started, before it is needed."""
        for variant in sorted({endpoint.variant for endpoint in run.plan.endpoints}):
            run.plugins.register_from(self.deployments, variant)
        self._backend = Backend(run, lambda: self._connect(run), lambda: self._needed_secrets(run))
        self._endpoints = Endpoints(run, self._backend, self.settle)
        self._jobs = Jobs(run, self._backend, self.settle)
        self._purge = Purge(run, self._backend, self.settle)

    def _connect(self, run: RunContext) -> Workspace:
        settings: LeptonSettings = run.settings
        if not settings.emulated:
            return Workspace(width=THREADS)
        return Workspace(emulated.credentials(run.directory, settings.lepton_platform.emulator.settings), THREADS)

    # ------------------------------------------------------------------ the five

    @hookimpl
    def deploy(self, run: RunContext, endpoint: EndpointSpec) -> EndpointHandle:  # noqa: ARG002
        return self._endpoints.deploy(endpoint)

    @hookimpl
    def wait_ready(self, run: RunContext, handle: EndpointHandle) -> EndpointHandle | None:  # noqa: ARG002
        return self._endpoints.wait_ready(handle, self._tick(handle))

    @hookimpl
    def run_task(self, run: RunContext, task: TaskSpec, endpoint: EndpointHandle) -> TaskHandle:  # noqa: ARG002
        return self._jobs.submit(task, endpoint)

    @hookimpl
    def collect(self, run: RunContext, handle: TaskHandle) -> TaskResult | None:  # noqa: ARG002
        return self._jobs.collect(handle, self._tick(handle))

    @hookimpl
    def cleanup(self, run: RunContext, handle: Handle) -> bool:  # noqa: ARG002
        if isinstance(handle, TaskHandle):
            return self._jobs.cleanup(handle, self._tick(handle))
        return not handle.owned or self._endpoints.cleanup(handle, self._tick(handle))

    # ------------------------------------------------------------------ the optional ones

    @hookimpl
    def preflight(self, run: RunContext) -> list[Finding]:
        from evalx_lepton.checks import findings

        return list(dict.fromkeys(findings(run, self)))

    @hookimpl
    def make_pool(self, run: RunContext) -> Executor:
        """Wide enough to create all endpoints at once."""
        wanted = len(run.plan.endpoints) + len(run.plan.tasks)
        return ThreadPoolExecutor(min(max(wanted, 8), THREADS), thread_name_prefix="evalx-lepton")

    @hookimpl
    def backend_id(self, run: RunContext) -> str | None:
        """None for an emulated workspace that the run starts, which is the run's own."""
        return None if run.settings.emulated else self._backend.workspace.address

    @hookimpl
    def billing(self, run: RunContext, spec: Spec) -> Billing:
        """Shape times replicas; of an endpoint that scales, as many as it may have, since no more is known."""
        if isinstance(spec, TaskSpec):
            return billing_of(run.settings.evaluation_tasks.resource_shape, 1)
        if self._endpoints.server_spec(spec) is None:
            return Billing()
        config = spec.options["deployment"]["lepton_config"]
        return billing_of(config["resource_shape"], max(config.get("max_replicas") or 0, config.get("min_replicas", 1), 1))

    @hookimpl
    def read_logs(self, run: RunContext, handle: Handle, follow: bool, since: float | None) -> Iterator[str]:
        from evalx_lepton.logs import lines

        if self._is_asleep(run):
            return iter(())
        return lines(run, self._backend.workspace, handle, follow, since)

    @hookimpl
    def cancel(self, run: RunContext, handle: TaskHandle) -> bool:  # noqa: ARG002
        return self._jobs.cancel(handle)

    @hookimpl
    def poll_interval(self, run: RunContext, handle: Handle, age: float) -> float:
        """A look costs little, since all share one listing; so the interval is the run's, and the listing's age follows it."""
        looked_at = max(len(run.plan.endpoints), len(run.plan.tasks))
        tick = min(max(FIRST_TICK, looked_at * LOOK, age * PATIENCE), LONGEST_TICK)
        self._ticks[handle.resource] = tick
        return tick

    def _tick(self, handle: Handle) -> float:
        """How old a listing may be that is looked into for this resource."""
        return 0.8 * self._ticks.get(handle.resource, FIRST_TICK)

    @hookimpl
    def teardown(self, run: RunContext) -> bool:
        settings: LeptonSettings = run.settings
        if not settings.emulated:
            return self._backend.delete_secrets()
        self._backend.close()
        return emulated.stop(run.directory)

    @hookimpl
    def on_event(self, run: RunContext, event: Event) -> None:
        """Endpoints are kept when every task is over: the secrets that jobs alone needed go at once, or else with the others in the end."""
        if event.kind == "run" and event.state == RunState.KEEPING and not run.stopping.is_set():
            with suppress(EvalxError):
                self._backend.delete_secrets(needed((), self._environments_of_endpoints(self._owned(run))))

    def _is_asleep(self, run: RunContext) -> bool:
        """An emulated workspace that is over: nothing can be there, and it is not worth starting to say so."""
        return run.settings.emulated and not emulated.runs(run.directory)

    @hookimpl
    def discover(self, run: RunContext) -> list[Found]:
        if self._is_asleep(run):
            return []
        return all_of_evalx(self._backend.workspace)

    @hookimpl
    def purge(self, run: RunContext) -> bool:
        """A small job removes the run's folders from the mounts; it is the only one that sees the folders above them."""
        if run.settings.emulated:
            return emulated.purge(run.directory)
        return self._purge.look(self._jobs.image())

    @hookimpl
    def preview(self, run: RunContext) -> Json:
        from evalx_lepton.checks import preview

        return preview(run, self)

    # ------------------------------------------------------------------ what preflight and preview use as well

    @property
    def backend(self) -> Backend:
        return self._backend

    @property
    def endpoints(self) -> Endpoints:
        return self._endpoints

    @property
    def jobs(self) -> Jobs:
        return self._jobs

    def stand_in(self, run: RunContext, endpoint: EndpointSpec) -> EndpointHandle:
        """A handle as the endpoint will have it, before it exists. Raises ConfigError, EndpointFailed."""
        server = self._endpoints.server_spec(endpoint)
        if server is None:
            return self._endpoints.deploy(endpoint)
        return EndpointHandle(endpoint, run.resource_name(endpoint), PLACE, data=endpoint_data(run.run_id, server))

    def _needed_secrets(self, run: RunContext) -> set[str]:
        owned = self._owned(run)
        return needed(owned, self._environments(run, owned))

    def _owned(self, run: RunContext) -> list[EndpointSpec]:
        return [endpoint for endpoint in run.plan.endpoints if self._endpoints.server_spec(endpoint) is not None]

    def _environments_of_endpoints(self, owned: list[EndpointSpec]) -> Iterator[Mapping[str, EnvValue]]:
        for endpoint in owned:
            server = self._endpoints.server_spec(endpoint)
            yield server.env if server is not None else {}
            yield readable((endpoint.options["deployment"].get("lepton_config") or {}).get("envs") or {})

    def _environments(self, run: RunContext, owned: list[EndpointSpec]) -> Iterator[Mapping[str, EnvValue]]:
        """Of all that the run will create; a task whose command cannot be made is told so when its turn comes."""
        yield readable(run.settings.lepton_platform.tasks.env_vars)
        yield from self._environments_of_endpoints(owned)
        handles = {endpoint.name: self.stand_in(run, endpoint) for endpoint in run.plan.endpoints}
        for task in run.plan.tasks:
            try:
                yield job_command(run, task, with_url(handles[task.endpoint])).env
            except ConfigError:
                continue


def billing_of(shape: str, count: int) -> Billing:
    """So many of a shape, whose name tells its accelerators: `gpu.8xh100` has 8, `gpu.a10` one, `cpu.small` none."""
    kind, _, rest = shape.lower().partition(".")
    several = re.match(r"(\d+)x", rest)
    accelerators = {"cpu": 0.0, "gpu": float(several[1]) if several else 1.0}.get(kind)
    return Billing(shape, count, accelerators)


def with_url(handle: EndpointHandle) -> EndpointHandle:
    """The handle with an address; its own, or that of the config, or the stand-in."""
    from attrs import evolve

    return handle if handle.url else evolve(handle, url=target_of(handle.spec).get("url") or PLACE)
