"""Meters of what a study may use: reserved before, settled after, forecast, refused."""

from __future__ import annotations

import itertools
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from .records import TrialRecord
from .spec import StudySpec

_NEWEST = 100


@dataclass(frozen=True)
class Meter:
    """One budgeted quantity."""

    name: str
    """`trials`, `wall_seconds`, `device_seconds`, `tokens`, `dollars`."""
    cap: float | None
    """None for no cap."""
    spent: float
    reserved: float = 0.0
    """Set aside for what runs now."""

    @property
    def left(self) -> float:
        """What may still be used; infinite without a cap."""
        return float("inf") if self.cap is None else self.cap - self.spent - self.reserved


@dataclass(frozen=True)
class Meters:
    """All meters of a study."""

    trials: Meter
    wall_seconds: Meter
    device_seconds: Meter
    tokens: Meter
    """Of the language model; without any left, the study goes on without it."""
    dollars: Meter
    """What it has cost, as far as that is known; likewise."""

    def all(self) -> list[Meter]:
        """Return the meters in the spec's order."""
        return [self.trials, self.wall_seconds, self.device_seconds, self.tokens, self.dollars]

    def refusal(self, expected_seconds: float | None, *, new_trial: bool = True) -> str | None:
        """Return why another attempt may not start, None if it may.

        Args:
            expected_seconds: How long it will probably take; None if unknown.
            new_trial: Whether it is the first one of a trial, which counts as one more.
        """
        if new_trial and self.trials.left < 1:
            return f"all {self.trials.cap:.15g} trials are used"
        if self.wall_seconds.left <= 0:
            return f"the wall time of {self.wall_seconds.cap:.15g} s is used"
        if self.device_seconds.left <= (expected_seconds or 0.0):
            cap = self.device_seconds.cap
            return (
                f"of {cap:.15g} device-seconds, {max(0.0, self.device_seconds.left):.0f} are left"
            )
        return None

    def shortage(self, seconds: float, slots: int) -> str | None:
        """Return why there is too little time left for something, None if it fits.

        Args:
            seconds: The device time that it takes.
            slots: How many trials run at once.
        """
        for meter, needed in ((self.wall_seconds, seconds / slots), (self.device_seconds, seconds)):
            if meter.left < needed or meter.left <= 0:
                name = meter.name.removesuffix("_seconds")
                left = max(0.0, meter.left)
                return f"about {needed:.3g} s of {name} time are needed, but {left:.3g} s are left"
        return None

    def overrun(self) -> str | None:
        """Return why even running trials must stop, None if they may go on."""
        for meter in (self.wall_seconds, self.device_seconds):
            if meter.cap is not None and meter.spent >= meter.cap:
                return f"the budget of {meter.cap:.15g} {meter.name.replace('_', ' ')} is used"
        return None


def read_meters(
    spec: StudySpec,
    *,
    trials: int,
    wall_seconds: float,
    device_spent: float,
    device_reserved: float = 0.0,
    tokens: float = 0.0,
    dollars: float = 0.0,
) -> Meters:
    """Return a study's meters. Imported trials cost nothing and are not counted in `trials`."""
    budget = spec.budget
    return Meters(
        trials=Meter("trials", budget.trials, trials),
        wall_seconds=Meter("wall_seconds", budget.wall_seconds, wall_seconds),
        device_seconds=Meter(
            "device_seconds", budget.device_seconds, device_spent, device_reserved
        ),
        tokens=Meter("tokens", budget.tokens, tokens),
        dollars=Meter("dollars", budget.dollars, dollars),
    )


def expected_trial_seconds(trials: Sequence[TrialRecord]) -> float | None:
    """Return the median duration of the newest finished trials, in seconds.

    Those are at most 100; None before the first.
    """
    durations = (
        trial.seconds
        for trial in reversed(trials)
        if trial.is_finished and trial.is_counted and trial.attempts
    )
    newest = list(itertools.islice(durations, _NEWEST))
    return statistics.median(newest) if newest else None


def forecast_seconds(meters: Meters, expected_seconds: float | None, slots: int) -> float | None:
    """Return the wall time until the budget is used, in seconds; None if it cannot be told."""
    ends = []
    if expected_seconds is not None and meters.trials.cap is not None:
        ends.append(max(0.0, meters.trials.left) * expected_seconds / slots)
    if meters.wall_seconds.cap is not None:
        ends.append(max(0.0, meters.wall_seconds.left))
    if meters.device_seconds.cap is not None:
        ends.append(max(0.0, meters.device_seconds.left) / slots)
    return min(ends, default=None)
