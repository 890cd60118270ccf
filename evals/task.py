"""A task: a search space and an objective whose best and median values are known."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from ..tools.errors import LuthierError
from ..tools.space import Configuration, SearchSpace

Direction = Literal["minimize", "maximize"]

WORST_REGRET = 1.5
"""Where normalised regret is clipped, and what a method has before its first good trial."""


class EvalError(LuthierError, ValueError):
    """Something about an eval that cannot be done; one sentence with the thing and the way out."""


@dataclass(frozen=True)
class Evaluation:
    """What one trial of a task gives."""

    value: float
    """What the optimiser is told; NaN for a trial that failed."""
    noise_free: float
    """What the configuration is scored on."""
    violation: float | None = None
    """By how much it breaks the task's limit, <= 0 where it keeps it; None without a limit."""


@dataclass(frozen=True)
class Task:
    """One thing to optimise."""

    name: str
    family: str
    """Tasks of a family are averaged in a report."""
    space: SearchSpace
    objective: Callable[[Configuration, int], Evaluation]
    """(configuration of the space, seed of the noise) -> what the trial gives."""
    direction: Direction
    card: str
    """One or two sentences on model and data, as an optimiser that reads may see them."""
    budget: int
    """Trials that a run has."""
    f_star: float
    """The best noise-free value."""
    f_median: float
    """The noise-free value of the median configuration."""
    noise: float
    """Typical standard deviation of the noise, in units of f_median - f_star."""
    source: str
    licence: str
    starts: str
    """Tasks with the same name here share their first points; twins share those of their table."""

    def __post_init__(self) -> None:
        better = self.f_star < self.f_median
        if self.direction == "maximize":
            better = self.f_star > self.f_median
        if not (better and math.isfinite(self.f_star) and math.isfinite(self.f_median)):
            raise ValueError(
                f"f_star must be better than f_median, but task {self.name!r} has "
                f"{self.f_star} and {self.f_median} to {self.direction}"
            )

    def regret(self, noise_free: float) -> float:
        """Return the normalised regret: 0 for the best configuration, 1 for the median one."""
        if not math.isfinite(noise_free):
            return WORST_REGRET
        regret = (noise_free - self.f_star) / (self.f_median - self.f_star)
        return min(max(regret, 0.0), WORST_REGRET)

    def fingerprint(self) -> str:
        """Return a hash of what a result depends on; results of another one are not reused."""
        known = [self.name, self.family, self.space.model_dump(mode="json"), self.direction]
        # The last digits of a mean differ from one kind of processor to another.
        measures = [f"{value:.9g}" for value in (self.f_star, self.f_median, self.noise)]
        text = json.dumps([*known, *measures, self.starts], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]
