"""`evalx compare`: what the difference between two runs shows."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import click

from evalx.cli.options import common_options
from evalx.cli.output import emit, tell, width, write
from evalx.cli.wording import say
from evalx.errors import ExitCode

if TYPE_CHECKING:
    from evalx.compare import Comparison, Refusal, RunComparison
    from evalx.model import Metric
    from evalx.results.kept import KeptRun

COLUMNS = 80
"""Of running text where stdout is no terminal."""


@click.command("compare")
@click.argument("a", metavar="A")
@click.argument("b", metavar="B")
@common_options
def command(a: str, b: str, as_json: bool) -> int:
    """Compare run B with run A, task by task: which scores are better or worse by more than chance explains.

    A and B are ids, unique beginnings of one, last, or paths to run directories, also copied ones. Tasks that did not measure the same
    (other data, prompts, number of samples, image, settings) are not compared. Exit code 2 if that leaves none.
    """
    from evalx.compare import compare
    from evalx.results.kept import kept_run

    found = compare(kept_run(a), kept_run(b))
    if as_json:
        emit(as_data(found))
    else:
        _print(found)
        if not found.comparisons:
            say("error", "nothing in these runs can be compared")
            say("hint", "above stands what keeps each task from it; run one of them again with the settings of the other")
    return ExitCode.OK if found.comparisons else ExitCode.USAGE


def as_data(found: RunComparison) -> dict[str, Any]:
    """As it is printed with --json."""
    return {
        "a": _run_data(found.a),
        "b": _run_data(found.b),
        "level": 0.95,
        "comparisons": [_data(comparison) for comparison in found.comparisons],
        "not_compared": [{"task": one.task, "metric": one.metric, "reasons": list(one.reasons)} for one in found.refusals],
        "notes": {task: list(notes) for task, notes in found.notes.items()},
    }


def _run_data(run: KeptRun) -> dict[str, Any]:
    return {"run_id": run.run_id, "directory": str(run.directory), "models": run.models, "closed": run.closed}


def _data(found: Comparison) -> dict[str, Any]:
    estimate = found.estimate
    return {
        "task": found.task,
        "metric": found.metric,
        "lower_is_better": found.lower_is_better,
        "a": {"value": found.a.value, "stderr": found.a.stderr, "n": found.a.n},
        "b": {"value": found.b.value, "stderr": found.b.stderr, "n": found.b.n},
        "difference": estimate.difference,
        "stderr": estimate.stderr,
        "interval": estimate.interval and list(estimate.interval),
        "p": estimate.p,
        "p_adjusted": found.adjusted,
        "questions": estimate.n,
        "paired": found.unpaired is None,
        "unpaired_because": found.unpaired,
        "method": estimate.method,
        "verdict": found.verdict.value,
    }


def _print(found: RunComparison) -> None:
    from evalx.display.text import line

    write(f"{side}  {run.run_id}  {line(', '.join(run.models))}" for side, run in (("A", found.a), ("B", found.b)))
    for run in (found.a, found.b):
        if not run.closed:
            tell(f"run {run.run_id} is not over: only what it has scored so far is compared")
    if found.comparisons:
        write(["", *_table(found.comparisons), ""])
        for text in _meaning(found.comparisons):
            write(_folded(text))
    if found.refusals:
        write(["", "Not compared:"])
        write(_listed([(_name(refusal), refusal.reasons) for refusal in found.refusals]))
    if found.notes:
        write(["", "To be kept in mind:"])
        write(_listed(list(found.notes.items())))


def _table(comparisons: tuple[Comparison, ...]) -> list[str]:
    """Two rows for each: what was found, and below it how sure it is."""
    from evalx.display.text import table

    header = ("task, metric", "n", "A", "B", "B - A", "verdict, 95% interval")
    rows: list[tuple[str, ...]] = []
    for found in comparisons:
        estimate, mark = found.estimate, "" if found.unpaired is None else "*"
        n = next((str(count) for count in (found.a.n, estimate.n) if count is not None), "-")
        rows.append((f"{found.task}{mark}", n, _score(found.a), _score(found.b), _signed(estimate.difference), found.verdict.value))
        errors = (_error(found.a.stderr), _error(found.b.stderr), _error(estimate.stderr))
        spread = "no standard error" if estimate.interval is None else " to ".join(map(_signed, estimate.interval))
        rows.append((f"└ {found.metric}", "", *errors, spread))
    return table(header, rows, right=("n", "A", "B", "B - A"), width=width(), flexible="task, metric")


def _score(metric: Metric) -> str:
    from evalx.display.text import score

    return score(metric.value)


def _signed(value: float) -> str:
    from evalx.display.text import score

    return f"+{score(value)}" if value > 0 else score(value + 0.0)


def _error(stderr: float | None) -> str:
    from evalx.display.text import score

    return "" if stderr is None else f"±{score(stderr)}"


def _meaning(comparisons: tuple[Comparison, ...]) -> Iterator[str]:
    """The figures in words."""
    from evalx.compare import Verdict

    for verdict, said in ((Verdict.BETTER, "B is better than A in"), (Verdict.WORSE, "B is worse than A in")):
        names = [_name(found) for found in comparisons if found.verdict is verdict]
        if names:
            yield f"{said} {', '.join(names)}: more than chance explains."
    unshown = [found for found in comparisons if found.verdict is Verdict.NO_DIFFERENCE]
    if unshown:
        others = "in the others" if len(unshown) < len(comparisons) else "anywhere"
        yield f"No difference is shown {others}. Equal they need not be: the true difference may lie anywhere in the interval."
    untested = [_name(found) for found in comparisons if found.verdict is Verdict.NO_TEST]
    if untested:
        yield f"Whether it is chance cannot be told, for want of a standard error: {', '.join(untested)}."
    yield "±: standard error. " + _holm(sum(found.adjusted is not None for found in comparisons))
    why: dict[str, list[str]] = {}
    for found in comparisons:
        if found.unpaired is not None:
            why.setdefault(found.unpaired, []).append(_name(found))
    for reason, names in why.items():
        yield f"* not paired question by question, so a difference shows less easily: {', '.join(names)} ({reason})."


def _holm(tests: int) -> str:
    said = 'The chance that a "better" or "worse" here is luck is at most 5%'
    return f"{said}, for all {tests} comparisons together (Holm's correction)." if tests > 1 else f"{said}."


def _name(found: Comparison | Refusal) -> str:
    from evalx.display.text import line

    return line(found.task if found.metric is None else f"{found.task} {found.metric}")


def _listed(items: list[tuple[str, tuple[str, ...]]]) -> Iterator[str]:
    """Names with the texts about them below; names with the same texts stand together."""
    from evalx.display.text import line

    together: dict[tuple[str, ...], list[str]] = {}
    for name, texts in items:
        together.setdefault(texts, []).append(line(name))
    for texts, names in together.items():
        yield from _folded(", ".join(names), "  ")
        for text in texts:
            yield from _folded(f"- {line(text)}", "    ")


def _folded(text: str, indent: str = "") -> list[str]:
    hanging = indent + "  " * text.startswith(("- ", "* "))
    return textwrap.wrap(text, width() or COLUMNS, initial_indent=indent, subsequent_indent=hanging, break_on_hyphens=False)
