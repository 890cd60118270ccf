"""Running configurations again on fresh seeds: which ones, with which seeds, at what cost.

A repeat is a trial of its own, which is never the best one, and of which the sampler only learns a
mean. The repeats of several trials have the same seeds, so that they can be compared seed by seed.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from .analysis import best_trials, feasible, repeats_by_trial
from .errors import LuthierError
from .outcomes import Outcome
from .records import Decision, TrialRecord
from .space import Configuration
from .spec import ScriptObjective, StudySpec

USUAL = 5
"""Repeats of each trial where nobody says how many."""
_SEEDS = 1 << 32
_NOT_RUN = (Outcome.KILLED, Outcome.INFRASTRUCTURE)


class RepeatError(LuthierError, ValueError):
    """Trials that cannot be repeated as asked; the message is one sentence that says why."""


@dataclass(frozen=True)
class Confirm:
    """What is asked for: the data of a `confirm` wish."""

    trials: list[int]
    """The trials to repeat; empty for the best one and the runner-up when the wish is granted."""
    repeats: int
    """How many repeats each of them is to have in the end, those that it has included."""


@dataclass(frozen=True)
class Repeat:
    """One repeat to run."""

    of: TrialRecord
    seed: int
    index: int
    """Which one it is of its trial's, from 1."""

    @property
    def configuration(self) -> Configuration:
        """What it runs."""
        return self.of.configuration

    @property
    def decision(self) -> Decision:
        """Why it is run."""
        return Decision("confirm", f"repeat {self.index} of trial {self.of.number}")


def takes_seed(spec: StudySpec) -> bool:
    """Tell whether a trial's seed is known to reach what it runs.

    Of a script without a `seed_argument` it is not, though LUTHIER_SEED tells it; functions and
    recipes are given it.
    """
    objective = spec.objective
    return not isinstance(objective, ScriptObjective) or objective.seed_argument is not None


def runner_up(
    spec: StudySpec, trials: Sequence[TrialRecord], best: TrialRecord
) -> TrialRecord | None:
    """Return the best trial of another configuration, None if there is none.

    If the best one was repeated, it is compared with one that was repeated too, if there is one.
    """
    others = [trial for trial in trials if trial.configuration != best.configuration]
    repeats = repeats_by_trial(trials)
    if best.number in repeats:
        repeated = [t for t in others if t.is_repeat or t.number in repeats]
        others = repeated or others
    return next(iter(best_trials(spec, others)), None)


def leaders(spec: StudySpec, trials: Sequence[TrialRecord]) -> list[TrialRecord]:
    """Return the best trial and the runner-up, as far as there are any."""
    best = best_trials(spec, trials)[:1]
    return best + [t for t in [runner_up(spec, trials, best[0])] if t is not None] if best else []


def parse_trials(text: str) -> list[int]:
    """Read trials as people write them: `25,12`; nothing is none.

    Raises:
        RepeatError: If it reads otherwise.
    """
    words = [word.strip() for word in text.split(",") if word.strip()]
    if not all(word.isdecimal() for word in words):
        raise RepeatError(f"--trials must be numbers of trials such as 25,12, but got {text!r}")
    return [int(word) for word in words]


def plan(spec: StudySpec, trials: Sequence[TrialRecord], asked: Confirm) -> list[Repeat]:
    """Return the repeats that are missing from what is asked for, those of one seed together.

    Repeats that were killed or lost to the machine count as missing.

    Raises:
        RepeatError: If a trial cannot be repeated, or nothing is missing.
    """
    chosen = _chosen(spec, trials, asked.trials)
    if asked.repeats < 1:
        raise RepeatError(f"--repeats must be at least 1, but got {asked.repeats}")
    by_trial = repeats_by_trial(trials)
    missing = []
    for trial in chosen:
        seeds = [t.seed for t in by_trial.get(trial.number, ()) if t.state not in _NOT_RUN]
        fresh = (seed for seed in _fresh_seeds(spec.seed) if seed not in seeds)
        for index in range(len(seeds), asked.repeats):
            missing.append(Repeat(trial, next(fresh), index + 1))
    if not missing:
        numbers = " and trial ".join(str(trial.number) for trial in chosen)
        raise RepeatError(
            f"there are {asked.repeats} repeats of trial {numbers} already; ask for more with "
            f"--repeats {2 * asked.repeats}"
        )
    return sorted(missing, key=lambda repeat: (repeat.index, repeat.of.number))


def _fresh_seeds(seed: int) -> Iterator[int]:
    return ((seed + offset) % _SEEDS for offset in itertools.count(1))


def _chosen(
    spec: StudySpec, trials: Sequence[TrialRecord], numbers: Sequence[int]
) -> list[TrialRecord]:
    if len(spec.objectives) > 1:
        raise RepeatError(
            "a study of several objectives has a front instead of a best trial, and nothing is "
            "claimed of it that repeats could confirm"
        )
    if not numbers:
        found = leaders(spec, trials)
        if not found:
            raise RepeatError("there is no best trial to repeat yet")
        return found
    for number in numbers:
        if not 0 <= number < len(trials):
            last = f"the last one is {len(trials) - 1}" if trials else "there is none yet"
            raise RepeatError(f"there is no trial {number}; {last}")
        trial = trials[number]
        if trial.is_repeat:
            raise RepeatError(
                f"trial {number} is itself a repeat of trial {trial.repeat_of}; name that one"
            )
        if not feasible(trial, spec):
            state = "breaks a limit" if trial.state is Outcome.COMPLETE else f"is {trial.state}"
            raise RepeatError(
                f"trial {number} {state}; only a complete one within the limits is repeated"
            )
    return [trials[number] for number in dict.fromkeys(numbers)]


def device_seconds(repeats: Sequence[Repeat]) -> float:
    """Return how long these will probably take: as long as the trials that they repeat."""
    return sum(run_seconds(repeat.of) for repeat in repeats)


def run_seconds(trial: TrialRecord) -> float:
    """Return how long a trial's last attempt took."""
    return trial.attempts[-1].seconds or 0.0 if trial.attempts else 0.0


def for_sampling(spec: StudySpec, trials: Sequence[TrialRecord]) -> list[TrialRecord]:
    """Return the trials as a sampler should see them: each configuration once.

    One that was repeated has the mean of all its runs, so that a lucky one misleads nobody.
    """
    repeats = repeats_by_trial(trials)
    return [
        _averaged(spec, trial, repeats.get(trial.number, []))
        for trial in trials
        if not trial.is_repeat
    ]


def _averaged(spec: StudySpec, trial: TrialRecord, repeats: Sequence[TrialRecord]) -> TrialRecord:
    runs = [trial, *(repeat for repeat in repeats if repeat.state is Outcome.COMPLETE)]
    if len(runs) == 1 or trial.state is not Outcome.COMPLETE:
        return trial
    means = {n: math.fsum(run.metrics[n] for run in runs) / len(runs) for n in spec.objectives}
    return replace(trial, metrics=trial.metrics | means)
