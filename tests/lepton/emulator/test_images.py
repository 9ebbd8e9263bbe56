"""From images to commands."""

from __future__ import annotations

from pathlib import Path

import pytest

from evalx_lepton.emulator.images import DEFAULT_RULES as DEFAULTS
from evalx_lepton.emulator.images import Command, Container, ImageRefused, command_for, substitute
from evalx_lepton.emulator.mounting import Mount
from evalx_lepton.emulator.settings import ImageRule

MODEL = "meta-llama/Llama-3.1-8B-Instruct"


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder on the path with programs that stand for servers and suites."""
    for name in ("vllm", "sglang", "nemo-evaluator"):
        (tmp_path / name).write_text("#!/bin/sh\n")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    return tmp_path


def vllm(*command: str, **env: str) -> Container:
    return Container("vllm/vllm-openai:v0.10.1@sha256:00", command, env, 8000)


def test_a_vllm_command_listens_where_it_is_told(programs: Path) -> None:
    argv = command_for(vllm("vllm", "serve", MODEL, "--port", "8000", "--host", "0.0.0.0"), DEFAULTS, 20001).argv
    assert argv == ["vllm", "serve", MODEL, "--port", "20001", "--host", "127.0.0.1", "--port", "20001"]


@pytest.mark.parametrize(
    ("line", "real"),
    [
        ("exec vllm serve m --port 8000 --max-model-len 8000", "exec vllm serve m --port 20001 --max-model-len 8000"),
        ("serve --port=8000", "serve --port=20001"),
        ("serve --http-port '8000'", "serve --http-port '20001'"),
        ("serve http://0.0.0.0:8000/v1 --limit 80001", "serve http://127.0.0.1:20001/v1 --limit 80001"),
        ("serve --port 18000", "serve --port 18000"),
        ("serve --port $MODEL_PORT", "serve --port $MODEL_PORT"),
    ],
)
def test_ports_in_a_line_for_a_shell(programs: Path, line: str, real: str) -> None:
    assert command_for(vllm("/bin/bash", "-c", line), DEFAULTS, 20001).argv[2] == real


def test_ports_in_variables(programs: Path) -> None:
    env = command_for(vllm("serve", MODEL_PORT="8000", LIMIT="8000", PORT="9"), DEFAULTS, 20001).env
    assert (env["MODEL_PORT"], env["LIMIT"], env["PORT"]) == ("20001", "8000", "9")


def test_a_nim_image_runs_its_model_with_vllm(programs: Path) -> None:
    nim = Container("nvcr.io/nim/meta/llama-3.1-8b-instruct:1.8.6", [], {"NIM_MODEL_NAME": MODEL, "SERVED_MODEL_NAME": "llama"}, 8000)
    argv = command_for(nim, DEFAULTS, 20001).argv
    assert argv == ["vllm", "serve", MODEL, "--served-model-name", "llama", "--port", "20001", "--host", "127.0.0.1"]


@pytest.mark.parametrize(
    ("command", "model", "served"),
    [
        (("vllm", "serve", MODEL), MODEL, MODEL),
        (("bash", "-c", f"vllm serve {MODEL} --served-model-name short"), MODEL, "short"),
        (("python3", "-m", "sglang.launch_server", "--model-path=/m", "--served-model-name", "s"), "/m", "s"),
        (("run", "it's"), "from-env", "from-env"),
    ],
)
def test_a_replacement_knows_the_model(command: tuple[str, ...], model: str, served: str) -> None:
    rule = ImageRule("*", ("my-server", "--model={model}", "{served_model_name}", "{port}", "{image}", "{other}"))
    container = Container("x", command, {"MODEL": "from-env"}, 8000)
    assert command_for(container, [rule], 20001).argv == ["my-server", f"--model={model}", served, "20001", "x", "{other}"]


def test_a_suite_finds_its_harness_first_on_the_path(programs: Path) -> None:
    suite = Container("nvcr.io/nvidia/eval-factory/simple-evals:25.10", ["bash", "-c", "nemo-evaluator ls"], {})
    env = command_for(suite, DEFAULTS).env
    assert env["PATH"].split(":")[0] == str(programs)


def test_rules_of_the_settings_come_first_and_set_path_and_variables(programs: Path) -> None:
    rules = [ImageRule("vllm/*", path=("/opt/tools",), env={"A": "rule", "B": "rule"}), *DEFAULTS]
    env = command_for(vllm("serve", B="container"), rules, 20001).env
    assert (env["A"], env["B"], env["PATH"].split(":")[0]) == ("rule", "container", "/opt/tools")


@pytest.mark.parametrize(
    ("container", "said"),
    [
        (Container("registry.example/x:1", ["run"], {}), 'no rule for image registry.example/x:1; say in .*match: "\\*x\\*"'),
        (Container("vllm/vllm-openai:v1", ["vllm"], {}), "`vllm` is not installed here"),
        (Container("busybox", [], {}), "has no command"),
    ],
)
def test_what_cannot_run_is_refused(container: Container, said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    with pytest.raises(ImageRefused, match=said):
        command_for(container, DEFAULTS)


def test_paths_of_mounts_are_replaced_where_they_are_whole(tmp_path: Path) -> None:
    mounts = [Mount("/real/a", "/workspace"), Mount("/real/b", "/workspace/cache")]
    line = "ls /workspace /workspace/x '/workspace' --dir=/workspace/cache/y /workspaces /old/workspace /workspace.bak a/workspace"
    real = "ls /real/a /real/a/x '/real/a' --dir=/real/b/y /workspaces /old/workspace /workspace.bak a/workspace"
    assert substitute(Command(["sh", "-c", line], {"OUT": "/workspace"}), mounts) == Command(["sh", "-c", real], {"OUT": "/real/a"})
