"""The bodies of the calls that create endpoints and jobs: pure functions from the plan to JSON."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from evalx.config.env import parse_env
from evalx.errors import ConfigError
from evalx.harnesses.build import TRUST_HINT
from evalx.model import EndpointSpec, EnvValue, Secret, ServerSpec, Spec, TaskSpec
from evalx_lepton.settings import VOLUME, LeptonSettings

if TYPE_CHECKING:
    from evalx.context import RunContext

IDLE_SLACK = 3600
"""Seconds that an endpoint may be without traffic beyond what the run itself may keep it waiting."""

PRE_CMD = 'eval "$1" || exit; shift; exec "$@"'

RUN_SECRET = "evalx-{run_id}-{name}"  # noqa: S105
"""Names of the workspace secrets that are made for a run."""

TOKEN = "ENDPOINT_TOKEN"  # noqa: S105
"""What the run's own token is called among its secrets."""

OWNER_MARK = "EVALX_OWNER"

FIXED = {("auto_scaler", "scale_down", "scale_from_zero"): False, ("enable_rdma",): False}
"""Fields of published configs that the platform no longer has, and the value with which they say what it does anyway."""

Json = dict[str, Any]


def secret_name(run_id: str, name: str) -> str:
    """The name of a run's secret in the workspace."""
    return RUN_SECRET.format(run_id=run_id, name=name)


def token_secret(run_id: str) -> Secret:
    """Where jobs find the token of the run's endpoints."""
    return Secret(f"secret:{secret_name(run_id, TOKEN)}")


def env_list(run_id: str, env: Mapping[str, EnvValue]) -> list[Json]:
    """Variables as the platform wants them. Values of this machine go by the run's secrets, never as text."""
    return [_variable(run_id, name, value) for name, value in env.items()]


def _variable(run_id: str, name: str, value: EnvValue) -> Json:
    if isinstance(value, str):
        return {"name": name, "value": value}
    ref = value.name if value.source == "secret" else secret_name(run_id, value.name)
    return {"name": name, "value_from": {"secret_name_ref": ref}}


def merged(under: Any, over: Any) -> Any:
    """Mappings merged key by key; anything else in `over` wins."""
    if isinstance(under, Mapping) and isinstance(over, Mapping):
        return {**under, **{key: merged(under[key], value) if key in under else value for key, value in over.items()}}
    return over


def without_fixed(spec: Json) -> Json:
    """The spec without the fields of `FIXED` where they say what the platform does anyway."""
    result = merged({}, spec)
    for path, value in FIXED.items():
        _drop(result, path, value)
    return result  # type: ignore[no-any-return]


def _drop(tree: Json, path: Sequence[str], value: Any) -> None:
    key, *rest = path
    if not rest:
        if key in tree and tree[key] == value:
            del tree[key]
    elif isinstance(tree.get(key), Mapping):
        tree[key] = dict(tree[key])
        _drop(tree[key], rest, value)


# ---------------------------------------------------------------------- endpoints


def endpoint_spec(run: RunContext, endpoint: EndpointSpec, server: ServerSpec) -> Json:
    """The spec of an endpoint as the deployment says it, for the variants' hook `lepton_endpoint`.

    Raises ConfigError for a pre_cmd that is not trusted and for variables that are not well formed.
    """
    deployment = endpoint.options["deployment"]
    config = deployment["lepton_config"]
    port = server.port
    container: Json = {"image": server.image, "ports": [{"container_port": port}]}
    if command := _command(run, server):
        container["command"] = [argument.replace("{port}", str(port)) for argument in command]
    least = config.get("min_replicas", 1)
    spec: Json = {
        "container": container,
        "resource_requirement": {
            "resource_shape": config["resource_shape"],
            "min_replicas": least,
            "max_replicas": config.get("max_replicas") or max(least, 1),
        },
        "envs": env_list(run.run_id, {**derived_env(endpoint, server), **server.env, **parse_env(config.get("envs") or {})}),
        "mounts": endpoint_mounts(config.get("mounts"), run.settings),
    }
    for key in ("auto_scaler", "health", "image_pull_secrets"):
        if config.get(key):
            spec[key] = config[key]
    return {key: value for key, value in spec.items() if value != []}


