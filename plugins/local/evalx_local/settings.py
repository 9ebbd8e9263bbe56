"""The keys of `execution` for the local executor."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any, Literal

from attrs import frozen

from evalx.config.settings import ExecutionSettings, at_least, setting


@frozen(kw_only=True)
class HarnessSettings:
    """What a harness needs on this machine."""

    venv: str | None = setting(None, help="Virtual environment whose `bin` comes first on the PATH of this harness's tasks.")
    env: Mapping[str, Any] = setting(factory=dict, help="Variables for this harness's tasks: host:NAME, lit:TEXT or plain values.")
    image: str | None = setting(None, help="Image for its tasks where the task names none (runtimes with containers).")


@frozen(kw_only=True)
class ContainerSettings:
    """Limits and mounts of every container."""

    memory: str | None = setting(None, help="Memory limit, such as `8g`.")
    cpus: float | None = setting(None, help="How many processors' worth of time.")
    pids: int | None = setting(None, help="How many processes and threads.")
    mounts: list[str] = setting(factory=list, help="Folders to make visible: `host path:container path`, with `:ro` for read-only.")
    extra_args: list[str] = setting(factory=list, help="Further arguments of `run`, such as `--device=nvidia.com/gpu=all`.")


def _processors() -> int:
    return max(os.cpu_count() or 1, 2)


@frozen(kw_only=True)
class LocalSettings(ExecutionSettings):
    """Durations are seconds."""

    runtime: Literal["process", "podman", "docker"] = setting("process", help="What servers and tasks are: processes or containers.")
    harnesses: Mapping[str, HarnessSettings] = setting(factory=dict, help="Harness name → `venv`, `env`, `image`.")
    containers: ContainerSettings = setting(factory=ContainerSettings, help="`memory`, `cpus`, `pids`, `mounts`, `extra_args`.")
    secrets_dir: str | None = setting(None, help="Folder with a file for each secret that a `secret_name_ref` names.")
    max_tasks: int | None = setting(
        factory=_processors, help="How many tasks run at the same time; by default as many as processors.", validator=at_least(1)
    )
    endpoint_readiness_timeout: float = setting(600.0, help="Seconds until a model server must answer.", validator=at_least(0))
    task_timeout: float = setting(14400.0, help="Seconds until a task must be over, unless it says otherwise.", validator=at_least(0))

    @property
    def ready_timeout(self) -> float:
        return self.endpoint_readiness_timeout

    @property
    def containerised(self) -> bool:
        """Whether servers and tasks run in containers."""
        return self.runtime != "process"

    def harness(self, name: str) -> HarnessSettings:
        """The settings of a harness, all defaults if it has none."""
        return self.harnesses.get(name) or HarnessSettings()
