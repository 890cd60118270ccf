"""What may be said of a study's best trial: confirmed, within noise, or a single run.

The run by which a trial was chosen is the luckiest of many, so it is no evidence; only repeats are,
which were run after the choice. If two trials were repeated on the same fresh seeds, they are
compared seed by seed (a paired t-test: a hard split is hard for both); plain repeats share nothing,
and Welch's test compares them. Both are exact for normal noise at any number of repeats, which a
bootstrap is not at five.

The first round of repeats may call a difference real by mistake in 2.5% of the cases, every further
round that somebody asks for in half as many, so asking until the answer pleases errs in 5% at most.
That the better of the two is named afterwards is allowed for: the intervals are two-sided. Where
more were repeated, the two that did best are compared, whose gap luck makes smaller than that of
any two. Nothing is confirmed by fewer than three repeats, while some are still to come, if one of
the best trial's failed, or if all are exactly alike, as those of a script that fixes its own seed.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from .analysis import ENOUGH_REPEATS, best_trials, failed, repeats_by_trial
from .outcomes import Outcome
from .records import TrialRecord
from .repeats import runner_up, takes_seed
from .spec import StudySpec

Status = Literal["confirmed", "within noise", "single run"]
Seeds = Literal["fresh", "plain"]

ERROR = 0.05
"""How often a difference may be confirmed that is none, however often somebody asks."""

NO_CLAIM_OF_FRONTS = (
    "A single run each; no statistical claim is made of a front, for by luck alone some trials "
    "would lie on it."
)


@dataclass(frozen=True)
class Difference:
    """How far the best trial is from its challenger, in units of the metric."""

    trial: int
    """The challenger's number."""
    value: float
    """Best trial minus challenger, over their repeats."""
    low: float
    high: float
    level: float
    """Share of such intervals, from `low` to `high`, that hold the true difference."""


@dataclass(frozen=True)
class Claim:
    """What the repeats say of the best trial of a study with a single objective."""

    trial: int
    """The best trial's number."""
    metric: str
    status: Status
    chosen_at: float
    """Its value in the run that it was chosen by."""
    estimate: float
    """Mean over its repeats; without any, `chosen_at`."""
    interval: tuple[float, float] | None
    """The 95% interval of `estimate`, None for fewer than two repeats."""
    runs: int
    """Complete repeats."""
    seeds: Seeds | None
    """`fresh` if they had seeds of their own, `plain` if none is known to reach the script; None
    without repeats."""
    challenger: int | None
    """The runner-up's number, None without repeats."""
    difference: Difference | None
    """None if one of the two has too few repeats."""
    doubt: str
    """What stands against confirming anything, as a sentence; empty if nothing does."""

    @property
    def value(self) -> str:
        """The estimate with its interval, as `0.931 ± 0.004`."""
        half = 0.0 if self.interval is None else (self.interval[1] - self.interval[0]) / 2
        if half == 0.0:
            return f"{self.estimate:.6g}"
        places = 1 - math.floor(math.log10(half))
        if not 0 <= places <= 6:
            return f"{self.estimate:.6g} ± {half:.2g}"
        return f"{self.estimate:.{places}f} ± {half:.{places}f}"

    @property
    def quote(self) -> str:
        """What may be quoted: `0.931 ± 0.004 (95%, 5 runs), confirmed better than trial 12`."""
        return self._said("")

    def _said(self, kind: str) -> str:
        if self.status == "single run":
            return f"{self.value}, single run"
        text = f"{self.value} (95%, {self.runs} runs{kind}), "
        if self.difference is None:
            return text + "not compared"
        verb = "confirmed better than" if self.status == "confirmed" else "within noise of"
        return text + f"{verb} trial {self.difference.trial}"

    @property
    def sentence(self) -> str:
        """All of it in plain words."""
        if self.runs == 0:
            return f"A single run; no statistical claim is made. {self.doubt}".rstrip()
        text = self._said(" on fresh seeds" if self.seeds == "fresh" else "") + ". "
        if self.seeds == "plain":
            text += "No seed is known to reach the script, so they are plain repeats. "
        if self.difference is not None:
            apart = self.difference
            text += (
                f"The difference is {apart.value:.4g} ({100 * apart.level:.4g}% interval "
                f"{apart.low:.4g} to {apart.high:.4g}). "
            )
        text += f"The run that it was chosen by ({self.chosen_at:.6g}) is not counted. "
        return (text + self.doubt).rstrip()


