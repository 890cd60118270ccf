"""What only some advisers know: which configurations of a task are good, and which is the best."""

from __future__ import annotations

import bisect
from functools import cached_property

import numpy as np

from ...tools.space import Categorical, Configuration, SearchSpace
from ..task import Task

_POINTS = 1024
_CLIMBS = 512
_WIDEST, _NARROWEST = 0.2, 0.005


class Truth:
    """The noise-free values of many configurations of a task: meant for tables and functions."""

    def __init__(self, task: Task) -> None:
        """Take a task; its values are read when they are needed."""
        self.task = task
        self._sign = 1.0 if task.direction == "minimize" else -1.0

    @cached_property
    def ranked(self) -> list[Configuration]:
        """Configurations spread evenly over the space, the best one first."""
        return [configuration for _, configuration in self._reference]

    @cached_property
    def values(self) -> list[float]:
        """Their values."""
        return [self._sign * loss for loss, _ in self._reference]

    @cached_property
    def optimum(self) -> Configuration:
        """The best configuration that a search of the neighbourhood of the best of them finds."""
        rng = np.random.default_rng(0)
        best, loss = self.ranked[0], self._loss(self.ranked[0])
        for width in np.geomspace(_WIDEST, _NARROWEST, _CLIMBS):
            near = nearby(self.task.space, best, float(width), rng)
            near_loss = self._loss(near)
            if near_loss < loss:
                best, loss = near, near_loss
        return best

    def quantile(self, configuration: Configuration) -> float:
        """Return the share of the space that is better."""
        return bisect.bisect_left(self._losses, self._loss(configuration)) / len(self._losses)

    @cached_property
    def _losses(self) -> list[float]:
        return [loss for loss, _ in self._reference]

    @cached_property
    def _reference(self) -> list[tuple[float, Configuration]]:
        from scipy.stats import qmc

        space = self.task.space
        points = qmc.Sobol(len(space.parameters), scramble=True, rng=0).random(_POINTS)
        configurations = [space.decode([float(u) for u in point]) for point in points]
        losses = [self._loss(configuration) for configuration in configurations]
        order = sorted(range(len(losses)), key=lambda i: losses[i])
        return [(losses[i], configurations[i]) for i in order if np.isfinite(losses[i])]

    def _loss(self, configuration: Configuration) -> float:
        if not self.task.space.satisfies_constraints(configuration):
            return float("inf")
        evaluation = self.task.objective(configuration, 0)
        broken = evaluation.violation is not None and evaluation.violation > 0
        bad = broken or not np.isfinite(evaluation.noise_free)
        return float("inf") if bad else self._sign * evaluation.noise_free


def nearby(
    space: SearchSpace, configuration: Configuration, width: float, rng: np.random.Generator
) -> Configuration:
    """Return a configuration at about this distance in the unit cube, choices seldom changed."""
    near: Configuration = {}
    for name, parameter in space.walk(near):
        unit = 0.5
        if name in configuration:
            unit = parameter.to_unit(configuration[name])  # type: ignore[arg-type]
        if name not in configuration or isinstance(parameter, Categorical):
            unit = float(rng.random()) if rng.random() < width else unit
        else:
            unit = min(max(unit + width * float(rng.normal()), 0.0), 1.0)
        near[name] = parameter.from_unit(unit)
    return near if space.satisfies_constraints(near) else configuration
