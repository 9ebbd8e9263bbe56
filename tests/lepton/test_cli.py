"""`evalx` as a user of a Lepton workspace types it: cleaning up without local state, files on the mount, the plan."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.lepton.conftest import QUESTION, until

from evalx_lepton.emulator import Emulator, jobs, wire
from evalx_lepton.sdk import Workspace

SWEEP = ("cleanup", "--all-runs", "--executor", "lepton")

STRANGER = "bbbbbbbbbbb"

Write = Callable[[str], str]
Evalx = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def evalx(tmp_path: Path) -> Evalx:
    """Runs the command line as a process to its end: `evalx("home", "ls")`, home being the name of a state directory."""

    def call(home: str, *args: str) -> subprocess.CompletedProcess[str]:
        env = {**os.environ, "EVALX_STATE_DIR": str(tmp_path / home)}
        argv = [sys.executable, "-m", "evalx.cli", *args]
        return subprocess.run(argv, cwd=tmp_path, env=env, capture_output=True, text=True, timeout=90, check=False)

    return call


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Writes a config with one task, a small program; returns its name."""

    def make(code: str) -> str:
        (tmp_path / "task.py").write_text(textwrap.dedent(code))
        argv = [sys.executable, str(tmp_path / "task.py"), "{url}", "{model}", "{results}"]
        config = {
            "defaults": [{"execution": "lepton/default"}, {"deployment": "vllm"}, "_self_"],
            "deployment": {
                "image": "example.test/vllm:1",
                "checkpoint_path": "example/stub",
                "served_model_name": "stub",
                "lepton_config": {"resource_shape": "gpu.small"},
            },
            "evaluation": {
                "harness": "command",
                "tasks": [{"name": "one", "container": "example.test/eval:1", "harness_config": {"command": argv}}],
            },
        }
        (tmp_path / "my.yaml").write_text(yaml.safe_dump(config))
        return "my.yaml"

    return make


def killed_run(folder: Path, config: str) -> str:
    """Start a run in the state directory `a`, and kill it with its job running; its id."""
    env = {**os.environ, "EVALX_STATE_DIR": str(folder / "a")}
    pipe = subprocess.PIPE
    process = subprocess.Popen(
        [sys.executable, "-m", "evalx.cli", "run", config], cwd=folder, env=env, stdout=pipe, stderr=subprocess.STDOUT, text=True
    )
    assert process.stdout is not None
    seen = []
    for line in process.stdout:
        seen.append(line)
        if "one  running" in line:
            break
    process.send_signal(signal.SIGKILL)
    process.stdout.close()
    process.wait()
    assert process.returncode == -signal.SIGKILL, "".join(seen)
    return os.listdir(folder / "evalx-runs")[0]


