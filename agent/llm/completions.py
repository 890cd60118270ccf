"""The part of a chat response that counts, of which nothing is certain before it was read here."""

from __future__ import annotations

import json
import math
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator


def _text(content: Any) -> Any:
    """Join the texts of an answer that comes in parts, without those that are thoughts."""
    if not isinstance(content, list):
        return content
    parts = [part for part in content if isinstance(part, dict) and part.get("type") == "text"]
    return "".join(str(part.get("text", "")) for part in parts)


def _json(arguments: Any) -> Any:
    """Return arguments as text, which some endpoints give as an object."""
    return json.dumps(arguments) if isinstance(arguments, dict) else arguments


class Function(BaseModel):
    """What a tool is called with."""

    arguments: Annotated[str, BeforeValidator(_json)] = ""


class ToolCall(BaseModel):
    """A call of a tool."""

    function: Function = Function()


class Said(BaseModel):
    """What the model says."""

    content: Annotated[str | None, BeforeValidator(_text)] = None
    refusal: str | None = None
    tool_calls: list[ToolCall] | None = None


class Alternative(BaseModel):
    """A token that might have come."""

    token: str
    logprob: float | None = None
    """Some endpoints write null, or minus infinity, for what cannot come."""


class Token(BaseModel):
    """A token that came, and what might have come instead."""

    token: str
    top_logprobs: list[Alternative] | None = None


class Logprobs(BaseModel):
    """What came, token by token."""

    content: list[Token] | None = None


class Choice(BaseModel):
    """One answer."""

    message: Said
    finish_reason: str | None = None
    logprobs: Logprobs | None = None

    @property
    def text(self) -> str:
        """What it says, in a call of a tool or without."""
        calls = self.message.tool_calls
        return calls[0].function.arguments if calls else self.message.content or ""

    @property
    def was_cut_off(self) -> bool:
        """Whether it ended for want of tokens."""
        return self.finish_reason == "length"

    @property
    def refusal(self) -> str | None:
        """Why the model, or what watches over it, does not answer."""
        if self.finish_reason == "content_filter":
            return self.message.refusal or "its filter stopped it"
        return self.message.refusal or None

    def first_token(self) -> dict[str, float] | None:
        """Return the log-probabilities of what the first token that is no space could have been."""
        tokens = (self.logprobs.content if self.logprobs else None) or []
        first = next((token for token in tokens if token.token.strip()), None)
        found = {
            other.token: other.logprob
            for other in (first.top_logprobs if first else None) or []
            if other.logprob is not None and math.isfinite(other.logprob)
        }
        return found or None


class Completion(BaseModel):
    """A chat response."""

    choices: list[Choice]
