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

import pytest
import yaml
from tests.lepton.conftest import QUESTION, until

from evalx_lepton.emulator import Emulator
from evalx_lepton.emulator.settings import Fault
from evalx_lepton.sdk import Credentials, Workspace

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


def strangers(run_id: str, emulator: Emulator, *, twins: bool) -> None:
    """Let another account create 50 resources that look like ours: the run's names without marks, marks under other names, another run with
    all marks; secrets of such names. twins: among them some that pass for the run's own but for their owner."""
    workspace = Workspace(Credentials(emulator.workspace_id, "their-token", emulator.url))
    owner = {"EVALX_OWNER": "0123456789ab"}
    theirs, their_job = f"evalx-{STRANGER}-e0-one", f"evalx-{STRANGER}-t0-one"
    our_job = f"evalx-{run_id}-t0-one"
    marks: list[dict[str, str]] = [{}, {"EVALX_RUN": run_id}, {"EVALX_RUN": run_id, "EVALX_RESOURCE": f"evalx-{run_id}-e0-one", **owner}]
    endpoints = {theirs: {"EVALX_RUN": STRANGER, "EVALX_RESOURCE": theirs, **owner}}
    endpoints |= {f"evalx-{run_id}-e{number}": marks[number % 3] for number in range(5, 14)}
    endpoints |= {f"evalx-look-alike-{number}": marks[number % 3] for number in range(9)}
    tasks = [(their_job, {"EVALX_RUN": STRANGER, "EVALX_RESOURCE": their_job, **owner})]
    tasks += [(our_job, {"EVALX_RUN": run_id, "EVALX_RESOURCE": our_job, **owner} if twins else marks[1]), (our_job, {})]
    tasks += [(f"evalx-{run_id}-t{number}", marks[number % 3]) for number in range(5, 14)]
    tasks += [(f"evalx-look-alike-job-{number}", marks[number % 3]) for number in range(9)]
    for name, made in endpoints.items():
        container = {"image": "example.test/vllm:1", "command": ["x"]}
        spec = {"container": container, "resource_requirement": {"resource_shape": "cpu.small"}, "envs": _variables(made)}
        workspace.create_endpoint({"metadata": {"id": name, "labels": made}, "spec": spec})
    for name, made in tasks:
        container = {"image": "example.test/eval:1", "command": ["sleep", "600"]}
        spec = {"resource_shape": "cpu.small", "container": container, "envs": _variables(made)}
        workspace.create_job({"metadata": {"id": name, "labels": made}, "spec": spec})
    twin = run_id if twins else STRANGER
    untagged = ["evalx-key", "evalx-look-alike-KEY", "evalx-deployments-KEY", f"evalx-{twin}-MINE", f"evalx-{twin}-x"]
    workspace.create_secrets(dict.fromkeys(untagged, "x"))
    tagged = [f"evalx-{twin}-OTHER", f"evalx-{STRANGER}-KEY", f"evalx-{STRANGER}-ENDPOINT_TOKEN"]
    workspace.create_secrets(dict.fromkeys(tagged, "x"), ["evalx", "evalx-owner-0123456789ab"])
    workspace.create_secrets({f"evalx-{twin}-THIRD": "x", "ENDPOINT_TOKEN": "x"}, ["mine"])
    workspace.close()


def _variables(marks: dict[str, str]) -> list[dict[str, str]]:
    return [{"name": name, "value": value} for name, value in marks.items()]


def alive(emulator: Emulator, run_id: str) -> list[str]:
    """What exists with the run's name, without what is over."""
    return [name for name in emulator.alive() if name.partition("/")[2].startswith(f"evalx-{run_id}-")]


