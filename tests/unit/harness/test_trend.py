"""The straight line through the samples of a soak."""

import pytest

from tests.harness.trend import Trend


def test_what_stays_the_same_has_neither_slope_nor_spread():
    assert Trend.of([(0, 5), (60, 5), (120, 5)]) == Trend(slope=0.0, spread=0.0)


def test_a_leak_shows_as_growth_in_an_hour_and_as_spread():
    trend = Trend.of([(minute * 60, 95 + minute / 6) for minute in range(61)])
    assert trend.slope == pytest.approx(0.10)
    assert trend.spread == pytest.approx(0.10)


def test_a_hump_in_the_middle_is_spread_and_no_growth():
    trend = Trend.of([(0, 100), (60, 112), (120, 100)])
    assert trend.slope == pytest.approx(0.0)
    assert trend.spread == pytest.approx(12 / 104)
