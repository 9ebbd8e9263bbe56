"""Runs made of events, as a driver would have told them."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from evalx.model import EndpointSpec, Event, Metric, Outcome, RunPlan, TaskResult, TaskSpec
from evalx.report import RunData

BEGIN = 1_800_000_000.0

HOSTILE = "".join(
    (
        "</style></script></title><script>document.title='owned';fetch('/owned')</script>",
        "<img src=/owned onerror=\"document.title='owned'\">",
        "\"'><svg onload=document.title='owned'></svg><a href=\"javascript:document.title='owned'\">x</a>{{ 7 * 191 }}{% raw %}<!--",
        "\x1b]0;owned\x07\x1b[31mred\x1b[2J\x9b0m\x00\u202egnp.exe\u2066\u200b\ud800",
    )
)
"""Text that means harm to a page or a terminal."""


class Story:
    """The events of a run, told in order; `at` is seconds since its beginning."""

    def __init__(self, endpoints: Iterable[EndpointSpec], tasks: Iterable[TaskSpec], directory: Path = Path("/nowhere")) -> None:
        self.plan = RunPlan("k3fexample", "local", tuple(endpoints), tuple(tasks), created=BEGIN)
        self.directory = directory
        self.events: list[Event] = []
        self.results: dict[str, TaskResult] = {}

    def tell(self, at: float, kind: str, name: str = "", state: str = "", reason: str | None = None, **data: Any) -> Story:
        self.events.append(Event(len(self.events) + 1, BEGIN + at, self.plan.run_id, kind, name, state, reason, data))
        return self

    def report(self, at: float, subject: str, name: str, phase: str, reason: str | None = None) -> Story:
        return self.tell(at, "progress", name, "", reason, subject=subject, phase=phase, done=None, total=None)

    def end(self, at: float, name: str, outcome: Outcome, *metrics: Metric, reason: str | None = None) -> Story:
        spec = next(spec for spec in self.plan.tasks if spec.name == name)
        self.results[name] = TaskResult(spec, outcome, metrics, (), reason, BEGIN + at - 10, BEGIN + at)
        return self.tell(at, "task", name, "scored" if outcome is Outcome.PASSED else outcome.value, reason, attempt=0)

    def data(self, condition: str = "succeeded", **more: Any) -> RunData:
        values = {"written": BEGIN + 10_000, **more}
        results = tuple(self.results[spec.name] for spec in self.plan.tasks if spec.name in self.results)
        return RunData(self.plan, self.directory, condition, tuple(self.events), results, **values)


def usual(directory: Path = Path("/nowhere"), names: tuple[str, ...] = ("model", "arithmetic", "capitals")) -> Story:
    """A run of one endpoint and two tasks, of which the second fails. names: of the three."""
    model, first, second = names
    endpoint = EndpointSpec(
        model, 0, "vllm", f"{model}-8b", {"deployment": {"image": "vllm:1", "lepton_config": {"resource_shape": "gpu"}}}
    )
    tasks = [TaskSpec(name, index, "command", model) for index, name in enumerate((first, second))]
    story = Story([endpoint], tasks, directory)
    story.tell(0, "run", state="planned").tell(0, "run", state="active")
    story.tell(0, "endpoint", model, "intent", resource="r-e0").tell(1, "endpoint", model, "created", resource="r-e0")
    story.report(1, "endpoint", model, "starting", "Queueing: no capacity").report(11, "endpoint", model, "loading", "answers 503")
    story.tell(31, "endpoint", model, "ready", resource="r-e0")
    for task in (first, second):
        story.tell(31, "task", task, "submitted").tell(32, "task", task, "running").report(32, "task", task, "queueing")
        story.report(42, "task", task, "running").report(60, "task", task, "collecting")
    story.end(62, first, Outcome.PASSED, Metric("accuracy", 0.75, 0.05, 100), Metric("accuracy/strict", 61.5, None, 100))
    story.tell(62, "job", first, "deleting", resource="r-t0").tell(63, "job", first, "gone", resource="r-t0")
    story.end(65, second, Outcome.FAILED, reason="exit code 3").tell(65, "warning", reason="something odd")
    story.tell(65, "endpoint", model, "deleting", resource="r-e0").tell(71, "endpoint", model, "gone", resource="r-e0")
    return story.tell(71, "run", state="closed", outcome="partial", cleanliness="clean", exit_code=1)
