"""Which running trials are not worth going on: what the loop asks at every report."""

from __future__ import annotations

import math
from bisect import insort
from collections.abc import Iterable
from typing import Protocol

import optuna
from optuna.trial import TrialState

from .optuna_bridge import freeze, optuna_state, rebuild
from .outcomes import Outcome
from .quiet import quiet
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
    if len(spec.objectives) > 1 or spec.pruner.kind == "none":
        return NoPruning()
    if spec.pruner.kind == "median":
        return MedianPruning(spec, trials)
    return SuccessiveHalving(spec, trials)


class NoPruning:
    """Lets every trial run to its end."""

    def add(self, trial: TrialRecord) -> None:
        """Note nothing."""

    def should_prune(self, number: int, step: int, value: float) -> bool:
        """Return False."""
        return False

    def finish(self, trial: TrialRecord) -> None:
        """Note nothing."""


class MedianPruning:
    """Stops a trial whose best value so far is worse than the median at its step.

    The rule of `optuna.pruners.MedianPruner(n_min_trials=3)`, which looks at every trial at every
    report; this one keeps the complete trials' values of each step in order instead, so that a
    report costs the same in a study of ten trials and of ten thousand.
    """

    _FEWEST_PEERS = 3

    def __init__(self, spec: StudySpec, trials: Iterable[TrialRecord]) -> None:
        """Learn from the trials so far."""
        ((self._metric, direction),) = spec.objectives.items()
        self._sign = -1.0 if direction == "maximize" else 1.0
        self._warmup = spec.pruner.warmup_steps
        self._start_up = spec.pruner.start_up_trials
        self._complete = 0
        self._peers: dict[int, list[float]] = {}
        """Step to the complete trials' values there, ascending; smaller is better."""
        self._running: dict[int, tuple[int, float]] = {}
        """Number of a running trial to its last step and its best value."""
        for trial in trials:
            if trial.state is Outcome.COMPLETE:
                self.finish(trial)
            elif not trial.is_finished:
                for step, value in self._curve(trial):
                    self._note(trial.number, step, value)

    def _curve(self, trial: TrialRecord) -> list[tuple[int, float]]:
        return list((trial.curves or {}).get(self._metric, {}).items())

    def _note(self, number: int, step: int, value: float) -> tuple[int, float]:
        last, best = self._running.get(number, (step, math.inf))
        better = min(best, self._sign * value) if not math.isnan(value) else best
        self._running[number] = (max(last, step), better)
        return self._running[number]

    def add(self, trial: TrialRecord) -> None:
        """Note that a trial runs; what an ended one once was stays for comparison."""
        self._running.pop(trial.number, None)

    def should_prune(self, number: int, step: int, value: float) -> bool:
        """Note a running trial's value at a step, and tell whether to stop it early."""
        last, best = self._note(number, step, value)
        peers = self._peers.get(last, [])
        if self._complete < self._start_up or last < self._warmup:
            return False
        if len(peers) < self._FEWEST_PEERS:
            return False
        middle = len(peers) // 2
        median = peers[middle] if len(peers) % 2 else (peers[middle - 1] + peers[middle]) / 2
        return best > median

    def finish(self, trial: TrialRecord) -> None:
        """Note how a trial ended; it comes with its curve."""
        self._running.pop(trial.number, None)
        if trial.state is Outcome.COMPLETE:
            self._complete += 1
            for step, value in self._curve(trial):
                if not math.isnan(value):
                    insort(self._peers.setdefault(step, []), self._sign * value)


class SuccessiveHalving:
    """Optuna's asynchronous successive halving with a reduction factor of 3."""

    def __init__(self, spec: StudySpec, trials: Iterable[TrialRecord]) -> None:
        """Rebuild the study from its trials."""
        trials = list(trials)
        self._spec = spec
        self._study = rebuild(spec, trials)
        self._study.pruner = optuna.pruners.SuccessiveHalvingPruner(
            min_resource=max(1, spec.pruner.warmup_steps), reduction_factor=3, bootstrap_count=0
        )
        self._places = {trial.number: place for place, trial in enumerate(trials)}
        """Trial number to its place among Optuna's trials."""

    def add(self, trial: TrialRecord) -> None:
        """Note that a trial runs; what an ended one once was stays for comparison."""
        place = len(self._study.get_trials(deepcopy=False))
        with quiet():
            self._study.add_trial(freeze(trial, self._spec))
        self._places[trial.number] = place

    def should_prune(self, number: int, step: int, value: float) -> bool:
        """Note a running trial's value at a step, and tell whether to stop it early."""
        frozen = self._study.get_trials(deepcopy=False)[self._places[number]]
        trial = optuna.trial.Trial(self._study, frozen._trial_id)
        if step not in frozen.intermediate_values:
            trial.report(value, step)
        complete = self._study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
        # Asked first in any case: successive halving notes how far each trial has come.
        prune = bool(trial.should_prune())
        return prune and len(complete) >= self._spec.pruner.start_up_trials

    def finish(self, trial: TrialRecord) -> None:
        """Note how a trial ended."""
        state = optuna_state(trial)
        values = None
        if state is TrialState.COMPLETE:
            values = [trial.metrics[name] for name in self._spec.objectives]
        with quiet():
            place = self._places[trial.number]
            self._study.tell(place, values, state=state, skip_if_finished=True)
