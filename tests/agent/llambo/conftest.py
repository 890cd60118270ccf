"""A language model that a mind thinks for, in this process, and a small problem to ask it about."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from luthier.agent.llambo.context import History, Observation, Problem, TaskCard
from luthier.agent.llm.answers import LLMError, Message, Usage
from luthier.evals.advisers.direct import Direct
from luthier.evals.advisers.mind import Mind, Reply, Request
from luthier.tools.space import Categorical, Float, Int, SearchSpace


class Model(Direct):
    """A simulated model that remembers what it was asked."""

    def __init__(self, mind: Mind, has_logprobs: bool = True) -> None:
        super().__init__(mind, has_logprobs)
        self.asked: list[tuple[str, list[Message]]] = []
        """Purpose and messages of each call."""

    def _think(self, request: Request, purpose: str) -> tuple[tuple[str, ...], Usage]:
        self.asked.append((purpose, list(request.messages)))
        return super()._think(request, purpose)


class Failing(Model):
    """A model that never answers."""

    def __init__(self, cause: Any = "timeout") -> None:
        super().__init__(lambda request: Reply(("",)))
        self.cause = cause

    def _think(self, request: Request, purpose: str) -> tuple[tuple[str, ...], Usage]:
        self.asked.append((purpose, list(request.messages)))
        raise LLMError("no answer within 30 s", self.cause, Usage(7, 0, calls=1))


def saying(answer: object) -> Model:
    """Return a model that always says the same."""
    text = answer if isinstance(answer, str) else json.dumps(answer)
    return Model(lambda request: Reply((text,) * request.count))


@pytest.fixture
def model() -> Callable[..., Model]:
    return Model


@pytest.fixture
def says() -> Callable[[object], Model]:
    return saying


@pytest.fixture
def failing() -> Callable[..., Model]:
    return Failing


@pytest.fixture
def space() -> SearchSpace:
    """Every kind of parameter, a condition and a constraint."""
    return SearchSpace.model_validate(
        {
            "parameters": {
                "lr": Float(low=1e-5, high=0.1, log=True, default=1e-3, meaning="learning rate"),
                "units": Int(low=8, high=256, log=True),
                "dropout": Float(low=0.0, high=0.9, step=0.1, unit="share"),
                "optimizer": Categorical(choices=["sgd", "adamw"], default="adamw"),
                "momentum": Float(low=0.0, high=0.99, when={"optimizer": ["sgd"]}),
                "warm": Int(low=0, high=20),
                "total": Int(low=1, high=50),
            },
            "constraints": ["warm < total"],
        }
    )


@pytest.fixture
def problem(space: SearchSpace) -> Problem:
    return Problem(space, "minimize", TaskCard("A small network.", "loss"))


@pytest.fixture
def history(space: SearchSpace) -> History:
    """Twelve complete trials, two that failed and one that runs."""
    import numpy as np

    rng = np.random.default_rng(1)
    drawn = [space.sample(rng) for _ in range(15)]
    told = [
        Observation(c, 1.0 + abs(float(np.log10(c["lr"])) + 2.5))  # type: ignore[arg-type]
        for c in drawn[:12]
    ]
    failed = [Observation(c, None, "out_of_memory") for c in drawn[12:14]]
    return History((*told, *failed, Observation(drawn[14], None, "running")))
