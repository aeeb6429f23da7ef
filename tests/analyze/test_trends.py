"""A rise is found, a burst is not called one: `benchmarks/trend.py` in short."""

from __future__ import annotations

import pytest

from benchmarks import trend as bench
from rsi.analyze import trends


@pytest.mark.parametrize("cell", [(8, 160, 1), (8, 160, 3), (8, 160, 12), (8, 1_000, 12)])
def test_a_steady_issue_is_seldom_called_rising(cell: tuple[int, int, int]):
    runs = 25
    assert bench.false_rises(cell, runs, trends.judge) <= 0.2  # .05 at most, and what 25 issues allow by chance


def test_the_test_for_independent_failures_would_not_do():
    assert bench.false_rises((8, 160, 12), 5, bench.naive) > 1


def test_a_tripling_is_found_within_a_day():
    hours, within = bench.hours_to_find(8, 3, 30, trends.judge)
    assert hours <= 24
    assert within > 0.45
    assert bench.hours_to_find(30, 3, 15, trends.judge)[0] <= 18


def test_hours_without_traffic_or_failures_are_stable():
    assert trends.judge([0] * 60, [0] * 60) == "stable"
    assert trends.judge([5] * 60, [0] * 60) == "stable"
    assert trends.judge([], []) == "stable"
    assert trends.judge([1, 2], [3, 4]) == "stable"
