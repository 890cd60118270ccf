"""What pruning saves and costs, told by the trials that run on although they would be stopped."""

from __future__ import annotations

import hashlib
import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from .analysis import feasible
from .outcomes import Outcome
from .records import EventRecord, TrialRecord
from .spec import StudySpec

AUDITED = "audited"
"""Kind of the event that tells at which step a trial would have been stopped; of several, the first
counts."""


def is_audited(spec: StudySpec, number: int) -> bool:
    """Tell whether a trial is left to run to its end; seed and number alone decide."""
    digest = hashlib.sha256(f"audit/{spec.seed}/{number}".encode()).digest()
    return int.from_bytes(digest[:8], "big") < spec.pruner.audit * 2**64


@dataclass(frozen=True)
class Audit:
    """What pruning saved, and what the audited trials say of its cost."""

    saved: float
    """Share of the steps that were not run, of those that all trials would have taken."""
    stopped: int
    """Trials that were stopped early."""
    spared: int
    """Audited trials that are complete and would have been stopped."""
    best: int
    """Those of them that became the best trial when they ended."""

    @property
    def expected(self) -> float | None:
        """How many of the stopped trials would have become the best; None if nothing tells."""
        return self.stopped * self.best / self.spared if self.spared else None

    @property
    def at_most(self) -> int:
        """One-sided 95% upper bound of that, by Clopper and Pearson."""
        from scipy.stats import beta

        if self.best == self.spared:
            return self.stopped
        return math.floor(self.stopped * beta.ppf(0.95, self.best + 1, self.spared - self.best))

    def __str__(self) -> str:
        text = f"{self.saved:.0%} of the steps saved in {_count(self.stopped, 'stopped trial')}; "
        if self.expected is None:
            return text + "no audited trial has told yet what that costs"
        return (
            f"{text}of {_count(self.spared, 'audited trial')} that would have been stopped, "
            f"{self.best} became the best: an estimated {self.expected:.2g} (95%: at most "
            f"{self.at_most}) of those stopped would have"
        )


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


def audit_of(
    spec: StudySpec, trials: Sequence[TrialRecord], spared: Mapping[int, int]
) -> Audit | None:
    """Return what pruning saved and cost; None if nothing was to be stopped so far.

    Args:
        spec: The study's spec, of a single objective.
        trials: All its trials, with their curves.
        spared: Number of a trial to the step at which it would have been stopped, see `spared_in`.
    """
    if len(spec.objectives) > 1:
        return None
    ((metric, direction),) = spec.objectives.items()
    sign = -1.0 if direction == "maximize" else 1.0
    own = [trial for trial in trials if trial.is_counted]
    stopped = [trial for trial in own if trial.state is Outcome.PRUNED]
    complete = [trial for trial in own if trial.state is Outcome.COMPLETE]
    audited = [trial for trial in complete if trial.number in spared]
    if not stopped and not audited:
        return None
    good = sorted(
        (t for t in trials if feasible(t, spec) and not t.is_repeat),
        key=lambda t: (t.finished_at or 0.0, t.number),
    )
    best, became_best = math.inf, set()
    for trial in good:
        value = sign * trial.metrics[metric]
        if value < best:
            best = value
            became_best.add(trial.number)
    return Audit(
        saved=_saved(metric, stopped, complete),
        stopped=len(stopped),
        spared=len(audited),
        best=sum(trial.number in became_best for trial in audited),
    )


def _saved(metric: str, stopped: Iterable[TrialRecord], complete: Iterable[TrialRecord]) -> float:
    """Return the share of steps that were not run, if those stopped had gone on as the others."""
    run = [len((trial.curves or {}).get(metric, {})) for trial in complete]
    if not run:
        return 0.0
    whole = statistics.median(run)
    broken_off = [len((trial.curves or {}).get(metric, {})) for trial in stopped]
    missing = sum(max(0.0, whole - steps) for steps in broken_off)
    return missing / (missing + sum(run) + sum(broken_off)) if missing else 0.0


def spared_in(events: Iterable[EventRecord]) -> dict[int, int]:
    """Return the audited trials' numbers with the step at which each would have been stopped."""
    spared: dict[int, int] = {}
    for event in events:
        if event.kind == AUDITED and event.trial is not None:
            spared.setdefault(event.trial, event.data["step"])
    return spared
