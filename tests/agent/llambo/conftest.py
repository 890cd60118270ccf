"""A language model that a mind thinks for, in this process, and a small problem to ask it about."""

import json
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from luthier.agent.llambo.context import History, Observation, Problem, TaskCard
from luthier.agent.llm.answers import Answer, LLMError, Message, Samples, Usage, Weights
from luthier.evals.advisers.mind import Mind, Reply, Request
from luthier.prompts.loading import tokens_of
from luthier.tools.space import Categorical, Float, Int, SearchSpace
from pydantic import BaseModel, ValidationError


class Model:
    """A `LanguageModel` on a mind: validates and repairs once, as the real client does."""

    name = "mind"

    def __init__(self, mind: Mind, has_logprobs: bool = True) -> None:
        self.mind = mind
        self.has_logprobs = has_logprobs
        self.usage = Usage()
        self.asked: list[tuple[str, list[Message]]] = []
        """Purpose and messages of each call."""

    def ask(
        self, messages: Sequence[Message], schema: type[BaseModel], *, purpose: str, **_: Any
    ) -> Answer[Any]:
        spent = Usage()
        for attempt in range(2):
            request = Request(tuple(messages), schema.model_json_schema())
            (text,), usage = self._think(request, purpose)
            spent += usage
            try:
                return Answer(schema.model_validate_json(text), spent, 0.0, attempt > 0)
            except ValidationError as error:
                messages = [*messages, Message("user", f"wrong: {error.error_count()} errors")]
        raise LLMError("no valid answer after one repair", "malformed", spent)

    def sample(self, messages: Sequence[Message], count: int, *, purpose: str, **_: Any) -> Samples:
        texts, usage = self._think(Request(tuple(messages), None, count), purpose)
        return Samples(texts, usage)

    def weigh(
        self, messages: Sequence[Message], options: Sequence[str], *, purpose: str, **_: Any
    ) -> Weights:
        request = Request(tuple(messages), weighs=True)
        self._think(request, purpose)
        probabilities = self.mind(request).probabilities
        if probabilities is None:
            raise LLMError("no log-probabilities", "malformed")
        return Weights({o: probabilities[o] for o in options}, Usage(calls=1))

    def _think(self, request: Request, purpose: str) -> tuple[tuple[str, ...], Usage]:
        self.asked.append((purpose, list(request.messages)))
        texts = self.mind(request).texts
        usage = Usage(
            sum(tokens_of(message.content) for message in request.messages),
            sum(map(tokens_of, texts)),
            calls=1,
        )
        self.usage += usage
        return texts, usage


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
