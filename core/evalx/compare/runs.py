"""The comparison of two runs, task by task and metric by metric."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from enum import StrEnum

from attrs import evolve, frozen

from evalx.compare import measure
from evalx.compare.measure import Measured, measured
from evalx.compare.stats import ALPHA, Cluster, Estimate, Score, holm, paired, unpaired
from evalx.harnesses.api import Sample
from evalx.model import Metric, Outcome
from evalx.results.kept import KeptRun

_ROUNDED = 6e-4
"""Harnesses round scores to as few as three decimals; a mean of samples that is nearer is the score."""


class Verdict(StrEnum):
    """What the comparison of a metric says of B."""

    BETTER = "better"
    WORSE = "worse"
    NO_DIFFERENCE = "no difference shown"
    NO_TEST = "cannot be tested"


@frozen
class Comparison:
    """A metric in both runs. estimate: B minus A. adjusted: its p after Holm's correction for all comparisons of the runs. unpaired: why it
    does not rest on the same questions, None if it does."""

    task: str
    metric: str
    a: Metric
    b: Metric
    estimate: Estimate
    lower_is_better: bool = False
    unpaired: str | None = None
    adjusted: float | None = None

    @property
    def verdict(self) -> Verdict:
        if self.adjusted is None:
            return Verdict.NO_TEST
        if self.adjusted > ALPHA:
            return Verdict.NO_DIFFERENCE
        return Verdict.BETTER if (self.estimate.difference > 0) is not self.lower_is_better else Verdict.WORSE


@frozen
class Refusal:
    """What is not compared, and why. metric: None for a whole task."""

    task: str
    metric: str | None
    reasons: tuple[str, ...]


@frozen
class RunComparison:
    """Everything that was found. notes: task to what may matter and is not known to."""

    a: KeptRun
    b: KeptRun
    comparisons: tuple[Comparison, ...]
    refusals: tuple[Refusal, ...]
    notes: dict[str, tuple[str, ...]]

    def of(self, task: str, metric: str) -> Comparison | Refusal | None:
        """What was found of a metric; None if neither run has it."""
        for comparison in self.comparisons:
            if (comparison.task, comparison.metric) == (task, metric):
                return comparison
        return next((refusal for refusal in self.refusals if refusal.task == task and refusal.metric in (None, metric)), None)


def compare(a: KeptRun, b: KeptRun) -> RunComparison:
    """Compares the tasks of the same names. Whatever is not comparable is among the refusals."""
    comparisons: list[Comparison] = []
    refusals: list[Refusal] = []
    notes: dict[str, tuple[str, ...]] = {}
    for name in dict.fromkeys(task.name for run in (a, b) for task in run.plan.tasks):
        if why := _without_score(a, b, name):
            refusals.append(Refusal(name, None, why))
            continue
        one, other = (measured(run, task) for run in (a, b) if (task := run.task(name)))
        if found := measure.reasons(one, other):
            refusals.append(Refusal(name, None, tuple(found)))
            continue
        for item in _metrics(name, one, other):
            if isinstance(item, Comparison):
                comparisons.append(item)
            else:
                refusals.append(item)
        if noted := (*measure.notes(one, other), *_executors(a, b)):
            notes[name] = noted
    return RunComparison(a, b, tuple(_adjusted(comparisons)), tuple(refusals), notes)


def _executors(a: KeptRun, b: KeptRun) -> Iterator[str]:
    if a.plan.executor != b.plan.executor:
        yield f"run by other executors: {a.plan.executor}, {b.plan.executor}"


def _without_score(a: KeptRun, b: KeptRun, name: str) -> tuple[str, ...]:
    found = []
    for side, run in (("A", a), ("B", b)):
        task = run.task(name)
        if name not in (spec.name for spec in run.plan.tasks):
            found.append(f"{side} has no such task")
        elif task is None:
            found.append(f"it has no result in {side}")
        elif task.result.outcome is not Outcome.PASSED:
            found.append(f"it has no score in {side}: {task.result.outcome.value.replace('_', ' ')}")
    return tuple(found)


def _metrics(name: str, a: Measured, b: Measured) -> Iterator[Comparison | Refusal]:
    one, other = ({metric.name: metric for metric in side.task.result.metrics} for side in (a, b))
    for metric in {**one, **other}:
        if metric not in one or metric not in other:
            yield Refusal(name, metric, (f"{'A' if metric not in one else 'B'} has no such metric",))
        elif None not in (one[metric].n, other[metric].n) and one[metric].n != other[metric].n:
            yield Refusal(name, metric, (f"other number of samples: {one[metric].n} in A, {other[metric].n} in B",))
        else:
            lower = metric in a.details.lower_is_better | b.details.lower_is_better
            estimate, why = _estimate(metric, a, b, one[metric], other[metric])
            yield Comparison(name, metric, one[metric], other[metric], estimate, lower, why)


def _estimate(metric: str, a: Measured, b: Measured, one: Metric, other: Metric) -> tuple[Estimate, str | None]:
    """The difference, and why it is not paired if it is not."""
    samples = [[sample for sample in side.details.samples if metric in sample.scores] for side in (a, b)]
    missing = [side.details.missing or "no sample has this score" for side, found in zip((a, b), samples, strict=True) if not found]
    if missing:
        return _by_errors(one, other), missing[0]
    units = [_unit(found, metric, score.value) for found, score in zip(samples, (one, other), strict=True)]
    if units[0] is None or units[1] is None or (unit := _common(units[0], units[1])) is None:
        return _by_errors(one, other), "the score is not the mean of the samples"
    clusters = _clusters(metric, *samples)
    if clusters is None:
        return _by_errors(one, other), "not the same samples have this score"
    return paired(clusters).scaled(unit), None


def _by_errors(a: Metric, b: Metric) -> Estimate:
    return unpaired(Score(a.value, a.stderr, a.n), Score(b.value, b.stderr, b.n))


def _unit(samples: Sequence[Sample], metric: str, value: float) -> set[float] | None:
    """What the samples' mean is to be multiplied with to be the score: 1, 100 for percent, or both for 0; None if nothing fits."""
    mean = math.fsum(sample.scores[metric] for sample in samples) / len(samples)
    return {unit for unit in (1.0, 100.0) if abs(mean * unit - value) <= _ROUNDED * max(unit, abs(value))} or None


def _common(one: set[float], other: set[float]) -> float | None:
    return min(one & other, default=None)


def _clusters(metric: str, a: Iterable[Sample], b: Iterable[Sample]) -> list[Cluster] | None:
    """The scores of each question in both runs; None if they are not the same questions, each asked equally often."""
    found: dict[tuple[str, str, str], Cluster] = defaultdict(lambda: ([], []))
    for side, samples in enumerate((a, b)):
        for sample in samples:
            scores = found[measure.key(sample)][side]
            assert isinstance(scores, list)
            scores.append(sample.scores[metric])
    clusters = [found[key] for key in sorted(found)]
    return clusters if all(len(one) == len(other) for one, other in clusters) else None


def _adjusted(comparisons: Sequence[Comparison]) -> Iterator[Comparison]:
    values = iter(holm([found.estimate.p for found in comparisons if found.estimate.p is not None]))
    for found in comparisons:
        yield evolve(found, adjusted=None if found.estimate.p is None else next(values))
