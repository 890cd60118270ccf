"""A search space as the unit cube, many points at a time: all over it, or near other points."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..tools.space import Categorical, Configuration, Parameter, SearchSpace

Points = NDArray[np.float64]
"""Points of the unit cube, shape (number of points, number of parameters).

A coordinate of a parameter that is inactive there is `_INACTIVE`.
"""

_MOST_LEVELS = 1000
_INACTIVE = -0.5
"""Where points stand on the axis of an inactive parameter: farther from all that are active than
most of these are from each other, so that branches tell each other little."""
_MOVED = 1.5
"""How many parameters of a neighbour differ, roughly."""


class Cube:
    """The points that a space's configurations have in the unit cube."""

    def __init__(self, space: SearchSpace) -> None:
        """Look the axes up."""
        self._space = space
        parameters = list(space.parameters.values())
        self._levels = [_levels(parameter) for parameter in parameters]
        self._conditions = _conditions(space)
        self.categorical = np.array([isinstance(p, Categorical) for p in parameters], dtype=bool)

    def points(self, configurations: Sequence[Mapping[str, Any]]) -> Points:
        """Return the points of configurations."""
        encoded = [self._space.encode(configuration) for configuration in configurations]
        return self._pruned(
            self._snapped(np.array(encoded).reshape(len(encoded), len(self._levels)))
        )

    def configuration(self, point: NDArray[np.float64]) -> Configuration:
        """Return the configuration at a point."""
        return self._space.decode([float(unit) for unit in point])

    def spread(self, number: int, rng: np.random.Generator) -> Points:
        """Draw points from all over the cube."""
        return self._allowed(self._pruned(self._snapped(rng.random((number, len(self._levels))))))

    def around(self, points: Points, number: int, reach: float, rng: np.random.Generator) -> Points:
        """Draw neighbours of points.

        Args:
            points: What they are neighbours of.
            number: Neighbours of each point.
            reach: Standard deviation of the longest moves along an axis; others are up to ten
                times shorter. On a grid a move is one step at least, among choices to any.
            rng: What draws.
        """
        base = np.repeat(points, number, axis=0)
        rows, axes = base.shape
        moves = rng.random(base.shape) < _MOVED / axes
        moves[np.arange(rows), rng.integers(axes, size=rows)] = True
        scale = reach * 10.0 ** -rng.random((rows, 1))
        near = np.abs(base + scale * rng.normal(size=base.shape))
        near = 1 - np.abs(1 - near)  # what leaves the cube is reflected
        anywhere = rng.random(base.shape)
        near = self._snapped(np.where(self.categorical, anywhere, np.clip(near, 0, 1)))
        for axis, levels in enumerate(self._levels):
            if levels is not None and not self.categorical[axis]:
                near[:, axis] = _another(levels, base[:, axis], near[:, axis], anywhere[:, axis])
        moved = np.where(moves, near, base)
        if self._conditions:  # a branch that is entered has no place to start from
            moved = np.where(self._active(base), moved, self._snapped(anywhere))
            moved = self._pruned(moved)
        return self._allowed(moved)

    def _snapped(self, points: Points) -> Points:
        """Move points to the nearest ones that configurations have."""
        snapped = points.copy()
        for axis, levels in enumerate(self._levels):
            if levels is not None:
                snapped[:, axis] = levels[_places(levels, points[:, axis])]
        return snapped

    def _pruned(self, points: Points) -> Points:
        """Move the coordinates of inactive parameters to one place, out of the cube."""
        return np.where(self._active(points), points, _INACTIVE) if self._conditions else points

    def _active(self, points: Points) -> NDArray[np.bool_]:
        """Tell which coordinates belong to active parameters."""
        active = np.ones(points.shape, dtype=bool)
        for axis, parent, units in self._conditions:
            holds = np.isclose(points[:, parent, None], units).any(axis=1)
            active[:, axis] &= active[:, parent] & holds
        return active

    def _allowed(self, points: Points) -> Points:
        """Drop what breaks a constraint of the space."""
        if not self._space.constraints:
            return points
        keep = [self._space.satisfies_constraints(self.configuration(point)) for point in points]
        return np.asarray(points[np.array(keep, dtype=bool)])


def _conditions(space: SearchSpace) -> list[tuple[int, int, NDArray[np.float64]]]:
    """Return (axis, axis of a parent, places of the parent that it needs), parents first."""
    names = list(space.parameters)
    conditions = []
    for name in space.ordered():
        for parent, values in space.parameters[name].when.items():
            to_unit = space.parameters[parent].to_unit
            units = np.array([to_unit(value) for value in values])  # type: ignore[arg-type]
            conditions.append((names.index(name), names.index(parent), units))
    return conditions


def _levels(parameter: Parameter) -> NDArray[np.float64] | None:
    """Return the places that a parameter's values have on its axis, None for very many."""
    values = parameter.values()
    if values is None:
        return None
    levels: list[float] = []
    for value in values:
        if len(levels) == _MOST_LEVELS:
            return None
        levels.append(parameter.to_unit(value))  # type: ignore[arg-type]
    return np.array(levels)


def _places(levels: NDArray[np.float64], units: NDArray[np.float64]) -> NDArray[np.intp]:
    return np.searchsorted((levels[1:] + levels[:-1]) / 2, units)


def _another(
    levels: NDArray[np.float64],
    before: NDArray[np.float64],
    after: NDArray[np.float64],
    coins: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Return the levels after a move, or one step aside where it was too short for one."""
    places = _places(levels, after)
    aside = np.clip(places + np.where(coins < 0.5, -1, 1), 0, len(levels) - 1)
    return np.asarray(levels[np.where(before == after, aside, places)])
