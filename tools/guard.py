"""A guard before a hold-out set that is asked many times: Thresholdout.

Dwork et al., "The reusable holdout", Science 349 (2015), algorithm 1. A hold-out answers only where
it disagrees with the data that the search may use freely, with noise, and only so often; so the
answers tell little about the rows that it has, and the best of many trials is less of a fluke.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from pydantic import Field

from .outcomes import Outcome
from .section import Section

if TYPE_CHECKING:
    from .records import TrialRecord

_NOISE = 0.25
"""Scale of the noise of an answer, in units of the tolerance."""


class Guard(Section):
    """Which metric is guarded, and how closely."""

    hold_out: str
    """A metric of a hold-out set. Only what the guard answers is recorded in its place, once a
    trial, and no curve of it. What a script prints of it stands in its log, for whoever looks."""
    training: str
    """The same measure on the data that the search may use freely; the answer where the two
    agree."""
    tolerance: float = Field(gt=0)
    """How far the two may be apart and still agree. For an accuracy on n rows 4 / sqrt(n) is usual:
    0.04 with 10,000."""
    looks: int = Field(default=20, gt=0)
    """How many answers may be the hold-out's. With none left the study ends."""


def answer(
    guard: Guard, metrics: Mapping[str, float], *, seed: int, number: int, looks: int
) -> float:
    """Return what may be known of a trial's hold-out metric.

    Args:
        guard: The guard.
        metrics: The trial's final metrics, finite, both of the guard's among them.
        seed: The study's seed.
        number: The trial's number; the same one is answered the same.
        looks: How many answers have been the hold-out's so far.
    """
    import numpy as np

    known, held = metrics[guard.training], metrics[guard.hold_out]
    if looks >= guard.looks:
        return known
    scale = _NOISE * guard.tolerance
    threshold = guard.tolerance + np.random.default_rng([seed, 0, looks]).laplace(scale=2 * scale)
    rng = np.random.default_rng([seed, 1, number])
    if abs(held - known) <= threshold + rng.laplace(scale=4 * scale):
        return known
    return float(held + rng.laplace(scale=scale))


def looks_used(guard: Guard, trials: Iterable[TrialRecord]) -> int:
    """Return how many trials were answered by the hold-out; noise sets its answers apart."""
    ended = (trial.metrics for trial in trials if trial.state is Outcome.COMPLETE)
    return sum(metrics.get(guard.hold_out) != metrics.get(guard.training) for metrics in ended)


def refusal(guard: Guard, trials: Iterable[TrialRecord]) -> str | None:
    """Return why a study may not have another trial; None if it may."""
    if looks_used(guard, trials) < guard.looks:
        return None
    return f"all {guard.looks} looks at {guard.hold_out} are used"


def recorded(
    guard: Guard,
    values: Mapping[str, float],
    trials: Iterable[TrialRecord],
    *,
    seed: int,
    number: int,
    complete: bool,
) -> dict[str, float]:
    """Return what may be recorded of a trial's final metrics, given the other trials.

    Of a trial that is not complete the hold-out tells nothing.
    """
    shown = {name: value for name, value in values.items() if name != guard.hold_out}
    if complete:
        looks = looks_used(guard, trials)
        shown[guard.hold_out] = answer(guard, values, seed=seed, number=number, looks=looks)
    return shown