def strangers(run_id: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Create resources that look like ours: names without marks, marks of other names, and all the marks of another owner's run."""
    owner = {"EVALX_OWNER": "0123456789ab"}
    theirs = f"evalx-{STRANGER}-e0-one"
    endpoints = {
        f"evalx-{run_id}-e7": {},
        f"evalx-{run_id}-e8": {"EVALX_RUN": run_id, "EVALX_RESOURCE": f"evalx-{run_id}-e0-one"},
        "evalx-look-alike": {"EVALX_RUN": run_id},
        theirs: {"EVALX_RUN": STRANGER, "EVALX_RESOURCE": theirs, **owner},
    }
    their_job = f"evalx-{STRANGER}-t0-one"
    tasks = {
        f"evalx-{run_id}-t7": {},
        "evalx-look-alike-job": {"EVALX_RUN": run_id, "EVALX_RESOURCE": "x"},
        their_job: {"EVALX_RUN": STRANGER, "EVALX_RESOURCE": their_job, **owner},
    }
    _belongs_to_others({*endpoints, *tasks}, monkeypatch)
    workspace = Workspace()
    for name, marks in endpoints.items():
        container = {"image": "example.test/vllm:1", "command": ["x"]}
        spec = {"container": container, "resource_requirement": {"resource_shape": "cpu.small"}, "envs": _variables(marks)}
        workspace.create_endpoint({"metadata": {"id": name, "labels": marks}, "spec": spec})
    for name, marks in tasks.items():
        container = {"image": "example.test/eval:1", "command": ["sleep", "600"]}
        workspace.create_job(
            {
                "metadata": {"id": name, "labels": marks},
                "spec": {"resource_shape": "cpu.small", "container": container, "envs": _variables(marks)},
            }
        )
    workspace.create_secrets({"evalx-key": "x", "evalx-look-alike-KEY": "x", "evalx-deployments-KEY": "x"})


def _variables(marks: dict[str, str]) -> list[dict[str, str]]:
    return [{"name": name, "value": value} for name, value in marks.items()]


def _belongs_to_others(names: set[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """The emulated workspace has one user: let it show another one for these."""
    metadata, render = wire.common_metadata, jobs.Job.render
    other = {"created_by": "other@example.test", "owner": "other@example.test"}

    def of_endpoint(endpoint: Any) -> dict[str, Any]:
        return {**metadata(endpoint), **(other if endpoint.name in names else {})}

    def of_job(job: Any) -> dict[str, Any]:
        rendered: dict[str, Any] = render(job)
        return {**rendered, "metadata": {**rendered["metadata"], **(other if job.name in names else {})}}

    monkeypatch.setattr(wire, "common_metadata", of_endpoint)
    monkeypatch.setattr(jobs.Job, "render", of_job)


def alive(emulator: Emulator, run_id: str) -> list[str]:
    """What exists with the run's name, without what is over."""
    return [name for name in emulator.alive() if name.partition("/")[2].startswith(f"evalx-{run_id}-")]


def test_a_killed_run_is_swept_from_a_machine_that_never_saw_it(
    workspace: Callable[..., Emulator], write: Write, evalx: Evalx, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    emulator = workspace(provisioning=0.1)
    run_id = killed_run(tmp_path, write("import time; time.sleep(600)"))
    ours = alive(emulator, run_id)
    assert {name.partition("/")[0] for name in ours} == {"endpoint", "job", "secret"}
    strangers(run_id, monkeypatch)
    before, calls = emulator.alive(), emulator.calls.copy()

    done = evalx("b", *SWEEP, "--json")
    assert (done.returncode, done.stderr) == (7, "")
    listed = {(entry["kind"], entry["resource"]): entry for entry in json.loads(done.stdout)["found"]}
    mine = {kind for (kind, _), entry in listed.items() if entry["deletable"]}
    assert mine == {"endpoint", "task", "secret"}
    assert {entry["run_id"] for entry in listed.values() if entry["deletable"]} == {run_id}
    theirs = listed["endpoint", f"evalx-{STRANGER}-e0-one"]
    assert (theirs["deletable"], theirs["owner"], theirs["reason"]) == (False, "other@example.test", "not yours")
    assert emulator.alive() == before
    changing = {call for call in emulator.calls - calls if not call.startswith("GET ")}
    assert changing == set()

    told = evalx("b", *SWEEP)
    assert f"run {run_id}, not known here" in told.stdout
    assert max(map(len, told.stdout.splitlines())) <= 100

    done = evalx("b", *SWEEP, "--apply", "--json")
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads(done.stdout)["found"]
    assert {(one["run_id"], one["kind"]) for one in found if one["outcome"] == "gone"} == {(run_id, kind) for kind in mine}
    assert sorted(set(before) - set(emulator.alive())) == sorted(ours)
    assert evalx("b", *SWEEP).returncode == 0

    assert evalx("a", "cleanup", run_id).returncode == 0


def test_a_run_that_goes_on_here_is_not_touched(workspace: Callable[..., Emulator], write: Write, evalx: Evalx, tmp_path: Path) -> None:
    emulator = workspace(provisioning=0.1)
    env = {**os.environ, "EVALX_STATE_DIR": str(tmp_path / "a")}
    argv = [sys.executable, "-m", "evalx.cli", "run", write("import time; time.sleep(600)")]
    with (
        (tmp_path / "log").open("wb") as log,
        subprocess.Popen(argv, cwd=tmp_path, env=env, stdout=log, stderr=log) as process,
    ):
        try:
            until(lambda: any(name.startswith("job/") for name in emulator.alive()))
            before = emulator.alive()
            done = evalx("a", *SWEEP, "--apply")
            assert done.returncode == 0, done.stderr
            assert f"(in use by process {process.pid})" in done.stderr
            assert emulator.alive() == before
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(60)
    assert emulator.alive() == []


def test_storage_removes_the_runs_files_from_the_mount(workspace: Callable[..., Emulator], write: Write, evalx: Evalx) -> None:
    emulator = workspace()
    done = evalx("a", "run", write(QUESTION), "--json")
    assert done.returncode == 0, done.stderr
    run_id = json.loads(done.stdout)["run_id"]
    shared = emulator.state / "storage" / "node-nfs" / "lepton-shared-fs" / "shared" / "nemo-evaluator-launcher-workspace"
    (shared / "others").mkdir()
    assert (shared / run_id).is_dir()
    done = evalx("a", "cleanup", run_id, "--storage")
    assert done.returncode == 0, done.stderr
    assert "the run's files at the backend are deleted" in done.stderr
    assert [path.name for path in shared.iterdir()] == ["others"]
    until(lambda: emulator.alive() == [])


def test_refused_credentials(workspace: Callable[..., Emulator], evalx: Evalx, monkeypatch: pytest.MonkeyPatch) -> None:
    workspace()
    monkeypatch.setenv("LEPTON_WORKSPACE_TOKEN", "nvapi-wrong-canary")
    done = evalx("b", *SWEEP)
    assert done.returncode == 4
    assert "canary" not in done.stdout + done.stderr


def test_a_plan_shows_the_bodies_and_the_script_and_creates_nothing(workspace: Callable[..., Emulator], write: Write, evalx: Evalx) -> None:
    emulator = workspace()
    config = write(QUESTION)
    done = evalx("a", "plan", config)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert "    request: POST /deployments" in lines
    assert "    request: POST /jobs" in lines
    assert "          - '<script: see the end>'" in lines
    assert "script" in lines
    shown = json.loads(evalx("a", "plan", config, "--json").stdout)["preview"]
    assert shown["endpoints"]["one"]["body"]["metadata"]["id"] == "evalx-<run id>-e0-one"
    assert shown["script"] in shown["tasks"]["one"]["body"]["spec"]["container"]["command"]
    assert {call.partition(" ")[0] for call in emulator.calls} == {"GET"}