def test_secrets_that_could_not_be_deleted_are_not_forgotten(workspace: Callable[..., Emulator], write: Write, evalx: Evalx) -> None:
    emulator = workspace(faults=(Fault(403, method="DELETE", path="*secret*"),))
    config = write("""
        import json, pathlib, sys
        folder = pathlib.Path(sys.argv[3])
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "results.json").write_text(json.dumps({"schema": 1, "metrics": [{"name": "accuracy", "value": 1}]}))
    """)
    done = evalx("a", "run", config)
    assert done.returncode == 7, done.stderr
    (left,) = [line.removeprefix("  may be alive: ") for line in done.stderr.splitlines() if "may be alive:" in line]
    assert emulator.alive() and "as a whole" in left
    listed, shown = evalx("a", "cleanup", "--all-runs"), evalx("a", "status", "last", "--exit-status")
    assert (listed.returncode, shown.returncode) == (7, 7) and left in listed.stdout and left in shown.stdout
    assert json.loads(evalx("a", "ls", "--json").stdout)["runs"][0]["may_be_alive"] == 1
    assert json.loads(evalx("a", "cleanup", "--all-runs", "--json").stdout)["runs"][0]["may_be_alive"][0]["name"] == left
    emulator.fail()
    assert evalx("a", "cleanup", "--all-runs", "--apply").returncode == 0 and not emulator.alive()
    assert evalx("a", "cleanup", "--all-runs").returncode == 0


def test_a_killed_run_is_swept_from_a_machine_that_never_saw_it(
    workspace: Callable[..., Emulator], write: Write, evalx: Evalx, tmp_path: Path
) -> None:
    emulator = workspace(provisioning=0.1, users={"other@example.test": "their-token"})
    run_id = killed_run(tmp_path, write("import time; time.sleep(600)"))
    ours = alive(emulator, run_id)
    assert {name.partition("/")[0] for name in ours} == {"endpoint", "job", "secret"}
    strangers(run_id, emulator, twins=False)
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


def test_fifty_look_alikes_are_left_alone(workspace: Callable[..., Emulator], write: Write, evalx: Evalx, tmp_path: Path) -> None:
    emulator = workspace(provisioning=0.1, users={"other@example.test": "their-token"})
    run_id = killed_run(tmp_path, write("import time; time.sleep(600)"))
    ours = alive(emulator, run_id)
    strangers(run_id, emulator, twins=True)
    others = set(emulator.alive()) - set(ours)
    assert len(others) == 50
    done = evalx("b", *SWEEP, "--apply", "--json")
    assert done.returncode == 7, "with twins of another owner about, a sweep does not take the run's name for proof"
    done = evalx("a", "cleanup", run_id, "--storage")
    assert done.returncode == 0, done.stderr
    assert set(emulator.alive()) == others
    done_by_us = [line.split(" ") for line in emulator.history if not line.startswith("other@")]
    assert [entry for entry in done_by_us if entry[2] in others] == []


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


def test_a_run_is_not_taken_for_gone_in_another_workspace(
    workspace: Callable[..., Emulator], write: Write, evalx: Evalx, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    emulator = workspace()
    run_id = killed_run(tmp_path, write("import time; time.sleep(600)"))
    there = alive(emulator, run_id)
    assert there
    elsewhere = workspace()
    for command in (["cleanup", run_id], ["resume", run_id], ["cancel", run_id], ["cleanup", "--all-runs", "--apply"]):
        refused = evalx("a", *command)
        assert refused.returncode == 7, (command, refused.stderr)
        assert "Traceback" not in refused.stderr and alive(emulator, run_id) == there
        said = " ".join((refused.stdout + refused.stderr).split())
        assert f"run {run_id} is in workspace {emulator.workspace_id} at 127.0.0.1:{emulator.port}" in said, (command, said)
        assert f"{elsewhere.port}" in said and "log in there" in said
    for name in ("LEPTON_WORKSPACE_TOKEN", "LEPTON_WORKSPACE_URL"):
        monkeypatch.setenv(name, emulator.environment()[name])
    assert evalx("a", "cleanup", run_id).returncode == 0 and not alive(emulator, run_id)
    for name in ("LEPTON_WORKSPACE_TOKEN", "LEPTON_WORKSPACE_URL"):
        monkeypatch.setenv(name, elsewhere.environment()[name])
    assert evalx("a", "cleanup", run_id).returncode == 0, "nothing is left that could be missed"
