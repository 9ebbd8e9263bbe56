"""`kill -9` by numbers: 200 trials of real processes, all failpoints among them; and that trials find what is known to leak."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from tests.faults.seeds import plans

from evalx import failpoints
from evalx.errors import ConfigError

pytest.importorskip("leptonai")

ROOT = Path(__file__).parents[2]
SEEDS = 200
HARMS = ("alive", "created more than once")


def trials(*arguments: str, environment: Mapping[str, str] | None = None) -> tuple[int, dict[str, Any], str]:
    """The command's exit code, its summary, and all that it said. In a process of its own: one with threads cannot be forked."""
    command = [sys.executable, "-m", "tests.faults.seeds", *arguments]
    done = subprocess.run(command, cwd=ROOT, env={**os.environ, **(environment or {})}, capture_output=True, text=True, check=False)
    lines = done.stdout.splitlines()
    assert lines, done.stderr
    return done.returncode, json.loads(lines[-1]), "\n".join(lines[:-1]) + done.stderr


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_whatever_kills_evalx_nothing_is_left_or_lost_or_created_twice() -> None:
    code, summary, said = trials("--seeds", str(SEEDS))
    assert code == 0, said
    assert summary["seeds"] == SEEDS and summary["bad"] == 0
    missed = {(executor, name) for executor, names in summary["missed"].items() for name in names}
    if missed:  # by chance: the answer was lost after which the trial would have been killed
        code, summary, said = trials("--seeds", str(2 * len(failpoints.NAMES)))
        assert code == 0, said
        missed &= {(executor, name) for executor, names in summary["missed"].items() for name in names}
    assert not missed, "every failpoint was reached, with each executor"


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize(("mistake", "first"), [("record_after_create", 0), ("no_settle_window", 100)])
def test_the_trials_find_a_mistake(mistake: str, first: int) -> None:
    """An ablation: were this to pass with the mistake in it, the trials would prove nothing."""
    for begin in range(first, first + 3 * 48, 48):  # by chance, the first 48 may miss it
        code, summary, said = trials("--mistake", mistake, "--from", str(begin), "--seeds", "48", "--executor", "lepton")
        assert (code == 1) == (summary["bad"] > 0)
        if any(harm in said for harm in HARMS):
            return
    raise AssertionError(f"found nothing that is left alive or created twice: {said}")


def test_a_trial_is_made_from_its_number_alone() -> None:
    first, second = ([plans.make(number) for number in range(SEEDS)] for _ in range(2))
    assert first == second
    assert len({str(plan) for plan in first}) == SEEDS
    assert len(failpoints.NAMES) >= 20


@pytest.mark.parametrize(
    "text", ["no.such.place:1:kill", "intent.after", "intent.after:0:kill", "intent.after:one:kill", "intent.after:1:die"]
)
def test_a_failpoint_that_does_not_exist_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="EVALX_FAILPOINT"):
        failpoints.arm(text)
    failpoints.arm("")


def test_a_failpoint_strikes_at_its_hit_only() -> None:
    failpoints.arm("intent.after:2:raise,intent.before:1:raise")
    try:
        failpoints.reach("intent.after")
        with pytest.raises(failpoints.Failpoint):
            failpoints.reach("intent.before")
        with pytest.raises(failpoints.Failpoint):
            failpoints.reach("intent.after")
        failpoints.reach("intent.after")
    finally:
        failpoints.arm("")
    failpoints.reach("intent.after")


def test_the_command_line_refuses_a_failpoint_that_does_not_exist(lab: Any) -> None:
    lab.environment["EVALX_FAILPOINT"] = "intent.afte:1:kill"
    done = lab.evalx("ls")
    assert done.code == 2 and "there is no failpoint 'intent.afte'" in done.err
