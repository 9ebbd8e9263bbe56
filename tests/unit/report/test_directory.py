"""Reading a run from its directory alone."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from attrs import evolve
from tests.unit.report.samples import Story, usual

from evalx.errors import RunNotFound, StoreError
from evalx.model import Billing, Metric, Outcome
from evalx.report import read_directory, render
from evalx.results import write_result
from evalx.serial import to_json


@pytest.fixture
def story(tmp_path: Path) -> Story:
    """A run whose directory is written as a driver writes it."""
    story = usual(tmp_path)
    write(story)
    for result in story.results.values():
        folder = tmp_path / "tasks" / f"{result.spec.index:03d}-x"
        folder.mkdir(parents=True)
        write_result(folder, result)
    return story


def write(story: Story) -> None:
    (story.directory / "plan.json").write_text(json.dumps(to_json(story.plan)))
    (story.directory / "events.jsonl").write_text("".join(json.dumps(to_json(event)) + "\n" for event in story.events))


def test_all_of_a_run_is_in_its_directory(story: Story, tmp_path: Path) -> None:
    data = read_directory(tmp_path)
    assert (data.condition, data.exit_code, data.left, data.notes) == ("partial", 1, (), ())
    assert data.plan == story.plan and list(data.events) == story.events
    assert data.results == tuple(story.results.values())


def test_results_whose_files_are_gone_are_told_by_the_events(story: Story, tmp_path: Path) -> None:
    for path in tmp_path.rglob("result.json"):
        path.unlink()
    story.events = [event for event in story.events if event.state != "scored"]
    story.tell(80, "task", "arithmetic", "scored", metrics=[{"name": "accuracy", "value": 0.75, "stderr": 0.05, "n": 100}], attempt=0)
    write(story)
    first, second = read_directory(tmp_path).results
    assert first.outcome is Outcome.PASSED and first.metrics == (Metric("accuracy", 0.75, 0.05, 100),)
    assert second.outcome is Outcome.FAILED and second.reason == "exit code 3"


def test_what_was_not_gone_is_left(story: Story, tmp_path: Path) -> None:
    story.events = [event for event in story.events if event.state not in ("gone", "closed")]
    write(story)
    data = read_directory(tmp_path)
    assert data.condition == "unfinished" and data.exit_code is None
    assert [(left.kind, left.name, left.state) for left in data.left] == [("endpoint", "r-e0", "deleting"), ("task", "r-t0", "deleting")]


def test_a_torn_last_line_is_no_damage_and_a_damaged_line_is_told(story: Story, tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    whole = path.read_bytes()
    path.write_bytes(whole + b'{"seq": 99, "ti')
    assert read_directory(tmp_path).notes == ()
    lines = whole.splitlines(keepends=True)
    for bad in (b"nonsense\n", b'{"seq": 3}\n', b"\xff\n", lines[3].replace(b'"time": ', b'"time": NaN, "x": ')):
        path.write_bytes(b"".join([*lines[:3], bad, *lines[4:]]))
        data = read_directory(tmp_path)
        assert len(data.events) == 3 and "damaged in line 4" in data.notes[0]


def test_the_cost_is_that_of_the_times_in_the_events(story: Story, tmp_path: Path) -> None:
    rates = {"endpoint_billing": (Billing("gpu", 2, 4),), "task_billing": (Billing(), Billing())}
    story.plan = evolve(story.plan, execution={"prices": {"gpu": 1.8}, "currency": "EUR"}, **rates)
    write(story)
    data = read_directory(tmp_path)
    assert data.cost is not None and data.cost.amount == pytest.approx(71 / 3600 * 1.8 * 2)
    assert data.cost.gpu_hours == pytest.approx(71 / 3600 * 8)
    page = render(data)
    assert "0.0710 EUR" in page and "GPU hours" in page
    story.plan = evolve(story.plan, execution={"prices": {"gpu": "much"}})
    write(story)
    assert read_directory(tmp_path).cost is None


@pytest.mark.parametrize("value", [None, True, -1, 1e308, "", "\ud800", [], {"a": {"b": []}}], ids=repr)
def test_events_may_hold_anything(story: Story, tmp_path: Path, value: object) -> None:
    keys = ("attempt", "resource", "outcome", "exit_code", "phase", "subject", "metrics", "done")
    story.events = [evolve(event, data=dict.fromkeys(keys, value)) for event in story.events]
    write(story)
    assert "</html>" in render(read_directory(tmp_path))


def test_what_is_no_run(tmp_path: Path) -> None:
    with pytest.raises(RunNotFound, match=r"no plan\.json"):
        read_directory(tmp_path)
    for damaged in ("", "[]", '{"run_id": 1}'):
        (tmp_path / "plan.json").write_text(damaged)
        with pytest.raises(StoreError, match="damaged"):
            read_directory(tmp_path)


def test_a_run_without_events_has_no_timeline(story: Story, tmp_path: Path) -> None:
    (tmp_path / "events.jsonl").unlink()
    data = read_directory(tmp_path)
    assert data.events == () and "there is no timeline" in data.notes[0]
