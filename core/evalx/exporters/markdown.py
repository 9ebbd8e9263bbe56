"""`--to markdown`: scores and failures for a pull request, an issue or a model card."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from evalx.display.text import duration, line, plural, score
from evalx.exporters.account import RunAccount
from evalx.exporters.api import NoOptions
from evalx.exporters.destination import Destination
from evalx.exporters.facts import counted, iso, outcome, seconds
from evalx.model import Metric

_TICKS = re.compile("`+")
_LONGEST_REASON = 300


class MarkdownExporter:
    """A page with the scores, and the reason for each task that has none."""

    evalx_api = (1, 0)
    Options = NoOptions
    file_name = "results.md"

    def export(self, run: RunAccount, destination: Destination, options: NoOptions) -> None:  # noqa: ARG002
        """Write the page."""
        destination.write("\n".join(_page(run)) + "\n")


def _page(run: RunAccount) -> Iterator[str]:
    passed, planned = counted(run)
    models = ", ".join(inert(model) for model in dict.fromkeys(endpoint.model for endpoint in run.plan.endpoints))
    yield f"# Evaluation of {models or 'no model'}\n"
    scored = f"{passed} of {plural(planned, 'task')} scored"
    yield f"Run {run.run_id} on {inert(run.plan.executor)}, {iso(run.plan.created)}: {run.condition}, {scored}.\n"
    yield from _table(("Task", "Metric", "Score", "± stderr", "n", "Time"), list(_scores(run)), right=4)
    failures = list(_failures(run))
    if failures:
        yield "\n## Without a score\n"
        yield from _table(("Task", "Outcome", "Reason"), failures)


def _failures(run: RunAccount) -> Iterator[tuple[str, str, str]]:
    for spec, result in run.tasks():
        if outcome(result) != "passed":
            reason = inert(line(result.reason or "", _LONGEST_REASON)) if result else ""
            yield inert(spec.name), outcome(result).replace("_", " "), reason


def _scores(run: RunAccount) -> Iterator[tuple[str, ...]]:
    times = {spec.name: duration(seconds(result)) for spec, result in run.tasks()}
    for spec, metric in run.scores():
        yield (inert(spec.name), *_cells(metric), times[spec.name])


def _cells(metric: Metric) -> tuple[str, str, str, str]:
    spread = "" if metric.stderr is None else score(metric.stderr)
    return inert(metric.name), score(metric.value), spread, "" if metric.n is None else str(metric.n)


def _table(header: Sequence[str], rows: Sequence[Sequence[str]], right: int | None = None) -> Iterator[str]:
    """right: how many of the last columns are aligned to the right, the first two never."""
    aligned = len(header) - right if right else len(header)
    yield f"| {' | '.join(header)} |"
    yield "|" + "".join("---:|" if index >= aligned else "---|" for index in range(len(header)))
    for row in rows:
        yield f"| {' | '.join(row)} |"


def inert(text: str) -> str:
    """Text in a code span, on one line, fit for a cell: neither Markdown, nor HTML, nor a link, nor a mention of somebody."""
    plain = line(text).replace("|", "\\|")
    if not plain:
        return ""
    fence = "`" * (1 + max((len(run) for run in _TICKS.findall(plain)), default=0))
    room = " " if plain.startswith("`") or plain.endswith("`") else ""
    return f"{fence}{room}{plain}{room}{fence}"
