"""`--to csv`: a row per score, for spreadsheets and data frames."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from typing import Any

from evalx.exporters.account import RunAccount
from evalx.exporters.api import NoOptions
from evalx.exporters.destination import Destination
from evalx.exporters.facts import iso, outcome, seconds
from evalx.model import Metric, TaskResult, TaskSpec

COLUMNS = (
    *("run_id", "task", "harness", "model", "outcome", "metric", "value", "stderr", "n"),
    *("started", "ended", "seconds", "reason"),
)

_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n")


class CsvExporter:
    """A table with a row per score, and one for each task that has none."""

    evalx_api = (1, 0)
    Options = NoOptions
    file_name = "scores.csv"

    def export(self, run: RunAccount, destination: Destination, options: NoOptions) -> None:  # noqa: ARG002
        """Write the table, with its header also for a run without tasks."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(COLUMNS)
        for spec, result in run.tasks():
            writer.writerows(_rows(run, spec, result))
        destination.write(text.getvalue())


def _rows(run: RunAccount, spec: TaskSpec, result: TaskResult | None) -> Iterator[list[Any]]:
    scores: list[Metric | None] = [metric for one, metric in run.scores() if one is spec]
    for metric in scores or [None]:
        score = [_inert(metric.name), metric.value, metric.stderr, metric.n] if metric else [None] * 4
        times = [iso(result.started), iso(result.ended), seconds(result)] if result else [None] * 3
        who = map(_inert, (run.run_id, spec.name, spec.harness, run.model(spec), outcome(result)))
        yield [*who, *score, *times, _inert(result.reason if result and result.reason else "")]


def _inert(text: str) -> str:
    """Text that a spreadsheet would run as a formula gets an apostrophe before it (OWASP, "CSV Injection"). Numbers are never touched."""
    return f"'{text}" if text.startswith(_FORMULA) else text
