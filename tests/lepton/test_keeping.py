"""Endpoints of a workspace that are kept when the tasks are over: private still, and gone with all that served them."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.lepton.conftest import until

from evalx import runs
from evalx.config import load
from evalx.store import Store
from evalx.store.states import RunState
from evalx_lepton.emulator import Emulator

TASK = "import json, sys; json.dump({'schema': 1, 'metrics': [{'name': 'a', 'value': 1.0}]}, open(sys.argv[1] + '/results.json', 'w'))"


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A task that wants a variable of this machine, and a server that wants another."""
    monkeypatch.setenv("FOR_THE_JOB", "canary-of-the-job")
    monkeypatch.setenv("FOR_THE_SERVER", "canary-of-the-server")
    program = tmp_path / "task.py"
    program.write_text(TASK)
    command = [sys.executable, str(program), "{results}"]
    tree = {
        "defaults": [{"execution": "lepton/default"}, {"deployment": "vllm"}, "_self_"],
        "execution": {"output_dir": str(tmp_path / "out"), "env_var_names": ["FOR_THE_JOB"]},
        "deployment": {
            "image": "example.test/vllm:1",
            "checkpoint_path": "example/stub",
            "served_model_name": "stub",
            "envs": {"FOR_THE_SERVER": "host:FOR_THE_SERVER"},
            "lepton_config": {"resource_shape": "gpu.small"},
        },
        "evaluation": {
            "harness": "command",
            "tasks": [{"name": "one", "container": "example.test/eval:1", "harness_config": {"command": command}}],
        },
    }
    path = tmp_path / "my.yaml"
    path.write_text(yaml.safe_dump(tree))
    return path


def evalx(folder: Path, *args: str) -> subprocess.CompletedProcess[str]:
    argv = [sys.executable, "-m", "evalx.cli", *args]
    return subprocess.run(argv, cwd=folder, env=dict(os.environ), capture_output=True, text=True, timeout=120, check=False)


def status_of(url: str, key: str) -> int:
    """The status with which the endpoint answers a question that bears the key."""
    body = json.dumps({"model": "stub", "messages": [{"role": "user", "content": "2 + 3"}]}).encode()
    try:
        with urllib.request.urlopen(urllib.request.Request(url, body, {"Authorization": f"Bearer {key}"}), timeout=30) as reply:
            return int(reply.status)
    except urllib.error.HTTPError as error:
        return error.code


def test_a_kept_endpoint_is_private_and_its_key_goes_with_it(
    workspace: Callable[..., Emulator], config: Path, tmp_path: Path, evalx_home: Path
) -> None:
    emulator = workspace()
    done = evalx(tmp_path, "run", str(config), "--keep-endpoints", "1h", "--json")
    assert done.returncode == 0, done.stderr
    summary: dict[str, Any] = json.loads(done.stdout)
    (endpoint,) = summary["kept"]["endpoints"]
    path, run = Path(endpoint["key_file"]), summary["run_id"]
    key = path.read_text().strip()
    assert path.is_relative_to(evalx_home) and stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert (status_of(endpoint["url"], key), status_of(endpoint["url"], "another")) == (200, 401)
    server, job = f"evalx-{run}-FOR_THE_SERVER", f"evalx-{run}-FOR_THE_JOB"
    left = emulator.alive()
    assert f"secret/{server}" in left and not [name for name in left if job in name or "TOKEN" in name or name.startswith("job")], left
    shown = evalx(tmp_path, "status", run)
    assert f"export OPENAI_API_KEY=$(cat {path})" in shown.stdout
    cleaned = evalx(tmp_path, "cleanup", run)
    assert cleaned.returncode == 0 and emulator.alive() == [] and not path.exists()
    said = "".join(each.stdout + each.stderr for each in (done, shown, cleaned))
    files = [file for file in (tmp_path / "out").rglob("*") if file.is_file()]
    assert [name for name in ("canary-of-the", key) for text in [said, *(file.read_text() for file in files)] if name in text] == []


def test_it_goes_when_its_time_is_over(workspace: Callable[..., Emulator], config: Path, evalx_home: Path) -> None:
    """Driven by a process that goes on, as a program is that uses evalx; the keeper is another one."""
    emulator = workspace()
    summary = runs.start(load(config, overrides=["execution.keep_endpoints=1"]))
    assert summary.kept is not None and summary.kept.keeper not in (None, os.getpid())
    with Store() as store:
        until(lambda: store.find(summary.run_id).state is RunState.CLOSED or None)
    assert emulator.alive() == [] and not list((evalx_home / "kept").iterdir())
