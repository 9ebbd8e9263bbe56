"""The command line in this process and in one of its own, and runs in the store, made as a driver makes them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from attrs import frozen

from evalx.cli import main
from evalx.model import EndpointHandle, EndpointSpec, Metric, Outcome, RunPlan, TaskResult, TaskSpec
from evalx.plan import new_run_id
from evalx.store import Journal, Store
from evalx.store.states import Cleanliness, ResourceState, RunOutcome, RunState, TaskState

HERE = Path(__file__).parent

Command = Callable[..., "Done"]


@frozen
class Done:
    """What a command did."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


@pytest.fixture
def evalx(capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Command:
    """Calls the command line in this process, with the test's folder as current folder."""
    monkeypatch.chdir(tmp_path)

    def call(*args: str) -> Done:
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main(args)
        return Done(int(ended.value.code or 0), *capsys.readouterr())

    return call


@pytest.fixture
def environment(evalx_home: Path) -> dict[str, str]:
    """For processes: this test's state, no terminal size or CI of whoever runs the tests."""
    kept = {name: value for name, value in os.environ.items() if name not in ("CI", "COLUMNS", "LINES", "NO_COLOR")}
    return {**kept, "EVALX_STATE_DIR": str(evalx_home), "TERM": "xterm", "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}


@pytest.fixture
def evalx_process(environment: dict[str, str], tmp_path: Path) -> Command:
    """Runs the command line as a process, to its end."""

    def call(*args: str, **more: str) -> Done:
        argv = [sys.executable, "-m", "evalx.cli", *args]
        done = subprocess.run(argv, cwd=tmp_path, env={**environment, **more}, capture_output=True, text=True, timeout=60)
        return Done(done.returncode, done.stdout, done.stderr)

    return call


@pytest.fixture
def started(environment: dict[str, str], tmp_path: Path) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Starts the command line as a process and lets it go on; it is ended with the test."""
    processes: list[subprocess.Popen[str]] = []

    def start(*args: str) -> subprocess.Popen[str]:
        argv = [sys.executable, "-m", "evalx.cli", *args]
        pipe = subprocess.PIPE
        processes.append(subprocess.Popen(argv, cwd=tmp_path, env=environment, stdout=pipe, stderr=pipe, text=True))
        return processes[-1]

    yield start
    for process in processes:
        process.terminate()
        process.communicate(timeout=30)


def tiny_config(**tasks: list[str]) -> str:
    """A config with a server and tasks of this folder. tasks: name → arguments of tiny_eval.py after the results folder."""
    server = json.dumps([sys.executable, str(HERE / "tiny_server.py"), "{port}"])
    lines = ["defaults:", "  - execution: local/default", "  - deployment: command", "  - _self_"]
    lines += ["deployment:", f"  argv: {server}", "  served_model_name: tiny", "evaluation:", "  harness: command", "  tasks:"]
    for name, rest in tasks.items():
        command = json.dumps([sys.executable, str(HERE / "tiny_eval.py"), "{url}", "{results}", *rest])
        lines += [f"    - name: {name}", f"      harness_config: {{command: {command}}}"]
    return "\n".join(lines) + "\n"


@pytest.fixture
def config(tmp_path: Path) -> Callable[..., str]:
    """Writes `tiny_config` to a file; returns its name."""

    def write(name: str = "tiny.yaml", **tasks: list[str]) -> str:
        (tmp_path / name).write_text(tiny_config(**tasks))
        return name

    return write


class StoredRun:
    """A run of an endpoint and a task per name, which a test moves from state to state."""

    def __init__(self, directory: Path, *names: str) -> None:
        endpoints = tuple(EndpointSpec(name, index, "vllm", "m") for index, name in enumerate(names))
        tasks = tuple(TaskSpec(name, index, "command", name) for index, name in enumerate(names))
        self.plan = RunPlan(new_run_id(), "local", endpoints, tasks)
        self.run_id = self.plan.run_id
        self.directory = directory / self.run_id
        self.store = Store()
        self.journal: Journal = self.store.create(self.plan, self.directory, "execution: {type: local}\n")
        self.journal.run(RunState.ACTIVE)

    def endpoint(self, index: int, state: ResourceState, reason: str | None = None) -> None:
        spec = self.plan.endpoints[index]
        name = f"evalx-{self.run_id}-e{index}"
        self.journal.resource(spec, name, state, reason=reason, handle=EndpointHandle(spec, name, "http://127.0.0.1:1"))

    def submit(self, index: int) -> None:
        self.endpoint(index, ResourceState.READY)
        self.journal.task(self.plan.tasks[index], TaskState.SUBMITTED)
        self.journal.task(self.plan.tasks[index], TaskState.RUNNING)

    def score(self, index: int, *metrics: Metric) -> None:
        spec = self.plan.tasks[index]
        result = TaskResult(spec, Outcome.PASSED, metrics or (Metric("accuracy", 0.45, 0.079, 40),), started=100.0, ended=112.0)
        self.journal.task(spec, TaskState.SCORED, result=result)
        self.endpoint(index, ResourceState.GONE)

    def fail(self, index: int, reason: str) -> None:
        spec = self.plan.tasks[index]
        self.journal.task(spec, TaskState.FAILED, reason=reason, result=TaskResult(spec, Outcome.FAILED, reason=reason))
        self.endpoint(index, ResourceState.GONE)

    def log(self, index: int, text: str, kind: str = "tasks") -> Path:
        folder = self.directory / kind / f"{index:03d}-{self.plan.tasks[index].name}"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "output.log").write_text(text)
        return folder / "output.log"

    def close(self, outcome: RunOutcome = RunOutcome.SUCCEEDED, cleanliness: Cleanliness = Cleanliness.CLEAN, exit_code: int = 0) -> None:
        self.journal.run(RunState.CLOSED, outcome=outcome, cleanliness=cleanliness, exit_code=exit_code)
        self.abandon()

    def abandon(self) -> None:
        """As if its process were gone."""
        self.journal.close()


@pytest.fixture
def stored(tmp_path: Path) -> Iterator[Callable[..., StoredRun]]:
    runs: list[StoredRun] = []

    def make(*names: str) -> StoredRun:
        runs.append(StoredRun(tmp_path / "runs", *names))
        return runs[-1]

    yield make
    for run in runs:
        run.journal.close()
        run.store.close()
