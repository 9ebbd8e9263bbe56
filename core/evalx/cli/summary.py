"""A run that is over, or that stands still, as text and as JSON: scores, failures with their reasons, what to do next."""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from attrs import frozen

from evalx.cli.output import SCHEMA, emit, tell, width, write
from evalx.cli.wording import paragraph, say
from evalx.display.text import clean, duration, line, plural, score, table
from evalx.logfiles import log_of
from evalx.model import Metric, Outcome, TaskResult
from evalx.reasons import apart
from evalx.serial import to_json

if TYPE_CHECKING:
    from evalx.cost import Cost
    from evalx.exporters.running import Exported
    from evalx.keeping.kept import Kept, KeptEndpoint
    from evalx.summaries import RunSummary

METRICS_SHOWN = 8
LOG_LINES = 8

HEADER = ("task", "metric", "score", "± stderr", "n", "time")


@frozen
class Account:
    """A run as it is reported. condition: `running`, `interrupted`, or its outcome in words. tasks: how many it has. left: names of what
    may be alive though nobody looks after it. kept: endpoints that stay up for a while."""

    run_id: str
    directory: Path
    condition: str
    outcome: str | None
    tasks: int
    results: tuple[TaskResult, ...]
    left: tuple[str, ...]
    exit_code: int
    reason: str | None = None
    hint: str | None = None
    cost: Cost | None = None
    exports: tuple[Exported, ...] = ()
    kept: Kept | None = None

    @classmethod
    def of(cls, summary: RunSummary) -> Account:
        """The account of a run that this process has driven."""
        return cls(
            run_id=summary.run_id,
            directory=summary.directory,
            condition=summary.outcome.value.replace("_", " "),
            outcome=summary.outcome.value,
            tasks=summary.tasks,
            results=summary.results,
            left=summary.left,
            exit_code=int(summary.exit_code),
            reason=summary.reason,
            hint=summary.hint,
            cost=summary.cost,
            exports=summary.exports,
            kept=summary.kept,
        )


def print_summary(account: Account, *, hints: bool = True) -> None:
    """Scores on stdout; how the run ended, failures and the next useful commands on stderr."""
    if account.results:
        tell()
        write(score_table(account.results, limit=METRICS_SHOWN))
        if sys.stdout.isatty():
            tell()
    for result in account.results:
        if result.outcome is not Outcome.PASSED:
            print_failure(account.directory, result)
    for text in paragraph(verdict(account), indent=""):
        tell(text)
    if account.cost is not None and account.cost.billed:
        from evalx.cost import spent_in_words

        for text in paragraph(f"cost: {spent_in_words(account.cost)}"):
            tell(text)
    if account.hint:
        say("hint", account.hint)
    for name in account.left:
        tell(f"  may be alive: {clean(name)}")
    exports_told(account.exports)
    if account.kept is not None:
        for text in kept_lines(account.run_id, account.kept):
            tell(text)
    if hints:
        for command in next_commands(account):
            tell(f"  {command}")


def exports_told(exports: Iterable[Exported]) -> None:
    """A line for each export, on stderr; an error with what to do about it."""
    for done in exports:
        if done.error is None:
            tell(f"exported to {clean(done.exporter)}: {clean(done.where or 'done')}")
            continue
        say("error", done.error)
        if done.hint:
            say("hint", done.hint)


def verdict(account: Account) -> str:
    """One line: `run abc: partial, 2 of 3 tasks scored, nothing left alive`, and why."""
    passed = sum(result.outcome is Outcome.PASSED for result in account.results)
    reason = f" ({line(account.reason)})" if account.reason and account.reason != account.condition else ""
    left = "" if account.condition == "running" else ", something may be alive" if account.left else _nothing_left(account.kept)
    return f"run {account.run_id}: {account.condition}{reason}, {passed} of {account.tasks} tasks scored{left}"


def _nothing_left(kept: Kept | None) -> str:
    from evalx.keeping.kept import clock

    return ", nothing left alive" if kept is None else f", {plural(len(kept.endpoints), 'endpoint')} kept until {clock(kept.until)}"


def kept_lines(run: str, kept: Kept) -> Iterator[str]:
    """Where the endpoints are that stay up, how they are asked, and how they are deleted before their time."""
    from evalx.keeping.kept import clock

    by = f"then process {kept.keeper} deletes" if kept.keeper else "and no process will delete"
    yield f"kept until {clock(kept.until)}, {by} {'it' if len(kept.endpoints) == 1 else 'them'}:"
    for endpoint in kept.endpoints:
        yield f"  endpoint {line(endpoint.name)}"
        yield f"    URL    {clean(endpoint.base_url)}"
        yield f"    model  {clean(endpoint.model)}"
        yield f"    key    {clean(_key(endpoint))}"
    if kept.endpoints:
        yield f"  another run on it:      evalx run CONFIG {' '.join(_overrides(kept.endpoints[0]))}"
    yield f"  delete now:             evalx cleanup {run}"


