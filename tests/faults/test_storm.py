"""`kill -9` at random moments, again and again, of runs, resumes and cleanups."""

from __future__ import annotations

import json
import random
import time
from typing import Any

import pytest

pytestmark = [pytest.mark.enable_socket, pytest.mark.slow, pytest.mark.timeout(300)]

TASKS = 4
LONGEST_LIFE = 2.5


@pytest.mark.parametrize("seed", range(12))
def test_nothing_is_lost_or_left_or_done_twice(lab: Any, seed: int) -> None:
    """Whatever was acknowledged as scored stays so and does not run again; in the end nothing is alive."""
    dice = random.Random(seed)
    name = lab.config(*(lab.task(f"task{number}") for number in range(TASKS)), max_tasks=dice.choice([1, 2]))
    kill(lab, dice, "run", name, "--display", "none")
    scored: set[str] = set()
    begun = lab.begun()
    for _ in range(dice.randint(0, 2)):
        now = set(scores(lab))
        assert scored <= now, "an acknowledged result was lost"
        scored, begun = now, lab.begun()
        kill(lab, dice, *dice.choice([("resume", "last", "--display", "none"), ("cleanup", "last")]))
        assert all(lab.begun().count(task) == begun.count(task) for task in scored), "a finished task ran again"
    if not list(lab.folder.glob("evalx-runs/*/events.jsonl")):
        assert not lab.alive() and not lab.begun(), "killed before there was a run"
        return
    scored = set(scores(lab))
    done = lab.evalx("cleanup", "last")
    assert done.code == 0 and not lab.alive(), done.err
    assert scored <= set(scores(lab))
    if dice.random() < 0.5:
        assert lab.evalx("resume", "last", "--display", "none").code == 0
        assert set(scores(lab)) == {f"task{number}" for number in range(TASKS)} and not lab.alive()


def kill(lab: Any, dice: random.Random, *args: str) -> None:
    process = lab.start(*args)
    time.sleep(dice.uniform(0.2, LONGEST_LIFE))
    process.kill()
    process.communicate(timeout=10)


def scores(lab: Any) -> list[str]:
    """The tasks that are scored, as evalx tells them."""
    done = lab.evalx("results", "last", "--json")
    return [result["task"] for result in json.loads(done.out).get("results", []) if result["outcome"] == "passed"]
