"""The hybrid: a classical optimiser and a language model, each as often as it has earned."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import optuna
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler, RandomSampler
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState, create_trial

from ..tools.quiet import quiet
from ..tools.space import SearchSpace
from .advice import EXAM_TRIALS, MODEL_SOURCES, Advice, advise, examine, pick
from .classical import KINDS, ClassicalSampler
from .credit import Turn, is_models_turn
from .llambo.context import ATTRIBUTE, History, Problem, TaskCard
from .llambo.method import Suggestion
from .llambo.sampler import told_of
from .llambo.suggesting import Classical, Suggesting
from .llm.answers import LanguageModel, LLMError, Usage

Mode = Literal["shared", "strict"]
"""`shared`: both learn from all trials, and the model's share is what it has earned. `strict`: the
classical optimiser learns from its own trials only, and the model has a fixed share."""

STRICT_SHARE = 0.25
_LONGEST_PAUSE = 16


def is_models_strict_turn(number: int) -> bool:
    """Tell whether a trial is the model's in `strict` mode, whatever came out before."""
    return int((number + 1) * STRICT_SHARE) > int(number * STRICT_SHARE)


def turns_of(problem: Problem, history: History) -> list[Turn]:
    """Return a history as the credit of its sources sees it."""
    return [
        Turn(
            _who(o.source),
            o.outcome != "running",
            None if o.value is None else problem.sign * o.value,
        )
        for o in history.observations
    ]


def _who(source: str) -> Literal["model", "classical", "nobody"]:
    return "model" if source in MODEL_SOURCES else "classical" if source in KINDS else "nobody"


@dataclass
class Standing:
    """What is remembered of a model beside its trials."""

    refused: int = 0
    """How often in a row it gave nothing that was worth a trial."""
    exam: float | None = None
    """How well it predicted trials that it was not shown, in [-1, 1]; None if it was not asked."""
    silent_until: int = 0
    """The number of the trial before which it is not asked again."""

    def failed(self, number: int) -> None:
        """Remember that a trial's turn was in vain; each time in a row the pause is longer."""
        self.refused += 1
        self.silent_until = number + min(2**self.refused, _LONGEST_PAUSE)

    def succeeded(self) -> None:
        """Remember that it gave something."""
        self.refused = self.silent_until = 0


