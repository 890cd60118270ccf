"""A Gaussian process that judges configurations which others propose."""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ..tools.space import Categorical, Configuration, SearchSpace

_MOST_TRIALS = 200
_SOBOL = 64


class Referee:
    """Knows a history by a Gaussian process (Matern-5/2, one length scale a parameter).

    The losses are replaced by normal scores of their ranks, so that neither a heavy tail nor a
    plateau of failures decides what it sees.
    """

    def __init__(
        self, space: SearchSpace, configurations: Sequence[Configuration], losses: Sequence[float]
    ) -> None:
        """Fit it.

        Args:
            space: The search space.
            configurations: What was tried, at least 2; of many the best and the newest are used.
            losses: What came out, smaller is better.
        """
        from scipy.stats import norm, rankdata
        from sklearn.exceptions import ConvergenceWarning
        from sklearn.gaussian_process import GaussianProcessRegressor
        from sklearn.gaussian_process.kernels import ConstantKernel, Matern, WhiteKernel

        self._space = space
        points = np.array([self._encode(configuration) for configuration in configurations])
        scores = norm.ppf((rankdata(losses) - 0.5) / len(losses))
        if len(losses) > _MOST_TRIALS:
            newest = np.arange(len(losses) - _MOST_TRIALS // 2, len(losses))
            kept = np.union1d(np.argsort(losses)[: _MOST_TRIALS // 2], newest)
            points, scores = points[kept], scores[kept]
        self._best = float(scores.min())
        kernel = ConstantKernel(1.0, (0.05, 20.0)) * Matern(
            np.full(points.shape[1], 0.5), (0.05, 5.0), nu=2.5
        ) + WhiteKernel(0.05, (1e-4, 0.5))
        self._process = GaussianProcessRegressor(kernel, random_state=0)
        with warnings.catch_warnings():
            # A length scale at its bound is what an unimportant parameter looks like.
            warnings.simplefilter("ignore", ConvergenceWarning)
            self._process.fit(points, scores)

    def improvement(self, configurations: Sequence[Configuration]) -> NDArray[np.float64]:
        """Return the logarithm of each configuration's expected improvement."""
        from scipy.special import log_ndtr, ndtr

        points = np.array([self._encode(configuration) for configuration in configurations])
        mean, sd = self._process.predict(points, return_std=True)
        sd = np.maximum(sd, 1e-6)
        z = (self._best - mean) / sd
        density = np.exp(-0.5 * z**2) / np.sqrt(2 * np.pi)
        # Far below, z * ndtr(z) + density loses all its digits; the tail has a series.
        near = z > -5
        gain = np.where(near, z * ndtr(z) + density, 1.0)
        tail = log_ndtr(z) - np.log(np.maximum(-z, 1.0))
        return np.asarray(np.log(sd) + np.where(near, np.log(gain), tail))

    def usual(self, seed: int) -> float:
        """Return the median of `improvement` over configurations spread evenly over the space."""
        from scipy.stats import qmc

        points = qmc.Sobol(len(self._space.parameters), scramble=True, rng=seed).random(_SOBOL)
        configurations = [self._space.decode([float(u) for u in point]) for point in points]
        return float(np.median(self.improvement(configurations)))

    def _encode(self, configuration: Configuration) -> list[float]:
        """Return a configuration as a point, a choice as one coordinate for each value."""
        point: list[float] = []
        units = self._space.encode(configuration)
        for (name, parameter), unit in zip(self._space.parameters.items(), units, strict=True):
            if isinstance(parameter, Categorical):
                chosen = configuration.get(name)
                point += [float(choice == chosen) for choice in parameter.choices]
            else:
                point.append(unit)
        return point
