"""What a study's trials say: the best of them, progress, importance, counts.

Pure functions of a spec and its trials, which are ordered by number.
"""

from __future__ import annotations

import math
import warnings
from collections import Counter
from collections.abc import Iterable, Sequence

from .outcomes import Outcome
from .records import TrialRecord
from .spec import StudySpec

_FEWEST_FOR_IMPORTANCE = 10
ENOUGH_REPEATS = 3
"""Repeats of a trial with fewer than which nothing is decided."""
_TOP_TRIALS = 5
"""PED-ANOVA compares the best trials with all of them; fewer than this are no sample."""


def feasible(trial: TrialRecord, spec: StudySpec) -> bool:
    """Tell whether a trial is complete and keeps every limit.

    A limit on a metric that the trial did not report counts as broken.
    """
    return trial.state is Outcome.COMPLETE and all(
        limit.holds({limit.left: trial.metrics.get(limit.left, math.nan)}) for limit in spec.limits
    )


def failed(trial: TrialRecord, spec: StudySpec) -> bool:
    """Tell whether a trial has ended and its configuration is to blame that it is not feasible."""
    return (
        trial.is_finished
        and trial.state not in (Outcome.KILLED, Outcome.INFRASTRUCTURE)
        and not feasible(trial, spec)
    )


def repeats_by_trial(trials: Iterable[TrialRecord]) -> dict[int, list[TrialRecord]]:
    """Return the repeats of each trial that has some, by its number, in their order.

    A trial that was run again in another configuration leaves those of the former one behind.
    """
    trials = list(trials)
    repeats = [trial for trial in trials if trial.repeat_of is not None]
    if not repeats:
        return {}
    configurations = {trial.number: trial.configuration for trial in trials}
    found: dict[int, list[TrialRecord]] = {}
    for repeat in repeats:
        assert repeat.repeat_of is not None
        if configurations.get(repeat.repeat_of) == repeat.configuration:
            found.setdefault(repeat.repeat_of, []).append(repeat)
    return found


def best_trials(spec: StudySpec, trials: Iterable[TrialRecord]) -> list[TrialRecord]:
    """Return the best feasible trials: one for a single objective, else the Pareto front.

    Of trials with equal values the earliest stands for all. The front is ordered by number. The
    list is empty if no trial is feasible. A repeat is never the best; but if the best trial was
    repeated often enough, the one that did best in its repeats, most of which succeeded, takes its
    place.
    """
    trials = list(trials)
    candidates = sorted(
        (trial for trial in trials if not trial.is_repeat and feasible(trial, spec)),
        key=lambda trial: (_losses(trial, spec), trial.number),
    )
    if len(spec.objectives) == 1:
        return _best_in_repeats(spec, candidates, trials) or candidates[:1]
    # In lexicographic order no trial can dominate an earlier one, so comparing with the front
    # found so far is enough.
    front: list[tuple[tuple[float, ...], TrialRecord]] = []
    for trial in candidates:
        losses = _losses(trial, spec)
        if not any(_covers(other, losses) for other, _ in front):
            front.append((losses, trial))
    return sorted((trial for _, trial in front), key=lambda trial: trial.number)


def _best_in_repeats(
    spec: StudySpec, candidates: Sequence[TrialRecord], trials: Iterable[TrialRecord]
) -> list[TrialRecord]:
    """Return the best of the trials with enough repeats, if the first candidate is one of them."""
    standing: dict[int, tuple[bool, float]] = {}
    for number, repeats in repeats_by_trial(trials).items():
        losses = [_losses(repeat, spec)[0] for repeat in repeats if feasible(repeat, spec)]
        failures = sum(failed(repeat, spec) for repeat in repeats)
        if len(losses) + failures >= ENOUGH_REPEATS:
            mean = math.fsum(losses) / len(losses) if losses else math.inf
            standing[number] = (failures > len(losses), mean)
    if not candidates or candidates[0].number not in standing:
        return []
    repeated = (trial for trial in candidates if trial.number in standing)
    return [min(repeated, key=lambda trial: standing[trial.number])]


def best_so_far(spec: StudySpec, trials: Iterable[TrialRecord]) -> list[tuple[int, float]]:
    """Return, for each feasible trial by number, its number and the best value up to it.

    Raises:
        ValueError: If the study has several objectives.
    """
    if len(spec.objectives) != 1:
        raise ValueError(
            "`best_so_far` needs a single objective, but the study has "
            + ", ".join(map(repr, spec.objectives))
        )
    ((name, direction),) = spec.objectives.items()
    better = max if direction == "maximize" else min
    progress: list[tuple[int, float]] = []
    for trial in sorted(trials, key=lambda trial: trial.number):
        if feasible(trial, spec) and not trial.is_repeat:
            value = trial.metrics[name]
            progress.append((trial.number, better(progress[-1][1], value) if progress else value))
    return progress


def importance(spec: StudySpec, trials: Sequence[TrialRecord]) -> dict[str, float] | None:
    """Return each parameter's share in what sets the best trials apart, largest first.

    The shares lie in [0, 1] and add up to 1. They are PED-ANOVA's, which knows conditional
    parameters; with several objectives they are about reaching the Pareto front.

    Returns:
        None with fewer than 10 complete trials, or if nothing sets the best apart.
    """
    complete = [t for t in trials if t.state is Outcome.COMPLETE and not t.is_repeat]
    if len(complete) < _FEWEST_FOR_IMPORTANCE:
        return None
    # PED-ANOVA would give a share to a parameter that stood still.
    varied = [name for name in spec.space if _varies(name, complete)]
    if not varied:
        return None
    from optuna.importance import PedAnovaImportanceEvaluator, get_param_importances

    from .optuna_bridge import rebuild

    top = max(0.1, _TOP_TRIALS / len(complete))
    with warnings.catch_warnings():
        # Optuna warns of small samples and of the option to leave values unnormalised.
        warnings.simplefilter("ignore")
        weights = get_param_importances(
            rebuild(spec, complete),
            evaluator=PedAnovaImportanceEvaluator(target_quantile=top),
            params=varied,
            normalize=False,
        )
    total = sum(weights.values())
    if total <= 0 or not math.isfinite(total):
        return None
    ranked = sorted(spec.space, key=lambda name: -weights.get(name, 0.0))
    return {name: weights.get(name, 0.0) / total for name in ranked}


def counts(trials: Iterable[TrialRecord]) -> dict[str, int]:
    """Return how many trials are in each state that occurs: outcomes first, then living ones."""
    found = Counter(str(trial.state) for trial in trials)
    order = [*map(str, Outcome), "running", "waiting"]
    return {state: found[state] for state in order if found[state]}


def _varies(name: str, trials: Sequence[TrialRecord]) -> bool:
    """Tell whether a parameter took several values, or was active in some trials only."""
    return len({repr(trial.configuration.get(name, ...)) for trial in trials}) > 1


def _losses(trial: TrialRecord, spec: StudySpec) -> tuple[float, ...]:
    return tuple(
        -trial.metrics[name] if direction == "maximize" else trial.metrics[name]
        for name, direction in spec.objectives.items()
    )


def _covers(losses: tuple[float, ...], others: tuple[float, ...]) -> bool:
    return all(mine <= theirs for mine, theirs in zip(losses, others, strict=True))
