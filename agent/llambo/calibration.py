"""Brings a surrogate's predictions in line with what came out.

The pairs are predictions that were made before the value was known, so nothing is fitted to
itself. A line (not an isotonic step function, which a few pairs cannot support) corrects the
means, shrunk towards leaving them as they are; one factor corrects the standard deviations.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import NamedTuple

from .context import History
from .predictions import Predictions

LEAST_PAIRS = 6
MOST_PAIRS = 60
_PRIOR_PAIRS = 3.0
_SCALES = (0.2, 20.0)
_LEAST_SLOPE = 0.1
"""The order of its predictions is what a surrogate is best at; it never quite goes."""


class Pair(NamedTuple):
    """A prediction, and what came out."""

    mean: float
    sd: float
    value: float


@dataclass(frozen=True)
class Calibration:
    """A correction of predictions; the one without arguments corrects nothing."""

    intercept: float = 0.0
    slope: float = 1.0
    scale: float = 1.0
    """Factor on the standard deviation."""
    pairs: int = 0
    coverage: float | None = None
    """Share of the pairs that one standard deviation covers, each predicted without itself."""
    log_loss: float | None = None
    """Mean negative logarithm of the density of what came out, likewise."""

    def apply(self, predictions: Predictions) -> Predictions:
        """Return corrected predictions."""
        mean = self.intercept + self.slope * predictions.mean
        return Predictions(mean, self.scale * predictions.sd)


def pairs_of(history: History) -> list[Pair]:
    """Return the newest predictions that trials were chosen by, with what came out."""
    pairs = [
        Pair(*o.predicted, o.value)
        for o in history.complete
        if o.predicted is not None and o.value is not None
    ]
    return pairs[-MOST_PAIRS:]


def calibrate(pairs: Sequence[Pair]) -> Calibration:
    """Fit the correction; with fewer than six pairs there is none."""
    if len(pairs) < LEAST_PAIRS:
        return Calibration(pairs=len(pairs))
    intercept, slope = _line(pairs)
    deviations = []
    for i, pair in enumerate(pairs):  # each is judged by a line that has not seen it
        a, b = _line([*pairs[:i], *pairs[i + 1 :]])
        deviations.append((pair.value - a - b * pair.mean) / pair.sd)
    scale = math.sqrt(fmean(d * d for d in deviations))
    scale = min(max(scale, _SCALES[0]), _SCALES[1])
    scaled = [d / scale for d in deviations]
    losses = (
        0.5 * d * d + math.log(scale * pair.sd) + 0.5 * math.log(2 * math.pi)
        for d, pair in zip(scaled, pairs, strict=True)
    )
    coverage = fmean(abs(d) <= 1 for d in scaled)
    return Calibration(intercept, slope, scale, len(pairs), coverage, fmean(losses))


def _line(pairs: Sequence[Pair]) -> tuple[float, float]:
    """Return the line of least squares, with some more pairs on a line of slope 1."""
    means, values = [pair.mean for pair in pairs], [pair.value for pair in pairs]
    mean, value = fmean(means), fmean(values)
    variance = fmean((m - mean) ** 2 for m in means)
    covariance = fmean((m - mean) * (v - value) for m, v in zip(means, values, strict=True))
    weight = _PRIOR_PAIRS / len(pairs)
    if variance == 0:
        return value - mean, 1.0
    slope = (covariance + weight * variance) / ((1 + weight) * variance)
    slope = max(slope, _LEAST_SLOPE)
    return value - slope * mean, slope
