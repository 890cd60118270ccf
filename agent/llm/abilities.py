"""What an endpoint can do, learned from what it refuses; and requests that fit it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

from pydantic import BaseModel

from .answers import Message
from .structured import ANSWER, instruction, json_schema

Mode = Literal["schema", "tool", "json", "text"]
"""How a model is held to a schema, from the strictest way to none."""


@dataclass(frozen=True)
class Wish:
    """What is wanted of a model, whatever its endpoint can do."""

    messages: Sequence[Message]
    max_tokens: int
    temperature: float
    schema: type[BaseModel] | None = None
    count: int = 1
    seed: int | None = None
    """Makes a request for one of several answers differ from those for the others."""
    weighs: bool = False


@dataclass(frozen=True)
class Abilities:
    """What is not known to be missing."""

    schema: bool = True
    tool: bool = True
    json: bool = True
    logprobs: bool = True
    most_logprobs: int = 20
    several: bool = True
    """Whether `n` counts."""
    seed: bool = True
    temperature: bool = True
    max_tokens: bool = True
    """If not, it is called `max_completion_tokens`."""

    def __and__(self, other: Abilities) -> Abilities:
        """Return what neither is known to miss."""
        one, two = asdict(self), asdict(other)
        return Abilities(**{name: min(one[name], two[name]) for name in one})

    @property
    def mode(self) -> Mode:
        """The strictest way that is left."""
        if self.schema:
            return "schema"
        if self.tool:
            return "tool"
        return "json" if self.json else "text"

    def request(self, wish: Wish) -> dict[str, Any]:
        """Return the fields of a chat request."""
        messages = [{"role": m.role, "content": m.content} for m in wish.messages]
        limit = "max_tokens" if self.max_tokens else "max_completion_tokens"
        request: dict[str, Any] = {"messages": messages, limit: wish.max_tokens}
        if self.temperature:
            request["temperature"] = wish.temperature
        if wish.count > 1 and self.several:
            request["n"] = wish.count
        if wish.seed is not None and self.seed:
            request["seed"] = wish.seed
        if wish.weighs:
            request |= {"logprobs": True, "top_logprobs": self.most_logprobs}
        if wish.schema is not None:
            request |= self._structure(wish.schema, messages)
        return request

    def _structure(self, schema: type[BaseModel], messages: list[dict[str, str]]) -> dict[str, Any]:
        """Return what holds a model to a schema; where it must be told, it is added to the end."""
        described = json_schema(schema)
        if self.mode == "schema":
            form = {"name": ANSWER, **described}
            return {"response_format": {"type": "json_schema", "json_schema": form}}
        if self.mode == "tool":
            function = {
                "name": ANSWER,
                "description": "Gives the answer.",
                "parameters": described["schema"],
                "strict": described["strict"],
            }
            choice = {"type": "function", "function": {"name": ANSWER}}
            return {
                "tools": [{"type": "function", "function": function}],
                "tool_choice": choice,
            }
        last = messages[-1]
        messages[-1] = {**last, "content": f"{last['content']}\n\n{instruction(schema)}"}
        return {"response_format": {"type": "json_object"}} if self.mode == "json" else {}

    def without(self, request: Mapping[str, Any], complaint: str) -> Abilities | None:
        """Return what is left after a refusal, None if nothing in the request is to blame.

        Args:
            request: What was refused.
            complaint: The endpoint's words, with the parameter that it names.
        """
        suspects = [
            # Their names, whether they were sent, and what is left without them.
            (
                r"response_?format|json_?(schema|object)|structured|grammar",
                self._less_strict(request),
            ),
            (r"\btool|function", replace(self, tool=False) if "tools" in request else None),
            (r"logprob", self._fewer_logprobs(request, complaint)),
            (r"\bseed\b", replace(self, seed=False) if "seed" in request else None),
            (r"\bn\b|choices", replace(self, several=False) if "n" in request else None),
            (
                r"temperature",
                replace(self, temperature=False) if "temperature" in request else None,
            ),
            (
                r"max_(completion_)?tokens",
                replace(self, max_tokens=False) if "max_tokens" in request else None,
            ),
        ]
        named = [left for name, left in suspects if left and re.search(name, complaint, re.I)]
        # Some only say "bad request": then the most unusual thing is to blame.
        unusual = [left for _, left in suspects[:5] if left]
        return next(iter([*named, *unusual]), None)

    def _less_strict(self, request: Mapping[str, Any]) -> Abilities | None:
        kind = request.get("response_format", {}).get("type")
        if kind == "json_schema":
            return replace(self, schema=False)
        return replace(self, json=False) if kind == "json_object" else None

    def _fewer_logprobs(self, request: Mapping[str, Any], complaint: str) -> Abilities | None:
        if "logprobs" not in request:
            return None
        too_many = re.search(r"top_?logprobs", complaint, re.I) and self.most_logprobs > 5
        # Endpoints that limit them allow 5 at least.
        return replace(self, most_logprobs=5) if too_many else replace(self, logprobs=False)
