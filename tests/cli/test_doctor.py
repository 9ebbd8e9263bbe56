"""`evalx doctor` on this machine; with a workspace: tests/lepton/test_doctor.py."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from evalx.store.states import ResourceState


def test_nothing_is_wrong_and_nothing_is_made(evalx: Any, config: Any, tmp_path: Path) -> None:
    name = config(addition=["4"])
    done = evalx("doctor", name)
    assert done.code == 0, done.out
    assert f"tiny.yaml on local\n  ✓ output directory {tmp_path}/evalx-runs: can be made, " in done.out
    assert "  ✓ the local executor finds nothing wrong" in done.out
    assert done.err.endswith("nothing is wrong\n")
    assert os.listdir(tmp_path) == [name]


def test_without_a_config_an_executor_that_cannot_be_used_is_a_warning(evalx: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("evalx.doctor._preflight", lambda run: iter([refusal(run.plan.executor)]))
    done = evalx("doctor")
    assert done.code == 0 and "executor lepton\n  ! lepton: no\n     hint: do this" in done.out
    assert evalx("doctor", "--executor", "lepton").code == 4


def refusal(name: str) -> Any:
    from evalx.model import Finding

    return Finding("error", f"{name}: no", "do this", kind="auth")


def test_mistakes_in_the_config_and_on_the_machine_are_told_together(evalx: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "bad.yaml").write_text("defaults: [{execution: local/default}, {deployment: none}, _self_]\nexecutor: 1\ntarget: {}\n")
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("EVALX_STATE_DIR", str(tmp_path / "file" / "state"))
    done = evalx("doctor", "bad.yaml")
    assert done.code == 2
    assert f"  ✗ state directory {tmp_path}/file/state: {tmp_path}/file is no folder\n     hint: set EVALX_STATE_DIR" in done.out
    assert "\nbad.yaml\n  ✗ " in done.out and "  ✗ bad.yaml:2 executor: unknown key\n     hint: did you mean 'execution'?" in done.out
    assert done.err.endswith("things are wrong\n")


@pytest.mark.parametrize(("free", "mark", "code"), [(50 << 20, "✗", 2), (500 << 20, "!", 0)])
def test_disks_with_little_room(evalx: Any, monkeypatch: pytest.MonkeyPatch, free: int, mark: str, code: int) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _path: SimpleNamespace(free=free))
    done = evalx("doctor", "--executor", "local")
    assert done.code == code
    assert f"{mark} state directory" in done.out and f"{free >> 20} MB free" in done.out


def test_a_folder_that_is_not_writable(evalx: Any, config: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "closed").mkdir()
    allowed = os.access  # root, as whom tests may run, may write everywhere
    monkeypatch.setattr(os, "access", lambda path, mode, **more: Path(path).name != "closed" and allowed(path, mode, **more))
    done = evalx("doctor", config(addition=["4"]), f"execution.output_dir={tmp_path}/closed/runs")
    assert done.code == 2 and f"✗ output directory {tmp_path}/closed/runs: {tmp_path}/closed is not writable" in done.out


def test_damaged_state(evalx: Any, evalx_home: Path) -> None:
    evalx_home.mkdir()
    (evalx_home / "evalx.db").write_text("no database" * 1000)
    done = evalx("doctor", "--executor", "local")
    assert done.code == 2 and "put aside" in done.out and "runs\n" not in done.out


def test_a_run_that_left_something_alive(evalx: Any, stored: Any) -> None:
    run = stored("one")
    run.endpoint(0, ResourceState.READY)
    assert "  ✓ none has left anything alive" in evalx("doctor", "--executor", "local").out
    run.abandon()
    done = evalx("doctor", "--executor", "local")
    assert done.code == 7
    assert f"✗ run {run.run_id} may have left alive: evalx-{run.run_id}-e0\n     hint: evalx cleanup {run.run_id}" in done.out


def test_what_the_executor_needs(evalx: Any, config: Any) -> None:
    done = evalx("doctor", config(addition=["4"]), "deployment.argv=[no-such-program]")
    assert done.code == 2 and "✗ deployment command: program 'no-such-program' is not found\n     hint: " in done.out


def test_a_preflight_that_fails_is_told_with_its_plugin(evalx: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("evalx_local.checks.findings", lambda _run, _executor: 1 / 0)
    done = evalx("doctor", "--executor", "local")
    assert done.code == 2 and '✗ ZeroDivisionError: division by zero (raised by plugin "local" (evalx 0.1.0) in hook preflight)' in done.out


def test_as_json(evalx: Any, config: Any) -> None:
    done = evalx("doctor", config(addition=["4"]), "deployment.argv=[no-such-program]", "--json")
    assert done.code == done.json["exit_code"] == 2 and done.err == ""
    wrong = [check for check in done.json["checks"] if check["level"] == "error"]
    assert [check["part"] for check in wrong] == ["tiny.yaml on local"] and wrong[0]["kind"] == "config" and wrong[0]["hint"]


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["execution.runtime=podman"], "settings are changed with a config, or with --executor NAME"),
        (["-t", "one"], "--task goes with a config"),
        (["--executor", "nowhere"], 'no plugin "nowhere"'),
    ],
)
def test_wrong_usage(evalx: Any, args: list[str], said: str) -> None:
    done = evalx("doctor", *args)
    assert done.code == 2 and said in done.out + done.err
