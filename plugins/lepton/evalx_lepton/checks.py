"""What can be found wrong before anything is created, and what would be created: `evalx plan`."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from evalx.display.text import duration
from evalx.errors import AuthError, ConfigError, EvalxError, PluginError, TransientError
from evalx.model import EndpointHandle, EndpointSpec, EnvValue, Finding, Secret, ServerSpec, TaskSpec
from evalx.serving import target_of
from evalx_lepton import accepted, emulated, installation
from evalx_lepton.backend import group_id
from evalx_lepton.bodies import Json, endpoint_body, secret_name
from evalx_lepton.executor import LeptonExecutor, with_url
from evalx_lepton.job import SCRIPT
from evalx_lepton.problems import NoCredentials
from evalx_lepton.sdk import Workspace
from evalx_lepton.settings import LeptonSettings

if TYPE_CHECKING:
    from evalx.context import RunContext

HIDDEN = "<the run's own token>"
OF_ENDPOINTS = "it comes from deployment.lepton_config or execution.lepton_platform.deployment.platform_defaults"
OF_JOBS = "it comes from execution.lepton_platform.tasks or its platform_defaults"
"""Where the fields are written that an endpoint's or job's body has."""

SKEW = 60.0
"""Seconds by which the clocks may differ."""

FINGERPRINT = "000000000000"
"""Stands for the fingerprint of a workspace that is not asked."""


# ---------------------------------------------------------------------- preflight


def findings(run: RunContext, executor: LeptonExecutor) -> Iterator[Finding]:
    """All that is wrong, in this configuration and then in the workspace."""
    try:
        installation.check_installed()
    except PluginError as error:
        yield _error(error)
        return
    yield Finding("ok", f"leptonai {installation.installed()}")
    for endpoint in run.plan.endpoints:
        yield from _endpoint(run, executor, endpoint)
    for task in run.plan.tasks:
        yield from _task(run, executor, task)
    if run.settings.emulated:
        yield from _emulated(run)
    else:
        yield from _workspace(run, executor)


def _error(error: EvalxError, prefix: str = "") -> Finding:
    kind = "auth" if isinstance(error, AuthError) else "config"
    return Finding("error", f"{prefix}{error}", error.hint, kind=kind, unasked=isinstance(error, NoCredentials))


def _endpoint(run: RunContext, executor: LeptonExecutor, endpoint: EndpointSpec) -> Iterator[Finding]:
    try:
        server = executor.endpoints.server_spec(endpoint)
        if server is None:
            yield from _existing(run, endpoint)
            return
        body = preview_endpoint(run, executor, endpoint, server)
    except EvalxError as error:
        yield _error(error, "deployment: ")
        return
    yield from (
        Finding("error", f"endpoint {endpoint.name}: {problem}", OF_ENDPOINTS) for problem in accepted.problems_of("endpoint", body)
    )
    yield from _short_belt(run, body)
    yield from _references(run, server.env)


def _short_belt(run: RunContext, body: Json) -> Iterator[Finding]:
    """An idle limit of the user's own that ends the endpoint while it is to be kept."""
    idle, keep = ((body["spec"].get("auto_scaler") or {}).get("scale_down") or {}).get("no_traffic_timeout"), run.plan.limits.keep
    if keep is not None and isinstance(idle, int | float) and 0 < idle < keep:
        message = f"the endpoint is to be kept for {duration(keep)}, but stops after {duration(idle)} without traffic"
        yield Finding("error", message, f"remove auto_scaler.scale_down.no_traffic_timeout, or make it at least {math.ceil(keep)}")


def _existing(run: RunContext, endpoint: EndpointSpec) -> Iterator[Finding]:
    target = target_of(endpoint)
    if not target.get("url"):
        yield Finding(
            "error", f"deployment {endpoint.variant} needs the URL of an endpoint", "target.api_endpoint.url=https://…/v1/chat/completions"
        )
    if name := target.get("api_key_name"):
        yield from _references(run, {name: Secret(f"host:{name}")})


def _task(run: RunContext, executor: LeptonExecutor, task: TaskSpec) -> Iterator[Finding]:
    try:
        handle = with_url(executor.stand_in(run, run.plan.endpoint(task.endpoint)))
        body = executor.jobs.body(task, handle, None, FINGERPRINT)
    except EvalxError as error:
        yield _error(error, "" if task.name in str(error) else f"task {task.name}: ")
        return
    yield from (Finding("error", f"task {task.name}: {problem}", OF_JOBS) for problem in accepted.problems_of("job", body))
    from evalx_lepton.job import job_command

    yield from _references(run, job_command(run, task, handle).env)


