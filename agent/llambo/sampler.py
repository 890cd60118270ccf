"""LLAMBO end to end as an Optuna sampler (Liu et al., ICLR 2024, arXiv:2402.03921).

The classical sampler stands beside it: it answers wherever the language model is absent, fails or
proposes too little, and the trial says so.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import optuna
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from ...tools.space import SearchSpace
from ..classical import ClassicalSampler
from ..llm.answers import LanguageModel, LLMError, Usage
from .admission import Fault
from .asking import Conversation
from .context import ATTRIBUTE, History, Problem, TaskCard
from .geometry import NEAR, nearest
from .method import LEAST_CANDIDATES, LEAST_TRIALS, Mode, Suggestion, suggest
from .suggesting import Classical, Suggesting
from .warmstart import WarmStart, warm_start

WARM_START = "warm start"
"""The source of a trial that came from the warm start."""

_FIXED = "fixed_params"
"""Where Optuna keeps the values of an enqueued trial."""


class LLAMBOSampler(BaseSampler):
    """A language model warm-starts the study, proposes candidates and predicts their values.

    It can be passed to `optuna.create_study`. Each trial's user attribute `luthier` says who
    proposed it, why, what was predicted, which prompts were used, what it cost, and why the
    classical sampler answered, if it did. With several objectives it always does.
    """

    def __init__(
        self,
        space: SearchSpace | None = None,
        *,
        llm: LanguageModel | None = None,
        task: TaskCard | str | None = None,
        mode: Mode = "fast",
        seed: int | None = None,
        start_up: int = 5,
        seconds: float | None = None,
        alpha: float | None = None,
        candidates: int | None = None,
    ) -> None:
        """Set the sampler up.

        Args:
            space: The search space; None to learn it from the first trial, without conditions.
            llm: The language model; without one the classical sampler answers.
            task: What is tuned: a sentence, or a card that also describes the data.
            mode: `fast` takes two requests a trial; `paper` is the method as published, with 22,
                and begins with Sobol points.
            seed: Seed of all that is drawn; None for another one each time.
            start_up: Trials of the warm start.
            seconds: Deadline of each request; None for the model's own.
            alpha: How far candidates aim beyond the best value, as a share of the values' range,
                above 0; None to adapt it to the history. Of `fast` alone, as is the next.
            candidates: How many are asked for, >= 3; None for as many as the space needs.

        Raises:
            ValueError: If `alpha` or `candidates` is too small.
        """
        if alpha is not None and not alpha > 0.0:
            raise ValueError(f"`alpha` must be above 0, but is {alpha}; None adapts it")
        if candidates is not None and candidates < LEAST_CANDIDATES:
            raise ValueError(
                f"`candidates` must be at least {LEAST_CANDIDATES}, but is {candidates}; None lets "
                "the space decide"
            )
        self._llm = llm
        self._card = TaskCard(description=task) if isinstance(task, str) else task or TaskCard()
        self._mode = mode
        self._seed = int(np.random.default_rng().integers(1 << 31)) if seed is None else seed
        self._start_up = start_up
        self._seconds = seconds
        self._alpha, self._candidates = alpha, candidates
        self._trials = Suggesting(space, self._seed, self._suggest, self._classical)
        self._lock = threading.Lock()
        self._starts: dict[str, WarmStart] = {}

    def infer_relative_search_space(
        self, study: optuna.Study, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        """Return the parameters that are drawn together."""
        return self._trials.infer_relative_search_space(study, trial)

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """Draw these parameters together."""
        return self._trials.sample_relative(study, trial, search_space)

    def sample_independent(
        self,
        study: optuna.Study,
        trial: FrozenTrial,
        param_name: str,
        param_distribution: BaseDistribution,
    ) -> Any:
        """Draw one parameter by itself."""
        return self._trials.sample_independent(study, trial, param_name, param_distribution)

    def after_trial(
        self,
        study: optuna.Study,
        trial: FrozenTrial,
        state: TrialState,
        values: Sequence[float] | None,
    ) -> None:
        """Forget what was only needed to propose the trial."""
        self._trials.forget(study, trial)

    def _suggest(
        self, study: optuna.Study, trial: FrozenTrial, space: SearchSpace
    ) -> Suggestion | None:
        """Return the model's suggestion, or record why there is none."""
        if len(study.directions) > 1:
            self._record_fallback(study, trial, space, "several objectives")
            return None
        if self._llm is None:
            self._record_fallback(study, trial, space, "no language model")
            return None
        conversation = Conversation(self._llm, self._seconds)
        try:
            suggestion = self._ask(conversation, study, trial, space)
        except LLMError as error:
            self._record_fallback(study, trial, space, error.cause, str(error), conversation)
            return None
        if suggestion is None:
            self._record_fallback(study, trial, space, "start-up", "", conversation)
            return None
        self._record(study, trial, told_of(suggestion))
        return suggestion

    def _ask(
        self,
        conversation: Conversation,
        study: optuna.Study,
        trial: FrozenTrial,
        space: SearchSpace,
    ) -> Suggestion | None:
        """Return a suggestion; None while the start-up is the classical sampler's.

        Raises:
            LLMError: If the model fails.
        """
        direction = study.direction == StudyDirection.MAXIMIZE
        problem = Problem(space, "maximize" if direction else "minimize", self._card)
        history = History.of_study(study, space, without=trial.number)
        begun = len(history.complete) + len(history.running)
        if begun < self._start_up or len(history.complete) < LEAST_TRIALS:
            if self._mode == "paper":
                return None
            return self._from_warm_start(conversation, study, problem, history)
        trials = self._card.trials
        left = None if trials is None else max(trials - len(history.observations), 1)
        return suggest(
            conversation,
            problem,
            history,
            mode=self._mode,
            seed=self._seed,
            left=left,
            alpha=self._alpha,
            candidates=self._candidates,
        )

    def _from_warm_start(
        self, conversation: Conversation, study: optuna.Study, problem: Problem, history: History
    ) -> Suggestion | None:
        """Return the next configuration of the warm start, None if all are tried.

        Raises:
            LLMError: If the model fails.
        """
        key = f"{study.study_name}/{problem.space.model_dump_json()}"
        with self._lock:  # trials that begin together share one request
            made = key not in self._starts
            if made:
                warm = warm_start(conversation, problem, self._start_up, seed=self._seed)
                if warm.error is not None:
                    raise warm.error
                self._starts[key] = warm
            warm = self._starts[key]
        tried = [o.configuration for o in history.observations]
        for start in warm.starts:
            if start.origin == "llm" and nearest(problem.space, start.configuration, tried) >= NEAR:
                return Suggestion(
                    start.configuration,
                    WARM_START,
                    start.reason,
                    prompts=warm.prompts,
                    usage=conversation.usage,
                    faults=warm.faults if made else {},
                )
        return None

    def _classical(self, study: optuna.Study, trial: FrozenTrial, space: SearchSpace) -> Classical:
        """Return the classical sampler of a trial."""
        sampler = ClassicalSampler(
            space,
            seed=self._seed,
            start_up=self._start_up,
            prior="none" if self._mode == "paper" else "textbook",
        )
        return Classical(sampler, study, trial)

    def _record_fallback(
        self,
        study: optuna.Study,
        trial: FrozenTrial,
        space: SearchSpace,
        cause: str,
        message: str = "",
        conversation: Conversation | None = None,
    ) -> None:
        classical = self._trials.classical(study, trial, space)
        told: dict[str, Any] = {
            "proposed_by": classical.sampler.source(study, trial.number),
            "fallback": cause,
            "reason": message or f"the classical sampler answers: {cause}",
        }
        if conversation is not None and conversation.usage.calls:
            told |= _costs(conversation.prompts, conversation.usage, conversation.faults)
        self._record(study, trial, told)

    def _record(self, study: optuna.Study, trial: FrozenTrial, told: Mapping[str, Any]) -> None:
        study._storage.set_trial_user_attr(trial._trial_id, ATTRIBUTE, dict(told))


def told_of(suggestion: Suggestion) -> dict[str, Any]:
    """Return what a trial's user attribute says of its suggestion."""
    told: dict[str, Any] = {
        "proposed_by": suggestion.source,
        "reason": suggestion.reason,
        # Seen by trials that are proposed before this one has asked for its parameters.
        "configuration": suggestion.configuration,
        **_costs(suggestion.prompts, suggestion.usage, suggestion.faults),
    }
    if suggestion.predicted is not None:
        told["predicted"] = asdict(suggestion.predicted)
        told["raw"] = suggestion.raw
    if suggestion.calibration is not None:
        told["calibration"] = asdict(suggestion.calibration)
    return told


def _costs(prompts: Iterable[str], usage: Usage, faults: Mapping[Fault, int]) -> dict[str, Any]:
    return {
        "prompts": list(prompts),
        "tokens": usage.tokens,
        "calls": usage.calls,
        "faults": {fault: count for fault, count in faults.items() if count},
    }