class HybridSampler(BaseSampler):
    """A language model's ideas and a classical optimiser's, each as often as it has earned.

    It can be passed to `optuna.create_study`. Each trial's user attribute `luthier` says who
    proposed it, why, what was predicted, which prompts were used, what it cost, and why the
    classical optimiser answered in the model's place, if it did. With several objectives, or
    without a model, it is the classical optimiser.

    In `strict` mode, after t trials of a sequential run of which L were the model's, the best value
    is never worse than the best of the classical optimiser alone after t - L, whatever the
    objective and the model: it is told nothing but its own trials and those that were enqueued.
    """

    def __init__(
        self,
        space: SearchSpace | None = None,
        *,
        llm: LanguageModel | None = None,
        task: TaskCard | str | None = None,
        mode: Mode = "shared",
        seed: int | None = None,
        start_up: int = 5,
        seconds: float | None = None,
    ) -> None:
        """Set the sampler up.

        Args:
            space: The search space; None to learn it from the first trial, without conditions.
            llm: The language model; without one the classical optimiser answers.
            task: What is tuned: a sentence, or a card that also describes the data.
            mode: `shared` or `strict`.
            seed: Seed of all that is drawn; None for another one each time.
            start_up: Trials before a model of the classical optimiser answers, >= 1.
            seconds: Deadline of each request; None for the language model's own.
        """
        self._llm = llm
        self._card = TaskCard(description=task) if isinstance(task, str) else task or TaskCard()
        self._mode = mode
        self._seed = int(np.random.default_rng(seed).integers(1 << 31)) if seed is None else seed
        self._start_up = start_up
        self._seconds = seconds
        self._trials = Suggesting(space, self._seed, self._suggest, self._classical)
        self._lock = threading.Lock()
        self._standing = Standing()
        self._advice: Advice | None = None

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
        """Return the model's suggestion if it is its turn, and record who proposes, and why."""
        if self._llm is None or len(study.directions) > 1:
            return None
        maximize = study.direction == StudyDirection.MAXIMIZE
        problem = Problem(space, "maximize" if maximize else "minimize", self._card)
        history = History.of_study(study, space, without=trial.number)
        suggestion, told, spent = None, dict[str, Any](), Usage()
        with self._lock:  # trials that begin together share one piece of advice
            try:
                spent += self._examine(self._llm, problem, history, trial.number)
                if self._is_models_turn(problem, history, trial.number):
                    suggestion = self._pick(problem, history)
                    if suggestion is None:
                        self._advice = self._advise(self._llm, problem, history)
                        spent += self._advice.usage
                        suggestion = self._pick(problem, history)
                    told = {} if suggestion else {"fallback": "no idea is worth a trial"}
            except LLMError as error:
                spent += error.usage
                told = {"fallback": error.cause, "reason": str(error)}
            if suggestion is not None:
                self._standing.succeeded()
                told = told_of(suggestion)
            elif told:
                self._standing.failed(trial.number)
        if told or spent.calls:
            told |= {"tokens": spent.tokens, "calls": spent.calls}
        if suggestion is None:
            told["proposed_by"] = self._source(study, trial, space)
        study._storage.set_trial_user_attr(trial._trial_id, ATTRIBUTE, told)
        return suggestion

    def _examine(
        self, llm: LanguageModel, problem: Problem, history: History, number: int
    ) -> Usage:
        """Examine the model once, as soon as there are trials to do it with; return the cost."""
        known = self._standing.exam is not None or number < self._standing.silent_until
        if self._mode == "strict" or known or len(history.complete) < EXAM_TRIALS:
            return Usage()
        exam = examine(llm, problem, history, seed=self._seed, seconds=self._seconds)
        self._standing.exam = exam.correlation
        return exam.usage

    def _is_models_turn(self, problem: Problem, history: History, number: int) -> bool:
        if number < self._standing.silent_until:
            return False
        if self._mode == "strict":
            return is_models_strict_turn(number)
        standing = self._standing
        return is_models_turn(turns_of(problem, history), standing.refused, standing.exam)

    def _pick(self, problem: Problem, history: History) -> Suggestion | None:
        """Return what is left of the last advice that is worth a trial."""
        advice = self._advice
        if advice is None or not advice.is_fresh(problem, history):
            return None
        suggestion = pick(advice, problem, history, seed=self._seed)
        self._advice = replace(advice, faults={})  # they are told with the first trial of it
        return suggestion

    def _advise(self, llm: LanguageModel, problem: Problem, history: History) -> Advice:
        left = None
        if self._card.trials is not None:
            left = max(self._card.trials - len(history.observations), 1)
        return advise(
            llm,
            problem,
            history,
            seed=self._seed,
            start_up=self._start_up,
            left=left,
            seconds=self._seconds,
        )

    def _source(self, study: optuna.Study, trial: FrozenTrial, space: SearchSpace) -> str:
        classical = self._trials.classical(study, trial, space)
        return classical.sampler.source(classical.study, classical.trial.number)

    def _classical(self, study: optuna.Study, trial: FrozenTrial, space: SearchSpace) -> Classical:
        """Return the classical optimiser of a trial, and the study as it is shown to it."""
        if self._mode == "shared" or len(study.directions) > 1:
            others = sum(map(_is_models, study.get_trials(deepcopy=False)))
            sampler = ClassicalSampler(
                space, seed=self._seed, start_up=self._start_up, skipped=-others
            )
            return Classical(sampler, study, trial)
        sampler = ClassicalSampler(space, seed=self._seed, start_up=self._start_up)
        with quiet():
            own = optuna.create_study(
                directions=study.directions, sampler=RandomSampler(seed=self._seed)
            )
            own.add_trials(
                t
                for t in study.get_trials(deepcopy=False)
                if t.number != trial.number and not _is_models(t)
            )
            own.add_trial(create_trial(state=TrialState.RUNNING))
        return Classical(sampler, own, own.get_trials(deepcopy=False)[-1])


def _is_models(trial: FrozenTrial) -> bool:
    return trial.user_attrs.get(ATTRIBUTE, {}).get("proposed_by") in MODEL_SOURCES
