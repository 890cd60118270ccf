"""How a learning curve goes on: a small ensemble of parametric curves that abstains when in doubt.

After Domhan, Springenberg and Hutter ("Speeding up automatic hyperparameter optimization of deep
neural networks by extrapolation of learning curves", IJCAI 2015). Their Markov chain is replaced by
a grid over what is not linear, so that each curve is a straight line in its own coordinate and all
of them are fitted at once; each counts by how well it foresees the last points from those before.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

FEWEST_POINTS = 5
"""A shorter curve is not continued."""

_MOST_POINTS = 64
"""A longer curve is thinned out to so many."""
_HELD_OUT = 3
"""One of so many points is foreseen from the others, and two at least: one may be by chance."""
_POOR = 0.1
"""Error of the best forecast, as a share of the curve's range, beyond which nothing is said."""
_FLOOR = 1e-3
"""Error below which no forecast is believed to be, as a share of the curve's range."""

_POWERS = (0.15, 0.3, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0)
_SHIFTED = tuple((shift, power) for shift in (2.0, 6.0) for power in (0.5, 1.0, 2.0))
_RATES = (1.0, 2.0, 4.0, 8.0, 16.0)
_LATE_RATES = (1.5, 3.0, 6.0)

Array = NDArray[np.float64]


def chance_to_reach(
    steps: Sequence[int], values: Sequence[float], last: int, target: float
) -> float | None:
    """Return the probability that a curve ends at `target` or below.

    Args:
        steps: Its steps so far, ascending.
        values: Its value at each.
        last: The step that it ends at, beyond the last of `steps`.
        target: The value to reach; smaller is better.

    Returns:
        None if the curve is too short, still gains speed, or goes on in a way that none of the
        ensemble foresees.
    """
    if len(steps) < FEWEST_POINTS:
        return None
    chosen = list(range(len(steps)))
    if len(steps) > _MOST_POINTS:
        chosen = [round(i) for i in np.linspace(0, len(steps) - 1, _MOST_POINTS)]
    y = np.array([values[i] for i in chosen])
    spacing = (steps[-1] - steps[0]) / (len(steps) - 1)
    x = 1 + (np.array([steps[i] for i in chosen] + [last]) - steps[0]) / spacing
    spread = float(y.max()) - float(y.min()) or 1.0
    if not math.isfinite(spread):
        return None
    lowest = float(y.min())
    y = (y - lowest) / spread
    return None if _gains_speed(y) else _chance(x, y, (target - lowest) / spread)


def _gains_speed(y: Array) -> bool:
    """Tell whether the later half gained more than the earlier: where it will end is open."""
    half = len(y) // 2
    return bool(y[half] - y[-1] > max(0.0, y[0] - y[half]))


def _chance(x: Array, y: Array, target: float) -> float | None:
    """Return the chance for a curve of range 1; `x` has one more value, where it ends."""
    n = len(y)
    held = max(2, n // _HELD_OUT)
    known = n - held
    shapes = _shapes(x)
    foreseen = _continued(shapes[:, :known], y[:known], x[:known], shapes[:, known:n])
    errors = ((foreseen - y[known:]) ** 2).mean(axis=1)
    if math.sqrt(errors.min()) > _POOR:
        return None
    errors += _FLOOR**2
    ends = _continued(shapes[:, :n], y, x[:n], shapes[:, n:])[:, 0]
    # An error grows with the distance that is foreseen.
    deviations = np.sqrt(errors) * (1 + (x[n] - x[n - 1]) / (x[n - 1] - x[known - 1]))
    likelihoods = -held * np.log(errors)
    weights = np.exp(likelihoods - likelihoods.max())
    scores = (target - ends) / (deviations * math.sqrt(2))
    chances = np.array([0.5 * math.erfc(-score) for score in scores])
    return float(weights @ chances / weights.sum())


def _shapes(x: Array) -> Array:
    """Return the curves at these places, each to be scaled and moved; shape (curves, places)."""
    end = x[-1]
    return np.array(
        [
            *(x**-power for power in _POWERS),
            *((x + shift) ** -power for shift, power in _SHIFTED),
            *(np.exp(-rate * x / end) for rate in _RATES),
            *(np.exp(-((rate * x / end) ** 2)) for rate in _LATE_RATES),
            np.log(x),
            1 / np.log(x + 1),
            x / end,
        ]
    )


def _continued(shapes: Array, y: Array, weights: Array, elsewhere: Array) -> Array:
    """Fit each curve by weighted least squares, and return it elsewhere; last, no change at all."""
    weights = weights / weights.sum()
    means = shapes @ weights
    mean = float(y @ weights)
    centred = shapes - means[:, None]
    slopes = centred @ (weights * (y - mean)) / (centred**2 @ weights + np.finfo(float).tiny)
    fitted = mean + slopes[:, None] * (elsewhere - means[:, None])
    return np.vstack([fitted, np.full(elsewhere.shape[1], y[-1])])
