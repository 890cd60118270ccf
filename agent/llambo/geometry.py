"""Distances between configurations, in the unit cube."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ...tools.space import Categorical, Configuration, SearchSpace

NEAR = 0.02
"""Closer than this in every parameter, two configurations are the same trial again."""


def distance(space: SearchSpace, a: Configuration, b: Configuration) -> float:
    """Return the largest difference over the parameters, in [0, 1].

    Another choice, and a parameter that is active in one of the two only, count as 1.
    """
    one, other = _points(space, [a, b])
    return float(_distances(space, other[np.newaxis], one)[0])


def nearest(
    space: SearchSpace, configuration: Configuration, others: Sequence[Configuration]
) -> float:
    """Return the distance to the nearest of others, 1 if there are none."""
    one, *_ = points = _points(space, [configuration, *others])
    return float(_distances(space, points[1:], one).min(initial=1.0))


def farthest_first(
    space: SearchSpace,
    configurations: Sequence[Configuration],
    count: int,
    *,
    others: Sequence[Configuration] = (),
    least: float = 0.0,
) -> list[int]:
    """Choose configurations that are far from each other, one after the other.

    Args:
        space: Their space.
        configurations: What there is to choose from. With nothing else to be far from, the first
            one is chosen first.
        count: How many to choose at most.
        others: Configurations to be far from as well.
        least: A configuration that is nearer than this to one that was chosen is not.

    Returns:
        Their indices, in the order of choice.
    """
    points, known = _points(space, configurations), _points(space, others)
    away = np.ones(len(points))
    for point in known:
        away = np.minimum(away, _distances(space, points, point))
    chosen: list[int] = []
    while len(chosen) < min(count, len(points)):
        away[chosen] = -1.0
        index = int(np.argmax(away))  # of equals the first
        if away[index] < least:
            break
        chosen.append(index)
        away = np.minimum(away, _distances(space, points, points[index]))
    return chosen


def _points(space: SearchSpace, configurations: Sequence[Configuration]) -> NDArray[np.float64]:
    """Return one row a configuration and one column a parameter, NaN where it is not active."""
    points = np.full((len(configurations), len(space.parameters)), np.nan)
    for row, configuration in zip(points, configurations, strict=True):
        for column, (name, parameter) in enumerate(space.parameters.items()):
            if name in configuration:
                row[column] = parameter.to_unit(configuration[name])  # type: ignore[arg-type]
    return points


def _distances(
    space: SearchSpace, points: NDArray[np.float64], point: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return the distance of each of the points to one point."""
    choices = np.array([isinstance(p, Categorical) for p in space.parameters.values()])
    differences = np.abs(points - point)
    differences = np.where(choices & (differences > 0), 1.0, differences)
    active, other_active = ~np.isnan(points), ~np.isnan(point)
    differences = np.where(active & other_active, differences, active != other_active)
    return np.asarray(differences.max(axis=1), dtype=np.float64)
