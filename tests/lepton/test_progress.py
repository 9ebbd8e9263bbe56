"""How far running jobs are, as their logs tell; and how seldom these are asked for."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from tests.lepton.conftest import World, program, server, until

from evalx.harnesses.command import CommandHarness
from evalx.harnesses.settings import counted
from evalx.model import Outcome
from evalx_lepton import progress
from evalx_lepton.progress import GAP, Progress
from evalx_lepton.views import Job

WORK = """
import json, os, sys, time
print("sample 3/8", flush=True)
while not os.path.exists(sys.argv[1]): time.sleep(0.05)
json.dump({"schema": 1, "metrics": [{"name": "a", "value": 1.0}]}, open("results/results.json", "w"))
"""


@pytest.fixture
def telling(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tasks of the command harness tell how far they are, as `sample n/N`."""

    def read(_: object, log: Sequence[str]) -> tuple[int, int] | None:
        return counted(log, re.compile(r"sample (\d+)/(\d+)"))

    monkeypatch.setattr(CommandHarness, "progress", read, raising=False)


@pytest.mark.usefixtures("telling")
def test_samples_of_a_running_job(world: Callable[..., World], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "EVERY", 0.1)
    monkeypatch.setattr(progress, "GAP", 0.1)
    task = program(WORK, str(tmp_path / "go"))
    here = world([server()], [task])
    handle = here.submit(task, here.ready())

    def told() -> bool:
        assert here.hooks.collect(handle) is None
        report = here.run.last_report(task)
        return report is not None and (report.phase, report.done, report.total) == ("running", 3, 8)

    until(told)
    (tmp_path / "go").touch()
    assert here.result(handle).outcome is Outcome.PASSED


def test_a_harness_that_does_not_tell_costs_no_call(world: Callable[..., World], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "EVERY", 0.0)
    task = program(WORK, str(tmp_path / "go"))
    here = world([server()], [task])
    handle = here.submit(task, here.ready())
    until(lambda: here.hooks.collect(handle) is None and (report := here.run.last_report(task)) and report.phase == "running")
    assert here.hooks.collect(handle) is None
    assert here.emulator.calls["GET /logs"] == 0
    (tmp_path / "go").touch()
    assert here.result(handle).outcome is Outcome.PASSED


@pytest.mark.parametrize("jobs", [1, 20, 1000])
def test_one_call_in_a_while_whatever_the_number_of_jobs(jobs: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Virtual time, and in place of the workspace a list of what is asked."""
    moment, asked = [1000.0], []
    monkeypatch.setattr(progress, "time", SimpleNamespace(monotonic=lambda: moment[0]))

    def tail(_kind: str, job: str, _count: int) -> list[str]:
        asked.append(job)
        return [f"{len(asked)}/1000"]

    harness = SimpleNamespace(progress=lambda log: tuple(map(int, log[-1].split("/"))))
    run: Any = SimpleNamespace(plugins=SimpleNamespace(harness=lambda _: harness))
    workspace: Any = SimpleNamespace(log_tail=tail)
    looks = Progress(run, lambda: workspace)
    running = [Job(f"job{index}", "name", "Running") for index in range(jobs)]
    task = program("")
    for _ in range(400):
        moment[0] += 0.25
        told = [looks.of(task, job) for job in running]
    assert len(asked) <= 100 / GAP + 1
    assert len(set(asked)) == min(jobs, len(asked)), "each in its turn"
    assert sum(known is not None for known in told) == len(set(asked)), "what was read is told until it is read again"
    looks.forget(running[0])
    assert looks.of(task, running[0]) is None
