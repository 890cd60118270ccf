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
        """The parameters with their natural ranges; values between the grid's are allowed."""
        return SearchSpace(parameters={name: _parameter(axis) for name, axis in self.axes.items()})

    @cached_property
    def _scales(self) -> dict[str, NDArray[np.float64] | None]:
        """The numeric axes on the scale on which they are searched."""
        return {name: None if _is_text(axis) else _scale(axis) for name, axis in self.axes.items()}

    def place(self, configuration: Configuration) -> tuple[int, ...]:
        """Return the indices of the nearest configuration of the grid."""
        place = []
        for name, axis in self.axes.items():
            value: Any = configuration[name]
            scale = self._scales[name]
            if scale is None:
                place.append(list(axis).index(value))
                continue
            moved = float(value) if _is_even(axis) else float(np.log(value))
            place.append(int(np.abs(scale - moved).argmin()))
        return tuple(place)

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
    """Return an even grid as one, other numbers on a logarithmic scale, text as choices."""
    low, high = axis[0], axis[-1]
    if isinstance(low, str) or isinstance(high, str):
        return Categorical(choices=list(axis))
    even = _is_even(axis)
    if isinstance(low, int) and isinstance(high, int):
        step = (high - low) // (len(axis) - 1) if even else 1
        return Int(low=low, high=high, log=not even, step=step)
    step_size = (high - low) / (len(axis) - 1) if even else None
    return Float(low=low, high=high, log=not even, step=step_size)


def _is_text(axis: Axis) -> bool:
    return isinstance(axis[0], str)


def _is_even(axis: Axis) -> bool:
    gaps = np.diff(np.asarray(axis, dtype=np.float64))
    return bool(np.allclose(gaps, gaps[0]))


def _scale(axis: Axis) -> NDArray[np.float64]:
    numbers = np.asarray(axis, dtype=np.float64)
    return numbers if _is_even(axis) else np.asarray(np.log(numbers))
