"""Intervals hold what they promise, whichever way a comparison is written."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from luthier.tools import stats
from luthier.tools.stats import Interval, mean_interval, paired_difference

Tasks = list[list[float]]

regrets = st.lists(st.lists(st.floats(0.0, 1.5), min_size=5, max_size=8), min_size=1, max_size=3)


def simulated(rng: np.random.Generator, tasks: int, seeds: int) -> list[np.ndarray]:
    """Return differences whose true mean is 0, of a spread that differs from task to task."""
    return [rng.normal(scale=1 + task, size=seeds) for task in range(tasks)]


@pytest.mark.parametrize(("tasks", "seeds"), [(1, 5), (4, 5), (3, 20)])
def test_the_interval_covers_the_truth_as_often_as_it_says(
    tasks: int, seeds: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stats, "_RESAMPLES", 2000)
    rng = np.random.default_rng(0)
    intervals = [mean_interval(simulated(rng, tasks, seeds), seed=i) for i in range(500)]

    covered = np.mean([i.low <= 0 <= i.high for i in intervals])
    bounded = np.mean([i.upper >= 0 for i in intervals])

    assert 0.92 <= covered <= 0.98
    assert 0.92 <= bounded <= 0.98


@settings(max_examples=25, deadline=None)
@given(regrets)
def test_swapping_the_methods_mirrors_the_difference(ours: Tasks) -> None:
    theirs = [list(reversed(task)) for task in ours]

    forth, back = paired_difference(ours, theirs), paired_difference(theirs, ours)

    assert (forth.mean, forth.low, forth.high) == pytest.approx((-back.mean, -back.high, -back.low))


@settings(max_examples=25, deadline=None)
@given(regrets, st.floats(-2, 2), st.floats(0.1, 10))
def test_shift_and_scale_carry_over(tasks: Tasks, shift: float, scale: float) -> None:
    plain = mean_interval(tasks)
    moved = mean_interval([[shift + scale * value for value in task] for task in tasks])

    for name in ("mean", "low", "high", "upper"):
        expected = shift + scale * getattr(plain, name)
        assert getattr(moved, name) == pytest.approx(expected, abs=1e-9)


@settings(max_examples=25, deadline=None)
@given(regrets)
def test_the_ends_are_in_order(tasks: Tasks) -> None:
    interval = mean_interval(tasks)

    assert interval.low <= interval.mean + 1e-12
    assert interval.mean <= interval.upper + 1e-12 <= interval.high + 2e-12


def test_what_is_common_to_both_methods_does_not_widen_the_difference() -> None:
    luck = np.random.default_rng(0).normal(size=20)

    difference = paired_difference([luck + 0.1], [luck])

    assert difference.low == pytest.approx(0.1)
    assert difference.high == pytest.approx(0.1)


def test_tasks_are_fixed_so_their_spread_does_not_widen_the_interval() -> None:
    interval = mean_interval([[0.0] * 5, [1.0] * 5])

    assert (interval.low, interval.mean, interval.high) == (0.5, 0.5, 0.5)


def test_weights_are_shares_of_the_mean() -> None:
    assert mean_interval([[0.0] * 5, [1.0] * 5], weights=[3, 1]).mean == pytest.approx(0.25)


def test_the_same_seed_gives_the_same_interval() -> None:
    tasks = simulated(np.random.default_rng(0), 2, 5)

    assert mean_interval(tasks, seed=1) == mean_interval(tasks, seed=1)
    assert mean_interval(tasks, seed=1) != mean_interval(tasks, seed=2)


def test_too_few_seeds_give_no_interval_and_no_verdict() -> None:
    interval = mean_interval([[-1.0, -1.1], [-0.9]])

    assert interval.mean == pytest.approx(-0.975)
    assert (interval.low, interval.high) == (-math.inf, math.inf)
    assert interval.verdict() == "unclear"


@pytest.mark.parametrize(
    ("low", "high", "upper", "verdict"),
    [
        (-0.2, -0.1, -0.11, "better"),
        (-0.05, 0.04, 0.029, "no worse"),
        (-0.05, 0.06, 0.05, "unclear"),
        (0.01, 0.06, 0.05, "worse"),
        (0.01, 0.03, 0.02, "no worse"),
    ],
)
def test_the_verdict_follows_the_definitions(
    low: float, high: float, upper: float, verdict: str
) -> None:
    assert Interval((low + high) / 2, low, high, upper).verdict() == verdict


def test_a_mismatch_of_seeds_is_refused() -> None:
    with pytest.raises(ValueError, match="the same seeds in both"):
        paired_difference([[1.0, 2.0]], [[1.0]])
    with pytest.raises(ValueError, match="shorter"):
        paired_difference([[1.0], [2.0]], [[1.0]])


@pytest.mark.parametrize("tasks", [[], [[]], [[1.0, math.nan]]])
def test_what_is_no_number_is_refused(tasks: Tasks) -> None:
    with pytest.raises(ValueError, match=r"at least one task|finite values"):
        mean_interval(tasks)
