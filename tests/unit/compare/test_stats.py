"""The statistics: against other ways to the same number, and against what they promise, in simulations with a fixed seed."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from statistics import NormalDist, mean, stdev

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evalx.compare.stats import ALPHA, Cluster, Estimate, Score, holm, interval, mcnemar, paired, t_quantile, t_tails, unpaired

SCORES = st.floats(0, 1, allow_subnormal=False)
PAIRS = st.lists(st.tuples(SCORES, SCORES), min_size=2, max_size=40)
ANSWERS = st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=60)
P_VALUES = st.lists(st.floats(0, 1), max_size=20)
MANY = 400


def clusters(pairs: list[tuple[float, float]]) -> list[Cluster]:
    return [((float(a),), (float(b),)) for a, b in pairs]


# ---------------------------------------------------------------------- Student's t, McNemar, Holm


@pytest.mark.parametrize(("freedom", "quantile"), [(1, 12.7062), (2, 4.3027), (5, 2.5706), (10, 2.2281), (30, 2.0423), (120, 1.9799)])
def test_quantiles_of_t_are_those_of_the_printed_tables(freedom: int, quantile: float) -> None:
    assert t_quantile(freedom) == pytest.approx(quantile, abs=1e-4)


@given(st.floats(0, 8), st.integers(1, 900))
def test_tails_of_t_are_the_integral_of_its_density(t: float, freedom: int) -> None:
    scale = math.exp(math.lgamma((freedom + 1) / 2) - math.lgamma(freedom / 2)) / math.sqrt(freedom * math.pi)
    steps = 400
    density = [scale * (1 + (t * k / steps) ** 2 / freedom) ** (-(freedom + 1) / 2) for k in range(steps + 1)]
    inside = t / steps / 3 * (density[0] + density[-1] + 4 * math.fsum(density[1:-1:2]) + 2 * math.fsum(density[2:-1:2]))
    assert t_tails(t, freedom) == pytest.approx(1 - 2 * inside, abs=1e-6)


def test_many_degrees_of_freedom_are_the_normal_distribution() -> None:
    assert t_quantile(10**6) == pytest.approx(NormalDist().inv_cdf(0.975))
    assert t_tails(2.0, 999) == pytest.approx(t_tails(2.0, 1001), abs=4e-4)


@given(st.integers(0, 40), st.integers(0, 40))
def test_mcnemar_is_the_binomial_test_with_half_of_what_was_found(gained: int, lost: int) -> None:
    n, fewer = gained + lost, min(gained, lost)
    exact = sum(math.comb(n, k) for k in range(fewer)) + math.comb(n, fewer) / 2
    assert mcnemar(gained, lost) == pytest.approx(min(1.0, 2 * exact / 2**n))
    assert mcnemar(gained, lost) == mcnemar(lost, gained)


@given(P_VALUES)
def test_holm_keeps_the_order_and_only_makes_larger(values: list[float]) -> None:
    adjusted = holm(values)
    assert all(p <= found <= 1 for p, found in zip(values, adjusted, strict=True))
    ordered = [found for _, found in sorted(zip(values, adjusted, strict=True))]
    assert ordered == sorted(ordered)
    assert all(found <= min(1.0, p * len(values)) + 1e-12 for p, found in zip(values, adjusted, strict=True))


@given(P_VALUES, st.randoms(use_true_random=False))
def test_holm_does_not_depend_on_the_order(values: list[float], shuffler: random.Random) -> None:
    order = list(range(len(values)))
    shuffler.shuffle(order)
    assert holm([values[index] for index in order]) == [holm(values)[index] for index in order]


def test_holm_is_holms_example() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])


# ---------------------------------------------------------------------- what must hold for every pair of runs


@given(PAIRS)
def test_a_run_is_never_better_than_itself(pairs: list[tuple[float, float]]) -> None:
    found = paired(clusters([(a, a) for a, _ in pairs]))
    assert (found.difference, found.stderr, found.p) == (0.0, 0.0, 1.0)
    assert found.interval and found.interval[0] <= 0 <= found.interval[1]


@given(st.integers(1, 500).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_a_proportion_is_never_better_than_itself(counted: tuple[int, int]) -> None:
    share = counted[0] / counted[1]
    score = Score(share, round(math.sqrt(share * (1 - share) / counted[1]), 4), counted[1])
    found = unpaired(score, score)
    assert found.difference == 0 and found.p == 1.0 and found.interval
    assert found.interval[0] == pytest.approx(-found.interval[1])


@given(PAIRS | ANSWERS.filter(lambda pairs: len(pairs) > 1), st.randoms(use_true_random=False))
def test_the_order_of_samples_does_not_matter(pairs: list[tuple[float, float]], shuffler: random.Random) -> None:
    mixed = pairs.copy()
    shuffler.shuffle(mixed)
    assert alike(paired(clusters(pairs)), paired(clusters(mixed)))


@given(PAIRS | ANSWERS)
def test_swapping_the_runs_swaps_the_sign(pairs: list[tuple[float, float]]) -> None:
    there, back = paired(clusters(pairs)), paired(clusters([(b, a) for a, b in pairs]))
    turned = back.interval and (-back.interval[1], -back.interval[0])
    assert alike(there, Estimate(-back.difference, back.n, back.method, back.stderr, turned, back.p))


def alike(one: Estimate, other: Estimate) -> bool:
    assert (one.n, one.method, one.stderr is None) == (other.n, other.method, other.stderr is None)
    figures = [[each.difference, each.stderr or 0.0, *(each.interval or ()), each.p or 0.0] for each in (one, other)]
    return bool(figures[0] == pytest.approx(figures[1], rel=1e-6, abs=1e-9))


@given(PAIRS)
def test_the_paired_error_is_that_of_the_mean_difference(pairs: list[tuple[float, float]]) -> None:
    differences = [b - a for a, b in pairs]
    found = paired(clusters(pairs))
    assert found.difference == pytest.approx(mean(differences), abs=1e-9)
    assert found.stderr == pytest.approx(stdev(differences) / math.sqrt(len(pairs)), abs=1e-9)


@given(PAIRS, st.integers(2, 4))
def test_asking_the_same_again_with_the_same_answers_adds_no_certainty(pairs: list[tuple[float, float]], times: int) -> None:
    once = paired([((a, a), (b, b)) for a, b in pairs])
    often = paired([((a,) * 2 * times, (b,) * 2 * times) for a, b in pairs])
    assert alike(once, often)


@given(st.lists(st.tuples(st.floats(0.1, 0.9), st.floats(0.1, 0.9)), min_size=2, max_size=40))
def test_percent_is_another_unit_of_the_same(pairs: list[tuple[float, float]]) -> None:
    assert alike(paired(clusters(pairs)).scaled(100), paired(clusters([(100 * a, 100 * b) for a, b in pairs])))


def test_two_right_of_two_are_not_a_proven_victory() -> None:
    found = unpaired(Score(0.0, 0.0, 2), Score(1.0, 0.0, 2))
    assert found.p is not None and found.p > ALPHA
    assert paired(clusters([(0.0, 1.0)] * 2)).p == pytest.approx(0.25)


def test_without_errors_nothing_is_claimed() -> None:
    assert unpaired(Score(0.1), Score(0.9)).p is None
    assert unpaired(Score(12.0, 0.0), Score(15.0, 0.0)).interval is None
    assert paired([((0.5,), (0.9,))]).p is None
    assert interval(Score(0.4)) is None


@given(st.floats(allow_nan=False, allow_infinity=False), st.floats(min_value=0, allow_infinity=False), st.integers(1, 10**9))
def test_any_score_can_be_asked_for_its_interval(value: float, stderr: float, n: int) -> None:
    ends = interval(Score(value, stderr, n))
    assert ends is not None and ends[0] <= ends[1]
    assert unpaired(Score(value, stderr, n), Score(0.5, stderr, n)).difference == 0.5 - value


@pytest.mark.parametrize("unit", [1.0, 100.0])
def test_a_proportion_is_recognised_in_its_unit(unit: float) -> None:
    assert Score(0.5417 * unit, 0.1017 * unit, 24).proportion == (13, unit)
    assert Score(0.7 * unit, 0.1051 * unit, 20).proportion == (14, unit)
    assert Score(0.5417 * unit, 0.2 * unit, 24).proportion is None
    assert Score(3.0 * unit, 0.1 * unit, 24).proportion is None


# ---------------------------------------------------------------------- what intervals and tests promise


def answers(generator: random.Random, n: int, skill_a: float, skill_b: float) -> list[tuple[float, float]]:
    """n questions of different difficulty, so that two models tend to be right about the same ones."""
    difficulty = [generator.uniform(-0.25, 0.25) for _ in range(n)]
    return [(float(generator.random() < skill_a + hard), float(generator.random() < skill_b + hard)) for hard in difficulty]


def graded(generator: random.Random, n: int, skill_a: float, skill_b: float) -> list[tuple[float, float]]:
    return [(skill_a + generator.gauss(0, 0.2), skill_b + generator.gauss(0, 0.2)) for _ in range(n)]


def share(hit: Callable[[int], bool]) -> float:
    return sum(map(hit, range(MANY))) / MANY


@pytest.mark.parametrize("draw", [answers, graded])
@pytest.mark.parametrize("n", [12, 60])
def test_the_interval_holds_the_true_difference_in_95_of_100_cases(draw: Callable[..., list[tuple[float, float]]], n: int) -> None:
    generator = random.Random(20241101)

    def holds(_: int) -> bool:
        found = paired(clusters(draw(generator, n, 0.4, 0.6)))
        return found.interval is not None and found.interval[0] <= 0.2 <= found.interval[1]

    # Three standard deviations of a share of 400 cases below the promise.
    assert share(holds) >= 0.95 - 3 * math.sqrt(0.95 * 0.05 / MANY)


@pytest.mark.parametrize("n", [12, 60])
def test_the_unpaired_interval_holds_it_too(n: int) -> None:
    generator = random.Random(20241102)

    def holds(_: int) -> bool:
        right = [sum(generator.random() < skill for _ in range(n)) / n for skill in (0.7, 0.9)]
        found = unpaired(*(Score(each, math.sqrt(each * (1 - each) / n), n) for each in right))
        return found.interval is not None and found.interval[0] <= 0.2 <= found.interval[1]

    assert share(holds) >= 0.95 - 3 * math.sqrt(0.95 * 0.05 / MANY)


@pytest.mark.parametrize("value", [0.5, 0.97])
def test_the_interval_of_a_score_holds_the_true_score(value: float) -> None:
    generator = random.Random(20241103)

    def holds(_: int) -> bool:
        right = sum(generator.random() < value for _ in range(40)) / 40
        ends = interval(Score(right, math.sqrt(right * (1 - right) / 40), 40))
        return ends is not None and ends[0] <= value <= ends[1]

    assert share(holds) >= 0.95 - 3 * math.sqrt(0.95 * 0.05 / MANY)


@pytest.mark.parametrize("draw", [answers, graded])
def test_equal_models_are_told_apart_in_at_most_5_of_100_runs_of_many_tasks(draw: Callable[..., list[tuple[float, float]]]) -> None:
    generator = random.Random(20241104)

    def any_is_real(_: int) -> bool:
        return min(holm([paired(clusters(draw(generator, 30, 0.5, 0.5))).p or 1.0 for _ in range(6)])) <= ALPHA

    assert share(any_is_real) <= 0.05 + 3 * math.sqrt(0.95 * 0.05 / MANY)


@settings(max_examples=30)
@given(st.integers(40, 200))
def test_pairing_sees_more_where_models_are_right_about_the_same(n: int) -> None:
    pairs = [(float(k % 2), float(k % 2 or k % 10 == 0)) for k in range(n)]
    scores = []
    for side in range(2):
        right = mean(pair[side] for pair in pairs)
        scores.append(Score(right, math.sqrt(right * (1 - right) / n), n))
    together, apart = paired(clusters(pairs)), unpaired(*scores)
    assert together.difference == pytest.approx(apart.difference)
    assert together.stderr is not None and apart.stderr is not None and together.stderr < apart.stderr
