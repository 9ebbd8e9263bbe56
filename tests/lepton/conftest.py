"""Runs of the Lepton executor in an emulated workspace: the real SDK over HTTP, real processes behind it."""

from __future__ import annotations

import sys
import textwrap
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

import pytest
from attrs import define, evolve, field

with warnings.catch_warnings():  # the SDK's own, which users do not see
    warnings.simplefilter("ignore")
    pytest.importorskip("leptonai.api.v2.client")

from evalx.context import RunContext
from evalx.facade import Hooks
from evalx.model import EndpointHandle, EndpointSpec, Handle, TaskHandle, TaskResult, TaskSpec
from evalx.testing.runs import make_run
from evalx_lepton.emulator import Emulator, EmulatorSettings
from evalx_lepton.emulator.settings import ImageRule
from evalx_lepton.executor import LeptonExecutor
from evalx_lepton.settings import LeptonSettings

T = TypeVar("T")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The SDK warns of its own use of pydantic, which its users do not see."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.filterwarnings("ignore::pydantic.warnings.PydanticDeprecatedSince20"))


PATIENCE = 30.0

SERVER = Path(__file__).parents[1] / "local" / "stub_server.py"

SERVER_IMAGE, EVAL_IMAGE = "example.test/vllm:1", "example.test/eval@sha256:1"

IMAGES = (
    ImageRule("example.test/vllm*", (sys.executable, str(SERVER), "--port", "{port}", "--model", "{served_model_name}")),
    ImageRule("example.test/eval*"),
)

QUESTION = """
    import json, os, sys, urllib.request
    body = json.dumps({"model": sys.argv[2], "messages": [{"role": "user", "content": "2 + 3"}]}).encode()
    headers = {"Content-Type": "application/json", "Authorization": f"Bearer {os.environ.get('API_KEY')}"}
    with urllib.request.urlopen(urllib.request.Request(sys.argv[1], body, headers)) as reply:
        right = json.load(reply)["choices"][0]["message"]["content"] == "5"
    print("asked one question")
    with open(f"{sys.argv[3]}/results.json", "w") as file:
        json.dump({"schema": 1, "metrics": [{"name": "accuracy", "value": float(right), "stderr": 0.0, "n": 1}]}, file)
"""


def settings(**changes: Any) -> EmulatorSettings:
    """The friendliest workspace, with the images of these tests."""
    return evolve(EmulatorSettings(images=IMAGES), **changes)


def server(name: str = "model", index: int = 0, variant: str = "vllm", **deployment: Any) -> EndpointSpec:
    """An endpoint of the stub server."""
    chosen = {
        "type": variant,
        "image": SERVER_IMAGE,
        "checkpoint_path": "example/stub",
        "served_model_name": "stub",
        "lepton_config": {"resource_shape": "gpu.small", **deployment.pop("lepton_config", {})},
        **deployment,
    }
    return EndpointSpec(name, index, variant, "stub", {"deployment": chosen, "target": {}})


def program(code: str, *arguments: str, index: int = 0, name: str = "", timeout: float = 60.0, **options: Any) -> TaskSpec:
    """A task that is a small Python program, of the `command` harness."""
    argv = [sys.executable, "-c", textwrap.dedent(code).replace("{", "{{").replace("}", "}}"), *arguments]
    chosen = {"task": "t", "container": EVAL_IMAGE, "endpoint_type": "chat", "params": {"command": argv}, "model": "stub", **options}
    return TaskSpec(name or f"task-{index}", index, "command", "model", chosen, timeout)


def question(index: int = 0, **options: Any) -> TaskSpec:
    """A task that asks the stub one question, and is right."""
    return program(QUESTION, "{url}", "{model}", "{results}", index=index, **options)


@define(eq=False)
class World:
    """A run in the emulated workspace, and what it has created so far."""

    run: RunContext
    emulator: Emulator
    directory: Path
    made: list[Handle] = field(factory=list)

    @property
    def hooks(self) -> Hooks:
        return self.run.plugins.hooks(self.run)

    def again(self) -> World:
        """The same run, as another process sees it."""
        plan = self.run.plan
        run = make_run(
            self.directory, LeptonExecutor(), plan.endpoints, plan.tasks, name="lepton", settings=self.run.settings, run_id=plan.run_id
        )
        return World(run, self.emulator, self.directory, self.made)

    def deploy(self, endpoint: EndpointSpec) -> EndpointHandle:
        self.made.append(EndpointHandle(endpoint, self.run.resource_name(endpoint)))
        return self.hooks.deploy(endpoint)

    def ready(self, endpoint: EndpointSpec | None = None) -> EndpointHandle:
        handle = self.deploy(endpoint or self.run.plan.endpoints[0])
        return until(lambda: self.hooks.wait_ready(handle))

    def submit(self, task: TaskSpec, endpoint: EndpointHandle) -> TaskHandle:
        self.made.append(TaskHandle(task, self.run.resource_name(task)))
        return self.hooks.run_task(task, endpoint)

    def result(self, handle: TaskHandle) -> TaskResult:
        return until(lambda: self.hooks.collect(handle))

    def remove(self, handle: Handle) -> None:
        until(lambda: self.hooks.cleanup(handle) or None)

    def alive(self, resource: str) -> list[str]:
        return [name for name in self.emulator.alive() if name.partition("/")[2].startswith(resource)]


def until(look: Callable[[], T | None]) -> T:
    """Ask until there is an answer."""
    deadline = time.monotonic() + PATIENCE
    while (answer := look()) is None or answer is False:
        assert time.monotonic() < deadline, "no answer in time"
        time.sleep(0.05)
    return answer


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """The settle window of a friendly emulator."""
    monkeypatch.setattr(LeptonExecutor, "settle", 0.5)


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Emulator]]:
    """Starts an emulated workspace, to which the SDK's environment then leads: `workspace(**settings)`."""
    started: list[Emulator] = []

    def start(**changes: Any) -> Emulator:
        from leptonai.api.v2.client import reset_new_deployment_api_flag_cache

        reset_new_deployment_api_flag_cache()
        emulator = Emulator(settings(**changes), state=tmp_path / f"emulator-{len(started)}")
        started.append(emulator.__enter__())
        for name, value in emulator.environment().items():
            monkeypatch.setenv(name, value)
        return emulator

    yield start
    for emulator in started:
        emulator.__exit__(None, None, None)


@pytest.fixture
def world(tmp_path: Path, workspace: Callable[..., Emulator]) -> Iterator[Callable[..., World]]:
    """Makes runs: `world(endpoints, tasks, emulator={...}, execution keys)`; in the same workspace, if there is one already."""
    worlds: list[World] = []

    def make(
        endpoints: list[EndpointSpec],
        tasks: list[TaskSpec] | None = None,
        *,
        emulator: Mapping[str, Any] | Emulator | None = None,
        chosen: LeptonSettings | None = None,
        **more: Any,
    ) -> World:
        here = emulator if isinstance(emulator, Emulator) else workspace(**(emulator or {}))
        run = make_run(
            tmp_path, LeptonExecutor(), endpoints, tasks or [], name="lepton", settings=chosen or LeptonSettings(type="lepton"), **more
        )
        worlds.append(World(run, here, tmp_path))
        return worlds[-1]

    yield make
    for each in worlds:
        for handle in reversed(each.made):
            each.remove(handle)
        until(each.hooks.teardown)
