"""What a model's tokens cost, if that is known."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

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
    """Return what a model costs: what the settings say, else the table, else None."""
    if settings.input_dollars is not None and settings.output_dollars is not None:
        return Price(settings.input_dollars, settings.output_dollars)
    # The same name may cost something else at another endpoint.
    return _table().get((settings.host, settings.model))


@cache
def _table() -> dict[tuple[str, str], Price]:
    text = files(__package__).joinpath("prices.toml").read_text(encoding="utf-8")
    return {
        (prices["host"], model): Price(**price)
        for prices in tomllib.loads(text)["list"]
        for model, price in prices["models"].items()
    }