def _key(endpoint: KeptEndpoint) -> str:
    if endpoint.key_file is not None:
        return f"export OPENAI_API_KEY=$(cat {shlex.quote(str(endpoint.key_file))})"
    return f"export OPENAI_API_KEY=${endpoint.key_variable}" if endpoint.key_variable else "none is needed"


def _overrides(endpoint: KeptEndpoint) -> Iterator[str]:
    """What makes a config ask that endpoint."""
    at = "target.api_endpoint"
    yield "deployment=none"
    yield shlex.quote(f"{at}.url={clean(endpoint.base_url)}")
    yield shlex.quote(f"{at}.model_id={clean(endpoint.model)}")
    if endpoint.key_file or endpoint.key_variable:
        yield f"{at}.api_key_name={'OPENAI_API_KEY' if endpoint.key_file else endpoint.key_variable}"


def next_commands(account: Account) -> Iterator[str]:
    """What the user will want to type next."""
    run = account.run_id
    if account.left:
        yield f"delete what is left:    evalx cleanup {run}"
    failed = [result.spec.name for result in account.results if result.outcome is not Outcome.PASSED]
    if account.condition == "running":
        yield f"follow it:              evalx watch {run}"
    elif failed or len(account.results) < account.tasks:
        scored = any(result.outcome is Outcome.PASSED for result in account.results)
        yield f"{'go on with the others: ' if scored else 'try again:             '} evalx resume {run}"
    if failed:
        yield f"read a whole log:       evalx logs {run} {shlex.quote(clean(failed[0]))}"
    elif account.results and account.condition != "running":
        yield f"see the scores again:   evalx results {run}"
    if account.results and account.condition != "running":
        yield f"see all on a page:      evalx report {run}"
    yield f"files:                  {clean(account.directory)}"


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
    tell(f"{line(result.spec.name)}: {result.outcome.value.replace('_', ' ')}")
    said, hints = apart(result.reason or "no reason is known")
    for text in paragraph(said):
        tell(text)
    for hint in hints:
        say("hint", hint)
    from evalx.results import tail

    log = log_of(directory, result.spec)
    last = tail(log, LOG_LINES) if log else []
    if last:
        tell(f"  last lines of {log}:")
        for text in last:
            tell(f"  | {text}")
    tell()


def emit_summary(account: Account) -> None:
    """The run as one JSON object."""
    emit(as_json(account))


def emit_line(account: Account) -> None:
    """The run as the last of JSON lines, told from events by its kind `summary`."""
    click.echo(json.dumps({"schema": SCHEMA, "kind": "summary", **as_json(account)}))


def as_json(account: Account) -> dict[str, Any]:
    """What `run`, `resume`, `watch`, `cancel` and `cleanup` print with --json."""
    return {
        "run_id": account.run_id,
        "directory": str(account.directory),
        "outcome": account.outcome,
        "condition": account.condition,
        "exit_code": account.exit_code,
        "reason": account.reason,
        "hint": account.hint,
        "may_be_alive": list(account.left),
        "cost": cost_json(account.cost),
        "kept": kept_json(account.kept),
        "exports": [{"exporter": one.exporter, "where": one.where, "error": one.error} for one in account.exports],
        "results": results_json(account.results),
    }


def kept_json(kept: Kept | None) -> dict[str, Any] | None:
    """Endpoints that stay up for a while; None if there are none. A key itself is never told, only the file that holds it."""
    return None if kept is None else {**to_json(kept), "endpoints": [to_json(endpoint) for endpoint in kept.endpoints]}


def cost_json(cost: Cost | None) -> dict[str, Any] | None:
    """What a run has cost; None if that is not known at all."""
    if cost is None:
        return None
    return {
        "amount": cost.amount,
        "currency": cost.currency,
        "unpriced": list(cost.unpriced),
        "endpoint_hours": cost.endpoint_hours,
        "gpu_hours": cost.gpu_hours,
    }


def results_json(results: Sequence[TaskResult]) -> list[dict[str, Any]]:
    """Results without the specs of their tasks, which are in the plan."""
    return [{"task": result.spec.name, **{k: v for k, v in to_json(result).items() if k != "spec"}} for result in results]
