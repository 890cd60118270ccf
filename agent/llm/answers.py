"""What is said to a language model, and what comes back: an answer with its cost, or a cause."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Generic, Literal, Protocol, TypeVar

from pydantic import BaseModel

from ...tools.errors import LuthierError

Cause = Literal[
    "no_endpoint",
    "unauthorized",
    "unknown_model",
    "context_too_small",
    "refused",
    "empty",
    "malformed",
    "timeout",
    "rate_limited",
    "server",
    "connection",
    "budget",
    "circuit_open",
    "unrecorded",
]
"""Why there is no answer."""

T = TypeVar("T", bound=BaseModel)
T_co = TypeVar("T_co", bound=BaseModel, covariant=True)


@dataclass(frozen=True)
class Message:
    """One turn of a conversation."""

    role: Literal["system", "user", "assistant"]
    content: str


@dataclass(frozen=True)
class Usage:
    """What one or several calls cost."""

    prompt_tokens: int = 0
    completion_tokens: int = 0
    dollars: float | None = 0.0
    """None if the model's price is unknown."""
    calls: int = 0
    """Requests that were sent, repeated ones included."""

    @property
    def tokens(self) -> int:
        """Tokens in both directions."""
        return self.prompt_tokens + self.completion_tokens

    def __add__(self, other: Usage) -> Usage:
        unknown = self.dollars is None or other.dollars is None
        return Usage(
            self.prompt_tokens + other.prompt_tokens,
            self.completion_tokens + other.completion_tokens,
            None if unknown else (self.dollars or 0.0) + (other.dollars or 0.0),
            self.calls + other.calls,
        )


@dataclass(frozen=True)
class Answer(Generic[T_co]):
    """A validated answer."""

    value: T_co
    usage: Usage
    seconds: float
    repaired: bool = False
    """Whether the first answer was refused, and this one came after its errors were shown."""


@dataclass(frozen=True)
class Samples:
    """Several free texts in answer to the same messages."""

    texts: tuple[str, ...]
    usage: Usage


@dataclass(frozen=True)
class Weights:
    """How probable each of a few one-token answers is."""

    probabilities: dict[str, float]
    """Option to probability; they add up to 1."""
    usage: Usage


class LLMError(LuthierError, RuntimeError):
    """A call without a usable answer; the message is one sentence that is safe to show."""

    def __init__(self, message: str, cause: Cause, usage: Usage | None = None) -> None:
        """Say why.

        Args:
            message: One sentence with the thing, the value and the way out.
            cause: The same for programs.
            usage: What the failed calls cost.
        """
        super().__init__(message)
        self.cause = cause
        self.usage = usage or Usage()


def is_spent(error: BaseException) -> bool:
    """Tell whether an error says that a budget is used up: then no later call will do better."""
    return isinstance(error, LLMError) and error.cause == "budget"


class LanguageModel(Protocol):
    """What samplers and planners need of a model; `client.Client` is the real one."""

    @property
    def name(self) -> str:
        """The model's name."""

    @property
    def has_logprobs(self) -> bool:
        """Whether `weigh` works with it."""

    def ask(
        self,
        messages: Sequence[Message],
        schema: type[T],
        *,
        purpose: str,
        max_tokens: int = 1024,
        temperature: float = 0.7,
        seconds: float | None = None,
    ) -> Answer[T]:
        """Return an answer that is an instance of `schema`.

        Args:
            messages: The conversation so far.
            schema: A pydantic model; its docstrings and field descriptions reach the model.
            purpose: What the call is metered under, such as `candidates`.
            max_tokens: Longest answer.
            temperature: Randomness of the answer, in [0, 2].
            seconds: Deadline of the whole call, repeats and the repair included.

        Raises:
            LLMError: If there is no valid answer after one repair, or none at all.
        """

    def sample(
        self,
        messages: Sequence[Message],
        count: int,
        *,
        purpose: str,
        max_tokens: int = 256,
        temperature: float = 0.7,
        seconds: float | None = None,
    ) -> Samples:
        """Return at most `count` independent free texts, at least one.

        Raises:
            LLMError: If there is none.
        """

    def weigh(
        self,
        messages: Sequence[Message],
        options: Sequence[str],
        *,
        purpose: str,
        seconds: float | None = None,
    ) -> Weights:
        """Return how probable each option is as the first token of the answer.

        Raises:
            LLMError: If the endpoint gives no log-probabilities, or only of other tokens. An
                option that is not among the likeliest tokens counts as impossible.
        """
