"""The real `lep` command line, against an emulator that is a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.lepton.emulator.conftest import sdk, until_job, until_state

from evalx_lepton.emulator import Emulator

LEP = Path(sys.executable).parent / "lep"
SERVE = "echo started; exec python3 -m http.server $PORT --bind 127.0.0.1"

Lep = Callable[..., str]


@pytest.fixture
def emulator() -> Iterator[Emulator]:
    with Emulator() as emulator:
        yield emulator


@pytest.fixture
def lep(emulator: Emulator, tmp_path: Path) -> Lep:
    """Runs `lep`; returns what it says, and sees to it that it succeeds."""
    path = {name: os.environ[name] for name in ("PATH", "LANG") if name in os.environ}
    env = {**path, "HOME": str(tmp_path), "COLUMNS": "1000", **emulator.environment()}

    def run(*args: str) -> str:
        done = subprocess.run([LEP, *args], env=env, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    return run


@pytest.mark.slow
def test_log_in_and_look_around(emulator: Emulator, lep: Lep) -> None:
    assert "Workspace: emulated" in lep("login", "-c", f"emulated:{emulator.token}", "-u", emulator.url)
    assert "not DGX Cloud Lepton" in lep("workspace", "list")
    assert "state:       WorkspaceState.Normal" in lep("workspace", "status")
    assert "emulated-ng-0001" in lep("node", "list")
    assert "gpu.1xh200" in lep("node", "resource-shape")
    lep("secret", "create", "-n", "TOKEN", "-v", "hidden")
    assert "TOKEN" in lep("secret", "list")
    lep("secret", "remove", "-n", "TOKEN")
    assert emulator.alive() == []


@pytest.mark.slow
def test_an_endpoint(emulator: Emulator, lep: Lep) -> None:
    place = ("--resource-shape", "cpu.small", "--node-group", "emulated")
    container = ("--container-image", "python:3.11", "--container-command", SERVE, "--container-port", "8000", "--env", "PORT=8000")
    assert "Created Successfully" in lep("endpoint", "create", "-n", "web", *container, *place, "--tokens", "abc")
    until_state(sdk(emulator), "web", "Ready")
    assert "Ready" in lep("endpoint", "list")
    assert "1 out of 1 replicas ready" in lep("endpoint", "status", "-n", "web")
    assert '"external_endpoint": "http://127.0.0.1:' in lep("endpoint", "get", "-n", "web")
    assert "Started" in lep("endpoint", "events", "-n", "web")
    lep("endpoint", "stop", "-n", "web")
    until_state(sdk(emulator), "web", "Stopped")
    lep("endpoint", "remove", "-n", "web")


@pytest.mark.slow
def test_a_job(emulator: Emulator, lep: Lep) -> None:
    place = ("--resource-shape", "cpu.small", "--node-group", "emulated")
    lep("job", "create", "-n", "hello", "--container-image", "busybox", "--command", "echo one; echo two", *place)
    (job,) = sdk(emulator).job.list_all()
    name = job.metadata.id_
    until_job(sdk(emulator), name, "Completed")
    assert name in lep("job", "list")
    assert '"state": "Completed"' in lep("job", "get", "-i", name)
    assert "Completed" in lep("job", "events", "-i", name)
    assert f"{name}-0-" in lep("job", "replicas", "-i", name)
    said = lep("log", "get", "--job", name, "--start", "today", "--end", "now")
    assert '"one"' in said and '"two"' in said and "2 lines" in said
    lep("job", "remove", "-i", name)
