"""Whole runs: config, plan, driver, executor, emulated workspace; and what of secrets is where."""

from __future__ import annotations

import base64
import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote

import psutil
import pytest
import yaml
from tests.lepton.conftest import QUESTION, SERVER

from evalx import runs
from evalx.config import load
from evalx.errors import ExitCode
from evalx.model import Outcome
from evalx_lepton.emulator import Emulator
from evalx_lepton.sdk import Workspace

CANARY = "canary-7f3a9c51d2"

Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Writes a config with these tasks: `write(tasks, **execution)`."""

    def make(tasks: dict[str, str], **execution: Any) -> Path:
        entries = []
        for name, code in tasks.items():
            program = tmp_path / f"{name}.py"
            program.write_text(textwrap.dedent(code))
            argv = [sys.executable, str(program), "{url}", "{model}", "{results}"]
            entries.append({"name": name, "container": "example.test/eval:1", "harness_config": {"command": argv}})
        config = {
            "defaults": [{"execution": "lepton/default"}, {"deployment": "vllm"}, "_self_"],
            "execution": {"output_dir": str(tmp_path / "out"), **execution},
            "deployment": {
                "image": "example.test/vllm:1",
                "checkpoint_path": "example/stub",
                "served_model_name": "stub",
                "lepton_config": {"resource_shape": "gpu.1xh200"},
            },
            "evaluation": {"harness": "command", "tasks": entries},
        }
        path = tmp_path / "config.yaml"
        path.write_text(yaml.safe_dump(config))
        return path

    return make


def emulated(tmp_path: Path) -> dict[str, Any]:
    """The execution section's part for a workspace of the run's own."""
    command = [sys.executable, str(SERVER), "--port", "{port}", "--model", "{served_model_name}"]
    images = [{"match": "example.test/vllm*", "command": command}, {"match": "example.test/eval*"}]
    path = tmp_path / "emulator.yaml"
    path.write_text(yaml.safe_dump({"images": images}))
    return {"workspace": "emulated", "emulator": {"settings": str(path)}}


def test_a_run_scores_and_leaves_nothing(workspace: Callable[..., Emulator], write: Write) -> None:
    emulator = workspace(provisioning=0.1)
    summary = runs.start(load(write({"one": QUESTION, "two": QUESTION, "bad": "raise SystemExit('it broke')"})))
    assert {result.spec.name: result.outcome for result in summary.results} == {
        "one": Outcome.PASSED,
        "two": Outcome.PASSED,
        "bad": Outcome.FAILED,
    }
    assert (summary.exit_code, summary.left) == (ExitCode.TASK_FAILED, ())
    assert emulator.alive() == []
    assert emulator.calls["POST /deployments"] == 3
    assert emulator.calls["POST /usersecrets"] == 1


def test_the_runs_own_workspace_is_started_and_stopped(write: Write, tmp_path: Path) -> None:
    summary = runs.start(load(write({"one": QUESTION}, lepton_platform=emulated(tmp_path))))
    assert summary.exit_code is ExitCode.OK, [result.reason for result in summary.results]
    assert not (summary.directory / "emulator" / "address.json").exists()
    assert not [process for process in psutil.process_iter(["cmdline"]) if str(tmp_path) in " ".join(process.info["cmdline"] or [])]


def test_a_killed_run_is_resumed_in_another_process(write: Write, tmp_path: Path, evalx_home: Path) -> None:
    slow = "import time; time.sleep(1.5)\n" + textwrap.dedent(QUESTION)
    config = write({"one": slow}, lepton_platform=emulated(tmp_path))
    env = {**os.environ, "EVALX_STATE_DIR": str(evalx_home)}
    process = subprocess.Popen(
        [sys.executable, "-m", "evalx.cli", "run", str(config)], env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    assert process.stdout is not None
    for line in process.stdout:
        if b"one  running" in line:
            break
    process.send_signal(signal.SIGKILL)
    process.stdout.close()
    process.wait()
    (run_id,) = os.listdir(tmp_path / "out")
    summary = runs.resume(run_id)
    assert summary.exit_code is ExitCode.OK, [result.reason for result in summary.results]
    assert [result.spec.attempt for result in summary.results] == [0]


class TestSecrets:
    """A value of this machine's environment reaches the job, and nothing else."""

    SEE = "import os, sys, json; assert os.environ['MY_SECRET'] == 'canary-7f3a9c51d2'; assert len(os.environ['API_KEY']) == 43\n"

    @pytest.fixture
    def spied(self, workspace: Callable[..., Emulator], monkeypatch: pytest.MonkeyPatch) -> tuple[Emulator, list[str]]:
        """The workspace, and all that it shows of endpoints, jobs and secrets while tasks run."""
        monkeypatch.setenv("MY_SECRET", CANARY)
        emulator = workspace()
        shown: list[str] = []
        create = Workspace.create_job

        def spy(self: Workspace, body: Any) -> Any:
            made = create(self, body)
            shown.append(json.dumps(body) + str(self._client.job.get(made.id)) + str(self._client.secret.list_all()))
            shown.append("".join(map(str, self._client.deployment.list_all())))
            return made

        monkeypatch.setattr(Workspace, "create_job", spy)
        return emulator, shown

    def test_a_canary_is_in_no_spec_file_or_log(self, spied: tuple[Emulator, list[str]], write: Write, tmp_path: Path) -> None:
        emulator, shown = spied
        quiet = "open(sys.argv[3] + '/results.json', 'w').write(json.dumps({'schema': 1, 'metrics': [{'name': 'a', 'value': 1.0}]}))"
        summary = runs.start(load(write({"one": self.SEE + quiet}, env_var_names=["MY_SECRET"])))
        assert summary.exit_code is ExitCode.OK, [result.reason for result in summary.results]
        assert f"evalx-{summary.run_id}-MY_SECRET" in shown[0]
        forms = [CANARY, base64.b64encode(CANARY.encode()).decode()[:-2], quote(CANARY, safe="")]
        files = [path for folder in (tmp_path / "out", tmp_path / "state") for path in folder.rglob("*") if path.is_file()]
        assert files
        sinks = [*shown, *(path.read_text(errors="replace") for path in files)]
        assert [form for form in forms for sink in sinks if form in sink] == []
        assert emulator.alive() == []

    def test_they_go_also_if_the_run_fails(self, spied: tuple[Emulator, list[str]], write: Write) -> None:
        emulator, _ = spied
        summary = runs.start(load(write({"one": "raise SystemExit(1)"}, env_var_names=["MY_SECRET"])))
        assert summary.exit_code is ExitCode.TASK_FAILED
        assert emulator.alive() == []


def test_one_listing_serves_all(workspace: Callable[..., Emulator], write: Write) -> None:
    """Polling costs the same for one task and for eight."""
    counts = []
    for tasks in (1, 8):
        emulator = workspace(provisioning=1.0)
        slow = "import time; time.sleep(1)\n" + textwrap.dedent(QUESTION)
        began = time.monotonic()
        summary = runs.start(load(write({f"t{number}": slow for number in range(tasks)})))
        assert summary.exit_code is ExitCode.OK, [result.reason for result in summary.results]
        counts.append((emulator.calls["GET /deployments"] + emulator.calls["GET /jobs"]) / (time.monotonic() - began))
    assert counts[1] < 3 * counts[0]
