"""From what the core and the plugins say of a server or task to the job that a runtime starts."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from evalx.errors import ConfigError
from evalx.harnesses.build import TRUST_HINT
from evalx.model import EndpointHandle, EndpointSpec, ServerSpec, Site, Spec, TaskCommand, TaskSpec
from evalx_local.containers import WORKSPACE
from evalx_local.environment import absolute, harness_env, local_path, values
from evalx_local.runtime import Job, Place

if TYPE_CHECKING:
    from evalx.context import RunContext

DATASETS = "/datasets"
"""Where a container sees the task's `dataset_dir`."""

PRE_CMD = 'eval "$1" || exit; shift; exec "$@"'


def place_of(run: RunContext, spec: Spec) -> Place:
    """The name of a server or task, and its folder, which is made if missing."""
    name = run.resource_name(spec)
    folder = run.task_dir(spec) if isinstance(spec, TaskSpec) else run.endpoint_dir(EndpointHandle(spec, name))
    return Place(name, folder)


def server_job(run: RunContext, endpoint: EndpointSpec, server: ServerSpec, folder: Path, port: int) -> Job:
    """The job that runs a server on that port. Raises ConfigError for commands that are not trusted and secrets that are not there."""
    argv = tuple(argument.replace("{port}", str(port)) for argument in server.argv)
    if server.pre_cmd:
        if not run.trust_commands:
            raise ConfigError("the config brings a shell command of its own: deployment.pre_cmd", TRUST_HINT)
        argv = ("sh", "-c", PRE_CMD, "pre_cmd", server.pre_cmd, *argv)
    deployment = endpoint.options["deployment"]
    workdir = deployment.get("workdir") or (folder if run.settings.containerised else ".")
    checkpoint = local_path(deployment.get("checkpoint_path"))
    return Job(
        argv=argv,
        workdir=Path(workdir).expanduser().absolute(),
        env={name: value.replace("{port}", str(port)) for name, value in values(run, server.env).items()},
        marks={**server.labels, **run.labels(endpoint)},
        image=server.image,
        mounts=(f"{checkpoint}:{checkpoint}:ro",) if checkpoint else (),
    )


def task_site(run: RunContext, task: TaskSpec, folder: Path, port: int) -> Site:
    """Where a task will run, as it sees it itself."""
    inside, dataset = run.settings.containerised, absolute(task.options.get("dataset_dir"))
    return Site(
        workdir=WORKSPACE if inside else str(folder),
        adapter_port=port,
        dataset_dir=DATASETS if inside and dataset else dataset,
        containerised=inside,
    )


def task_job(run: RunContext, task: TaskSpec, command: TaskCommand, folder: Path) -> Job:
    """The job that runs a task's command; the files that the command wants are written. Raises ConfigError for missing secrets."""
    for name, text in command.files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    dataset = absolute(command.dataset_dir)
    return Job(
        argv=command.argv,
        workdir=folder,
        env=values(run, {**harness_env(run.settings, task.harness), **command.env}),
        marks=run.labels(task),
        image=command.image or run.settings.harness(task.harness).image,
        mounts=(f"{dataset}:{DATASETS}:ro",) if dataset else (),
    )
