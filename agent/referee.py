"""A Gaussian process that judges configurations which others propose."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.special import logsumexp

from ..tools.space import Configuration, SearchSpace
from .cube import Cube, Points
from .improvement import log_improvement
from .surrogate import Array, Surrogate

_USUAL = 64


class Referee:
    """What a history lets expect of configurations, by the classical optimiser's own process."""

    def __init__(
        self,
        space: SearchSpace,
        configurations: Sequence[Configuration],
        losses: Sequence[float],
        seed: int,
    ) -> None:
        """Let it learn.

        Args:
            space: The search space.
            configurations: What was tried, at least 2.
            losses: What came out, smaller is better.
            seed: Seed of the kernels that it draws.
        """
        self._cube = Cube(space)
        self._rng = np.random.default_rng(seed)
        seen = self._cube.points(configurations)
        self._surrogate = Surrogate(seen, np.array(losses), self._cube.categorical, self._rng)
        self._best = self._surrogate.predict(seen)[0].min(axis=1, keepdims=True)

    def improvement(self, configurations: Sequence[Configuration]) -> Array:
        """Return the logarithm of each configuration's expected improvement."""
        return self._improvement(self._cube.points(configurations))

    def usual(self) -> float:
        """Return the median of `improvement` over configurations from all over the space."""
        return float(np.median(self._improvement(self._cube.spread(_USUAL, self._rng))))

    def _improvement(self, points: Points) -> Array:
        means, deviations = self._surrogate.predict(points)
        logs = log_improvement((self._best - means) / deviations) + np.log(deviations)
        return np.asarray(logsumexp(logs, axis=0) - np.log(len(logs)))
