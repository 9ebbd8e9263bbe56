"""The statistics of comparing two scores, as pure functions.

Sources. Differences, paired and clustered standard errors: Miller, "Adding Error Bars to Evals" (2024, arXiv 2411.00640). Right-or-wrong
answers, paired: McNemar's test, mid-p form (Fagerland, Lydersen, Laake 2013); interval of Agresti and Min (2005). Two proportions,
unpaired: Agresti and Caffo (2000). One proportion: Wilson (1927). Several tests: Holm (1979). Student's t for whole degrees of freedom:
Abramowitz and Stegun 26.7.3 and 26.7.4.

The simple normal intervals are wrong where evaluations often are: few questions, scores at 0 or 1.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import NormalDist

from attrs import evolve, frozen

LEVEL = 0.95
ALPHA = 1 - LEVEL
Z = NormalDist().inv_cdf(1 - ALPHA / 2)
_LARGE = 1000
"""Degrees of freedom from which Student's t is the normal distribution for every purpose here."""

Cluster = tuple[Sequence[float], Sequence[float]]
"""The scores of one question in run A and in run B: equally many, one unless it was asked several times."""


@frozen
class Estimate:
    """B minus A. n: questions that it rests on, None if unknown. method: in words. interval: where the true difference is in 95% of cases.
    p: how often chance alone makes such a difference or a larger one. stderr, interval and p are None where no error is known."""

    difference: float
    n: int | None
    method: str
    stderr: float | None = None
    interval: tuple[float, float] | None = None
    p: float | None = None

    def scaled(self, factor: float) -> Estimate:
        """The same in another unit."""
        stderr = None if self.stderr is None else self.stderr * factor
        interval = None if self.interval is None else (self.interval[0] * factor, self.interval[1] * factor)
        return evolve(self, difference=self.difference * factor, stderr=stderr, interval=interval)


def paired(clusters: Sequence[Cluster]) -> Estimate:
    """From the scores of the same questions in both runs, at least one. Questions asked several times are clusters."""
    pairs = [(a[0], b[0]) for a, b in clusters if len(a) == 1]
    if len(pairs) == len(clusters) and all(score in (0.0, 1.0) for pair in pairs for score in pair):
        return _right_or_wrong(pairs)
    counts = [len(a) for a, _ in clusters]
    sums = [math.fsum(b) - math.fsum(a) for a, b in clusters]
    total, questions = sum(counts), len(clusters)
    difference = math.fsum(sums) / total
    if questions < 2:
        return Estimate(difference, questions, "one question only")
    spread = math.fsum((part - count * difference) ** 2 for part, count in zip(sums, counts, strict=True))
    stderr = math.sqrt(spread * questions / (questions - 1)) / total
    method = "paired differences" if total == questions else "paired differences, clustered by question"
    if stderr <= 1e-12 * max(1.0, abs(difference)):
        # All questions differ by the same: only how often that is by chance can be told (sign test).
        p = 1.0 if abs(difference) <= 1e-12 else 2.0 ** (1 - questions)
        return Estimate(difference, questions, method, 0.0, (difference, difference), p)
    half = t_quantile(questions - 1) * stderr
    p = t_tails(difference / stderr, questions - 1)
    return Estimate(difference, questions, method, stderr, (difference - half, difference + half), p)


def _right_or_wrong(pairs: Sequence[tuple[float, float]]) -> Estimate:
    n = len(pairs)
    gained, lost = sum(a < b for a, b in pairs), sum(a > b for a, b in pairs)
    difference = (gained - lost) / n
    stderr = math.sqrt(max(0.0, gained + lost - n * difference**2) / (n - 1)) / math.sqrt(n) if n > 1 else None
    # Half a question more in each of the four cells.
    total, apart, shifted = n + 2, gained + lost + 1, (gained - lost) / (n + 2)
    half = Z * math.sqrt(apart - total * shifted**2) / total
    low, high = max(-1.0, shifted - half), min(1.0, shifted + half)
    return Estimate(difference, n, "McNemar's test on the same questions", stderr, (low, high), mcnemar(gained, lost))


def mcnemar(gained: int, lost: int) -> float:
    """The mid-p value of McNemar's test. gained, lost: questions that only the one or only the other run got right."""
    n, fewer = gained + lost, min(gained, lost)
    if n == 0:
        return 1.0
    logs = [math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1) - n * math.log(2) for k in range(fewer + 1)]
    below = math.fsum(map(math.exp, logs))
    return min(1.0, 2 * below - math.exp(logs[-1]))


