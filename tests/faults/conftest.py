"""A laboratory: the real command line in processes of its own, against real servers and tasks that do what a test wants."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from attrs import frozen

HERE = Path(__file__).parent
SERVER = HERE.parent / "local" / "stub_server.py"
NOTHING: dict[str, Any] = {}

WITHIN = 60.0
"""Seconds after which a process under test counts as hanging; far more than anything takes on an idle machine."""


@frozen
class Done:
    """What a command did."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


class Lab:
    """Runs evalx in a folder of its own. starts: the file in which each task writes its name when it begins."""

    def __init__(self, folder: Path, state: Path) -> None:
        self.folder = folder
        self.stub = SERVER
        self.state = state
        self.starts = folder / "starts"
        self.gate = folder / "gate"
        kept = {name: value for name, value in os.environ.items() if name not in ("CI", "COLUMNS", "NO_COLOR")}
        self.environment = {**kept, "EVALX_STATE_DIR": str(state), "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
        self._started: list[subprocess.Popen[str]] = []

    # ------------------------------------------------------------------ configs

    def task(self, name: str, *more: str, **keys: Any) -> dict[str, Any]:
        """A task that runs job.sh. more: its further arguments, GATE and EXIT CODE."""
        command = ["sh", str(HERE / "job.sh"), str(self.starts), "{task}", "{results}", *more]
        return {"name": name, "harness_config": {"command": command}, **keys}

    def shell(self, name: str, script: str, **keys: Any) -> dict[str, Any]:
        """A task that is a shell script; $1 is its folder for results."""
        return {"name": name, "harness_config": {"command": ["sh", "-c", script, "task", "{results}"]}, **keys}

    def config(
        self,
        *tasks: dict[str, Any],
        server: tuple[str, ...] = (),
        deployment: dict[str, Any] = NOTHING,
        name: str = "c.yaml",
        **execution: Any,
    ) -> str:
        """Writes a config with one shared endpoint; returns its name. server: arguments of the stub server."""
        argv = [sys.executable, str(SERVER), "--port", "{port}", *server]
        tree = {
            "defaults": [{"execution": "local/default"}, {"deployment": "command"}, "_self_"],
            "execution": {"endpoints": "shared", **execution},
            "deployment": {"argv": argv, "served_model_name": "stub", **deployment},
            "evaluation": {"harness": "command", "tasks": list(tasks)},
        }
        (self.folder / name).write_text(json.dumps(tree, indent=1, ensure_ascii=False), encoding="utf-8")
        return name

    # ------------------------------------------------------------------ processes

    def start(self, *args: str, argv: tuple[str, ...] = ("-m", "evalx.cli"), **options: Any) -> subprocess.Popen[str]:
        """The command line as a process that goes on; it is killed with the test."""
        settings = {"cwd": self.folder, "env": self.environment, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **options}
        process = subprocess.Popen([sys.executable, *argv, *args], text=True, encoding="utf-8", **settings)
        self._started.append(process)
        return process

    def evalx(self, *args: str, **options: Any) -> Done:
        """The command line as a process, to its end. There is never a traceback on the screen."""
        return self.end(self.start(*args, **options))

    def end(self, process: subprocess.Popen[str]) -> Done:
        """Waits for a process to end."""
        out, err = process.communicate(timeout=WITHIN)
        done = Done(process.returncode, out or "", err or "")
        assert "Traceback" not in done.out + done.err, done.err
        return done

    def crash(self, failpoint: str, *args: str) -> None:
        """The command line, killed by SIGKILL at that failpoint: NAME:HIT."""
        process = self.start(*args, env={**self.environment, "EVALX_FAILPOINT": f"{failpoint}:kill"})
        _, err = process.communicate(timeout=WITHIN)
        assert process.returncode == -signal.SIGKILL, f"{failpoint} was not reached: {err}"

    # ------------------------------------------------------------------ what happened

    @property
    def run_id(self) -> str:
        """Of the one run that this test has started."""
        found = [path.parent.name for path in self.folder.glob("*/*/plan.json")]
        assert len(found) == 1, found
        return found[0]

    def events(self) -> list[dict[str, Any]]:
        """The run's events so far; none if there is no run yet."""
        files = list(self.folder.glob("*/*/events.jsonl"))
        return [json.loads(line) for file in files for line in file.read_text().splitlines(keepends=True) if line.endswith("\n")]

    def events_of(self, name: str) -> list[dict[str, Any]]:
        """The events about that task or endpoint, from the database."""
        with closing(sqlite3.connect(self.state / "evalx.db")) as db:
            rows = db.execute("SELECT state, reason FROM events WHERE name = ? ORDER BY seq", (name,)).fetchall()
        return [{"state": state, "reason": reason} for state, reason in rows]

    def until_event(self, state: str, name: str = "") -> None:
        """Waits for an event of that state (and name)."""
        self.until(lambda: any(event["state"] == state and name in ("", event["name"]) for event in self.events()))

    def until(self, condition: Callable[[], Any]) -> Any:
        """Waits for it; returns what it returned."""
        deadline = time.monotonic() + WITHIN
        while not (found := condition()):
            assert time.monotonic() < deadline, f"waited in vain; events: {[(e['name'], e['state'], e['reason']) for e in self.events()]}"
            time.sleep(0.02)
        return found

    def begun(self) -> list[str]:
        """Names of the tasks that have begun, sorted, once for each time."""
        return sorted(self.starts.read_text().splitlines()) if self.starts.exists() else []

    def alive(self) -> list[int]:
        """Processes of any run of this test, whatever has become of their parents."""
        return [pid for pid, variables in _environments(self.state) if any(one.startswith(b"EVALX_RUN=") for one in variables)]

    def server(self) -> int:
        """The process id of the stub server."""

        def look() -> list[int]:
            lines = {pid: Path(f"/proc/{pid}/cmdline").read_bytes() for pid in self.alive()}
            return [pid for pid, line in lines.items() if line.startswith(sys.executable.encode()) and SERVER.name.encode() in line]

        return int(self.until(look)[0])

    def close(self) -> None:
        for process in self._started:
            process.kill()
            process.communicate(timeout=WITHIN)
        for pid, _ in _environments(self.state):
            if pid != os.getpid():
                os.kill(pid, signal.SIGKILL)


def _environments(state: Path) -> Iterator[tuple[int, list[bytes]]]:
    """Live processes that keep their state there, with their environments."""
    mark = b"EVALX_STATE_DIR=" + os.fsencode(state)
    for entry in os.scandir("/proc"):
        if entry.name.isdecimal():
            try:
                variables = Path(entry.path, "environ").read_bytes().split(b"\0")
            except OSError:
                continue
            if mark in variables:
                yield int(entry.name), variables


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    laboratory = Lab(tmp_path, tmp_path / "state")
    yield laboratory
    laboratory.close()