def claim(spec: StudySpec, trials: Sequence[TrialRecord]) -> Claim | None:
    """Return what may be said of a study's best trial.

    Returns:
        None if no trial is complete within the limits, or if there are several objectives.
    """
    from .stats import student_mean

    best = best_trials(spec, trials)
    if not best or len(spec.objectives) > 1:
        return None
    winner, metric = best[0], next(iter(spec.objectives))
    repeats = repeats_by_trial(trials)
    mine = repeats.get(winner.number, [])
    second = runner_up(spec, trials, winner) if mine else None
    theirs = [] if second is None else repeats.get(second.number, [])
    values = list(_values(mine, metric).values())
    estimate = student_mean(values) if values else None
    difference = None if second is None else _difference(spec, second, mine, theirs)
    doubt = _doubt(spec, mine, theirs)
    seeds: Seeds = "fresh" if takes_seed(spec) else "plain"
    return Claim(
        trial=winner.number,
        metric=metric,
        status=_status(spec, values, difference, doubt),
        chosen_at=winner.metrics[metric],
        estimate=winner.metrics[metric] if estimate is None else estimate.mean,
        interval=None if estimate is None or len(values) < 2 else (estimate.low, estimate.high),
        runs=len(values),
        seeds=seeds if values else None,
        challenger=None if second is None else second.number,
        difference=difference,
        doubt=doubt,
    )


def _values(repeats: Sequence[TrialRecord], metric: str) -> dict[int | None, float]:
    """Return the results of the complete ones by their seeds."""
    return {t.seed: t.metrics[metric] for t in repeats if t.state is Outcome.COMPLETE}


def _difference(
    spec: StudySpec,
    second: TrialRecord,
    mine: Sequence[TrialRecord],
    theirs: Sequence[TrialRecord],
) -> Difference | None:
    from .stats import student_mean, welch_difference

    metric = next(iter(spec.objectives))
    a, b = _values(mine, metric), _values(theirs, metric)
    rounds = len({repeat.created_at for repeat in (*mine, *theirs)})  # one moment each
    level = 1 - ERROR / 2 ** max(1, rounds)
    if takes_seed(spec):
        shared = [a[seed] - b[seed] for seed in a if seed in b]
        if len(shared) < ENOUGH_REPEATS:
            return None
        found = student_mean(shared, level)
    else:
        if min(len(a), len(b)) < ENOUGH_REPEATS:
            return None
        found = welch_difference(list(a.values()), list(b.values()), level)
    return Difference(second.number, found.mean, found.low, found.high, level)


def _doubt(spec: StudySpec, mine: Sequence[TrialRecord], theirs: Sequence[TrialRecord]) -> str:
    """Return what stands against confirming anything, as a sentence; nothing if nothing does."""
    waiting = sum(not repeat.is_finished for repeat in (*mine, *theirs))
    if waiting:
        return f"{waiting} repeat{'s are' if waiting > 1 else ' is'} still to come."
    failures = [repeat for repeat in mine if failed(repeat, spec)]
    if failures:
        last = failures[-1]
        how = "broke a limit" if last.state is Outcome.COMPLETE else f"ended as {last.state}"
        return f"{len(failures)} of {len(mine)} repeats failed: trial {last.number} {how}."
    metric = next(iter(spec.objectives))
    if spec.guard is not None and spec.guard.hold_out == metric:
        return f"What the guard answers for {metric} is no measurement of its own."
    ours, others = ([*_values(side, metric).values()] for side in (mine, theirs))
    if len(ours) > 1 and len(set(ours)) == 1 and len(set(others)) <= 1:
        return "All repeats are exactly alike, so they tell nothing about other seeds."
    return ""


def _status(
    spec: StudySpec, values: Sequence[float], difference: Difference | None, doubt: str
) -> Status:
    if len(values) < 2 or len(set(values)) == 1 and doubt:
        return "single run"
    if difference is None or doubt:
        return "within noise"
    (direction,) = spec.objectives.values()
    better = difference.low > 0 if direction == "maximize" else difference.high < 0
    return "confirmed" if better else "within noise"
