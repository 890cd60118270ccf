"""Paired comparisons and their intervals, as claims, evals and acceptance tests make them.

The tasks are fixed and the seeds are resampled: what is asked is how a difference would come out on
these tasks with other seeds. Few seeds make a plain bootstrap interval too narrow; its percentiles
are moved outwards as Hesterberg proposes ("What teachers should know about the bootstrap", The
American Statistician 69, 2015, section 4.4.2).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

MARGIN = 0.03
"""Normalised regret by which one method may be worse than another and still be no worse."""

Verdict = Literal["better", "no worse", "worse", "unclear"]

_RESAMPLES = 10_000
_FEWEST = 4
"""Degrees of freedom (seeds less one, summed over tasks) below which a bootstrap tells nothing."""


@dataclass(frozen=True)
class Interval:
    """A mean over tasks and seeds, with what other seeds could have made of it."""

    mean: float
    low: float
    """Lower end of the two-sided 95% interval; minus infinity if there are too few seeds."""
    high: float
    """Upper end of the two-sided 95% interval."""
    upper: float
    """One-sided 95% upper bound."""

    def verdict(self) -> Verdict:
        """Judge a difference "this minus the other", where smaller is better.

        `better`: the two-sided interval lies below 0. `no worse`: the one-sided upper bound is
        under `MARGIN`. `worse`: the two-sided interval lies above 0.
        """
        if self.high < 0:
            return "better"
        if self.upper < MARGIN:
            return "no worse"
        return "worse" if self.low > 0 else "unclear"


@dataclass(frozen=True)
class Estimate:
    """A mean or a difference of means, with its two-sided interval."""

    mean: float
    low: float
    """Minus infinity if there are too few values."""
    high: float


def mean_interval(
    tasks: Sequence[ArrayLike], *, weights: Sequence[float] | None = None, seed: int = 0
) -> Interval:
    """Return the mean over tasks of the mean over seeds, with its interval.

    Args:
        tasks: One array a task, of shape (seeds of this task,), each with at least one value.
        weights: The share of each task in the mean; None for equal ones.
        seed: Seed of the resampling.

    Raises:
        ValueError: If there is no task, or a task has no value or one that is not finite.
    """
    values = [np.asarray(task, dtype=np.float64) for task in tasks]
    if not values:
        raise ValueError("an interval needs at least one task, but got none")
    for i, task in enumerate(values):
        if task.ndim != 1 or len(task) == 0 or not np.isfinite(task).all():
            raise ValueError(f"task {i} must have finite values of shape (seeds,), but got {task}")
    shares_of_tasks = np.ones(len(values)) if weights is None else np.asarray(weights, float)
    shares_of_tasks /= shares_of_tasks.sum()
    mean = float(shares_of_tasks @ [task.mean() for task in values])
    if sum(len(task) - 1 for task in values) < _FEWEST:
        return Interval(mean, -math.inf, math.inf, math.inf)
    freedom = _freedom(values, shares_of_tasks)
    deviations = _resampled_deviations(values, shares_of_tasks, seed)
    shares = [_moved_outwards(share, freedom) for share in (0.025, 0.975, 0.95)]
    low, high, upper = (float(mean + d) for d in np.quantile(deviations, shares))
    return Interval(mean, low, high, upper)


def paired_difference(
    ours: Sequence[ArrayLike],
    theirs: Sequence[ArrayLike],
    *,
    weights: Sequence[float] | None = None,
    seed: int = 0,
) -> Interval:
    """Return the mean of "ours minus theirs" over tasks and seeds, with its interval.

    Args:
        ours: One array a task, of shape (seeds of this task,).
        theirs: The same tasks and seeds, in the same order.
        weights: The share of each task in the mean; None for equal ones.
        seed: Seed of the resampling.

    Raises:
        ValueError: If the tasks or seeds do not match, or a value is not finite.
    """
    pairs = [
        (np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64))
        for a, b in zip(ours, theirs, strict=True)
    ]
    for i, (a, b) in enumerate(pairs):
        if a.shape != b.shape:
            raise ValueError(f"task {i} must have the same seeds in both, got {a.shape}, {b.shape}")
    return mean_interval([a - b for a, b in pairs], weights=weights, seed=seed)


def student_mean(values: ArrayLike, level: float = 0.95) -> Estimate:
    """Return the mean of independent values with its interval.

    Exact for normal noise however few values there are, where a bootstrap is not, and on the safe
    side for heavier tails.

    Args:
        values: Shape (runs,), at least one.
        level: Share of such intervals that hold the true mean, in (0, 1).
    """
    runs = np.asarray(values, dtype=np.float64)
    if len(runs) < 2:
        return Estimate(float(runs.mean()), -math.inf, math.inf)
    if (runs == runs[0]).all():  # rounding would make a spread of it
        return Estimate(float(runs[0]), float(runs[0]), float(runs[0]))
    return _student(float(runs.mean()), runs.var(ddof=1) / len(runs), len(runs) - 1, level)


def welch_difference(ours: ArrayLike, theirs: ArrayLike, level: float = 0.95) -> Estimate:
    """Return the difference "ours minus theirs" of two means, with Welch's interval.

    Args:
        ours: Independent values of shape (runs,), at least two.
        theirs: Likewise; their number and their spread may be others.
        level: Share of such intervals that hold the true difference, in (0, 1).
    """
    pair = [np.asarray(side, dtype=np.float64) for side in (ours, theirs)]
    parts = np.array([side.var(ddof=1) / len(side) for side in pair])
    difference = float(pair[0].mean() - pair[1].mean())
    if not parts.any():
        return Estimate(difference, difference, difference)
    shares = parts / parts.sum()
    freedom = 1 / sum(share**2 / (len(side) - 1) for share, side in zip(shares, pair, strict=True))
    return _student(difference, parts.sum(), freedom, level)


def _student(mean: float, variance: float, freedom: float, level: float) -> Estimate:
    from scipy.special import stdtrit

    half = float(stdtrit(freedom, (1 + level) / 2)) * math.sqrt(variance)
    return Estimate(mean, mean - half, mean + half)


def _resampled_deviations(
    tasks: Sequence[NDArray[np.float64]], shares: NDArray[np.float64], seed: int
) -> NDArray[np.float64]:
    """Return how far resampled means lie from the mean, of the spread that they should have."""
    rng = np.random.default_rng(seed)
    total = np.zeros(_RESAMPLES)
    for task, share in zip(tasks, shares, strict=True):
        n = len(task)
        if n > 1:  # the only value of a task cannot tell how others would differ
            resampled = task[rng.integers(n, size=(_RESAMPLES, n))].mean(axis=1)
            total += share * (resampled - task.mean()) * math.sqrt(n / (n - 1))
    return total


def _freedom(tasks: Sequence[NDArray[np.float64]], shares: NDArray[np.float64]) -> float:
    """Return the degrees of freedom of the mean's variance, by Satterthwaite's approximation."""
    repeated = [(task, share) for task, share in zip(tasks, shares, strict=True) if len(task) > 1]
    spare = np.array([len(task) - 1 for task, _ in repeated])
    parts = np.array([share**2 * task.var(ddof=1) / len(task) for task, share in repeated])
    if not parts.any():
        return float(spare.sum())
    parts /= parts.max()  # so that no square vanishes
    return float(parts.sum() ** 2 / (parts**2 / spare).sum())


def _moved_outwards(share: float, freedom: float) -> float:
    """Return the share of a normal distribution at which Student's has this one."""
    from scipy.stats import norm, t

    return float(norm.cdf(t.ppf(share, freedom)))
