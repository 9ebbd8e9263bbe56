"""The page itself: what is shown of a run, handed to the template.

Everything that comes from outside (names, reasons, logs, configs) passes one gate on its way into the page, wherever the template puts
it: secrets, and characters that a terminal or browser would obey instead of showing, are taken out. Then the text is escaped. Styles are
allowed by their hash and everything else is forbidden by the page's own content security policy: no script, no request.
"""

from __future__ import annotations

import base64
import hashlib
import json
import math
from collections import Counter
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from functools import lru_cache
from importlib.resources import files
from typing import Any

from attrs import frozen
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

import evalx
from evalx.cost import Cost, hours, money
from evalx.display.text import clean, duration, plural, score
from evalx.model import Metric, Outcome, TaskResult
from evalx.redaction import redact
from evalx.report.data import RunData
from evalx.report.failures import failures
from evalx.report.file import MARK
from evalx.report.scores import Dot, dot, interval
from evalx.report.timeline import KINDS, Lane, crowd, lanes
from evalx.report.usage import find_text, usage
from evalx.results.files import open_regular

METRICS_SHOWN = 6
"""Scores of one task that stand in the open; the others can be unfolded."""

ROWS_SHOWN = 100
"""Tasks whose scores stand in the open."""

LANES_SHOWN = 60
"""Lanes up to which the timeline of each stands in the open; above, a picture of all together comes first."""

REASON = 2000
"""Characters of a reason that are shown."""

FILE_LIMIT = 2**20
"""Bytes of a config or manifest above which it is not shown."""

_STEPS = (0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10800, 21600, 43200, 86400, 172800, 604800)

THIN = {"queueing", "provisioning", "starting", "submitted", "collecting", "cleanup", "away"}
"""Kinds of segments that are waiting or overhead: drawn thin, so that they can be told from work without colours."""


@frozen
class Axis:
    """The time axis: its ends in seconds since the epoch, and ticks as (position in percent, label)."""

    start: float
    end: float
    step: float

    @classmethod
    def of(cls, start: float, end: float) -> Axis:
        end = max(end, start + 0.1)
        longest = _STEPS[-1]
        step = next((s for s in _STEPS if (end - start) / s <= 5), longest * math.ceil((end - start) / longest / 5))
        return cls(start, end, float(step))

    def place(self, time: float) -> float:
        return round(min(max((time - self.start) / (self.end - self.start), 0.0), 1.0) * 100, 3)

    def width(self, start: float, end: float) -> float:
        """In percent; what was too short to be seen is drawn a little longer."""
        return max(round(self.place(end) - self.place(start), 3), 0.3)

    @property
    def ticks(self) -> list[tuple[float, str]]:
        count = int((self.end - self.start) / self.step)
        return [(self.place(self.start + n * self.step), _tick(n * self.step)) for n in range(count + 1)]

    @property
    def tick_width(self) -> float:
        return round(self.step / (self.end - self.start) * 100, 3)


def _tick(seconds: float) -> str:
    return duration(seconds) if seconds == round(seconds) else f"{seconds:.1f}s"


@frozen
class Row:
    """A score in the table. first: of its task, whose time is told there. metric None: the task has no score."""

    result: TaskResult
    metric: Metric | None
    dot: Dot | None
    first: bool

    @property
    def said(self) -> str:
        """The picture in words."""
        if self.metric is None:
            return ""
        ends = interval(self.metric)
        return score(self.metric.value) + (f", 95% interval {score(ends[0])} to {score(ends[1])}" if ends else ", no standard error")


def render(run: RunData) -> str:
    """The page as text. Of the run's files only the config, the manifest and the ends of logs are read."""
    found = lanes(run.plan, run.events, run.until, run.condition == "interrupted")
    axis = Axis.of(run.events[0].time if run.events else run.plan.created, run.until)
    rows, further = _score_rows(run.results)
    used = usage(run, found)
    style = _style(axis)
    many = len(found) > LANES_SHOWN
    return (
        _environment()
        .get_template("page.html.j2")
        .render(
            run=run,
            mark=Markup(MARK),  # noqa: S704 -- a constant
            style=Markup(style),  # noqa: S704 -- our own file and two numbers
            style_hash=base64.b64encode(hashlib.sha256(style.encode()).digest()).decode(),
            version=evalx.__version__,
            rows=rows,
            further=further,
            scale=_usual_scale(rows),
            certain=any(row.metric is not None and row.metric.stderr == 0 for row in rows),
            passed=sum(result.outcome is Outcome.PASSED for result in run.results),
            failures=failures(run),
            lanes=found,
            axis=axis,
            many=many,
            crowd=_areas(found, axis) if many else [],
            kinds=_legend(found),
            thin=THIN,
            width=lambda segment: axis.width(segment.start, segment.end),
            usage=used,
            total=sum(each.alive for each in used if each.owned) / 3600,
            warnings=_warnings(run),
            manifest=_manifest(run),
            config=_text_of(run, "config.yaml"),
            images=_images(run),
        )
    )


