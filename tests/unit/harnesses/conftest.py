"""Values that the tests of this folder share. Commands are really run: by a real `timeout`, a real bash."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import attrs
import pytest

from evalx.harnesses.api import HarnessCommand, Target
from evalx.harnesses.build import task_command
from evalx.model import EndpointHandle, EndpointSpec, EnvValue, Metric, Secret, Site, TaskCommand, TaskSpec

ENDPOINT = EndpointHandle(EndpointSpec("model", 0, "none", "tiny"), "model", "http://127.0.0.1:8000", owned=False)


@attrs.frozen
class AnyCommand:
    """A harness that wants just this."""

    argv: tuple[str, ...] = ("true",)
    env: Mapping[str, EnvValue] = attrs.field(factory=dict)
    files: Mapping[str, str] = attrs.field(factory=dict)
    shell_settings: tuple[str, ...] = ()
    evalx_api: tuple[int, int] = (1, 0)

    def command(self, task: TaskSpec, target: Target, site: Site) -> HarnessCommand:
        return HarnessCommand(self.argv, self.env, self.files, self.shell_settings)

    def parse(self, task: TaskSpec, results: Path) -> tuple[Metric, ...]:
        return (Metric("score", 1.0),)


def make_task(timeout: float = 60, **options: Any) -> TaskSpec:
    return TaskSpec("task", 0, "any", "model", options, timeout)


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(str(tmp_path), adapter_port=39001)


Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def run(site: Site) -> Run:
    """Runs a harness's command, built for a task with the given options, as an executor would."""

    def run_it(harness: Any, *, timeout: float = 60, edit: Callable[[TaskCommand], TaskCommand] = lambda c: c, **options: Any) -> Any:
        command = edit(task_command(harness, make_task(timeout, **options), ENDPOINT, site, trusted=True))
        env = {name: value for name, value in command.env.items() if not isinstance(value, Secret)}
        done = subprocess.run(
            command.argv, cwd=site.workdir, env={**os.environ, **env}, capture_output=True, timeout=60, start_new_session=True
        )
        return subprocess.CompletedProcess(done.args, done.returncode, os.fsdecode(done.stdout), os.fsdecode(done.stderr))

    return run_it
