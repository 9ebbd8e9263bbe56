"""A run that is over, or that stands still, as text and as JSON: scores, failures with their reasons, what to do next."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from evalx.cli.logfiles import log_of
from evalx.cli.output import SCHEMA, emit, tell, width, write
from evalx.display.text import clean, duration, line, score, table
from evalx.model import Metric, Outcome, TaskResult
from evalx.serial import to_json

if TYPE_CHECKING:
    from evalx.runs import RunSummary

METRICS_SHOWN = 8
LOG_LINES = 8

HEADER = ("task", "metric", "score", "± stderr", "n", "time")


def print_summary(summary: RunSummary, *, hints: bool = True) -> None:
    """Scores on stdout; how the run ended, failures and the next useful commands on stderr."""
    if summary.results:
        tell()
        write(score_table(summary.results, limit=METRICS_SHOWN))
        tell()
    for result in summary.results:
        if result.outcome is not Outcome.PASSED:
            print_failure(summary.directory, result)
    tell(verdict(summary))
    if summary.hint:
        tell(f" hint: {clean(summary.hint)}")
    for name in summary.left:
        tell(f"  may be alive: {clean(name)}")
    if hints:
        for command in next_commands(summary):
            tell(f"  {command}")


def verdict(summary: RunSummary) -> str:
    """One line: `run abc: partial, 2 of 3 tasks scored, clean: why`."""
    passed = sum(result.outcome is Outcome.PASSED for result in summary.results)
    outcome = summary.outcome.value.replace("_", " ")
    reason = f": {line(summary.reason)}" if summary.reason else ""
    left = {"clean": "nothing left alive", "dirty": "something may still be alive"}.get(summary.cleanliness.value, "cleanliness unknown")
    return f"run {summary.run_id}: {outcome}, {passed} of {len(summary.results)} tasks scored, {left}{reason}"


def next_commands(summary: RunSummary) -> Iterator[str]:
    """What the user will want to type next."""
    run = summary.run_id
    if summary.left:
        yield f"delete what is left:    evalx cleanup {run}"
    if any(result.outcome is not Outcome.PASSED for result in summary.results):
        yield f"try the others again:   evalx resume {run}"
        yield f"read a log:             evalx logs {run} TASK"
    elif summary.results:
        yield f"see the scores again:   evalx results {run}"
    yield f"files:                  {clean(summary.directory)}"


def score_table(results: Iterable[TaskResult], *, limit: int | None = None) -> list[str]:
    """A row per score. limit: how many scores of one task are shown."""
    rows = [row for result in results for row in _rows(result, limit)]
    return table(HEADER, rows, right=("score", "n", "time"), width=width(), flexible="metric")


def _rows(result: TaskResult, limit: int | None) -> Iterator[tuple[str, ...]]:
    took = duration(result.ended - result.started) if result.started is not None and result.ended is not None else "-"
    if result.outcome is not Outcome.PASSED:
        yield (result.spec.name, result.outcome.value.replace("_", " "), "-", "", "-", took)
        return
    shown = result.metrics[:limit]
    for index, metric in enumerate(shown):
        name, time = (result.spec.name, took) if index == 0 else ("", "")
        yield (name, *_cells(metric), time)
    if len(shown) < len(result.metrics):
        yield ("", f"… {len(result.metrics) - len(shown)} more: evalx results", "", "", "", "")


def _cells(metric: Metric) -> tuple[str, str, str, str]:
    spread = f"± {score(metric.stderr)}" if metric.stderr is not None else ""
    return (metric.name, score(metric.value), spread, "-" if metric.n is None else str(metric.n))


def print_failure(directory: Path, result: TaskResult) -> None:
    """Why a task has no score, with the last lines of its log."""
    head = click.style(f"{clean(result.spec.name)}: {result.outcome.value.replace('_', ' ')}", bold=True)
    tell(f"{head}: {clean(result.reason or 'no reason is known')}")
    from evalx.results import tail

    log = log_of(directory, result.spec)
    last = tail(log, LOG_LINES) if log else []
    if last:
        tell(f"  last lines of {log}:")
        for text in last:
            tell(f"  | {text}")
    tell()


def emit_summary(summary: RunSummary) -> None:
    """The run as one JSON object."""
    emit(as_json(summary))


def emit_line(summary: RunSummary) -> None:
    """The run as the last of JSON lines, told from events by its kind `summary`."""
    click.echo(json.dumps({"schema": SCHEMA, "kind": "summary", **as_json(summary)}))


def as_json(summary: RunSummary) -> dict[str, Any]:
    """What `run`, `resume`, `watch`, `cancel` and `cleanup` print with --json."""
    return {
        "run_id": summary.run_id,
        "directory": str(summary.directory),
        "outcome": summary.outcome,
        "cleanliness": summary.cleanliness,
        "exit_code": int(summary.exit_code),
        "reason": summary.reason,
        "hint": summary.hint,
        "may_be_alive": list(summary.left),
        "results": results_json(summary.results),
    }


def results_json(results: Sequence[TaskResult]) -> list[dict[str, Any]]:
    """Results without the specs of their tasks, which are in the plan."""
    return [{"task": result.spec.name, **{k: v for k, v in to_json(result).items() if k != "spec"}} for result in results]