def _command(run: RunContext, server: ServerSpec) -> tuple[str, ...]:
    if not server.pre_cmd:
        return server.argv
    if not run.trust_commands:
        raise ConfigError("the config brings a shell command of its own: deployment.pre_cmd", TRUST_HINT)
    return ("sh", "-c", PRE_CMD, "pre_cmd", server.pre_cmd, *server.argv)


def derived_env(endpoint: EndpointSpec, server: ServerSpec) -> dict[str, EnvValue]:
    """Variables that say again what the deployment says, for images that are told by their environment."""
    deployment = endpoint.options["deployment"]
    found = {
        "SERVED_MODEL_NAME": server.served_model,
        "MODEL_PORT": server.port,
        "MODEL_PATH": deployment.get("checkpoint_path"),
        "TENSOR_PARALLEL_SIZE": deployment.get("tensor_parallel_size"),
        "NIM_MODEL_NAME": server.served_model if endpoint.variant == "nim" else None,
    }
    return {name: str(value) for name, value in found.items() if value is not None}


def endpoint_mounts(mounts: Any, settings: LeptonSettings) -> list[Json]:
    """Mounts of an endpoint: a list as for jobs, or the published form with `cache_path`, which takes the volume of the jobs."""
    if isinstance(mounts, Mapping):
        if not mounts.get("enabled", True):
            return []
        first = settings.lepton_platform.tasks.mounts[:1]
        volume = mounts.get("from") or (first[0]["from"] if first else VOLUME)
        return [{"from": volume, "path": mounts["cache_path"], "mount_path": mounts["mount_path"]}]
    return [dict(mount) for mount in mounts or []]


def endpoint_body(run: RunContext, endpoint: EndpointSpec, spec: Json, *, token: str, owner: str, group: str | None, labels: bool) -> Json:
    """The complete body: `spec` over the platform defaults, and what no variant may leave out: marks, token, time limits.

    token: that requests must carry. owner: fingerprint of who creates it. group: id of the node group. labels: the routes take labels.
    """
    settings: LeptonSettings = run.settings
    name = run.resource_name(endpoint)
    marks = marks_of(run, endpoint, owner)
    label = (endpoint.options["deployment"].get("lepton_config") or {}).get("endpoint_name")
    if label:
        marks["EVALX_NAME"] = label
    whole = merged(_belt(run), merged(settings.lepton_platform.deployment.platform_defaults, spec))
    whole = without_fixed(whole)
    if group:
        whole = merged({"resource_requirement": {"affinity": {"allowed_dedicated_node_groups": [group]}}}, whole)
    whole["envs"] = [*whole.get("envs", []), *env_list(run.run_id, marks)]
    tokens = (endpoint.options["deployment"].get("lepton_config") or {}).get("api_tokens") or []
    whole["api_tokens"] = [{"value": token}, *(_api_token(run, entry) for entry in tokens)]
    metadata: Json = {"id": name, "name": name, **({"labels": marks} if labels else {})}
    return {"metadata": metadata, "spec": whole}


def _api_token(run: RunContext, entry: Mapping[str, Any]) -> Json:
    """A further token of the user's; its value comes from this machine's environment."""
    value = entry.get("value")
    if isinstance(value, str) and value.startswith("host:"):
        return {"value": run.secret(Secret(value))}
    return {"value": value.removeprefix("lit:")} if isinstance(value, str) else dict(entry)


def _belt(run: RunContext) -> Json:
    """What ends an endpoint if evalx never comes back: no traffic for longer than the run itself may keep it waiting, and then the user."""
    plan = run.plan
    rounds = math.ceil(len(plan.tasks) / plan.limits.max_tasks) if plan.limits.max_tasks else 1
    longest = max((task.timeout for task in plan.tasks), default=0.0)
    idle = run.settings.ready_timeout + max(rounds, 1) * (run.settings.queue_timeout + longest) + (plan.limits.keep or 0.0) + IDLE_SLACK
    return {"auto_scaler": {"scale_down": {"no_traffic_timeout": math.ceil(idle)}}}


