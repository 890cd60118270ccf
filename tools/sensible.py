"""Sensible values of a hyperparameter: a bell over numbers, or weights over choices."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from statistics import NormalDist
from typing import Literal

from .space import Scalar

_NORMAL = NormalDist()
_LEAST = 1e-12

Number = int | float


@dataclass(frozen=True)
class Bell:
    """A normal distribution on a scale of its own."""

    typical: float
    """The value in the middle."""
    spread: float
    """One standard deviation: a factor on the scales `log` and `near_one`, else a difference."""
    scale: Literal["log", "linear", "near_one"] = "log"
    """`near_one` is logarithmic in the distance from 1, as befits a momentum."""
    limits: tuple[float, float] = (0.0, math.inf)
    """A range that goes beyond them speaks of something else."""
    zero: bool = False
    """Whether 0, which switches off, is about as sensible as a value one deviation away."""

    def times(self, factor: float) -> Bell:
        """Return the bell around another value."""
        return Bell(self.typical * factor, self.spread, self.scale, self.limits, self.zero)

    def cumulative(self, value: float) -> float:
        """Return the share of the values below `value`."""
        return _NORMAL.cdf(self._deviations(value))

    def quantile(self, share: float) -> float:
        """Return the value below which a share of the values lies."""
        deviations = _NORMAL.inv_cdf(min(max(share, _LEAST), 1 - _LEAST))
        match self.scale:
            case "linear":
                return self.typical + deviations * self.spread
            case "log":
                return self.typical * math.pow(self.spread, deviations)
            case _:
                return 1 - (1 - self.typical) * math.pow(self.spread, -deviations)

    def weight(self, value: float) -> float:
        """Return how sensible one of several choices is, 1 at the typical value."""
        deviations = 1.0 if self.zero and value == 0 else self._deviations(value)
        return math.exp(-0.5 * min(deviations**2, 50.0))

    def _deviations(self, value: float) -> float:
        match self.scale:
            case "linear":
                return (value - self.typical) / self.spread
            case "log":
                return math.log(value / self.typical) / math.log(self.spread) if value > 0 else -9.0
            case _:
                share = (1 - value) / (1 - self.typical)
                return -math.log(share) / math.log(self.spread) if share > 0 else 9.0


@dataclass(frozen=True)
class Weights:
    """How sensible each of some named choices is; 1 for a name that is not known."""

    by_name: Mapping[str, float] = field(hash=False)
    """Regular expression that matches the whole of a choice's letters and digits, to its weight."""

    def weight(self, choice: Scalar) -> float:
        """Return how sensible a choice is."""
        known = self._known(choice)
        return 1.0 if known is None else known

    def knows(self, choice: Scalar) -> bool:
        """Tell whether the choice has a name that is known."""
        return self._known(choice) is not None

    def _known(self, choice: Scalar) -> float | None:
        name = re.sub(r"[^a-z0-9]", "", str(choice).lower())
        return next((w for names, w in self.by_name.items() if re.fullmatch(names, name)), None)


Sensible = Bell | Weights
