"""What a language model may know of a study: the task, the data, and the history."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

from ...tools.outcomes import Outcome
from ...tools.records import TrialRecord
from ...tools.space import Configuration, SearchSpace
from .data_card import DataCard

if TYPE_CHECKING:
    import optuna
    from optuna.trial import FrozenTrial

Direction = Literal["minimize", "maximize"]
Level = Literal["none", "partial", "full"]
"""How much of the task is told: nothing but the space; sizes and classes; statistics as well."""

_LARGEST = 1e100
"""Values beyond it have diverged: their squares would not be numbers."""

ATTRIBUTE = "luthier"
"""The user attribute of an Optuna trial that holds how it was proposed."""


@dataclass(frozen=True)
class TaskCard:
    """What is told of a study beside its space and its results.

    The three levels are those of the paper's warm start (arXiv:2402.03921, section 4).
    """

    description: str = ""
    """Model, data and purpose in a person's words; untrusted."""
    metric: str = "objective value"
    """What is measured."""
    data: DataCard | None = None
    """The data in numbers."""
    level: Level = "full"
    trials: int | None = None
    """How many trials the study has; None if nobody knows."""


@dataclass(frozen=True)
class Problem:
    """What is to be optimised, as a language model is told of it."""

    space: SearchSpace
    direction: Direction
    card: TaskCard = field(default_factory=TaskCard)

    @property
    def sign(self) -> int:
        """What makes smaller better."""
        return 1 if self.direction == "minimize" else -1


@dataclass(frozen=True)
class Observation:
    """One trial: what was tried, and what came of it."""

    configuration: Configuration
    value: float | None = None
    """Its value, if it is complete."""
    outcome: str = "complete"
    """`complete`, `running`, or how it failed."""
    source: str = ""
    """Who proposed it."""
    predicted: tuple[float, float] | None = None
    """The mean and the standard deviation that a surrogate predicted, before calibration."""


@dataclass(frozen=True)
class History:
    """The trials of a study, oldest first; it never changes."""

    observations: tuple[Observation, ...] = ()

    @cached_property
    def complete(self) -> tuple[Observation, ...]:
        """The trials that have a value."""
        return tuple(o for o in self.observations if o.value is not None)

    @cached_property
    def values(self) -> tuple[float, ...]:
        """Their values."""
        return tuple(o.value for o in self.observations if o.value is not None)

    @cached_property
    def running(self) -> tuple[Observation, ...]:
        """The trials that have not ended."""
        return tuple(o for o in self.observations if o.outcome == "running")

    @cached_property
    def failed(self) -> tuple[Observation, ...]:
        """The trials that ended without a value."""
        return tuple(o for o in self.observations if o.value is None and o.outcome != "running")

    def best(self, problem: Problem) -> float:
        """Return the best value; there must be one."""
        return problem.sign * min(problem.sign * value for value in self.values)

    @classmethod
    def of_study(cls, study: optuna.Study, space: SearchSpace, without: int = -1) -> History:
        """Read the trials of an Optuna study with one objective, but those outside of the space.

        Args:
            study: The study.
            space: The space; a trial that lacks one of its parameters is left out.
            without: Number of a trial to leave out: the one that is being proposed.
        """
        trials = (t for t in study.get_trials(deepcopy=False) if t.number != without)
        read = (_observation(trial, space) for trial in trials)
        return cls(tuple(observation for observation in read if observation is not None))

    @classmethod
    def of_records(
        cls,
        trials: Sequence[TrialRecord],
        metric: str,
        predicted: Mapping[int, tuple[float, float]] | None = None,
    ) -> History:
        """Read a study's trials from the ledger.

        Args:
            trials: The trials, by number.
            metric: The metric that is optimised.
            predicted: What surrogates predicted, by trial number.
        """
        observations = []
        for trial in trials:
            value = trial.metrics.get(metric, math.nan)
            complete = trial.state is Outcome.COMPLETE and abs(value) < _LARGEST
            outcome = str(trial.state) if trial.is_finished else "running"
            if trial.state in (Outcome.KILLED, Outcome.INFRASTRUCTURE):
                continue  # says nothing of the configuration
            observations.append(
                Observation(
                    trial.configuration,
                    value if complete else None,
                    outcome,
                    trial.source,
                    (predicted or {}).get(trial.number),
                )
            )
        return cls(tuple(observations))


def _observation(trial: FrozenTrial, space: SearchSpace) -> Observation | None:
    from optuna.trial import TrialState

    told: Mapping[str, Any] = trial.user_attrs.get(ATTRIBUTE, {})
    # A running trial has its parameters only when it has asked for them.
    configuration = _active({**told.get("configuration", {}), **trial.params}, space)
    if configuration is None:
        return None
    source = str(told.get("proposed_by", ""))
    mean, sd = told.get("raw") or (None, None)
    predicted = None if mean is None or sd is None else (float(mean), float(sd))
    value = trial.value if trial.state is TrialState.COMPLETE else None
    finite = value is not None and abs(value) < _LARGEST
    broken = any(violation > 0 for violation in trial.constraints.values())
    if finite and not broken:
        return Observation(configuration, value, "complete", source, predicted)
    match trial.state:
        case TrialState.COMPLETE:
            outcome = "infeasible" if broken else "diverged"
        case TrialState.PRUNED:
            outcome = "pruned"
        case TrialState.FAIL:
            outcome = str(trial.user_attrs.get("outcome", "failed"))
        case _:
            outcome = "running"
    return Observation(configuration, None, outcome, source, predicted)


def _active(params: Mapping[str, Any], space: SearchSpace) -> Configuration | None:
    """Return the values of the active parameters, None if one is missing or out of its range."""
    configuration: Configuration = {}
    for name, parameter in space.walk(params):
        try:
            parameter.check(params[name])
        except (KeyError, ValueError):
            return None
        configuration[name] = params[name]
    return configuration
