"""Scores as a picture: where a value and its interval lie on the scale that it belongs to."""

from __future__ import annotations

import math

from attrs import frozen

from evalx.compare import stats
from evalx.model import Metric

MARGIN = 2.0


@frozen
class Dot:
    """A value with its intervals on its scale; positions in percent of the picture's width. low, high: the ends of the scale.

    near: ± one standard error; far: the 95 % interval; both None where there is no standard error.
    """

    at: float
    low: float
    high: float
    near: tuple[float, float] | None = None
    far: tuple[float, float] | None = None


def scale_of(metric: Metric) -> tuple[float, float]:
    """The ends of the scale for a score: 0 to 1, 0 to 100, or the next power of ten for what is neither a share nor a percentage."""
    reach = max(abs(metric.value), 1e-12)
    if 0 <= metric.value <= 1:
        return 0.0, 1.0
    if 0 <= metric.value <= 100:
        return 0.0, 100.0
    power = 10.0 ** min(math.ceil(math.log10(reach)), 308)
    return (0.0, power) if metric.value > 0 else (-power, 0.0)


def interval(metric: Metric) -> tuple[float, float] | None:
    """The ends of the 95 % interval, as `evalx gate` has it; None without a usable standard error."""
    if metric.stderr is None or not math.isfinite(metric.stderr) or not math.isfinite(metric.value):
        return None
    return stats.interval(stats.Score(metric.value, metric.stderr, metric.n))


def dot(metric: Metric) -> Dot | None:
    """The picture of a score; None for what is no number. An interval is cut where the scale ends."""
    if not math.isfinite(metric.value):
        return None
    low, high = scale_of(metric)

    def place(value: float) -> float:
        share = (min(max(value, low), high) - low) / (high - low)
        return round(MARGIN + share * (100 - 2 * MARGIN), 2)

    far = interval(metric)
    if far is None or metric.stderr is None:
        return Dot(place(metric.value), low, high)
    near = place(metric.value - metric.stderr), place(metric.value + metric.stderr)
    return Dot(place(metric.value), low, high, near, (place(far[0]), place(far[1])))
