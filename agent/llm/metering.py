"""What language models have cost, by purpose: reserved before a request, settled after it."""

from __future__ import annotations

import json
import math
import threading
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from .answers import LLMError, Usage
from .prices import Price

_BYTES_PER_TOKEN = 3
_UNSAID = frozenset({"role", "type", "id"})
_LIKELY_ANSWER = 1024
"""Tokens that are reserved for an answer whose length is not limited."""


@dataclass(frozen=True)
class Caps:
    """The most that may be spent; None for no limit."""

    tokens: int | None = None
    dollars: float | None = None


class Meter:
    """Counts tokens and dollars; every method may be called from any thread."""

    def __init__(self, price: Price | None, caps: Caps, spent: Usage) -> None:
        """Begin to count.

        Args:
            price: What the model costs; None if unknown.
            caps: The most that may be spent.
            spent: What counts against the caps already.
        """
        self._price = price
        self._before = spent
        self._limits = [(caps, Usage())]
        """Caps, and what of the total does not count against them."""
        self._reserved = Usage()
        self._spent: dict[str, Usage] = defaultdict(Usage)
        self._lock = threading.Lock()

    def limit(self, caps: Caps, used: Usage) -> None:
        """Count from now on against further caps, too, in place of those that were given so before.

        Args:
            caps: The most that may be spent.
            used: What counts against them already.
        """
        with self._lock:
            self._limits[1:] = [(caps, _less(self._total(), used))]

    def by_purpose(self) -> dict[str, Usage]:
        """Return what was spent, by purpose."""
        with self._lock:
            return dict(self._spent)

    def total(self) -> Usage:
        """Return all that was spent, with what was before."""
        with self._lock:
            return self._total()

    def _total(self) -> Usage:
        return sum(self._spent.values(), self._before)

    def priced(self, prompt_tokens: int, completion_tokens: int, calls: int = 1) -> Usage:
        """Return a usage with its price."""
        dollars = self._price.of(prompt_tokens, completion_tokens) if self._price else None
        return Usage(prompt_tokens, completion_tokens, dollars, calls)

    def reserve(self, body: Mapping[str, Any]) -> Usage:
        """Set aside what a request may cost at most, as far as can be told.

        Raises:
            LLMError: If that is more than is left.
        """
        longest = body.get("max_completion_tokens") or body.get("max_tokens") or _LIKELY_ANSWER
        likely = self.priced(prompt_tokens(body), longest * (body.get("n") or 1))
        with self._lock:
            self._check(likely)
            self._reserved += likely
        return likely

    def _check(self, likely: Usage) -> None:
        for caps, apart in self._limits:
            _check(caps, _less(self._total() + self._reserved, apart), likely)

    def settle(self, purpose: str, reserved: Usage, spent: Usage) -> None:
        """Book what a request has truly cost, and give the reservation back."""
        with self._lock:
            self._reserved = _less(self._reserved, reserved)
            self._spent[purpose] += spent


def _check(caps: Caps, used: Usage, likely: Usage) -> None:
    """See that a call fits into caps.

    Raises:
        LLMError: If it may cost more than is left.
    """
    tokens, dollars = caps.tokens, caps.dollars
    if tokens is not None and used.tokens + likely.tokens > tokens:
        raise LLMError(
            f"the budget of {tokens} tokens has {max(0, tokens - used.tokens)} left, and the "
            f"next call may take {likely.tokens}; raise it to go on with the language model",
            "budget",
        )
    if dollars is None:
        return
    if likely.dollars is None or used.dollars is None:
        raise LLMError(
            f"the model's price is unknown, so a budget of {dollars:g} dollars cannot be kept; "
            "set LUTHIER_LLM_INPUT_DOLLARS and LUTHIER_LLM_OUTPUT_DOLLARS, for a million "
            "tokens each, or a budget of tokens instead",
            "budget",
        )
    if used.dollars + likely.dollars > dollars:
        raise LLMError(
            f"the budget of {dollars:g} dollars has {max(0.0, dollars - used.dollars):.4f} "
            f"left, and the next call may take {likely.dollars:.4f}; raise it to go on with "
            "the language model",
            "budget",
        )


def _less(one: Usage, other: Usage) -> Usage:
    unknown = one.dollars is None or other.dollars is None
    return Usage(
        one.prompt_tokens - other.prompt_tokens,
        one.completion_tokens - other.completion_tokens,
        None if unknown else (one.dollars or 0.0) - (other.dollars or 0.0),
        one.calls - other.calls,
    )


def count_tokens(size: int) -> int:
    """Return how many tokens so many bytes of text are, for want of a better count."""
    return math.ceil(size / _BYTES_PER_TOKEN)


def prompt_tokens(body: Mapping[str, Any]) -> int:
    """Return about how many tokens a request has."""
    size = _size([body.get("messages"), body.get("prompt")])
    forms = [body[name] for name in ("tools", "response_format") if body.get(name)]
    return count_tokens(size + sum(len(json.dumps(form).encode()) for form in forms))


def answer_tokens(answer: Any) -> int:
    """Return about how many tokens the texts of a response, or of a piece of one, have."""
    return count_tokens(answer_size(answer))


def answer_size(answer: Any) -> int:
    """Return how many bytes the texts of a response, or of a piece of one, have."""
    choices = answer.get("choices") if isinstance(answer, Mapping) else None
    said = [
        choice.get("message") or choice.get("delta") or choice.get("text")
        for choice in (choices if isinstance(choices, list) else [])
        if isinstance(choice, Mapping)
    ]
    return _size(said)


def _size(value: Any) -> int:
    """Return the size of what is said in a piece of JSON."""
    if isinstance(value, str):
        return len(value.encode("utf-8", "surrogatepass"))
    if isinstance(value, Mapping):
        return sum(_size(part) for name, part in value.items() if name not in _UNSAID)
    return sum(map(_size, value)) if isinstance(value, list) else 0


def usage_in(answer: Any) -> tuple[int, int] | None:
    """Return the tokens of prompt and completion that an endpoint names, None if it does not."""
    usage = answer.get("usage") if isinstance(answer, Mapping) else None
    if not isinstance(usage, Mapping):
        return None
    prompt, completion = usage.get("prompt_tokens"), usage.get("completion_tokens", 0)
    # An endpoint's word is not trusted further than this.
    if all(type(count) is int and 0 <= count < 10**9 for count in (prompt, completion)):
        return prompt, completion  # type: ignore[return-value]
    return None
