"""Which running trials are not worth going on: what the loop asks at every report."""

from __future__ import annotations

import math
from bisect import insort
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Protocol

from .analysis import feasible
from .curves import chance_to_reach
from .outcomes import Outcome
from .records import TrialRecord
from .spec import StudySpec


class Pruning(Protocol):
    """A rule that stops trials early."""

    def add(self, trial: TrialRecord) -> None:
        """Note that a trial runs: a new one, or an ended one again."""

    def should_prune(self, number: int, step: int, value: float) -> bool:
        """Note a running trial's value at a step, and tell whether to stop it early."""

    def finish(self, trial: TrialRecord) -> None:
        """Note how a trial ended; it comes with its curve."""


def make_pruning(spec: StudySpec, trials: Iterable[TrialRecord]) -> Pruning:
    """Return the spec's rule, taught by these trials; several objectives are never pruned."""
    rules = _RULES[spec.pruner.kind]
    if len(spec.objectives) > 1 or not rules:
        return NoPruning()
    return RulePruning(spec, rules, trials)


class NoPruning:
    """Lets every trial run to its end."""

    def add(self, trial: TrialRecord) -> None:
        """Note nothing."""

    def should_prune(self, number: int, step: int, value: float) -> bool:
        """Return False."""
        return False

    def finish(self, trial: TrialRecord) -> None:
        """Note nothing."""


@dataclass
class Progress:
    """What a running trial has reported; smaller is better."""

    steps: list[int] = field(default_factory=list)
    values: list[float] = field(default_factory=list)
    best: float = math.inf

    def note(self, step: int, value: float) -> None:
        """Add a report; one of an earlier step means that the trial went back to it."""
        if self.steps and step <= self.steps[-1]:
            kept = sum(known < step for known in self.steps)
            del self.steps[kept:], self.values[kept:]
            self.best = min((v for v in self.values if not math.isnan(v)), default=math.inf)
        self.steps.append(step)
        self.values.append(value)
        self.best = min(self.best, value) if not math.isnan(value) else self.best


class Peers:
    """What the trials of a study have reached at each step; smaller is better.

    All of it is kept in order, so that a report costs the same in a study of ten trials and of ten
    thousand, and all of it comes from curves that the ledger holds, so that a restarted worker
    decides as the one before it would have.
    """

    _TRIPLE = 3

    def __init__(self, first_rung: int) -> None:
        """Begin without any trial; rungs are `first_rung`, three times that, and so on."""
        self.complete = 0
        """Number of complete trials."""
        self.last_step = -1
        """The last step of the longest complete trial."""
        self.at: dict[int, list[float]] = {}
        """Step to the complete trials' values there, ascending."""
        self.incumbent = math.inf
        """Final value of the best trial."""
        self.incumbent_curve: dict[int, float] = {}
        self._incumbent_number = -1
        self._first_rung = first_rung
        self._rungs: dict[int, dict[int, float]] = {}
        """Step of a rung to the values with which trials came to it, by trial number."""

    def learn(self, number: int, curve: dict[int, float], value: float) -> None:
        """Take in a complete trial; its value is infinite if it is not to be an incumbent."""
        self.complete += 1
        self.last_step = max(self.last_step, *curve, -1)
        for step, reported in curve.items():
            if not math.isnan(reported):
                insort(self.at.setdefault(step, []), reported)
        if (value, number) < (self.incumbent, self._incumbent_number):
            self.incumbent, self._incumbent_number = value, number
            self.incumbent_curve = curve

    def note(self, number: int, trial: Progress) -> None:
        """Note the rung that a trial came to with its latest report, if it did."""
        for later, values in self._rungs.items():
            if later > trial.steps[-1]:  # it was there before it went back
                values.pop(number, None)
        rung = self._reached(trial)
        if rung is not None:
            value = trial.values[-1]
            self._rungs.setdefault(rung, {})[number] = math.inf if math.isnan(value) else value

    def forget(self, number: int) -> None:
        """Take a trial from the rungs: it begins again."""
        for values in self._rungs.values():
            values.pop(number, None)

    def at_rung(self, trial: Progress) -> list[float] | None:
        """Return all values at the rung that a trial came to with its latest report, if it did."""
        rung = self._reached(trial)
        return None if rung is None else list(self._rungs[rung].values())

    def _reached(self, trial: Progress) -> int | None:
        rung = self._rung_of(trial.steps[-1])
        before = self._rung_of(trial.steps[-2]) if len(trial.steps) > 1 else None
        return rung if rung != before else None

    def _rung_of(self, step: int) -> int | None:
        """Return the last rung up to a step."""
        if step < self._first_rung:
            return None
        rung = self._first_rung
        while rung * self._TRIPLE <= step:
            rung *= self._TRIPLE
        return rung


Rule = Callable[[Progress, Peers], bool]
"""Tells whether a running trial, by its latest report, is not worth going on."""

_FEWEST_PEERS = 3
_LEAST_CHANCE = 0.05
_P_VALUE = 0.1
"""That of `optuna.pruners.WilcoxonPruner`."""


