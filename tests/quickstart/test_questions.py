"""The questions and how replies to them are scored."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

import pytest
import yaml

from evalx_quickstart import paths

PLUGIN = paths.HARNESS / "core_evals" / "evalx_quickstart"
TASKS = {file.stem: [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()] for file in PLUGIN.glob("*.jsonl")}


@pytest.fixture(scope="module")
def score() -> Callable[[str, Iterable[str]], dict[str, bool]]:
    """The scoring, which lives in a folder that only the harness has on its path."""
    spec = spec_from_file_location("quickstart_scoring", PLUGIN / "scoring.py")
    assert spec and spec.loader
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.score  # type: ignore[no-any-return]


def test_three_tasks_of_at_least_twenty_questions_are_offered() -> None:
    framework = yaml.safe_load((PLUGIN / "framework.yml").read_text())
    assert sorted(entry["name"] for entry in framework["evaluations"]) == sorted(TASKS) == ["arithmetic", "capitals", "everyday_facts"]
    assert min(map(len, TASKS.values())) >= 20


def test_no_question_is_asked_twice() -> None:
    rows = [row for questions in TASKS.values() for row in questions]
    assert len({row["id"] for row in rows}) == len({row["question"].casefold() for row in rows}) == len(rows)


@pytest.mark.parametrize("row", [pytest.param(row, id=row["id"]) for questions in TASKS.values() for row in questions])
def test_a_question_is_well_formed_and_does_not_give_its_answer_away(row: dict[str, Any], score: Any) -> None:
    assert set(row) == {"id", "question", "answer", "also", "source"}
    assert row["question"].endswith("?") and row["source"]
    accepted = [row["answer"], *row["also"]]
    assert all(answer and answer == answer.strip() for answer in accepted)
    assert not score(row["question"], accepted)["contains"]
    assert all(score(answer, accepted) == {"contains": True, "exact": True} for answer in accepted)


def test_sums_are_right() -> None:
    for row in TASKS["arithmetic"]:
        first, operator, second = row["question"].removeprefix("What is ").removesuffix("?").split()
        right = {"+": int(first) + int(second), "-": int(first) - int(second), "*": int(first) * int(second)}[operator]
        assert row["answer"] == str(right)


@pytest.mark.parametrize(
    ("reply", "accepted", "contains", "exact"),
    [
        ("The capital is Paris.", ["Paris"], True, False),
        (" paris!\n", ["Paris"], True, True),
        ("Parisian", ["Paris"], False, False),
        ("1 - 9 = -8", ["-8"], True, False),
        ("-8.", ["-8"], True, True),
        ("-8", ["8"], False, False),
        ("2-6=-4", ["-4"], True, False),
        ("18", ["8"], False, False),
        ("Eight legs", ["8", "eight"], True, False),
        ("twenty seven", ["27", "twenty-seven"], True, True),
        ("buenos  aires", ["Buenos Aires"], True, True),
        ("**CO2**", ["carbon dioxide", "CO2"], True, True),
        ("", ["8"], False, False),
    ],
)
def test_scores(reply: str, accepted: list[str], contains: bool, exact: bool, score: Any) -> None:
    assert score(reply, accepted) == {"contains": contains, "exact": exact}


def test_the_sources_are_told() -> None:
    told = Path(paths.HARNESS, "README.md").read_text()
    assert all(f"`{task}`" in told for task in TASKS) and "Apache-2.0" in told