def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("evalx.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        finalize=_gate(),
    )
    environment.filters.update(took=length, hours=hours, score=score, moment=moment, iso=iso, words=words, size=lambda value: f"{value:g}")
    environment.globals.update(plural=plural, Outcome=Outcome, ROWS_SHOWN=ROWS_SHOWN, REASON=REASON, spent=spent)
    return environment


def _gate() -> Callable[[Any], Any]:
    """What every `{{ … }}` passes: markup of ours as it is, everything else without secrets and without characters that act instead of
    being seen."""
    harmless = lru_cache(maxsize=10_000)(lambda text: clean(redact(text)))

    def gate(value: Any) -> Any:
        if value is None:
            return ""
        return value if isinstance(value, Markup | int | float) else harmless(str(value))

    return gate


def length(seconds: float | None) -> str:
    """A length of time, finer than elsewhere below ten seconds."""
    if seconds is None:
        return "–"
    return f"{max(seconds, 0.0):.1f}s" if seconds < 9.95 else duration(seconds)


def spent(cost: Cost) -> str:
    """The amount; or what keeps it from being known."""
    return money(cost.amount, cost.currency) if cost.amount is not None else f"unknown (no price for {', '.join(cost.unpriced)})"


def moment(seconds: float) -> str:
    """A point in time, for a reader who may be anywhere."""
    return _utc(seconds).strftime("%Y-%m-%d %H:%M:%S UTC")


def iso(seconds: float) -> str:
    return _utc(seconds).isoformat(timespec="seconds")


def _utc(seconds: float) -> datetime:
    try:
        return datetime.fromtimestamp(seconds, UTC)
    except (OverflowError, ValueError, OSError):
        return datetime.fromtimestamp(0, UTC)


def words(value: object) -> str:
    """A state's name as words."""
    return str(value).replace("_", " ")


def _style(axis: Axis) -> str:
    text = files("evalx.report").joinpath("templates/style.css").read_text(encoding="utf-8")
    return f"{text}:root{{--tick:{axis.tick_width:.3f}%}}"


def _score_rows(results: tuple[TaskResult, ...]) -> tuple[list[Row], list[tuple[str, list[Row]]]]:
    """A row for the first scores of each task; and by task those that there was no room for."""
    rows: list[Row] = []
    further: list[tuple[str, list[Row]]] = []
    for result in results:
        if result.outcome is not Outcome.PASSED or not result.metrics:
            rows.append(Row(result, None, None, True))
            continue
        own = [Row(result, metric, dot(metric), index == 0) for index, metric in enumerate(result.metrics)]
        rows += own[:METRICS_SHOWN]
        if own[METRICS_SHOWN:]:
            further.append((result.spec.name, own[METRICS_SHOWN:]))
    return rows, further


def _usual_scale(rows: list[Row]) -> tuple[float, float]:
    """The scale that most pictures have; the others tell theirs."""
    found = Counter((row.dot.low, row.dot.high) for row in rows if row.dot is not None)
    return found.most_common(1)[0][0] if found else (0.0, 1.0)


def _legend(found: list[Lane]) -> dict[str, str]:
    seen = {segment.kind for lane in found for segment in lane.segments}
    return {kind: said for kind, said in KINDS.items() if kind in seen}


def _areas(found: list[Lane], axis: Axis) -> list[tuple[str, str, int]]:
    """Stacked areas on a canvas of 100 by 100: kind, SVG path, most at once."""
    counts = crowd(found, axis.start, axis.end)
    total = max(1, sum(lane.kind == "task" for lane in found))
    below = [0] * (len(counts[0][1]) if counts else 0)
    areas = []
    for kind, values in counts:
        above = [low + value for low, value in zip(below, values, strict=True)]
        points = [*enumerate(above), *reversed(list(enumerate(below)))]
        last = max(len(values) - 1, 1)
        path = "L".join(f"{x / last * 100:.2f} {100 - y / total * 100:.2f}" for x, y in points)
        areas.append((kind, f"M{path}Z", max(values)))
        below = above
    return areas


def _warnings(run: RunData) -> list[tuple[str, int]]:
    """Each warning once, and how often it came."""
    said = Counter(event.reason or "" for event in run.events if event.kind == "warning")
    return list(said.items())


def _images(run: RunData) -> list[tuple[str, str, int]]:
    """What ran as containers: role, image with its digest where it has one, how many endpoints or tasks."""
    images: Counter[tuple[str, str]] = Counter()
    for role, specs, key in (("endpoint", run.plan.endpoints, "image"), ("task", run.plan.tasks, "container")):
        images.update((role, image) for spec in specs if (image := find_text(spec.options, key)))
    return [(role, image, count) for (role, image), count in images.items()]


def _manifest(run: RunData) -> Mapping[str, Any] | None:
    text = _text_of(run, "manifest.json")
    try:
        found = json.loads(text) if text is not None else None
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def _text_of(run: RunData, name: str) -> str | None:
    """A file of the run directory, unless it is missing, huge or no text."""
    try:
        with open_regular(run.directory / name) as file:
            data = file.read(FILE_LIMIT + 1)
        return data.decode() if len(data) <= FILE_LIMIT else None
    except (OSError, UnicodeError):
        return None
