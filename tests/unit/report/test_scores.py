"""Where dots and bars lie."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evalx.compare.stats import t_quantile
from evalx.model import Metric
from evalx.report.scores import MARGIN, Dot, dot, interval, scale_of


def test_a_share_on_its_scale() -> None:
    shown = dot(Metric("m", 0.5, 0.1, 25))
    assert shown is not None and shown.near is not None and shown.far is not None
    assert (shown.at, shown.low, shown.high) == (50, 0, 1)
    reach = 9.6 * t_quantile(24)
    assert shown.near == pytest.approx((50 - 9.6, 50 + 9.6)) and shown.far == pytest.approx((50 - reach, 50 + reach), abs=0.01)


def test_a_perfect_score_over_few_questions_has_an_interval() -> None:
    shown = dot(Metric("m", 1.0, 0.0, 10))
    assert shown is not None and shown.far is not None and shown.far[0] < shown.far[1]


@pytest.mark.parametrize(
    ("value", "ends"), [(0, (0, 1)), (1, (0, 1)), (1.5, (0, 100)), (61.3, (0, 100)), (812.0, (0, 1000)), (-3.0, (-10, 0)), (-0.2, (-1, 0))]
)
def test_scales(value: float, ends: tuple[float, float]) -> None:
    assert scale_of(Metric("m", value)) == pytest.approx(ends)


@given(st.floats(allow_nan=True, allow_infinity=True), st.none() | st.floats(allow_nan=True, allow_infinity=True))
def test_no_number_leaves_the_picture(value: float, stderr: float | None) -> None:
    shown = dot(Metric("m", value, stderr))
    assert (shown is None) == (not math.isfinite(value))
    if shown is not None:
        assert all(MARGIN <= place <= 100 - MARGIN for place in places(shown))


def places(shown: Dot) -> list[float]:
    return [shown.at, *(shown.near or ()), *(shown.far or ())]


def test_no_interval_without_a_standard_error() -> None:
    assert interval(Metric("m", 0.5)) is None and interval(Metric("m", 0.5, float("nan"))) is None
    assert dot(Metric("m", 0.5)) == Dot(50.0, 0.0, 1.0)
