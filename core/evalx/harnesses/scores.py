"""Numbers that a harness reports, checked one by one."""

from __future__ import annotations

import math
from typing import Any

from evalx.harnesses.api import ResultError
from evalx.model import Metric

MAX_METRICS = 10_000
MAX_NAME = 300
MAX_SAMPLES = 2**53
"""Up to which floating-point numbers, and the readers of other languages, count exactly."""


class Scores:
    """Gathers the metrics of a result file and refuses what is no score.

    source: the file's name, for messages.
    """

    def __init__(self, source: str) -> None:
        self.source = source
        self._metrics: dict[str, Metric] = {}
        self._empty = False

    def add(self, name: str, value: Any, stderr: Any = None, n: Any = None) -> None:
        """One score. A score over zero samples is left out; anything but a finite number raises ResultError."""
        if len(self._metrics) >= MAX_METRICS:
            raise ResultError(f"{self.source} has more than {MAX_METRICS} metrics")
        if not _printable(name) or name in self._metrics:
            raise ResultError(f"{self.source}: metric name {name[:80]!r} is {'there twice' if name in self._metrics else 'not printable'}")
        count = self._count(name, n)
        if count == 0:
            self._empty = True
            return
        self._metrics[name] = Metric(name, self._number(name, value), _stderr(stderr), count)

    def finish(self) -> tuple[Metric, ...]:
        """All metrics. Raises ResultError if there is none."""
        if not self._metrics:
            raise ResultError(f"{self.source}: zero samples were scored" if self._empty else f"{self.source} has no scores")
        return tuple(self._metrics.values())

    def _number(self, name: str, value: Any) -> float:
        number = _float(value)
        if number is None:
            raise ResultError(f"{self.source}: {name} is not a number but {type(value).__name__}")
        if not math.isfinite(number):
            raise ResultError(f"{self.source}: {name} is not finite")
        return number

    def _count(self, name: str, n: Any) -> int | None:
        if n is None:
            return None
        if isinstance(n, bool) or not isinstance(n, int) or n < 0:
            raise ResultError(f"{self.source}: the sample count of {name} is not a natural number")
        if n > MAX_SAMPLES:
            raise ResultError(f"{self.source}: the sample count of {name} is larger than {MAX_SAMPLES}")
        return n


def _printable(name: str) -> bool:
    return 0 < len(name) <= MAX_NAME and name.isprintable()


def _float(value: Any) -> float | None:
    """The number as a float, infinite if too large for one; None if it is no number."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        return float(value)
    except OverflowError:
        return math.inf


def _stderr(value: Any) -> float | None:
    """A standard error; None for what harnesses write when they have none (`N/A`, NaN)."""
    number = _float(value)
    return number if number is not None and math.isfinite(number) and number >= 0 else None
