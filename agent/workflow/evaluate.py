"""Runs a workflow on the cases of a suite, and keeps what it has run."""

from __future__ import annotations

import asyncio
import inspect
import math
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from ...tools.errors import LuthierError
from ..llm.answers import is_spent
from .feedback import Feedback, failure_of
from .params import ParamSet
from .trace import Node, Rollout, rollout

Workflow = Callable[[Any], Any]
"""From a case's inputs to an output; reads parameters with `param`; may be async."""


class SuiteError(LuthierError, ValueError):
    """A suite that nothing can be measured with."""


@dataclass(frozen=True)
class Case:
    """One task of a suite."""

    name: str
    inputs: Any
    """What the workflow is given; what it must not see stays out of it."""


@dataclass(frozen=True)
class Suite:
    """Cases, and who scores them."""

    cases: Sequence[Case]
    score: Callable[[Case, Any], Feedback]
    """Scores an output; more is better. It knows the labels; the workflow does not."""
    guards: frozenset[str] = frozenset()
    """Names of cases on which no edit may lose anything."""
    failed_score: float = 0.0
    """The score of a run that raises."""
    max_drop: float = 0.02
    """How much any one case may lose."""

    def __post_init__(self) -> None:
        names = [case.name for case in self.cases]
        if len(names) < 2:
            raise SuiteError("a suite needs at least two cases; eight or more are worth the effort")
        for name in names:
            if names.count(name) > 1:
                raise SuiteError(f"two cases are named {name!r}; rename one")
        if unknown := self.guards - set(names):
            raise SuiteError(f"no case is named {min(unknown)!r}, which is to be guarded")


@dataclass(frozen=True)
class Split:
    """Who sees which cases: 40% to learn from, 40% to decide by, 20% sealed."""

    dev: tuple[Case, ...]
    validation: tuple[Case, ...]
    sealed: tuple[Case, ...]


def split(suite: Suite) -> Split:
    """Split a suite by the order of its cases; with fewer than five nothing is sealed.

    Whoever has groups of cases that are alike puts them into one case, or they leak.
    """
    cases = list(suite.cases)
    if len(cases) < 5:
        return Split(tuple(cases), tuple(cases), ())
    dev, validation, sealed = list[Case](), list[Case](), list[Case]()
    for place, case in enumerate(cases):
        (sealed if place % 5 == 4 else dev if place % 2 == 0 else validation).append(case)
    return Split(tuple(dev), tuple(validation), tuple(sealed))


@dataclass(frozen=True)
class Result:
    """One run on one case."""

    case: str
    feedback: Feedback
    seconds: float
    rollout: Rollout
    leaf: Node | None

    @property
    def score(self) -> float:
        """The score, more is better."""
        return self.feedback.score


class Evaluator:
    """Runs a workflow; the same parameters are run on a case once."""

    def __init__(self, workflow: Workflow, suite: Suite, workers: int = 1) -> None:
        """Take a workflow and a suite; up to `workers` cases run at a time, in threads."""
        self._workflow = workflow
        self.suite = suite
        self._workers = workers
        self._known: dict[tuple[str, str], Result] = {}
        self.runs = 0
        """How many runs there were."""

    def evaluate(self, params: ParamSet, cases: Iterable[Case]) -> dict[str, Result]:
        """Return a result for each case, by name.

        Raises:
            LLMError: If a case cannot be measured because the budget of its model is used up.
        """
        wanted = list(cases)
        missing = [case for case in wanted if (params.hash, case.name) not in self._known]
        if self._workers > 1 and len(missing) > 1:
            with ThreadPoolExecutor(self._workers) as pool:
                found = list(pool.map(lambda case: self._run(params, case), missing))
        else:
            found = [self._run(params, case) for case in missing]
        self.runs += len(missing)
        for result in found:
            self._known[params.hash, result.case] = result
        return {case.name: self._known[params.hash, case.name] for case in wanted}

    def timed_in_turn(
        self, one: ParamSet, other: ParamSet, cases: Iterable[Case]
    ) -> dict[str, tuple[float, float]]:
        """Return the seconds that two sets of parameters take, run anew, case by case in turn.

        Raises:
            LLMError: As of `evaluate`.
        """
        found = {}
        for case in cases:
            found[case.name] = self._run(one, case).seconds, self._run(other, case).seconds
            self.runs += 2
        return found

    def _run(self, params: ParamSet, case: Case) -> Result:
        begun = time.perf_counter()
        output, error = None, None
        with rollout(params) as recording:
            try:
                output = self._workflow(case.inputs)
                if inspect.isawaitable(output):
                    output = asyncio.run(_wait(output))
            except Exception as failure:  # a workflow that fails is what is to be mended
                if is_spent(failure):
                    raise
                error = failure
        seconds = time.perf_counter() - begun
        leaf = recording.leaf(output, error)
        if error is not None:
            op = leaf.name if leaf is not None else ""
            feedback = Feedback(self.suite.failed_score, error=failure_of(error, op))
        else:
            feedback = self._scored(case, output)
        return Result(case.name, feedback, seconds, recording, leaf)

    def _scored(self, case: Case, output: Any) -> Feedback:
        """Score an output, which may be anything that edited code returns."""
        try:
            feedback = self.suite.score(case, output)
        except Exception as failure:  # shown as what it is, with the scorer named
            return Feedback(self.suite.failed_score, error=failure_of(failure, "the scorer"))
        if math.isfinite(feedback.score):
            return feedback
        text = f"the score, {feedback.score}, is no finite number. {feedback.text}".strip()
        return Feedback(self.suite.failed_score, text, feedback.metrics, cost=feedback.cost)


async def _wait(awaitable: Any) -> Any:
    return await awaitable