def _references(run: RunContext, env: Mapping[str, EnvValue]) -> Iterator[Finding]:
    """Variables of this machine that are not set."""
    for value in env.values():
        if isinstance(value, Secret) and value.source == "host":
            try:
                run.secret(value)
            except ConfigError as error:
                yield _error(error)


def _emulated(run: RunContext) -> Iterator[Finding]:
    try:
        emulated.check_settings(run.settings.lepton_platform.emulator.settings)
    except ImportError as error:
        yield Finding("error", f"the emulated workspace needs more packages: {error}", installation.INSTALL)
    except EvalxError as error:
        yield _error(error)
    else:
        yield Finding("ok", "the workspace is an emulated one, which the run starts")


def _workspace(run: RunContext, executor: LeptonExecutor) -> Iterator[Finding]:
    """What the workspace says; a question that it does not answer now is a warning, unless it refuses us."""
    try:
        info = executor.backend.workspace.info()
    except TransientError as error:
        yield Finding(
            "error", f"the workspace does not answer: {error}", "try again; if LEPTON_WORKSPACE_URL is set, is it right?", unasked=True
        )
        return
    except EvalxError as error:
        yield _error(error)
        return
    if info.get("workspace_state") not in ("normal", "unknown", None):
        yield Finding(
            "error", f"workspace {executor.backend.workspace.id} is {info['workspace_state']}", "its state is changed in the dashboard"
        )
    else:
        yield Finding("ok", f"workspace {executor.backend.workspace.id} answers and accepts the token")
    yield from _clock(executor.backend.workspace)
    for check in (_groups, _shapes, _secrets, _pull_secrets, _routes):
        try:
            yield from check(run, executor)
        except TransientError as error:
            yield Finding("warning", f"not checked: {error}", "the same command asks again")
        except EvalxError as error:
            yield _error(error)
    yield from _quota(run, info)


def _clock(workspace: Workspace) -> Iterator[Finding]:
    """The clock of this machine against the workspace's: logs are asked for by time, and would be looked for in the wrong hour."""
    theirs = workspace.clock()
    if theirs is None:
        return
    skew = time.time() - theirs
    if abs(skew) > SKEW:
        said = f"the clock of this machine is {duration(abs(skew))} {'ahead of' if skew > 0 else 'behind'} the workspace's"
        yield Finding("warning", said, "timedatectl set-ntp true")
    else:
        yield Finding("ok", "the clocks of this machine and the workspace agree")


def _groups(run: RunContext, executor: LeptonExecutor) -> Iterator[Finding]:
    platform = run.settings.lepton_platform
    for key, name in (("deployment", platform.deployment.node_group), ("tasks", platform.tasks.node_group)):
        if name is not None:
            try:
                group_id(name, executor.backend.groups())
            except ConfigError as error:
                yield _error(error, f"execution.lepton_platform.{key}.node_group: ")
            else:
                yield Finding("ok", f"node group {name} exists")


def _shapes(run: RunContext, executor: LeptonExecutor) -> Iterator[Finding]:
    wanted = {("job", run.settings.evaluation_tasks.resource_shape, "execution.evaluation_tasks.resource_shape")}
    for endpoint in run.plan.endpoints:
        config = endpoint.options["deployment"].get("lepton_config")
        if config:
            wanted.add(("deployment", config["resource_shape"], "deployment.lepton_config.resource_shape"))
    for purpose, shape, key in sorted(wanted):
        known = executor.backend.workspace.shapes(purpose)
        if known and shape.lower() not in known:
            yield Finding("error", f"{key}: the workspace has no shape {shape!r}", f"there are: {', '.join(known)}")
        elif known:
            yield Finding("ok", f"shape {shape} exists")


def _secrets(run: RunContext, executor: LeptonExecutor) -> Iterator[Finding]:
    """Workspace secrets that are referred to, but do not exist."""
    names = {ref for body in _bodies(run, executor) for ref in _refs(body["spec"]) if not ref.startswith(secret_name(run.run_id, ""))}
    if names:
        known = executor.backend.workspace.secrets()
        for name in sorted(names - set(known)):
            yield Finding("error", f"the workspace has no secret {name!r}", f"lep secret create -n {name} -v …")
        yield from (Finding("ok", f"secret {name} exists") for name in sorted(names & set(known)))


def _pull_secrets(run: RunContext, executor: LeptonExecutor) -> Iterator[Finding]:
    """Registry secrets that are referred to: the platform has no call that lists them."""
    names = {name for body in _bodies(run, executor) for name in body["spec"].get("image_pull_secrets") or []}
    for name in sorted(names):
        yield Finding("note", f"image pull secret {name} cannot be looked up: the platform lists them in its dashboard only")