@frozen
class Score:
    """One score with what is known of its error. n: questions; stderr as the harness reports it."""

    value: float
    stderr: float | None = None
    n: int | None = None

    @property
    def proportion(self) -> tuple[int, float] | None:
        """How many of n were right, and the unit of one (1, or 100 for percent), if that is what value and stderr can only mean."""
        if self.n is None or self.n < 1 or self.stderr is None:
            return None
        for unit in (1.0, 100.0):
            share = self.value / unit
            right = round(share * self.n) if 0 <= share <= 1 else -1
            whole = abs(share * self.n - right) <= min(0.25, 1e-6 + 6e-5 * self.n)
            if right >= 0 and whole and self._binomial(share, self.stderr / unit):
                return right, unit
        return None

    def _binomial(self, share: float, stderr: float) -> bool:
        """Harnesses divide by n or by n - 1, and some round to four places."""
        assert self.n is not None
        spread = math.sqrt(share * (1 - share))
        expected = [spread / math.sqrt(self.n), spread / math.sqrt(max(1, self.n - 1))]
        return any(abs(stderr - one) <= 1e-4 for one in expected)


def unpaired(a: Score, b: Score) -> Estimate:
    """From two scores and their standard errors alone, as if the questions were others."""
    difference = b.value - a.value
    if a.stderr is None or b.stderr is None:
        return Estimate(difference, None, "no standard error is known")
    stderr = math.hypot(a.stderr, b.stderr)
    n = min(a.n, b.n) if a.n is not None and b.n is not None else None
    one, other = a.proportion, b.proportion
    if one and other and one[1] == other[1]:
        shifted, spread = _caffo(one[0], a.n or 1, other[0], b.n or 1)
        low, high = max(-1.0, shifted - Z * spread) * one[1], min(1.0, shifted + Z * spread) * one[1]
        return Estimate(difference, n, "two proportions", stderr, (low, high), normal_tails(shifted / spread))
    if stderr == 0:
        return Estimate(difference, n, "the standard errors are 0, which says nothing of the difference")
    freedom = _welch(a, b)
    half, p = t_quantile(freedom) * stderr, t_tails(difference / stderr, freedom)
    return Estimate(difference, n, "two standard errors", stderr, (difference - half, difference + half), p)


def _caffo(right_a: int, n_a: int, right_b: int, n_b: int) -> tuple[float, float]:
    """Difference of the proportions and its standard error, after one right and one wrong answer more in each."""
    shares = (right_a + 1) / (n_a + 2), (right_b + 1) / (n_b + 2)
    spread = math.sqrt(shares[0] * (1 - shares[0]) / (n_a + 2) + shares[1] * (1 - shares[1]) / (n_b + 2))
    return shares[1] - shares[0], spread


def _welch(a: Score, b: Score) -> int:
    """Degrees of freedom, rounded down; many if the numbers of questions are not known."""
    if a.n is None or b.n is None or a.n < 2 or b.n < 2 or a.stderr is None or b.stderr is None:
        return _LARGE
    unit = max(a.stderr, b.stderr) or 1.0
    one, other = (a.stderr / unit) ** 2, (b.stderr / unit) ** 2
    parts = one**2 / (a.n - 1) + other**2 / (b.n - 1)
    return max(1, math.floor((one + other) ** 2 / parts)) if parts else _LARGE


def interval(score: Score) -> tuple[float, float] | None:
    """The 95% interval of one score; None without a standard error. For proportions Wilson's, else Student's."""
    if score.stderr is None:
        return None
    found = score.proportion
    if found:
        right, unit, n = found[0], found[1], score.n or 1
        middle = (right + Z**2 / 2) / (n + Z**2)
        half = Z * math.sqrt(right * (n - right) / n + Z**2 / 4) / (n + Z**2)
        return max(0.0, middle - half) * unit, min(1.0, middle + half) * unit
    half = t_quantile(score.n - 1 if score.n and score.n > 1 else _LARGE) * score.stderr
    return score.value - half, score.value + half


def holm(values: Sequence[float]) -> list[float]:
    """The p values, each adjusted for being one of several: calling those up to 5% real is wrong for any of them in at most 5% of cases."""
    adjusted, largest = [0.0] * len(values), 0.0
    for rank, index in enumerate(sorted(range(len(values)), key=lambda index: values[index])):
        largest = max(largest, min(1.0, (len(values) - rank) * values[index]))
        adjusted[index] = largest
    return adjusted


def normal_tails(z: float) -> float:
    """The chance of a value at least as far from 0."""
    return math.erfc(abs(z) / math.sqrt(2))


def t_tails(t: float, freedom: int) -> float:
    """The same for Student's t with so many (whole, positive) degrees of freedom."""
    if freedom >= _LARGE:
        return normal_tails(t)
    angle = math.atan2(abs(t), math.sqrt(freedom))
    cosine = math.cos(angle)
    odd = freedom % 2
    term, total = (cosine, 0.0) if odd else (1.0, 0.0)
    for k in range(2 if odd else 1, freedom, 2):
        total += term
        term *= cosine**2 * k / (k + 1)
    inside = 2 / math.pi * (angle + math.sin(angle) * total) if odd else math.sin(angle) * total
    return min(1.0, max(0.0, 1 - inside))


def t_quantile(freedom: int) -> float:
    """How far from 0 the 95% in the middle of Student's t reach."""
    if freedom >= _LARGE:
        return Z
    low, high = 0.0, 16.0
    while high - low > 1e-9:
        middle = (low + high) / 2
        low, high = (middle, high) if t_tails(middle, freedom) > ALPHA else (low, middle)
    return high
