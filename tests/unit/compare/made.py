"""Run directories as a run of the harness `command` leaves them, made by hand."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from evalx.model import EndpointSpec, Metric, Outcome, RunPlan, TaskResult, TaskSpec
from evalx.plan import new_run_id
from evalx.results import write_result
from evalx.results.kept import KeptRun, run_in
from evalx.serial import to_json


def rows(answers: Sequence[float], metric: str = "accuracy", **more: str) -> list[dict[str, Any]]:
    """A sample for each answer, all of them different questions. more: `prompt` or `target`, a text in which {n} is the number."""
    texts = [{key: text.format(n=number) for key, text in more.items()} for number in range(len(answers))]
    return [{"id": f"q{number}", **texts[number], "scores": {metric: answer}} for number, answer in enumerate(answers)]


def metric(answers: Sequence[float], name: str = "accuracy", unit: float = 1.0) -> Metric:
    """The metric over right and wrong answers, with the errors of a harness that divides by n."""
    share = sum(answers) / len(answers)
    return Metric(name, share * unit, math.sqrt(max(0.0, share * (1 - share)) / len(answers)) * unit, len(answers))


class Made:
    """A task of a made run. options: of its spec."""

    def __init__(
        self,
        answers: Sequence[float] = (),
        *,
        metrics: Sequence[Metric] | None = None,
        samples: Sequence[Mapping[str, Any]] | None = None,
        facts: Mapping[str, Any] | None = None,
        lower: Sequence[str] = (),
        outcome: Outcome | None = Outcome.PASSED,
        harness: str = "command",
        data: str | None = None,
        **options: Any,
    ) -> None:
        self.metrics = tuple(metrics if metrics is not None else [metric(answers)])
        self.samples = samples if samples is not None else rows(answers)
        self.facts, self.lower, self.outcome, self.harness, self.data = facts or {}, lower, outcome, harness, data
        self.options = {"task": None, "params": {"command": ["python3", "/a/eval.py"]}, **options}


def make_run(directory: Path, *, closed: bool = True, executor: str = "local", model: str = "m", **tasks: Made) -> KeptRun:
    """Write the run into a folder of its own, and read it."""
    run_id = new_run_id()
    folder = directory / run_id
    specs = [TaskSpec(name, index, made.harness, "model", made.options) for index, (name, made) in enumerate(tasks.items())]
    plan = RunPlan(run_id, executor, (EndpointSpec("model", 0, "none", model),), tuple(specs))
    folder.mkdir(parents=True)
    (folder / "plan.json").write_text(json.dumps(to_json(plan)))
    datasets = {name: {"sha256": made.data} for name, made in tasks.items() if made.data}
    (folder / "manifest.json").write_text(json.dumps({"datasets": datasets}))
    states = ["planned", "active", *["closed"] * closed]
    (folder / "events.jsonl").write_text("".join(json.dumps({"kind": "run", "state": state}) + "\n" for state in states))
    for spec, made in zip(specs, tasks.values(), strict=True):
        if made.outcome is not None:
            _write_task(folder / "tasks" / f"{spec.index:03d}-{spec.name}", spec, made, made.outcome)
    return run_in(folder)


def _write_task(folder: Path, spec: TaskSpec, made: Made, outcome: Outcome) -> None:
    (folder / "results").mkdir(parents=True)
    passed = outcome is Outcome.PASSED
    write_result(folder, TaskResult(spec, outcome, made.metrics if passed else (), reason=None if passed else "it broke"))
    metrics = [{**to_json(each), **({"higher_is_better": False} if each.name in made.lower else {})} for each in made.metrics]
    document = {"schema": 1, "metrics": metrics, "facts": made.facts}
    (folder / "results" / "results.json").write_text(json.dumps(document))
    if made.samples:
        (folder / "results" / "samples.jsonl").write_text("".join(json.dumps(row) + "\n" for row in made.samples))
