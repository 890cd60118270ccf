"""Luthier's own prompts as a workflow that can be optimised: trained on some tasks, told on others.

The workflow tunes a task of the evals with LLAMBO, whose prompts are the parameters, and how far
its candidates aim and how many there are; its score is what is missing to the task's best value,
its cost the tokens.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from pydantic import BaseModel, ConfigDict, Field

from ...agent.llambo.candidates import LEAST_ALPHA, MOST_ALPHA
from ...agent.llambo.method import LEAST_CANDIDATES
from ...agent.llm.answers import LanguageModel, LLMError, is_spent
from ...agent.workflow import Case, Feedback, Param, ParamSet, Suite, Workflow, op, param
from ...prompts.loading import Role, load, reworded
from ..cells import run_cell
from ..methods import Method
from ..suites import load_task
from ..task import WORST_REGRET, EvalError, Task

OBJECTIVE = (
    "Tune hyperparameters within few trials: the normalised regret of the best configuration found "
    "is to be small on any model and data. The prompts go to a language model, which proposes "
    "configurations and predicts their scores."
)
PROMPTS = {
    "candidates": "asks for configurations that may reach a target value",
    "scores": "asks what configurations will score",
}
MAX_DROP = 0.1
"""Regret by which one task may become worse; with one seed less than that is noise."""


class Aim(BaseModel):
    """How candidates are asked for; null leaves it to the sampler, which adapts it."""

    model_config = ConfigDict(extra="forbid")

    alpha: float | None = Field(default=None, ge=LEAST_ALPHA, le=MOST_ALPHA)
    """How far beyond the best value, as a share of the values' range."""
    candidates: int | None = Field(default=None, ge=LEAST_CANDIDATES, le=12)
    """How many."""


class _Noting:
    """The language model of one run, which counts tokens and remembers that its budget ended."""

    def __init__(self, llm: LanguageModel) -> None:
        self._llm = llm
        self.refusal: LLMError | None = None
        self.tokens = 0

    @property
    def name(self) -> str:
        return self._llm.name

    @property
    def has_logprobs(self) -> bool:
        return self._llm.has_logprobs

    def ask(self, *given: Any, **more: Any) -> Any:
        return self._noted(self._llm.ask, *given, **more)

    def sample(self, *given: Any, **more: Any) -> Any:
        return self._noted(self._llm.sample, *given, **more)

    def weigh(self, *given: Any, **more: Any) -> Any:
        return self._noted(self._llm.weigh, *given, **more)

    def _noted(self, call: Callable[..., Any], *given: Any, **more: Any) -> Any:
        try:
            answer = call(*given, **more)
            self.tokens += answer.usage.tokens
            return answer
        except LLMError as error:
            self.tokens += error.usage.tokens
            if is_spent(error):
                self.refusal = error
            raise


class Tuned(NamedTuple):
    """One run."""

    regret: tuple[float, ...]
    tokens: int


class Itself(NamedTuple):
    """What is optimised."""

    workflow: Workflow
    params: ParamSet
    suite: Suite


def itself(llm: LanguageModel, tasks: Sequence[str], trials: int, seed: int = 0) -> Itself:
    """Return Luthier's own prompts, and how candidates are asked for, as a workflow.

    Args:
        llm: The language model whose prompts they are.
        tasks: Names of the evals' tasks; some are learned from, some decide, some stay sealed.
        trials: Trials of a run, the first five of which are given.
        seed: Seed of the runs.

    Raises:
        EvalError: If a task is unknown.
    """

    @op
    def tune(task: Task) -> Tuned:
        """Tune a task; the result is the regret of the incumbent after each trial, and tokens."""
        noting = _Noting(llm)
        wording: dict[tuple[str, Role], str] = {
            (name, "user"): param(f"prompt.{name}") for name in PROMPTS
        }
        aim = Aim.model_validate(param("aim"))
        method = Method("itself", "LLAMBO", lambda task, seed: _sampler(noting, task, seed, aim))
        with reworded(wording):
            result = run_cell(task, method, seed, trials)
        if noting.refusal is not None:  # the sampler goes on without a model, which tells nothing
            raise noting.refusal
        if result.crash is not None:
            raise EvalError(f"it failed in trial {result.crash.trial}: {result.crash.error}")
        return Tuned(result.regret, noting.tokens)

    def score(case: Case, tuned: Any) -> Feedback:
        curve = ", ".join(f"{value:.3f}" for value in tuned.regret)
        text = f"{case.inputs.card}\nregret by trial: {curve}"
        return Feedback(-tuned.regret[-1], text, cost=tuned.tokens)

    params = [
        *(
            Param.text(f"prompt.{n}", load(n).turns["user"], doc)
            for n, doc in sorted(PROMPTS.items())
        ),
        Param.json("aim", Aim(), Aim, "alpha and number of the candidates; null adapts them"),
    ]
    cases = [Case(name, load_task(name)) for name in tasks]
    suite = Suite(cases, score, failed_score=-WORST_REGRET, max_drop=MAX_DROP)
    return Itself(tune, ParamSet(params), suite)


def _sampler(llm: LanguageModel, task: Task, seed: int, aim: Aim) -> Any:
    from ...agent.llambo.context import TaskCard
    from ...agent.llambo.sampler import LLAMBOSampler

    card = TaskCard(description=task.card, trials=task.budget)
    return LLAMBOSampler(
        task.space, llm=llm, task=card, seed=seed, alpha=aim.alpha, candidates=aim.candidates
    )
