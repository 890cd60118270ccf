"""What a simulated language model thinks with: a function from a request to its answers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from ...agent.llm.answers import Message


@dataclass(frozen=True)
class Called:
    """A call of a tool that a mind makes."""

    name: str
    arguments: Mapping[str, Any]


@dataclass(frozen=True)
class Request:
    """What reaches a mind of a chat request."""

    messages: tuple[Message, ...]
    schema: Mapping[str, Any] | None = None
    """The JSON schema that the answer must follow, if one was asked for."""
    count: int = 1
    """How many answers are wanted."""
    weighs: bool = False
    """Whether log-probabilities of the first token are wanted."""
    tools: tuple[str, ...] = ()
    """Names of the tools that it may call, if it wants to."""
    answered: tuple[str, ...] = ()
    """Of each message, the name of the tool whose answer it is; empty for others."""


@dataclass(frozen=True)
class Reply:
    """What a mind answers."""

    texts: tuple[str, ...]
    """As many as were asked for."""
    probabilities: Mapping[str, float] | None = None
    """Of first tokens, if they were asked for and the mind has any."""
    calls: tuple[Called, ...] = ()
    """Tools that it calls besides."""


Mind = Callable[[Request], Reply]
"""Thinks in the server's thread; must be deterministic in the request and its own seed."""
