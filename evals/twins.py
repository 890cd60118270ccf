"""Twins of a table that ask what its plain task does not: heavy tails, plateaus, hidden names."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from ..tools.space import Categorical, Configuration, Float, Int, SearchSpace
from .tables import Table, task_of
from .task import Evaluation, Task

_TAIL = 3.0
_DIVERGED = 1e6
_DIVERGING_SHARE = 0.1
_PLATEAU_SHARE = 0.6
_PLATEAU_NOISE = 0.01
_BEST_SHARE = 0.01


def heavy_tailed(table: Table) -> Task:
    """Return a task that is scored as the plain table, but shows the optimiser exp(3z).

    z is the standardised value, smaller being better. A tenth of the space, on one side of a
    hyperplane and away from the best percent, diverges: it shows 1e6.
    """
    plain = task_of(table)
    sign = table.sign
    finite = table.means[np.isfinite(table.means)]
    center, spread = sign * finite.mean(), finite.std()
    diverging = diverging_region(table)

    def objective(configuration: Configuration, seed: int) -> Evaluation:
        place = table.place(configuration)
        noise_free = float(sign * table.means[place])
        if diverging[place]:
            return Evaluation(_DIVERGED, noise_free)
        z = (sign * table.draw(place, seed) - center) / spread
        return Evaluation(float(np.exp(_TAIL * z)), noise_free)

    return replace(
        plain,
        name=f"{table.name}-heavy",
        family="heavy-tailed",
        objective=objective,
        direction="minimize",
        f_star=sign * plain.f_star,
        f_median=sign * plain.f_median,
    )


def diverging_region(table: Table) -> NDArray[np.bool_]:
    """Tell of each configuration of a table whether its heavy-tailed twin diverges there."""
    means = table.sign * table.means
    best = means <= np.quantile(means, _BEST_SHARE)
    shape = means.shape
    coordinates = np.indices(shape) / (np.array(shape).reshape(-1, *[1] * len(shape)) - 1)
    # The first direction that leaves the best alone, so that the optimum can be found.
    for seed in range(1000):
        direction = np.random.default_rng(seed).normal(size=len(shape))
        height = np.tensordot(direction, coordinates, axes=1)
        region = height > np.quantile(height, 1 - _DIVERGING_SHARE)
        if not (region & best).any():
            return np.asarray(region)
    raise ValueError(f"table {table.name!r} has its best percent on every side")


def plateau(table: Table) -> Task:
    """Return a task in which most configurations do not learn.

    The worst 60% of the table all have one value, that of an untrained network: the level at which
    learning begins. They show it with a noise of 1% of the way from there to the best.
    """
    plain = task_of(table)
    sign = table.sign
    means = sign * table.means
    level = float(np.quantile(means, 1 - _PLATEAU_SHARE))
    untrained = sign * level
    noise = _PLATEAU_NOISE * abs(untrained - plain.f_star)

    def objective(configuration: Configuration, seed: int) -> Evaluation:
        place = table.place(configuration)
        if means[place] > level:
            return Evaluation(untrained + noise * _normal(seed), untrained)
        return Evaluation(table.draw(place, seed), float(table.means[place]))

    return replace(
        plain,
        name=f"{table.name}-plateau",
        family="plateau",
        objective=objective,
        f_median=untrained,
        noise=table.noise * abs(plain.f_median - plain.f_star) / abs(untrained - plain.f_star),
    )


def masked(table: Table) -> Task:
    """Return the plain task under names and ranges that mean nothing: X1..Xd, unnamed data.

    Each range is moved affinely.
    """
    plain = task_of(table)
    rng = np.random.default_rng(0)
    hidden = {
        f"X{i + 1}": _mask(parameter, rng)
        for i, parameter in enumerate(plain.space.parameters.values())
    }
    space = SearchSpace(parameters=hidden)

    def objective(configuration: Configuration, seed: int) -> Evaluation:
        return plain.objective(plain.space.decode(space.encode(configuration)), seed)

    return replace(
        plain,
        name=f"{table.name}-masked",
        family="masked",
        space=space,
        objective=objective,
        card="A model on a data set; neither has a name.",
    )


def _mask(
    parameter: Float | Int | Categorical, rng: np.random.Generator
) -> Float | Int | Categorical:
    """Return a parameter with the same place in the unit cube and a range that tells nothing."""
    low, step = int(rng.integers(-20, 20)), int(rng.integers(1, 6))
    if isinstance(parameter, Categorical):
        return Categorical(choices=[f"C{i + 1}" for i in range(len(parameter.choices))])
    assert parameter.step is not None  # a table is a grid
    last = round((parameter.high - parameter.low) / parameter.step)
    return Int(low=low, high=low + last * step, step=step)


def _normal(seed: int) -> float:
    return float(np.random.default_rng(seed).normal())
