"""`evalx doctor` with a workspace: what is wrong there, and the command that mends it."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml

from evalx.cli import main
from evalx_lepton.emulator import Emulator
from evalx_lepton.sdk import Workspace


@pytest.fixture
def doctor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str]]:
    """`evalx doctor` with a config for Lepton, and overrides; its exit code and screen."""
    monkeypatch.chdir(tmp_path)
    config = {
        "defaults": [{"execution": "lepton/default"}, {"deployment": "vllm"}, "_self_"],
        "execution": {"lepton_platform": {"deployment": {"node_group": "emulated"}, "tasks": {"image_pull_secrets": ["registry-key"]}}},
        "deployment": {
            "image": "example.test/vllm:1",
            "checkpoint_path": "example/stub",
            "served_model_name": "stub",
            "lepton_config": {"resource_shape": "gpu.small", "envs": {"HF_TOKEN": {"value_from": {"secret_name_ref": "HF_TOKEN_read"}}}},
        },
        "evaluation": {"tasks": [{"name": "ifeval"}]},
    }
    (tmp_path / "my.yaml").write_text(yaml.safe_dump(config))

    def call(*args: str) -> tuple[int, str]:
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main(["doctor", *(args or ("my.yaml",))])
        return int(ended.value.code or 0), capsys.readouterr().out

    return call


def test_all_is_well(workspace: Callable[..., Emulator], doctor: Any) -> None:
    emulator = workspace()
    Workspace().create_secrets({"HF_TOKEN_read": "x"})
    before = emulator.calls.copy()
    code, said = doctor()
    assert code == 0, said
    for good in (f"workspace {emulator.workspace_id} answers and accepts the token", "the clocks of this machine and the workspace agree"):
        assert f"  ✓ {good}" in said
    for good in ("leptonai 0.47", "node group emulated exists", "shape gpu.small exists", "secret HF_TOKEN_read exists"):
        assert f"  ✓ {good}" in said
    assert "  - image pull secret registry-key cannot be looked up" in said
    assert all(call.startswith("GET ") for call in emulator.calls - before)


def test_what_is_missing_is_told_at_once_with_what_mends_it(workspace: Callable[..., Emulator], doctor: Any) -> None:
    workspace()
    code, said = doctor(
        "my.yaml", "execution.lepton_platform.tasks.node_group=nowhere", "execution.evaluation_tasks.resource_shape=gpu.none"
    )
    assert code == 2
    assert "✗ the workspace has no secret 'HF_TOKEN_read'\n     hint: lep secret create -n HF_TOKEN_read" in said
    assert "✗ execution.lepton_platform.tasks.node_group: there is no node group 'nowhere'\n     hint: there are: emulated" in said
    assert "✗ execution.evaluation_tasks.resource_shape: the workspace has no shape 'gpu.none'\n     hint: there are: " in said


def test_a_token_that_is_refused(workspace: Callable[..., Emulator], doctor: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    workspace()
    monkeypatch.setenv("LEPTON_WORKSPACE_TOKEN", "canary-token")
    code, said = doctor()
    assert code == 4 and "hint: lep login -c <workspace id>:<token>" in said and "canary" not in said
    assert doctor("--executor", "lepton")[0] == 4
    code, said = doctor("--executor", "local")
    assert code == 0 and "lep login" not in said


def test_a_clock_that_is_wrong(workspace: Callable[..., Emulator], doctor: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    workspace()
    for ahead, words in ((7230.0, "2h ahead of"), (-10830.0, "3h behind")):
        monkeypatch.setattr("evalx_lepton.checks.time", SimpleNamespace(time=lambda ahead=ahead: time.time() + ahead))
        assert f"! the clock of this machine is {words} the workspace's\n     hint: timedatectl" in doctor("--executor", "lepton")[1]
