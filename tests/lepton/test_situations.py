"""Truthful status: every trouble that the emulated workspace can make is shown by the real command, with phase, reason and hint."""

from __future__ import annotations

import re
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from attrs import evolve
from tests.lepton.conftest import QUESTION
from tests.lepton.situations import CALLS, ENDPOINTS, JOBS, OfCalls, Situation

from evalx.cli.app import main
from evalx_lepton.emulator import Emulator

Cli = Callable[..., tuple[int, str]]


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Reasons are asked for as soon and as often as a test wants them."""
    monkeypatch.setattr("evalx_lepton.tasks.QUIET_START", 0.2)
    monkeypatch.setattr("evalx_lepton.backend.REASON_EVERY", 0.3)
    monkeypatch.setattr("evalx_lepton.backend.REASON_GAP", 0.0)
    monkeypatch.setattr("evalx.driver.HARD_STOP_SLACK", 2.0)


@pytest.fixture
def cli(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Cli:
    """Runs the command in this process: its exit code, and all that was on the screen."""
    monkeypatch.chdir(tmp_path)

    def call(*args: str) -> tuple[int, str]:
        with pytest.raises(SystemExit) as ended:
            main(args)
        told = capsys.readouterr()
        assert "Traceback" not in told.err
        return int(ended.value.code or 0), told.out + told.err

    return call


def config(folder: Path, names: list[str], **execution: Any) -> str:
    """A config with these tasks, each on an endpoint of its own."""
    program = folder / "task.py"
    program.write_text("import time; print('asking'); time.sleep(1)\n" + textwrap.dedent(QUESTION))
    command = [sys.executable, str(program), "{url}", "{model}", "{results}"]
    tree = {
        "defaults": [{"execution": "lepton/default"}, {"deployment": "vllm"}, "_self_"],
        "execution": {"evaluation_tasks": {"timeout": 60, "use_shared_storage": False}, **execution},
        "deployment": {
            "image": "example.test/vllm:1",
            "checkpoint_path": "example/stub",
            "served_model_name": "stub",
            "lepton_config": {"resource_shape": "gpu.small"},
        },
        "evaluation": {
            "harness": "command",
            "tasks": [{"name": name, "container": "example.test/eval:1", "harness_config": {"command": command}} for name in names],
        },
    }
    (folder / "my.yaml").write_text(yaml.safe_dump(tree))
    return "my.yaml"


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("new_endpoints", [False, True])
def test_workloads_in_trouble(workspace: Callable[..., Emulator], cli: Cli, tmp_path: Path, new_endpoints: bool) -> None:
    platform = {"deployment": {"endpoint_readiness_timeout": 12}, "tasks": {"queue_timeout": 8, "log_timeout": 2}}
    emulator = workspace(
        new_endpoints=new_endpoints,
        restart_backoff=0.5,
        grace=0.2,
        endpoint_faults=tuple(evolve(one.fault, name=f"*-e{number}-*") for number, one in enumerate(ENDPOINTS)),
        job_faults=tuple(evolve(one.fault, name=f"*-t{number}-*") for number, one in enumerate(JOBS, len(ENDPOINTS))),
    )
    everything: list[Situation] = [*ENDPOINTS, *JOBS]
    code, screen = cli("run", config(tmp_path, [one.name for one in everything], lepton_platform=platform), "--display", "plain")
    assert code == 1
    assert emulator.alive() == []
    assert [lacking for one in everything if (lacking := lacks(one, screen, one.told(new_endpoints)))] == []
    ended = dict(re.findall(r"^(\S+) +(skipped|failed|cancelled|timed out|lost|accuracy) ", screen, re.MULTILINE))
    assert {name: ended[name] for name in ended if name.startswith("job-")} == {
        "job-image": "failed",
        "job-capacity": "timed out",
        "job-quota": "timed out",
        "job-stuck": "timed out",
        "job-oom": "failed",
        "job-preempted": "cancelled",
        "job-failed": "failed",
        "job-node-lost": "failed",
        "job-deleted": "lost",
        "job-unknown": "accuracy",
    }


def lacks(situation: Situation, screen: str, reason: str) -> str | None:
    """What the screen does not tell of a situation; None if it tells all."""
    shown = "\n".join(re.findall(rf"^ +\d+m?s +{situation.name} .*$", screen, re.MULTILINE))
    phases = {phase.strip() for phase in re.findall(rf" {situation.name} +(?:endpoint )?([a-z ]+)", shown)}
    whole = shown + "".join(re.findall(rf"^{situation.name}: .*?(?=\n\n)", screen, re.MULTILINE | re.DOTALL)) + screen[-600:]
    wanted = {"reason": reason, "hint": situation.hint.replace("`", "")}
    missing = [f"{what} {text!r}" for what, text in wanted.items() if text not in whole]
    missing += [] if situation.phase in phases else [f"phase {situation.phase!r}, only {sorted(phases)}"]
    return f"{situation.name}: {', '.join(missing)} in {whole}" if missing else None


def test_the_table_in_the_docs_is_these_situations() -> None:
    page = (Path(__file__).parents[2] / "docs" / "lepton" / "troubleshooting.md").read_text()
    rows = [one.row() for one in (*ENDPOINTS, *JOBS, *CALLS)]
    assert [row for row in rows if row not in page.splitlines()] == [], "the rows as they should be:\n" + "\n".join(rows)


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("situation", CALLS, ids=lambda one: one.name)
def test_calls_in_trouble(
    workspace: Callable[..., Emulator], cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, situation: OfCalls
) -> None:
    emulator = workspace(faults=situation.faults, **situation.settings)
    for name, value in situation.environment.items():
        monkeypatch.setenv(name, value)
    code, screen = cli("run", config(tmp_path, [situation.name], **situation.execution), "--display", "plain")
    assert (code, emulator.alive()) == (situation.code, []), screen
    lacking = [text for text in (situation.reason, situation.hint.replace("`", "")) if text not in screen]
    assert lacking == [], screen
    assert situation.phase != "unknown" or re.search(r"HTTP 503: .*; \d+ s ago: running", screen), screen
    shown = re.search(rf" {situation.name} +(endpoint )?{situation.phase}", screen)
    assert shown if situation.phase != "-" else "nothing" in screen or "run " not in screen, screen
    if situation.phase == "-":
        assert emulator.history == []
