"""What a model's tokens cost, if that is known."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

from .settings import Settings

_MILLION = 1_000_000


@dataclass(frozen=True)
class Price:
    """Dollars for a million tokens."""

    input: float
    output: float

    def of(self, prompt_tokens: int, completion_tokens: int) -> float:
        """Return the dollars for so many tokens."""
        return (self.input * prompt_tokens + self.output * completion_tokens) / _MILLION


def price_of(settings: Settings) -> Price | None:
    """Return what a model costs: what the settings say, else the table's line, else None."""
    if settings.input_dollars is not None and settings.output_dollars is not None:
        return Price(settings.input_dollars, settings.output_dollars)
    for line in _table():
        # The same name may cost something else at another endpoint.
        if (line["model"], line["host"]) == (settings.model, settings.host):
            return Price(line["input"], line["output"])
    return None


@cache
def _table() -> list[dict[str, Any]]:
    text = files(__package__).joinpath("prices.toml").read_text(encoding="utf-8")
    lines: list[dict[str, Any]] = tomllib.loads(text)["price"]
    return lines