def _routes(run: RunContext, executor: LeptonExecutor) -> Iterator[Finding]:
    """What the newer endpoint routes cannot express, where the workspace has these."""
    if not executor.backend.workspace.new_api:
        return
    for endpoint in run.plan.endpoints:
        server = executor.endpoints.server_spec(endpoint)
        if server is not None:
            body = preview_endpoint(run, executor, endpoint, server)
            yield from (
                Finding("error", f"endpoint {endpoint.name}: {problem}", "remove it from deployment.lepton_config")
                for problem in accepted.problems_on_new_api(body)
            )


def _quota(run: RunContext, info: Mapping[str, Any]) -> Iterator[Finding]:
    """Accelerators, as far as the workspace tells: its quota may be another one than that of the node group."""
    quota = info.get("resource_quota") or {}
    limit = (quota.get("limit") or {}).get("accelerator_num")
    used = (quota.get("used") or {}).get("accelerator_num") or 0
    shapes = info.get("supported_shapes") or {}
    wanted = 0.0
    for endpoint in run.plan.endpoints:
        config = endpoint.options["deployment"].get("lepton_config") or {}
        each = (shapes.get(config.get("resource_shape")) or {}).get("accelerator_num") or 0
        wanted += each * config.get("min_replicas", 1)
    if run.plan.limits.max_endpoints:
        wanted *= min(run.plan.limits.max_endpoints / len(run.plan.endpoints), 1)
    if limit and wanted > limit - used:
        hint = "execution.endpoints: shared, or execution.max_endpoints, needs fewer at a time"
        yield Finding(
            "warning", f"the endpoints want {wanted:g} accelerators; {limit - used:g} of the workspace's {limit:g} are free", hint
        )


def _bodies(run: RunContext, executor: LeptonExecutor) -> Iterator[Json]:
    for endpoint in run.plan.endpoints:
        server = executor.endpoints.server_spec(endpoint)
        if server is not None:
            yield preview_endpoint(run, executor, endpoint, server)
    for task in run.plan.tasks:
        try:
            handle = with_url(executor.stand_in(run, run.plan.endpoint(task.endpoint)))
            yield executor.jobs.body(task, handle, None, FINGERPRINT)
        except EvalxError:
            continue


def _refs(spec: Mapping[str, Any]) -> Iterator[str]:
    for variable in spec.get("envs") or []:
        if ref := (variable.get("value_from") or {}).get("secret_name_ref"):
            yield ref


# ---------------------------------------------------------------------- preview


def preview_endpoint(run: RunContext, executor: LeptonExecutor, endpoint: EndpointSpec, server: ServerSpec) -> Json:
    """The body as it would be sent, without secrets and without asking the workspace."""
    body = endpoint_body(
        run,
        endpoint,
        executor.endpoints.spec(endpoint, server),
        token=HIDDEN,
        owner=FINGERPRINT,
        group=run.settings.lepton_platform.deployment.node_group,
        labels=not _known_new_api(executor),
    )
    tokens = body["spec"]["api_tokens"]
    body["spec"]["api_tokens"] = [tokens[0], *({**token, **({"value": "<hidden>"} if "value" in token else {})} for token in tokens[1:])]
    return body


def _known_new_api(executor: LeptonExecutor) -> bool:
    """Whether the workspace is known to have the newer endpoint routes."""
    return executor.backend.connected and executor.backend.workspace.new_api


def preview(run: RunContext, executor: LeptonExecutor) -> Json:
    """Exactly what would be sent: the bodies by the names of endpoints and tasks, the job script, and what the SDK says of them."""
    route = "POST /endpoints" if _known_new_api(executor) else "POST /deployments"
    endpoints: Json = {}
    for endpoint in run.plan.endpoints:
        server = executor.endpoints.server_spec(endpoint)
        if server is not None:
            body = preview_endpoint(run, executor, endpoint, server)
            endpoints[endpoint.name] = {"request": route, "body": body, "problems": accepted.problems_of("endpoint", body)}
    tasks = {task.name: _preview_task(run, executor, task) for task in run.plan.tasks}
    return {"endpoints": endpoints, "tasks": tasks, "script": SCRIPT}


def _preview_task(run: RunContext, executor: LeptonExecutor, task: TaskSpec) -> Json:
    settings: LeptonSettings = run.settings
    handle: EndpointHandle = with_url(executor.stand_in(run, run.plan.endpoint(task.endpoint)))
    body = executor.jobs.body(task, handle, settings.lepton_platform.tasks.node_group, FINGERPRINT)
    return {"request": "POST /jobs", "body": body, "problems": accepted.problems_of("job", body)}
