"""What results say: mean regrets by family, and how methods compare in pairs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..tools.stats import Interval, mean_interval, paired_difference
from .results import Result

MARKS = (10, 20, 50)
"""Numbers of trials at which methods are compared."""

Curves = NDArray[np.float64]
"""Regret of the incumbent, shape (seeds, trials)."""


@dataclass(frozen=True)
class Standing:
    """The regrets of some methods on the same tasks and seeds."""

    name: str
    methods: tuple[str, ...]
    tasks: dict[str, dict[str, Curves]]
    """Task to method to its curves; the seeds are the same for all methods of a task."""
    shares: dict[str, float]
    """Task to its share in a mean."""
    missing: tuple[str, ...]
    """Cells without a result, "method on task, seed n": their partners are left out as well."""

    @property
    def trials(self) -> int:
        """Trials that all of them had."""
        return min((c.shape[1] for task in self.tasks.values() for c in task.values()), default=0)

    @property
    def marks(self) -> tuple[int, ...]:
        """Where to compare: at `MARKS`, or at the end if it comes before."""
        return tuple(mark for mark in MARKS if mark <= self.trials) or (self.trials,)

    def mean(self, method: str, at: int) -> Interval:
        """Return the mean regret of a method after `at` trials."""
        return mean_interval(self._at(method, at), weights=self._weights())

    def difference(self, ours: str, other: str, at: int) -> Interval:
        """Return the mean of "ours minus other" after `at` trials."""
        pairs = self._at(ours, at), self._at(other, at)
        return paired_difference(*pairs, weights=self._weights())

    def curve(self, method: str) -> NDArray[np.float64]:
        """Return the mean regret of a method after each trial, shape (trials,)."""
        means = [curves[method][:, : self.trials].mean(0) for curves in self.tasks.values()]
        return np.asarray(np.average(means, axis=0, weights=self._weights()))

    def only(self, task: str) -> Standing:
        """Return the standing on one task."""
        return Standing(task, self.methods, {task: self.tasks[task]}, {task: 1.0}, ())

    def _at(self, method: str, at: int) -> list[NDArray[np.float64]]:
        return [curves[method][:, at - 1] for curves in self.tasks.values()]

    def _weights(self) -> list[float]:
        return [self.shares[task] for task in self.tasks]


def standings_of(results: Sequence[Result]) -> list[Standing]:
    """Return one standing a family, in the order in which they were run."""
    families = dict.fromkeys(result.family for result in results)
    return [_standing(name, [r for r in results if r.family == name]) for name in families]


def over_families(standings: Iterable[Standing]) -> Standing:
    """Return the standing over all tasks, in which each family has the same share.

    Only the methods that took part in every family are in it.
    """
    parts = [standing for standing in standings if standing.tasks]
    common = [m for m in parts[0].methods if all(m in part.methods for part in parts)]
    return Standing(
        name="mean over families",
        methods=tuple(common),
        tasks={task: curves for part in parts for task, curves in part.tasks.items()},
        shares={task: 1 / len(part.tasks) for part in parts for task in part.tasks},
        missing=(),
    )


def _standing(family: str, results: Sequence[Result]) -> Standing:
    methods = tuple(dict.fromkeys(result.method for result in results))
    longest: dict[tuple[str, str, int], Result] = {}
    for result in sorted(results, key=lambda r: r.trials):
        longest[result.task, result.method, result.seed] = result
    missing = []
    tasks: dict[str, dict[str, Curves]] = {}
    for task in dict.fromkeys(result.task for result in results):
        seeds = sorted({seed for name, _, seed in longest if name == task})
        absent = [(m, s) for m in methods for s in seeds if (task, m, s) not in longest]
        missing += [f"{method} on {task}, seed {seed}" for method, seed in absent]
        whole = [seed for seed in seeds if seed not in {s for _, s in absent}]
        if whole:
            tasks[task] = {m: _curves([longest[task, m, s] for s in whole]) for m in methods}
    return Standing(family, methods, tasks, dict.fromkeys(tasks, 1.0), tuple(missing))


def _curves(results: Sequence[Result]) -> Curves:
    trials = min(result.trials for result in results)
    return np.array([result.regret[:trials] for result in results])
