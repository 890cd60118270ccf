"""Studies as Optuna sees them: in memory for samplers and pruners, mirrored on disk for others."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import optuna
from optuna.distributions import BaseDistribution
from optuna.trial import FrozenTrial, TrialState, create_trial

from .outcomes import CONFIGURATION_FAULTS, Outcome
from .quiet import quiet
from .records import TrialRecord
from .space import Configuration, SearchSpace
from .spec import StudySpec

FAILED = "failed"
"""The constraint that failed trials break."""

_STATES = {Outcome.COMPLETE: TrialState.COMPLETE, Outcome.PRUNED: TrialState.PRUNED}


def optuna_state(trial: TrialRecord) -> TrialState:
    """Return the Optuna state that a trial is in; Optuna knows one kind of failure.

    A repeat counts as one, for Optuna would take it for a trial of its own, and a lucky one for the
    best.
    """
    if not isinstance(trial.state, Outcome):
        return TrialState.RUNNING
    if trial.is_repeat:
        return TrialState.FAIL
    return _STATES.get(trial.state, TrialState.FAIL)


def distributions_of(
    space: SearchSpace, configuration: Configuration
) -> dict[str, BaseDistribution]:
    """Return the distributions of a configuration's parameters."""
    return {name: space.parameters[name].to_optuna() for name in configuration}


def freeze(trial: TrialRecord, spec: StudySpec) -> FrozenTrial:
    """Return a trial as Optuna holds it, its curve as intermediate values."""
    state = optuna_state(trial)
    complete = state is TrialState.COMPLETE
    frozen = create_trial(
        state=state,
        params=trial.configuration,
        distributions=distributions_of(spec.search_space, trial.configuration),
        values=[trial.metrics[name] for name in spec.objectives] if complete else None,
        user_attrs={"source": trial.source, "outcome": str(trial.state), "reason": trial.reason},
        intermediate_values=_curve(trial, spec),
        constraints=violations(trial, spec) if complete else None,
    )
    frozen.datetime_start = datetime.fromtimestamp(trial.created_at)
    if trial.finished_at is not None:
        frozen.datetime_complete = datetime.fromtimestamp(trial.finished_at)
    return frozen


def _curve(trial: TrialRecord, spec: StudySpec) -> dict[int, float]:
    if len(spec.objectives) > 1:  # Optuna knows no curves of several objectives
        return {}
    (name,) = spec.objectives
    return dict((trial.curves or {}).get(name, {}))


def _same(a: float | None, b: float) -> bool:
    return a == b or (a is not None and math.isnan(a) and math.isnan(b))


def violations(trial: TrialRecord, spec: StudySpec) -> dict[str, float]:
    """Return by how much a trial breaks each limit; a value <= 0 keeps it (Optuna's rule).

    By how much it keeps one counts too: a sampler then sees a limit come near. A limit on a metric
    that the trial did not report counts as broken.
    """
    broken = {}
    for limit in spec.limits:
        value = trial.metrics.get(limit.left, math.nan)
        distance = abs(value - float(limit.right))
        if limit.holds({limit.left: value}):
            broken[str(limit)] = -distance
        else:
            broken[str(limit)] = distance if distance > 0 else 1.0
    return {name: value if math.isfinite(value) else 1.0 for name, value in broken.items()}


def rebuild(spec: StudySpec, trials: Iterable[TrialRecord]) -> optuna.Study:
    """Return an in-memory Optuna study of these trials, running ones included."""
    with quiet():
        study = optuna.create_study(
            study_name=spec.name,
            directions=list(spec.objectives.values()),
            sampler=optuna.samplers.RandomSampler(seed=spec.seed),
            pruner=optuna.pruners.NopPruner(),
        )
        study.add_trials([freeze(trial, spec) for trial in trials])
    return study


def rebuild_for_sampling(spec: StudySpec, trials: Sequence[TrialRecord]) -> optuna.Study:
    """Return an in-memory study in which failures and pruned trials teach a sampler.

    Optuna's samplers learn nothing from a failed trial, and its Gaussian process nothing from a
    pruned one. So, for a single objective, a pruned trial stands here as complete with its last
    value, and a failed one as complete with the worst value seen and a broken constraint `failed`.
    Trials that were killed, or failed for no fault of their configuration, are left out.
    """
    with quiet():
        study = optuna.create_study(directions=list(spec.objectives.values()))
        frozen = _lessons(spec, trials)
        study.add_trials(frozen)
    return study


