"""Every problem with every proposer at equal numbers of proposals."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from random import Random
from typing import Literal

from ...agent.llm.answers import LanguageModel
from ...agent.llm.client import language_model
from ...agent.workflow import Settings, optimise
from ...agent.workflow.evaluate import Evaluator
from ...agent.workflow.propose import LLMProposer, Proposed, Proposer, RandomProposer
from ...agent.workflow.represent import Problem as Seen
from ...agent.workflow.represent import View
from ..advisers.editing import editor
from ..advisers.mind import Mind
from ..advisers.server import serve
from .battleship import battleship
from .numerical import numerical
from .pipelines import pipelines
from .problem import Problem

PROBLEMS: dict[str, Callable[[int], Problem]] = {
    "numerical": numerical,
    "battleship": battleship,
    "pipelines": pipelines,
}
Adviser = Literal["fixer", "guesser", "liar"]
ADVISERS: tuple[Adviser, ...] = ("fixer", "guesser", "liar")
VIEWS: dict[str, View] = {"optimizer": "graph", "masked": "masked", "opro": "history"}


@dataclass(frozen=True)
class Cell:
    """One optimisation and what it came to."""

    problem: str
    adviser: str
    """Who answers; `-` if nobody is asked."""
    proposer: str
    seed: int
    proposals: int
    calls: int
    """Proposals and the repairs of those that were refused."""
    accepted: int
    start: float
    """Mean score on the sealed cases before."""
    end: float
    """The same with all accepted edits."""
    worst: float
    """The largest loss on one sealed case, 0 if there is none."""
    seconds: float


class Counted:
    """A proposer whose calls are counted."""

    def __init__(self, proposer: Proposer) -> None:
        """Take a proposer."""
        self._proposer = proposer
        self.name = proposer.name
        self.calls = 0

    def propose(self, problem: Seen, count: int, seed: int, refused: str = "") -> list[Proposed]:
        """Return what it proposes; see `Proposer`."""
        self.calls += count
        return self._proposer.propose(problem, count, seed, refused)


def run_cell(problem: Problem, adviser: str, proposer: Proposer, steps: int, seed: int) -> Cell:
    """Optimise a problem; its sealed cases are opened once, at the end.

    Args:
        problem: What is improved.
        adviser: The name of who answers.
        proposer: Who proposes.
        steps: Proposals to ask for.
        seed: Of the loop.
    """
    begun, counted = time.monotonic(), Counted(proposer)
    done = optimise(
        problem.workflow,
        problem.params,
        problem.suite,
        counted,
        objective=problem.objective,
        settings=Settings(steps=steps, seed=seed, latency=math.inf),
    )
    evaluator = Evaluator(problem.workflow, problem.suite)
    sealed = problem.suite.cases[4::5]
    before, after = (evaluator.evaluate(params, sealed) for params in (done.base, done.best))
    gains = [after[name].score - before[name].score for name in before]
    return Cell(
        problem.name,
        adviser,
        proposer.name,
        seed,
        len(done.edits),
        counted.calls,
        sum(edit.accepted for edit in done.edits),
        statistics.fmean(result.score for result in before.values()),
        statistics.fmean(result.score for result in after.values()),
        max(0.0, -min(gains)),
        time.monotonic() - begun,
    )


def cells(
    problems: Sequence[str], steps: int, seeds: Sequence[int], endpoint: tuple[str, str] | None
) -> Iterator[Cell]:
    """Run every cell of the table.

    Args:
        problems: Names out of `PROBLEMS`.
        steps: Proposals a cell.
        seeds: Each makes problems and models of its own.
        endpoint: URL and name of a real model, which is asked instead of the simulated ones.
    """
    for name in problems:
        for seed in seeds:
            problem = PROBLEMS[name](seed)
            advisers = ("real",) if endpoint else ADVISERS
            for who in advisers:
                for view in VIEWS.values():
                    with adviser(problem, who, seed, endpoint) as llm:
                        yield run_cell(problem, who, LLMProposer(llm, view), steps, seed)
            yield run_cell(problem, "-", RandomProposer(), steps, seed)


@contextmanager
def adviser(
    problem: Problem, who: str, seed: int, endpoint: tuple[str, str] | None = None
) -> Iterator[LanguageModel]:
    """Connect to a simulated model, or to a real one.

    Args:
        problem: What it is to improve.
        who: A name out of `ADVISERS`.
        seed: Of its chance.
        endpoint: URL and name of a real model, which is taken instead.
    """
    if endpoint is not None:
        with _client(*endpoint) as llm:
            yield llm
        return
    with serve(mind_of(problem, who, seed)) as server, _client(server.url, server.model) as llm:
        yield llm


@contextmanager
def _client(url: str, model: str) -> Iterator[LanguageModel]:
    client = language_model(base_url=url, model=model)
    assert client is not None  # both are given
    with client:
        yield client


def mind_of(problem: Problem, adviser: str, seed: int) -> Mind:
    """Return a simulated model: `fixer` reads its prompt, `guesser` does not, `liar` does harm."""
    if adviser == "fixer":
        return editor(problem.fix, "what the feedback blames is mended", seed)
    if adviser == "guesser":
        return editor(lambda text, rng: problem.guess(rng), "a guess", seed)

    def lie(text: str, rng: Random) -> dict[str, object]:
        return {**problem.harm(rng), "scorer": "always 1"}

    return editor(lie, "this is certain to help", seed)
