"""Clients of simulated endpoints, and time that passes only when somebody waits."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from luthier.agent.llm.answers import Message
from luthier.agent.llm.client import Client
from luthier.agent.llm.line import Line
from luthier.agent.llm.settings import Settings
from luthier.evals.advisers.dialect import Endpoint
from luthier.evals.advisers.faults import Schedule, never
from luthier.evals.advisers.mind import Mind, Reply, Request
from luthier.evals.advisers.server import Server, serve
from pydantic import BaseModel, Field

ASKED = [Message("system", "You tune."), Message("user", "Which rate?")]


class Rate(BaseModel):
    """A learning rate."""

    lr: float = Field(gt=0, le=1)
    why: str = "none"


GOOD = '{"lr": 0.01, "why": "usual"}'


def saying(*texts: str, probabilities: dict[str, float] | None = None) -> Mind:
    """Say one text after the other, the last one for ever."""
    rest = list(texts)

    def mind(request: Request) -> Reply:
        text = rest.pop(0) if len(rest) > 1 else rest[0]
        return Reply((text,) * request.count, probabilities if request.weighs else None)

    return mind


class Watch:
    """A clock that moves on when something waits for it, and then does not wait."""

    def __init__(self) -> None:
        self.now = 1_000_000.0
        self.waits: list[float] = []

    def time(self) -> float:
        return self.now

    def monotonic(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.waits.append(seconds)
        self.now += seconds


Connect = Callable[..., tuple[Client, Server]]


@pytest.fixture
def watch() -> Watch:
    return Watch()


@pytest.fixture
def connect(watch: Watch) -> Iterator[Connect]:
    """Serve a mind, or one that says these texts, and connect a client to it."""
    with ExitStack() as stack:

        def connect(
            mind: Mind | str = GOOD,
            *more: str,
            endpoint: Endpoint | None = None,
            faults: Schedule = never,
            settings: dict[str, Any] | None = None,
            **options: Any,
        ) -> tuple[Client, Server]:
            thinks = saying(mind, *more) if isinstance(mind, str) else mind
            server = stack.enter_context(serve(thinks, endpoint, faults))
            chosen = Settings(
                **{"base_url": server.url, "model": server.model, "seconds": 30, **(settings or {})}
            )
            options = {"clock": watch, "sleep": watch.sleep, **options}
            return stack.enter_context(Client(Line(chosen, **options))), server

        yield connect
