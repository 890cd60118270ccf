"""Optuna's questions about a trial, answered by a suggestion or by the classical sampler."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import optuna
from optuna.distributions import BaseDistribution
from optuna.samplers import RandomSampler
from optuna.search_space import intersection_search_space
from optuna.trial import FrozenTrial
from pydantic import ValidationError

from ...tools.space import Configuration, Parameter, SearchSpace
from ..classical import ClassicalSampler
from .method import Suggestion

_FIXED = "fixed_params"
"""Where Optuna keeps the values of an enqueued trial."""


class Classical(NamedTuple):
    """The classical sampler of one trial, and the study and the trial as they are shown to it."""

    sampler: ClassicalSampler
    study: optuna.Study
    trial: FrozenTrial


Suggest = Callable[[optuna.Study, FrozenTrial, SearchSpace], Suggestion | None]
Fallback = Callable[[optuna.Study, FrozenTrial, SearchSpace], Classical]


class Suggesting:
    """Keeps what is known of a trial between the calls in which Optuna asks for its parameters.

    The methods are those of `optuna.samplers.BaseSampler`.
    """

    def __init__(
        self, space: SearchSpace | None, seed: int, suggest: Suggest, fallback: Fallback
    ) -> None:
        """Take what answers.

        Args:
            space: The search space; None to learn it from the trials.
            seed: Seed of what is drawn while no space is known.
            suggest: Suggests a trial's configuration, or none.
            fallback: Makes the classical sampler of a trial; asked once a trial.
        """
        self._space = space
        self._suggest = suggest
        self._fallback = fallback
        self._random = RandomSampler(seed=seed)
        self._suggested: dict[tuple[str, int], Configuration] = {}
        self._made: dict[tuple[str, int], Classical] = {}

    def infer_relative_search_space(
        self, study: optuna.Study, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        """Return the parameters that are drawn together."""
        space = self._space_of(study)
        if space is None or space.parameters.keys() <= trial.system_attrs.get(_FIXED, {}).keys():
            return {}
        suggestion = self._suggest(study, trial, space)
        if suggestion is None:
            classical = self.classical(study, trial, space)
            return classical.sampler.infer_relative_search_space(classical.study, classical.trial)
        self._suggested[study.study_name, trial.number] = suggestion.configuration
        return {name: space.parameters[name].to_optuna() for name in suggestion.configuration}

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """Draw these parameters together."""
        space = self._space_of(study)
        if space is None or not search_space:
            return {}
        known = self._suggested.pop((study.study_name, trial.number), None)
        if known is not None:
            return {name: known[name] for name in search_space if name in known}
        classical = self.classical(study, trial, space)
        return classical.sampler.sample_relative(classical.study, classical.trial, search_space)

    def sample_independent(
        self,
        study: optuna.Study,
        trial: FrozenTrial,
        param_name: str,
        param_distribution: BaseDistribution,
    ) -> Any:
        """Draw one parameter by itself."""
        space = self._space_of(study)
        if space is None:
            return self._random.sample_independent(study, trial, param_name, param_distribution)
        classical = self.classical(study, trial, space)
        return classical.sampler.sample_independent(
            classical.study, classical.trial, param_name, param_distribution
        )

    def classical(self, study: optuna.Study, trial: FrozenTrial, space: SearchSpace) -> Classical:
        """Return the classical sampler of a trial, always the same one until the trial has ended.

        A sampler of a conditional space remembers between its methods what it has found.
        """
        key = (study.study_name, trial.number)
        if key not in self._made:
            self._made[key] = self._fallback(study, trial, space)
        return self._made[key]

    def forget(self, study: optuna.Study, trial: FrozenTrial) -> None:
        """Forget a trial that has ended."""
        self._made.pop((study.study_name, trial.number), None)

    def _space_of(self, study: optuna.Study) -> SearchSpace | None:
        return self._space if self._space is not None else _common_space(study)


def _common_space(study: optuna.Study) -> SearchSpace | None:
    """Return the space that all trials of a study have in common, None if there is nothing."""
    common = intersection_search_space(study.get_trials(deepcopy=False))
    parameters: dict[str, Parameter] = {}
    for name, distribution in common.items():
        try:
            if not distribution.single():
                parameters |= SearchSpace.from_optuna({name: distribution}).parameters
        except ValidationError:  # a choice that is NaN: such a parameter is drawn by itself
            continue
    return SearchSpace(parameters=parameters) if parameters else None