# ---------------------------------------------------------------------- jobs


def job_body(
    run: RunContext, task: TaskSpec, *, command: Sequence[str], image: str, env: Mapping[str, EnvValue], owner: str, group: str | None
) -> Json:
    """The body of a task's job. env: the task's variables; those of the platform's settings are under them."""
    tasks = run.settings.lepton_platform.tasks
    return _job(
        run,
        run.resource_name(task),
        marks_of(run, task, owner),
        command=command,
        image=image,
        group=group,
        envs=env_list(run.run_id, {**parse_env(tasks.env_vars), **env}),
        mounts=task_mounts(run),
    )


def purge_body(run: RunContext, *, image: str, owner: str, group: str | None) -> Json:
    """The body of the job that removes the run's folders from the mounts: it alone sees the folders above them."""
    name = purge_name(run.run_id)
    mounts = [{**mount, "mount_path": f"/evalx-storage/{index}"} for index, mount in enumerate(own_mounts(run))]
    folders = [f"{mount['mount_path']}/{run.run_id}" for mount in mounts]
    marks = {"EVALX_RUN": run.run_id, "EVALX_RESOURCE": name, OWNER_MARK: owner}
    return _job(run, name, marks, command=["rm", "-rf", "--", *folders], image=image, group=group, envs=[], mounts=mounts)


def purge_name(run_id: str) -> str:
    """The name of the job that removes a run's folders."""
    return f"evalx-{run_id}-purge"


def _job(
    run: RunContext,
    name: str,
    marks: dict[str, str],
    *,
    command: Sequence[str],
    image: str,
    group: str | None,
    envs: list[Json],
    mounts: Any,
) -> Json:
    settings: LeptonSettings = run.settings
    tasks = settings.lepton_platform.tasks
    spec: Json = {
        "resource_shape": settings.evaluation_tasks.resource_shape,
        "container": {"image": image, "command": list(command)},
        "completions": 1,
        "parallelism": 1,
        "max_job_failure_retry": tasks.max_job_failure_retry,
        "ttl_seconds_after_finished": tasks.ttl_seconds_after_finished,
        "envs": [*envs, *env_list(run.run_id, marks)],
        "mounts": mounts,
        "image_pull_secrets": list(tasks.image_pull_secrets),
    }
    if group:
        spec["affinity"] = {"allowed_dedicated_node_groups": [group]}
    spec = merged(merged({"log": {"enable_collection": True}}, tasks.platform_defaults), spec)
    return {"metadata": {"id": name, "name": name, "labels": marks}, "spec": without_fixed(spec)}


def marks_of(run: RunContext, spec: Spec, owner: str) -> dict[str, str]:
    """What tells evalx's resources from others', and this run's from other runs'."""
    return {**run.labels(spec), OWNER_MARK: owner}


def own_mounts(run: RunContext) -> list[Json]:
    """The mounts on which the run has a folder of its own."""
    settings: LeptonSettings = run.settings
    if not settings.evaluation_tasks.use_shared_storage:
        return []
    return [dict(mount) for mount in settings.lepton_platform.tasks.mounts if not _read_only(mount)]


def task_mounts(run: RunContext) -> list[Json]:
    """The mounts of a job: the run's own folder of each; of a read-only one all of it."""
    settings: LeptonSettings = run.settings
    if not settings.evaluation_tasks.use_shared_storage:
        return []
    mounts = settings.lepton_platform.tasks.mounts
    return [dict(mount) if _read_only(mount) else {**mount, "path": storage_path(mount, run.run_id)} for mount in mounts]


def storage_path(mount: Mapping[str, Any], run_id: str) -> str:
    """The run's folder on the volume of a mount."""
    return f"{mount['path'].rstrip('/')}/{run_id}"


def _read_only(mount: Mapping[str, Any]) -> bool:
    return bool((mount.get("mount_options") or {}).get("read_only"))
