"""Tries out what an endpoint can do, and says what Luthier will do without."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace

from pydantic import BaseModel

from .abilities import Wish
from .answers import LLMError, Message
from .client import Client
from .line import Line
from .prices import price_of
from .settings import Settings

_SECONDS = 8.0
_LEAST_SECONDS = 2.0
"""Left for what is tried when the endpoint has answered at last."""
_PURPOSE = "probe"
_ASKED = [Message("user", "Is water wet? Answer yes or no.")]
_FULL = 0.9
"""The share of the context that is tried, for tokens are not counted exactly."""


class _YesOrNo(BaseModel):
    """A short answer."""

    answer: str


@dataclass(frozen=True)
class Probed:
    """One thing that an endpoint can do or not."""

    what: str
    works: bool | None
    """None if it could not be told."""
    text: str
    """What that means, in plain words."""


@dataclass(frozen=True)
class _Check:
    """How one thing is tried out."""

    what: str
    works: Callable[[Client, float], bool]
    without: str
    """What Luthier does where it is missing."""
    given: Mapping[str, bool] = field(default_factory=dict)
    """Abilities that are left aside meanwhile."""


def probe(settings: Settings, seconds: float = _SECONDS) -> list[Probed]:
    """Try an endpoint out, with about ten short requests.

    Args:
        settings: Which one; if its context is known, a long request tries that out, too.
        seconds: How long it may take, or a little longer where the endpoint is slow to begin.

    Raises:
        LLMError: If it does not even answer.
    """
    end = time.monotonic() + seconds
    with Client(Line(settings)) as client:
        started = time.monotonic()
        try:
            client.sample(_ASKED, 1, purpose=_PURPOSE, max_tokens=16, seconds=seconds)
            said = "answers"
        except LLMError as error:
            if error.cause != "empty":
                raise
            said = "has nothing to say to a simple question, and answers"
        took = time.monotonic() - started
        known = client.abilities
    left = max(_LEAST_SECONDS, end - time.monotonic())

    def look(check: _Check) -> Probed:
        with Client(Line(settings), replace(known, **check.given)) as client:
            try:
                works = check.works(client, left)
            except LLMError as error:
                return Probed(check.what, None, f"could not be told: {error}")
        return Probed(check.what, works, "works" if works else f"missing: {check.without}")

    chat = Probed("chat", True, f"{said} in {took:.1f} s; {_price(settings)}")
    checks = [check for check in _CHECKS if settings.context or check.works is not _context]
    with ThreadPoolExecutor(settings.concurrency) as pool:
        return [chat, *pool.map(look, checks)]


def _price(settings: Settings) -> str:
    price = price_of(settings)
    if price is None:
        return "its price is unknown, so only a budget of tokens can be kept"
    return f"a million tokens cost ${price.input:g} to send and ${price.output:g} to get"


def _schema(client: Client, seconds: float) -> bool:
    return _follows(client, seconds) and client.abilities.schema


def _tools(client: Client, seconds: float) -> bool:
    return _follows(client, seconds) and client.abilities.tool


def _json_mode(client: Client, seconds: float) -> bool:
    return _follows(client, seconds) and client.abilities.json


def _follows(client: Client, seconds: float) -> bool:
    """Tell whether an answer has its form at once; some endpoints ignore what they cannot do."""
    answer = client.ask(_ASKED, _YesOrNo, purpose=_PURPOSE, max_tokens=64, seconds=seconds)
    return not answer.repaired


def _logprobs(client: Client, seconds: float) -> bool:
    try:
        client.weigh(_ASKED, ["yes", "no"], purpose=_PURPOSE, seconds=seconds)
    except LLMError as error:
        if error.cause not in ("refused", "malformed"):
            raise
    return client.has_logprobs


def _several(client: Client, seconds: float) -> bool:
    client.sample(_ASKED, 2, purpose=_PURPOSE, max_tokens=16, seconds=seconds)
    return client.abilities.several


def _streaming(client: Client, seconds: float) -> bool:
    from openai import APIStatusError

    request = client.abilities.request(Wish(_ASKED, max_tokens=16, temperature=1.0))
    with client.line.call(_PURPOSE, seconds):
        try:
            with client.sdk.chat.completions.create(
                model=client.name, stream=True, **request
            ) as stream:
                return any(event.choices for event in stream)
        except APIStatusError:
            return False


def _completions(client: Client, seconds: float) -> bool:
    from openai import APIStatusError

    with client.line.call(_PURPOSE, seconds):
        try:
            client.sdk.completions.create(model=client.name, prompt="Water is", max_tokens=4)
        except APIStatusError:
            return False
        except LLMError as error:
            if error.cause != "unknown_model":
                raise
            return False
    return True


def _context(client: Client, seconds: float) -> bool:
    words = " wet" * int(_FULL * (client.settings.context or 0))
    long = [Message("user", f"Is water{words}? Answer yes or no.")]
    try:
        client.sample(long, 1, purpose=_PURPOSE, max_tokens=4, seconds=seconds)
    except LLMError as error:
        if error.cause != "context_too_small":
            raise
        return False
    return True


_CHECKS = [
    _Check(
        "JSON schema",
        _schema,
        "answers are held to their form by tool calls, JSON mode or words alone, and repaired once",
    ),
    _Check(
        "tools",
        _tools,
        "answers are held to their form by a schema, JSON mode or words alone",
        {"schema": False},
    ),
    _Check(
        "JSON mode",
        _json_mode,
        "it is missed only where schema and tools are missing, too; then words have to do",
        {"schema": False, "tool": False},
    ),
    _Check(
        "log-probabilities",
        _logprobs,
        "what the model expects of a configuration is told by several answers, for more tokens",
    ),
    _Check(
        "several answers", _several, "they take a request each, and the prompt is paid each time"
    ),
    _Check("streaming", _streaming, "answers appear when they are complete"),
    _Check("text completions", _completions, "nothing needs them"),
    _Check(
        "context", _context, "prompts as long as LUTHIER_LLM_CONTEXT says are refused; lower it"
    ),
]
