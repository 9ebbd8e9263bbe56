"""What can be found wrong before anything is started."""

from __future__ import annotations

import shlex
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from evalx.errors import ConfigError
from evalx.harnesses.target import make_target
from evalx.model import EndpointHandle, EndpointSpec, EnvValue, Finding, Secret, ServerSpec, TaskSpec
from evalx.serving import target_of
from evalx_local import ports
from evalx_local.environment import harness_env, secret_value
from evalx_local.executor import LocalExecutor
from evalx_local.jobs import server_job, task_site

if TYPE_CHECKING:
    from evalx.context import RunContext

IMAGE_TIMEOUT = 30.0


def findings(run: RunContext, executor: LocalExecutor) -> Iterator[Finding]:
    """All that is wrong, each thing once."""
    runtime = run.settings.runtime
    if run.settings.containerised and shutil.which(runtime) is None:
        yield _error(
            f"execution.runtime is {runtime}, but there is no such program", f"install {runtime}, or set execution.runtime: process"
        )
        return
    if run.settings.containerised and (problem := _not_answering(runtime)):
        yield _error(
            f"{runtime} does not answer: {problem}", f"{runtime} version must succeed for this user, or set execution.runtime: process"
        )
        return
    seen = set()
    checks = (*(_endpoint(run, executor, spec) for spec in run.plan.endpoints), *(_task(run, spec) for spec in run.plan.tasks))
    for check in checks:
        for finding in check:
            if finding not in seen:
                seen.add(finding)
                yield finding


def _endpoint(run: RunContext, executor: LocalExecutor, endpoint: EndpointSpec) -> Iterator[Finding]:
    key = target_of(endpoint).get("api_key_name")
    if key:
        yield from _references(run, {key: Secret(f"host:{key}")})
    try:
        server = executor.server_spec(run, endpoint)
    except (ConfigError, ValueError) as error:
        yield _error(f"deployment: {error}", getattr(error, "hint", None))
        return
    if server is None:
        if not target_of(endpoint).get("url"):
            yield _error(
                f"deployment {endpoint.variant} needs the URL of an endpoint", "target.api_endpoint.url=http://…/v1/chat/completions"
            )
        return
    yield from _references(run, server.env)
    yield from _port(run, executor, endpoint, server)
    yield from _program(run, endpoint, server)


def _port(run: RunContext, executor: LocalExecutor, endpoint: EndpointSpec, server: ServerSpec) -> Iterator[Finding]:
    if not server.port:
        return
    if len(run.plan.endpoints) > 1:
        hint = "remove deployment.port (free ports are taken), or set execution.endpoints: shared"
        yield _error(f"{len(run.plan.endpoints)} endpoints cannot share port {server.port}", hint)
    elif not (run.directory.is_dir() and executor.find(run, endpoint)):  # in a run that is resumed it may be our own server's
        try:
            with ports.reserve(server.port):
                pass
        except OSError as error:
            yield _error(str(error), ports.HINT)


def _program(run: RunContext, endpoint: EndpointSpec, server: ServerSpec) -> Iterator[Finding]:
    """The server's command, image and trust."""
    try:
        job = server_job(run, endpoint, server, run.directory, server.port)
    except ConfigError as error:
        yield _error(str(error), error.hint)
        return
    if run.settings.containerised:
        yield from _image(run, f"deployment {endpoint.variant}", server.image, "deployment.image")
        return
    if not job.workdir.is_dir():
        yield _error(f"deployment.workdir is no folder: {job.workdir}")
    program = server.argv[0] if server.argv else ""
    if server.pre_cmd is None and not _found(program, job.env.get("PATH"), job.workdir):
        hint = "pip install vllm, or set deployment.venv" if program == "vllm" else "install it, or give its full path"
        yield _error(f"deployment {endpoint.variant}: program {program!r} is not found", hint)


def _task(run: RunContext, task: TaskSpec) -> Iterator[Finding]:
    endpoint = run.plan.endpoint(task.endpoint)
    stand_in = EndpointHandle(endpoint, run.resource_name(endpoint), url=f"http://{ports.HOST}")
    try:
        own = harness_env(run.settings, task.harness)
        site = task_site(run, task, run.directory, 0)
        command = run.command(task, stand_in, site)
        harness = run.plugins.harness(task.harness)
        bare = harness.command(task, make_target(task, stand_in), site)
    except ConfigError as error:
        yield _error(f"task {task.name}: {error}", error.hint)
        return
    if task.options.get("dataset_dir") and not Path(task.options["dataset_dir"]).expanduser().is_dir():
        yield _error(f"task {task.name}: dataset_dir is no folder: {task.options['dataset_dir']}")
    yield from _references(run, {**own, **command.env})
    if run.settings.containerised:
        yield from _image(
            run,
            f"harness {task.harness}",
            command.image or run.settings.harness(task.harness).image,
            f"execution.harnesses.{task.harness}.image",
        )
        return
    venv = run.settings.harness(task.harness).venv
    if venv and not (Path(venv).expanduser() / "bin").is_dir():
        yield _error(f"execution.harnesses.{task.harness}.venv is no virtual environment: {venv}", f"python3 -m venv {venv}")
        return
    path = {**own, **command.env}.get("PATH")
    programs = getattr(harness, "programs", None) or bare.argv[:1]
    if not any(_found(program, path if isinstance(path, str) else None, run.directory) for program in programs):
        yield _error(f"harness {task.harness}: program {programs[0]!r} is not found", _install(harness, task))


def _install(harness: Any, task: TaskSpec) -> str:
    """How its user comes by the harness: by commands, where it says what pip has of it."""
    venv = f"execution.harnesses.{task.harness}.venv"
    packages = harness.packages(task) if hasattr(harness, "packages") else ()
    if not packages:
        return f"install it, or name the virtual environment that has it: {venv}"
    return f"set {venv}=$PWD/harness after: python3 -m venv harness && harness/bin/pip install {shlex.join(packages)}"


def _references(run: RunContext, env: Mapping[str, EnvValue]) -> Iterator[Finding]:
    for value in env.values():
        if isinstance(value, Secret):
            try:
                secret_value(run, value)
            except ConfigError as error:
                yield _error(str(error), error.hint)


def _not_answering(runtime: str) -> str | None:
    """Why it cannot be used: docker is there without its daemon, say."""
    try:
        done = subprocess.run([runtime, "version"], capture_output=True, text=True, timeout=IMAGE_TIMEOUT, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        return str(error)
    return None if done.returncode == 0 else ((done.stderr or done.stdout).strip().splitlines() or [f"exit code {done.returncode}"])[-1]


def _image(run: RunContext, who: str, image: str | None, key: str) -> Iterator[Finding]:
    program = run.settings.runtime
    if image is None:
        yield _error(f"{who} has no image, which runtime {program} needs", f"{key}=IMAGE, or execution.runtime=process")
        return
    try:
        known = subprocess.run([program, "image", "inspect", image], capture_output=True, timeout=IMAGE_TIMEOUT, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        yield _error(f"{program} does not answer: {error}")
        return
    if known.returncode:
        yield Finding("warning", f"{who}: image {image} is not on this machine and will be pulled", f"{program} pull {image}")


def _found(program: str, path: str | None, workdir: Path) -> bool:
    if "/" in program:
        return shutil.which(workdir / Path(program).expanduser()) is not None
    return shutil.which(program, path=path) is not None


def _error(message: str, hint: str | None = None) -> Finding:
    return Finding("error", message, hint)
