from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from attrs import define

from evalx.model import EndpointSpec, RunPlan, TaskSpec
from evalx.store import Store

CHILDREN = Path(__file__).parent / "children.py"
Spawn = Callable[..., "subprocess.Popen[str]"]
MakePlan = Callable[..., RunPlan]


@define
class Clock:
    """Seconds since the epoch, moved by hand."""

    seconds: float = 1_000_000.0

    def __call__(self) -> float:
        return self.seconds


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def store(evalx_home: Path, clock: Clock) -> Iterator[Store]:
    with Store(now=clock) as store:
        yield store


@pytest.fixture
def make_plan() -> MakePlan:
    """A plan of one endpoint and some tasks."""

    def make(run_id: str = "abcdefghijk", tasks: int = 2) -> RunPlan:
        specs = tuple(TaskSpec(f"task-{index}", index, "command", "model", {"params": {"limit": index}}) for index in range(tasks))
        return RunPlan(run_id, "local", (EndpointSpec("model", 0, "none", "tiny"),), specs, {"type": "local"}, created=5.0)

    return make


@pytest.fixture
def spawn() -> Iterator[Spawn]:
    """Start a part of children.py in a process of its own; it is killed at the end of the test."""
    started = []

    def start(part: str, *arguments: object) -> subprocess.Popen[str]:
        command = [sys.executable, str(CHILDREN), part, *map(str, arguments)]
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()
