"""The start from the textbook: a few configurations that a practitioner would try first."""

from __future__ import annotations

from typing import Any

import optuna
from optuna.distributions import BaseDistribution
from optuna.samplers import RandomSampler
from optuna.trial import FrozenTrial

from ..tools.space import Configuration, SearchSpace
from ..tools.textbook import prior_of

CONFIGURATIONS = 3
"""How many come from the textbook, if the start-up is no shorter."""


class TextbookSampler(RandomSampler):
    """Proposes one configuration; parameters that are not in it are drawn at random."""

    def __init__(self, space: SearchSpace, configuration: Configuration, *, seed: int) -> None:
        """Set the sampler up for one trial."""
        super().__init__(seed=seed)
        self._space = space
        self._configuration = configuration

    def infer_relative_search_space(
        self, study: optuna.Study, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        """Return the parameters of the configuration."""
        return {name: self._space.parameters[name].to_optuna() for name in self._configuration}

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """Return their values."""
        return {name: self._configuration[name] for name in search_space}


def next_of_textbook(
    space: SearchSpace, study: optuna.Study, number: int, *, seed: int, start_up: int, draw: int = 0
) -> Configuration | None:
    """Return the textbook configuration to try in a trial, None if none is left or known.

    Args:
        space: The search space.
        study: The trials before this one.
        number: The trial's number, counted with those that are not in the study. Once a start-up
            is over, also one that was taken over from elsewhere, the textbook is not opened.
        seed: Seed of the configurations after the first.
        start_up: Trials before a model answers.
        draw: How many of those that are left to pass over.
    """
    wanted = min(CONFIGURATIONS, start_up)
    if number > start_up + wanted:  # one more for the default configuration
        return None
    prior = prior_of(space)
    if not prior.knows:
        return None
    tried = [trial.params for trial in study.get_trials(deepcopy=False)]
    left = [c for c in prior.configurations(wanted, seed) if c not in tried]
    return left[draw] if draw < len(left) else None


def reason_of_textbook(space: SearchSpace) -> str:
    """Return why a configuration of the textbook is tried: what was known."""
    known = prior_of(space).knows.items()
    read = [name if role.replace(" ", "_") == name else f"{name} ({role})" for name, role in known]
    return f"textbook values of {', '.join(read)}"