def _lessons(spec: StudySpec, trials: Sequence[TrialRecord]) -> list[FrozenTrial]:
    if len(spec.objectives) > 1:
        return [
            freeze(trial, spec)
            for trial in trials
            if optuna_state(trial) in (TrialState.COMPLETE, TrialState.RUNNING)
        ]
    ((name, direction),) = spec.objectives.items()
    taught: list[TrialRecord] = []
    failed: list[TrialRecord] = []
    for trial in trials:
        if trial.state in (Outcome.COMPLETE, "running", "waiting"):
            taught.append(trial)
        elif trial.state is Outcome.PRUNED and math.isfinite(trial.metrics.get(name, math.nan)):
            taught.append(replace(trial, state=Outcome.COMPLETE))
        elif trial.state in CONFIGURATION_FAULTS:
            failed.append(trial)
    values = [trial.metrics[name] for trial in taught if trial.is_finished]
    if not values or not failed:
        return [freeze(trial, spec) for trial in taught]
    worst = min(values) if direction == "maximize" else max(values)
    lessons = [freeze(trial, spec) for trial in taught]
    for frozen in lessons:
        if frozen.state is TrialState.COMPLETE:
            frozen.set_constraint(FAILED, -1.0)
    for trial in failed:
        penalised = replace(trial, state=Outcome.COMPLETE, metrics={name: worst}, curves=None)
        frozen = freeze(penalised, spec)
        frozen.set_constraint(FAILED, 1.0)
        lessons.append(frozen)
    return lessons


class Mirror:
    """A copy of a study in Optuna's own tables, for its dashboard and for any Optuna code."""

    def __init__(self, path: Path, spec: StudySpec) -> None:
        """Open or create the mirror's database and the study in it."""
        self._spec = spec
        self._storage = optuna.storages.RDBStorage(
            f"sqlite:///{path}", engine_kwargs={"connect_args": {"timeout": 60}}
        )
        self._open()

    def _open(self) -> None:
        with quiet():
            study = optuna.create_study(
                study_name=self._spec.name,
                storage=self._storage,
                directions=list(self._spec.objectives.values()),
                load_if_exists=True,
            )
        self._study_id = study._study_id
        study.set_metric_names(list(self._spec.objectives))

    def sync(self, trials: Sequence[TrialRecord]) -> None:
        """Bring the copy up to date; `trials` are all of the study's, by number, with curves."""
        copies = self._storage.get_all_trials(self._study_id, deepcopy=False)
        if any(self._is_outdated(copy, trial) for copy, trial in self._pairs(copies, trials)):
            # Optuna takes neither an end nor a report back, so a trial that ran again needs a new
            # copy.
            self._storage.delete_study(self._study_id)
            self._open()
            copies = []
        for copy, trial in self._pairs(copies, trials):
            if not copy.state.is_finished():
                self._update(copy, freeze(trial, self._spec))
        for trial in trials[len(copies) :]:
            self._storage.create_new_trial(self._study_id, freeze(trial, self._spec))

    @staticmethod
    def _pairs(
        copies: Sequence[FrozenTrial], trials: Sequence[TrialRecord]
    ) -> list[tuple[FrozenTrial, TrialRecord]]:
        return list(zip(copies, trials, strict=False))

    def _is_outdated(self, copy: FrozenTrial, trial: TrialRecord) -> bool:
        """Tell whether a copy holds what its trial does not any more."""
        if not copy.state.is_finished():
            return not copy.intermediate_values.keys() <= _curve(trial, self._spec).keys()
        known = (copy.user_attrs.get("outcome"), copy.user_attrs.get("reason"), copy.values)
        complete = optuna_state(trial) is TrialState.COMPLETE
        values = [trial.metrics[name] for name in self._spec.objectives] if complete else None
        return known != (str(trial.state), trial.reason, values)

    def _update(self, copy: FrozenTrial, frozen: FrozenTrial) -> None:
        trial_id = copy._trial_id
        for step, value in frozen.intermediate_values.items():
            if not _same(copy.intermediate_values.get(step), value):
                self._storage.set_trial_intermediate_value(trial_id, step, value)
        if not frozen.state.is_finished():
            return
        for key, attribute in frozen.user_attrs.items():
            self._storage.set_trial_user_attr(trial_id, key, attribute)
        for key, attribute in frozen.system_attrs.items():
            self._storage.set_trial_system_attr(trial_id, key, attribute)
        self._storage.set_trial_state_values(trial_id, frozen.state, frozen.values)

    def close(self) -> None:
        """Close the database."""
        self._storage.remove_session()
        self._storage.engine.dispose()
