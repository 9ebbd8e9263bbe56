"""The variants that come with evalx, and a new one, pass the suite; each of its tests fails for the faults it is there to find."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tests.unit.testing.plugins import install, scaffold
from tests.unit.testing.test_harness_conformance import run

from evalx.testing import DeploymentConformance

LEPTON = {"lepton_config": {"resource_shape": "gpu.1xh200"}}


class TestLocalVllm(DeploymentConformance):
    plugin, group = "vllm", "evalx.local.deployments"

    def options(self) -> dict[str, Any]:
        return {"checkpoint_path": "org/model", "served_model_name": "m", "extra_args": "--max-model-len 1024", "venv": "/opt/vllm"}


class TestLocalCommand(DeploymentConformance):
    plugin, group = "command", "evalx.local.deployments"

    def options(self) -> dict[str, Any]:
        return {"argv": ["server", "--port", "{port}"], "served_model_name": "m"}


class TestLocalNone(DeploymentConformance):
    plugin, group, deploys = "none", "evalx.local.deployments", False

    def options(self) -> dict[str, Any]:
        return {}

    def target(self) -> dict[str, Any]:
        return {"url": "http://127.0.0.1:8000/v1", "model_id": "m"}


class TestLeptonVllm(DeploymentConformance):
    plugin, group, in_container, sdk = "vllm", "evalx.lepton.deployments", True, ("leptonai",)

    def options(self) -> dict[str, Any]:
        return {"checkpoint_path": "org/model", "served_model_name": "m", **LEPTON}


class TestLeptonSglang(DeploymentConformance):
    plugin, group, in_container, sdk = "sglang", "evalx.lepton.deployments", True, ("leptonai",)

    def options(self) -> dict[str, Any]:
        return {"checkpoint_path": "org/model", "served_model_name": "m", **LEPTON}


class TestLeptonNim(DeploymentConformance):
    plugin, group, in_container, sdk = "nim", "evalx.lepton.deployments", True, ("leptonai",)

    def options(self) -> dict[str, Any]:
        config = {**LEPTON["lepton_config"], "envs": {"NGC_API_KEY": "host:NGC_API_KEY"}}
        return {"image": "nvcr.io/nim/m:1", "served_model_name": "m", "lepton_config": config}


class Suite(DeploymentConformance):
    """As the scaffold's own test tells it."""

    plugin, group, startable, patience, sdk = "echo", "evalx.local.deployments", True, 20.0, ("sqlite3",)

    def options(self) -> dict[str, Any]:
        return {"answer": "It is 5."}


class InContainer(Suite):
    in_container = True


class NoServer(Suite):
    deploys = False


ARGV = 'argv=(*program, "--port", "{port}", "--model", endpoint.model, f"--answer={options.answer}")'
OPTIONS = 'options = from_json(EchoOptions, endpoint.options["deployment"])'
ENV = "env=parse_env(options.envs)"
SAYS, CLASS, OPTION = "it_says_what_to_start", "the_class_states_what_the_core_asks_for", "every_option_says_what_it_is_for"
FAULTS: list[tuple[type[Suite], str, str, str, str]] = [
    (Suite, CLASS, "evalx_api = (1, 0)", "evalx_api = (1, 99)", "plugin interface 1.99"),
    (Suite, CLASS, "Options = EchoOptions", "Options = dict", "an attrs class"),
    (Suite, CLASS, "class EchoDeployment", "@frozen\nclass EchoDeployment", "by identity"),
    (Suite, OPTION, 'setting("5", help="What the server answers to every question.")', '"5"', "answer"),
    (Suite, OPTION, "    answer: str", '    type: str = setting("", help="x")\n    answer: str', "names the variant"),
    (Suite, "loading_the_plugin_imports_no_sdk", "import sys\n", "import sys\nimport sqlite3\n", "sqlite3"),
    (Suite, SAYS, ARGV, 'argv=["server", "{port}"]', "not a tuple"),
    (Suite, SAYS, ARGV, 'argv=("server --port {port}",)', "is a line"),
    (Suite, SAYS, ARGV, "argv=()", "neither a command nor an image"),
    (Suite, SAYS, '"{port}"', '"8000"', "must reach the server"),
    (Suite, SAYS, "served_model=endpoint.model", 'served_model="gpt"', "served_model"),
    (Suite, SAYS, '"/health"', '"health"', "startswith"),
    (Suite, SAYS, "routes=ROUTES", 'routes={"chat": "v1/chat"}', "routes are paths"),
    (Suite, SAYS, ENV, 'env={"A": 1}', "texts or references"),
    (Suite, SAYS, "return ServerSpec(", "return None and ServerSpec(", "means that the endpoint exists"),
    (Suite, SAYS, "return ServerSpec(", "return dict(", "returned a dict"),
    (InContainer, SAYS, "image=None", "image=None", "needs an image"),
    (InContainer, SAYS, "image=None", 'image="server:1"', "needs a port"),
    (NoServer, "an_endpoint_that_exists_has_no_server", ENV, ENV, "is None"),
    (Suite, "it_says_the_same_each_time_and_changes_nothing", "options.port or 0", '__import__("random").randrange(9999)', "=="),
    (Suite, "it_says_the_same_each_time_and_changes_nothing", OPTIONS, f'endpoint.options["x"] = 1\n        {OPTIONS}', "=="),
    (Suite, "what_it_says_survives_json", ENV, f'{ENV}, labels={{1: "x"}}', "labels"),
    (Suite, "no_value_of_a_secret_is_in_it", ENV, 'env={"HF_TOKEN": __import__("os").environ["HF_TOKEN"]}', "canary"),
    (Suite, "no_value_of_a_secret_is_in_it", ENV, "env={}", "parse_env"),
    (
        Suite,
        "no_value_of_the_config_becomes_part_of_a_shell_script",
        ARGV,
        'argv=("/bin/sh", "-c", f"server {options.answer} {{port}}")',
        "part of its script",
    ),
    (Suite, "its_server_comes_up_and_answers", "evalx_echo.server", "evalx_echo.nothing", "exited with code 1.*evalx_echo.nothing"),
    (
        Suite,
        "its_server_comes_up_and_answers",
        '"choices": [{"message"',
        '"chices": [{"message"',
        "not as an OpenAI-compatible server does",
    ),
]


@pytest.mark.parametrize(("suite", "test", "old", "new", "said"), FAULTS, ids=[f"{fault[1]}-{n}" for n, fault in enumerate(FAULTS)])
def test_each_test_finds_its_fault(
    suite: type[Suite], test: str, old: str, new: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(scaffold("local-deployment", "echo", tmp_path / "plugin", (old, new)), monkeypatch)
    monkeypatch.setattr(Suite, "patience", 3.0)
    with pytest.raises((Exception, pytest.fail.Exception), match=f"(?s){said}"):
        run(suite(), test, tmp_path, monkeypatch)


def test_there_is_a_fault_for_each_test() -> None:
    tests = {name.removeprefix("test_") for name in dir(Suite) if name.startswith("test_")}
    assert tests == {fault[1] for fault in FAULTS}
