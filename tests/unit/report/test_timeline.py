"""What the timeline shows follows from the events."""

from __future__ import annotations

from typing import Any

import pytest
from tests.unit.report.samples import BEGIN, Story, usual

from evalx.model import EndpointSpec, Outcome, TaskSpec
from evalx.report import render
from evalx.report.timeline import KINDS, Lane, crowd, kind_of, lanes
from evalx.report.usage import usage


def shown(lane: Lane) -> list[tuple[str, float, float]]:
    return [(segment.kind, segment.start - BEGIN, segment.end - BEGIN) for segment in lane.segments if segment.seconds]


def lanes_of(story: Story, until: float | None = None) -> dict[tuple[str, str], Lane]:
    data = story.data()
    return {(lane.kind, lane.name): lane for lane in lanes(story.plan, data.events, BEGIN + until if until is not None else data.until)}


def test_every_phase_of_endpoint_and_task() -> None:
    found = lanes_of(usual())
    assert [kind for kind, _ in found] == ["run", "endpoint", "task", "task"]
    assert shown(found["endpoint", "model"]) == [
        ("provisioning", 0, 1),
        ("queueing", 1, 11),
        ("starting", 11, 31),
        ("ready", 31, 65),
        ("cleanup", 65, 71),
    ]
    assert shown(found["task", "arithmetic"]) == [
        ("submitted", 31, 32),
        ("queueing", 32, 42),
        ("running", 42, 60),
        ("collecting", 60, 62),
        ("cleanup", 62, 63),
    ]
    assert found["task", "arithmetic"].outcome == "scored" and found["task", "capitals"].outcome == "failed"
    assert found["endpoint", "model"].segments[1].reason == "Queueing: no capacity"


def test_a_deserted_run_goes_on_without_evalx() -> None:
    story = usual()
    del story.events[9:]
    found = lanes(story.plan, story.data().events, BEGIN + 500, deserted=True)
    assert shown(found[0]) == [("running", 0, 32), ("away", 32, 500)] and found[1].segments[-1].kind == "ready"


def test_an_endpoint_that_is_looked_at_again_was_ready_once() -> None:
    story = usual()
    story.events.insert(7, story.tell(40, "endpoint", "model", "ready").events.pop())
    assert lanes_of(story)["endpoint", "model"].ready_after == 31


def test_what_goes_on_is_open_and_ends_now() -> None:
    story = usual()
    del story.events[9:]
    last = lanes_of(story, until=500)["endpoint", "model"].segments[-1]
    assert last.open and last.end == BEGIN + 500 and last.kind == "ready"


def test_endpoint_and_task_of_one_name_are_told_apart() -> None:
    story = Story([EndpointSpec("same", 0, "vllm", "m")], [TaskSpec("same", 0, "command", "same")])
    story.tell(0, "endpoint", "same", "created").report(1, "endpoint", "same", "queueing").tell(5, "endpoint", "same", "ready")
    story.tell(5, "task", "same", "submitted").tell(5, "task", "same", "running").report(6, "task", "same", "queueing").tell(9, "run")
    found = lanes_of(story)
    assert shown(found["endpoint", "same"]) == [("provisioning", 0, 1), ("queueing", 1, 5), ("ready", 5, 9)]
    assert shown(found["task", "same"]) == [("queueing", 5, 9)]


def test_a_second_attempt_goes_on_in_the_same_lane() -> None:
    story = Story([EndpointSpec("e", 0, "vllm", "m")], [TaskSpec("t", 0, "command", "e")])
    story.tell(0, "run", state="active").tell(1, "task", "t", "submitted").tell(1, "task", "t", "running")
    story.end(5, "t", Outcome.LOST).tell(100, "run", state="active").tell(101, "task", "t", "pending")
    story.tell(102, "task", "t", "submitted").tell(102, "task", "t", "running").end(110, "t", Outcome.PASSED)
    found = lanes_of(story)
    assert shown(found["task", "t"]) == [("running", 1, 5), ("running", 102, 110)] and found["task", "t"].outcome == "scored"
    assert shown(found["run", story.plan.run_id]) == [("running", 0, 5), ("away", 5, 100), ("running", 100, 110)]


@pytest.mark.parametrize("state", ["unknown", "degraded", "leak_suspected"])
def test_trouble_is_shown_as_trouble(state: str) -> None:
    story = (
        Story([EndpointSpec("e", 0, "vllm", "m")], []).tell(0, "endpoint", "e", "created").tell(2, "endpoint", "e", state).tell(9, "run")
    )
    assert shown(lanes_of(story)["endpoint", "e"])[-1] == ("trouble", 2, 9)


@pytest.mark.parametrize(
    ("phase", "reason", "kind"),
    [
        ("starting", "Queueing: waits for a node", "queueing"),
        ("starting", "NoCapacity: none left", "queueing"),
        ("starting", "InProgress: the container is starting", "starting"),
        ("starting", "the server says: queue", "starting"),
        ("awaiting", None, "queueing"),
        ("created", "the platform does not show it yet", "provisioning"),
        ("loading", "/health answers 503", "starting"),
        ("running", None, "running"),
        ("completed", None, "collecting"),
        ("collecting", None, "collecting"),
        ("retrying", "connection reset", None),
        ("", None, None),
    ],
)
def test_phases_are_told_by_their_words(phase: str, reason: str | None, kind: str | None) -> None:
    assert kind_of(phase, reason) == kind
    assert kind is None or kind in KINDS


def test_events_of_what_is_not_planned_change_nothing() -> None:
    story = usual()
    before = lanes_of(story)
    story.events.insert(5, story.tell(2, "endpoint", "stranger", "ready").events.pop())
    story.events.insert(5, story.report(2, "task", "stranger", "running").events.pop())
    assert [shown(lane) for lane in lanes_of(story).values()] == [shown(lane) for lane in before.values()]


def test_the_crowd_counts_every_task_once() -> None:
    story = usual()
    found = list(lanes_of(story).values())
    counts = dict(crowd(found, BEGIN, BEGIN + 71, steps=71))
    at: list[dict[str, Any]] = [{kind: values[step] for kind, values in counts.items() if values[step]} for step in range(72)]
    assert at[20] == {} and at[36] == {"queueing": 2} and at[50] == {"running": 2}
    assert at[64] == {"scored": 1, "collecting": 1} and at[71] == {"scored": 1, "failed": 1}


def test_endpoint_hours() -> None:
    story = usual()
    data = story.data()
    (used,) = usage(data, lanes(story.plan, data.events, data.until))
    assert (used.alive, used.ready_after, used.busy, used.shape, used.open) == (71, 31, 34, "gpu", False)


def test_an_endpoint_that_is_not_ours_costs_nothing() -> None:
    story = Story([EndpointSpec("theirs", 0, "none", "m")], [])
    story.tell(0, "endpoint", "theirs", "created").tell(1, "endpoint", "theirs", "ready").tell(9, "endpoint", "theirs", "gone", "not ours")
    data = story.data()
    (used,) = usage(data, lanes(story.plan, data.events, data.until))
    assert not used.owned
    page = render(data)
    assert "not ours" in page and "0.00 endpoint hours" in page


def test_hours_of_an_endpoint_that_is_left_go_on() -> None:
    story = usual()
    del story.events[-2:]
    data = story.data("interrupted", written=BEGIN + 3601)
    (used,) = usage(data, lanes(story.plan, data.events, data.until))
    assert used.open and used.alive == 3601
