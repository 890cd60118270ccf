"""Tasks that look values up in a table of trainings, every configuration of a grid measured."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..tools.space import Categorical, Configuration, Float, Int, SearchSpace
from .task import Direction, Evaluation, Task

BUDGET = 50

_DIGITS = 4
"""Digits of a logarithm that is shown."""

Axis = Sequence[float | int | str]


@dataclass(frozen=True)
class Table:
    """The measured values of every configuration of a grid."""

    name: str
    family: str
    direction: Direction
    axes: Mapping[str, Axis]
    """Parameter to its values, in order."""
    values: NDArray[np.float64]
    """One axis a parameter, then repetitions. NaN was not measured, infinity has diverged."""
    card: str
    source: str
    licence: str

    @property
    def sign(self) -> int:
        """What makes smaller better."""
        return 1 if self.direction == "minimize" else -1

    @cached_property
    def means(self) -> NDArray[np.float64]:
        """The noise-free value of each configuration: the mean over repetitions."""
        return np.asarray(np.nanmean(self.values, axis=-1))

    @cached_property
    def f_star(self) -> float:
        """The best noise-free value."""
        return float(self.sign * (self.sign * self.means).min())

    @cached_property
    def f_median(self) -> float:
        """The noise-free value of the median configuration."""
        return float(np.median(self.means))

    @cached_property
    def noise(self) -> float:
        """Median standard deviation of the repetitions, in units of f_median - f_star."""
        finite = self.values[np.isfinite(self.means)]
        spread = float(np.median(np.nanstd(finite, axis=-1, ddof=1)))
        return spread / abs(self.f_median - self.f_star)

    @cached_property
    def space(self) -> SearchSpace:
        """The grid as a search space, of exactly its configurations.

        Numbers that are spread evenly stand as they are; others stand as their logarithm, and
        `unit` says so: "log2" or "log10".
        """
        return SearchSpace(parameters={name: _parameter(axis) for name, axis in self.axes.items()})

    def place(self, configuration: Configuration) -> tuple[int, ...]:
        """Return the indices of a configuration."""
        return tuple(
            _index(parameter, configuration[name])
            for name, parameter in self.space.parameters.items()
        )

    def draw(self, place: tuple[int, ...], seed: int) -> float:
        """Return one of the repetitions that were measured; NaN if it diverged."""
        measured = self.values[place]
        measured = measured[~np.isnan(measured)]
        value = float(measured[np.random.default_rng(seed).integers(len(measured))])
        return value if np.isfinite(value) else float("nan")


def task_of(table: Table) -> Task:
    """Return the task of finding the best configuration of a table."""

    def objective(configuration: Configuration, seed: int) -> Evaluation:
        place = table.place(configuration)
        return Evaluation(table.draw(place, seed), float(table.means[place]))

    return Task(
        name=table.name,
        family=table.family,
        space=table.space,
        objective=objective,
        direction=table.direction,
        card=table.card,
        budget=BUDGET,
        f_star=table.f_star,
        f_median=table.f_median,
        noise=table.noise,
        source=table.source,
        licence=table.licence,
        starts=table.name,
    )


def _parameter(axis: Axis) -> Float | Int | Categorical:
    if any(isinstance(value, str) for value in axis):
        return Categorical(choices=list(axis))
    numbers, unit = np.asarray(axis, dtype=np.float64), None
    if not np.allclose(np.diff(numbers), numbers[1] - numbers[0]):
        base = 2 if isinstance(axis[0], int) else 10
        numbers, unit = np.log(numbers) / np.log(base), f"log{base}"
    low, step = numbers[0], (numbers[-1] - numbers[0]) / (len(axis) - 1)
    if np.allclose([low, step], np.round([low, step])):
        low, step = round(low), round(step)
        return Int(low=low, high=low + step * (len(axis) - 1), step=step, unit=unit)
    low, step = round(low, _DIGITS), round(step, _DIGITS)
    high = round(low + step * (len(axis) - 1), _DIGITS)
    return Float(low=low, high=high, step=step, unit=unit)


def _index(parameter: Float | Int | Categorical, value: Any) -> int:
    if isinstance(parameter, Categorical):
        return parameter.choices.index(value)
    assert parameter.step is not None
    return int(round((value - parameter.low) / parameter.step))
