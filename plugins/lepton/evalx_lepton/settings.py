"""The keys of `execution` for the Lepton executor: those of the published configuration, and a few more. Durations are seconds."""

from __future__ import annotations

import posixpath
from collections.abc import Callable, Mapping
from typing import Any, Literal

from attrs import frozen

from evalx.config.settings import ExecutionSettings, at_least, setting
from evalx.errors import ConfigError

VOLUME = "node-nfs:lepton-shared-fs"
WORKSPACE = "/workspace"
DEFAULT_MOUNT = {"from": VOLUME, "path": "/shared/nemo-evaluator-launcher-workspace", "mount_path": WORKSPACE}

MOUNT = "{from: 'node-nfs:NAME', path: /folder/there, mount_path: /folder/here}"

WEEK = 7 * 24 * 3600

MOUNT_KEYS = frozenset({"from", "path", "mount_path", "mount_options"})


def check_mounts(_instance: Any, attribute: Any, value: Any) -> None:
    """Validator for `setting`: a list of mounts as Lepton writes them."""
    for mount in value:
        if problem := mount_problem(mount):
            raise ConfigError(problem, f"such as {MOUNT}", where=attribute.name)


def mount_problem(mount: Mapping[str, Any]) -> str | None:
    """What is wrong with a mount, in words."""
    if unknown := sorted(set(mount) - MOUNT_KEYS):
        return f"a mount has no key '{unknown[0]}', only {', '.join(sorted(MOUNT_KEYS))}"
    for key in ("from", "path", "mount_path"):
        value = mount.get(key)
        if not isinstance(value, str) or not value:
            return f"a mount needs '{key}'"
        if key != "from" and (not value.startswith("/") or posixpath.normpath(value) != (value.rstrip("/") or "/")):
            return f"'{key}' of a mount must be a full path without '..', not '{value}'"
    return None


def no_keys(*names: str) -> Callable[[Any, Any, Any], None]:
    """Validator for `setting`: a mapping without these keys, which evalx sets itself."""

    def check(_instance: Any, attribute: Any, value: Any) -> None:
        if own := sorted(set(names) & set(value)):
            raise ConfigError(f"'{own[0]}' is set by evalx and cannot be set here", "leave it out", where=attribute.name)

    return check


@frozen(kw_only=True)
class EvaluationTasks:
    """What each task's job gets."""

    resource_shape: str = setting("cpu.small", help="Shape of the jobs: cpu.small, gpu.small, gpu.1xh200, …")
    timeout: float = setting(3600.0, help="Seconds until a task must be over, unless it says otherwise.", validator=at_least(1))
    use_shared_storage: bool = setting(True, help="Jobs work in a folder of the run on the first mount; without it, in their container.")


@frozen(kw_only=True)
class DeploymentPlatform:
    """Where and how endpoints are deployed."""

    node_group: str | None = setting(None, help="Node group of the endpoints, by name or id.")
    endpoint_readiness_timeout: float = setting(1200.0, help="Seconds until an endpoint must answer.", validator=at_least(1))
    platform_defaults: Mapping[str, Any] = setting(
        factory=dict,
        help="Fields of the endpoint's spec, under what `deployment` says: health, log, queue_config, image_pull_secrets, …",
        validator=no_keys("api_tokens", "allow_unauthenticated_access", "is_pod"),
    )


@frozen(kw_only=True)
class TaskPlatform:
    """Where and how tasks run."""

    node_group: str | None = setting(None, help="Node group of the jobs, by name or id.")
    env_vars: Mapping[str, Any] = setting(
        factory=dict, help="Variables of all jobs: host:NAME, lit:TEXT, plain values or {value_from: {secret_name_ref: NAME}}."
    )
    mounts: list[Mapping[str, Any]] = setting(
        factory=lambda: [dict(DEFAULT_MOUNT)],
        help="Volumes of the jobs; by default `path` /shared/nemo-evaluator-launcher-workspace, `from` node-nfs:lepton-shared-fs, at "
        "`mount_path` /workspace. Each run gets a folder of its own below `path`, unless the mount is read only.",
        validator=check_mounts,
    )
    image_pull_secrets: list[str] = setting(factory=list, help="Names of the registry secrets with which the jobs' images are pulled.")
    image: str | None = setting(None, help="Image for tasks that name none and are not in the catalogue.")
    max_job_failure_retry: int = setting(0, help="How often Lepton itself starts a failed job again.", validator=at_least(0))
    ttl_seconds_after_finished: int = setting(
        WEEK, help="Seconds that Lepton keeps a finished job, if evalx cannot delete it before.", validator=at_least(600)
    )
    log_timeout: float = setting(
        120.0, help="Seconds after a job's end in which its results must have come through its log.", validator=at_least(1)
    )
    queue_timeout: float = setting(
        3600.0,
        help="Seconds that a job may wait for the platform (its queue, capacity, its image) before it runs; the task's own time counts "
        "from then. Its endpoint waits with it.",
        validator=at_least(1),
    )
    platform_defaults: Mapping[str, Any] = setting(
        factory=dict,
        help="Further fields of the job's spec: queue_config, shared_memory_size, …",
        validator=no_keys("container", "envs", "mounts", "completions", "parallelism", "stopped", "time_schedule"),
    )


@frozen(kw_only=True)
class EmulatorChoice:
    """The emulated workspace of a run."""

    settings: Any = setting(None, help="Its settings: the path of a YAML file, or a mapping.")


@frozen(kw_only=True)
class LeptonPlatform:
    """The workspace."""

    workspace: Literal["real", "emulated"] = setting(
        "real", help="`real`: that of `lep login` or LEPTON_WORKSPACE_*; `emulated`: one on this machine, started and stopped by the run."
    )
    emulator: EmulatorChoice = setting(factory=EmulatorChoice, help="The emulated workspace.")
    deployment: DeploymentPlatform = setting(factory=DeploymentPlatform, help="Where and how endpoints are deployed.")
    tasks: TaskPlatform = setting(factory=TaskPlatform, help="Where and how tasks run.")


@frozen(kw_only=True)
class LeptonSettings(ExecutionSettings):
    """Durations are seconds."""

    evaluation_tasks: EvaluationTasks = setting(factory=EvaluationTasks, help="What each task's job gets.")
    lepton_platform: LeptonPlatform = setting(factory=LeptonPlatform, help="The workspace.")

    @property
    def ready_timeout(self) -> float:
        return self.lepton_platform.deployment.endpoint_readiness_timeout

    @property
    def task_timeout(self) -> float:
        return self.evaluation_tasks.timeout

    @property
    def queue_timeout(self) -> float:
        return self.lepton_platform.tasks.queue_timeout

    @property
    def emulated(self) -> bool:
        return self.lepton_platform.workspace == "emulated"