def behind_the_median(trial: Progress, peers: Peers) -> bool:
    """Tell whether the best value so far is worse than the median at this step.

    The rule of `optuna.pruners.MedianPruner(n_min_trials=3)`.
    """
    others = peers.at.get(trial.steps[-1], [])
    if len(others) < _FEWEST_PEERS:
        return False
    middle = len(others) // 2
    median = others[middle] if len(others) % 2 else (others[middle - 1] + others[middle]) / 2
    return trial.best > median


def outside_the_best_third(trial: Progress, peers: Peers) -> bool:
    """Tell whether a third of all trials came to the rung that is reached now with better values.

    Asynchronous successive halving (Li et al., "A system for massively parallel hyperparameter
    tuning", MLSys 2020), in the variant that stops instead of pausing.
    """
    values = peers.at_rung(trial)
    if values is None or len(values) <= _FEWEST_PEERS:
        return False
    better = sum(value < trial.values[-1] for value in values)
    return better >= len(values) // 3


def unlikely_to_win(trial: Progress, peers: Peers) -> bool:
    """Tell whether the curve, continued, has hardly a chance to end better than the best trial.

    Never said of one that is, at this step, at least as good as all complete trials were.
    """
    others = peers.at.get(trial.steps[-1])
    if not others or trial.values[-1] <= others[0] or math.isinf(peers.incumbent):
        return False
    chance = chance_to_reach(trial.steps, trial.values, peers.last_step, peers.incumbent)
    return chance is not None and chance < _LEAST_CHANCE


def worse_fold_by_fold(trial: Progress, peers: Peers) -> bool:
    """Tell whether the trial is worse than the best one at the same steps, by a signed-rank test.

    The rule of `optuna.pruners.WilcoxonPruner()`, for steps that are folds, seeds or instances.
    """
    best = peers.incumbent_curve
    pairs = [(v, best[s]) for s, v in zip(trial.steps, trial.values, strict=True) if s in best]
    if len(pairs) < 2 or not all(math.isfinite(ours) for ours, _ in pairs):
        return False
    if sum(trial.values) / len(trial.values) <= sum(best.values()) / len(best):
        return False
    from scipy.stats import wilcoxon

    differences = [ours - theirs for ours, theirs in pairs]
    p = wilcoxon(differences, alternative="greater", zero_method="zsplit").pvalue
    return bool(p < _P_VALUE)


_RULES: dict[str, tuple[Rule, ...]] = {
    "none": (),
    "median": (behind_the_median,),
    "successive_halving": (outside_the_best_third,),
    "extrapolation": (unlikely_to_win,),
    "wilcoxon": (worse_fold_by_fold,),
    "auto": (outside_the_best_third, unlikely_to_win),
}


class RulePruning:
    """Stops a trial that one of some rules objects to, once there is enough to compare it with."""

    def __init__(
        self, spec: StudySpec, rules: Iterable[Rule], trials: Iterable[TrialRecord]
    ) -> None:
        """Learn from the trials so far."""
        ((self._metric, direction),) = spec.objectives.items()
        self._spec = spec
        self._sign = -1.0 if direction == "maximize" else 1.0
        self._rules = tuple(rules)
        self._peers = Peers(first_rung=max(1, spec.pruner.warmup_steps))
        self._running: dict[int, Progress] = {}
        for trial in trials:
            self.add(trial)
            if trial.is_finished:
                self.finish(trial)

    def add(self, trial: TrialRecord) -> None:
        """Note that a trial runs; what an ended one once was stays for comparison."""
        self._running.pop(trial.number, None)
        self._peers.forget(trial.number)
        for step, value in self._curve(trial).items():
            self._note(trial.number, step, value)

    def should_prune(self, number: int, step: int, value: float) -> bool:
        """Note a running trial's value at a step, and tell whether to stop it early.

        At the last step of the longest complete trial there is nothing left to save.
        """
        running, peers = self._note(number, step, self._sign * value), self._peers
        if peers.complete < self._spec.pruner.start_up_trials:
            return False
        if not self._spec.pruner.warmup_steps <= step < peers.last_step:
            return False
        return any(rule(running, peers) for rule in self._rules)

    def finish(self, trial: TrialRecord) -> None:
        """Note how a trial ended; it comes with its curve."""
        self._running.pop(trial.number, None)
        if trial.state is Outcome.COMPLETE:
            good = feasible(trial, self._spec)
            value = self._sign * trial.metrics[self._metric] if good else math.inf
            self._peers.learn(trial.number, self._curve(trial), value)

    def _note(self, number: int, step: int, value: float) -> Progress:
        running = self._running.setdefault(number, Progress())
        running.note(step, value)
        self._peers.note(number, running)
        return running

    def _curve(self, trial: TrialRecord) -> dict[int, float]:
        curve = (trial.curves or {}).get(self._metric, {})
        return {step: self._sign * value for step, value in sorted(curve.items())}
