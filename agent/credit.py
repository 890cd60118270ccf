"""How many trials a language model gets: as many as its trials so far have earned."""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

_MEMORY = 0.9
"""What a trial still counts for when its source has had another one."""
_HANDICAP = 0.05
"""By how much the model must be better than the classical optimiser, which costs nothing."""
_LEAST_SHARE = 0.1
_PROBE_EVERY = 10
"""Trials after which a model without a share gets another chance."""
_WINDOW = 16
_LEAST_TRIALS = 4
_DRAWS = 512


@dataclass(frozen=True)
class Turn:
    """A trial, as far as credit goes."""

    by: Literal["model", "classical", "nobody"]
    """Who proposed it; nobody if a person did, or it is the default."""
    ended: bool = True
    loss: float | None = None
    """Smaller is better; None if it failed, or has not ended."""


@dataclass(frozen=True)
class Record:
    """What one source has achieved: wins and losses, older ones counting less."""

    wins: float = 0.0
    losses: float = 0.0

    def after(self, won: bool) -> Record:
        """Return the record with one more trial."""
        return Record(_MEMORY * self.wins + won, _MEMORY * self.losses + (not won))


def records(turns: Sequence[Turn], refused: int = 0) -> tuple[Record, Record]:
    """Return the records of the language model and of the classical optimiser.

    A trial wins that is better than three quarters of all before it. The first four show only what
    the values are.

    Args:
        turns: The trials, oldest first.
        refused: How often the model was asked in vain, or for nothing that was worth a trial; each
            counts as a loss.
    """
    model, classical = Record(), Record()
    seen: list[float] = []
    for turn in turns:
        if turn.ended and len(seen) >= _LEAST_TRIALS:
            won = turn.loss is not None and bisect_left(seen, turn.loss) < len(seen) / 4
            if turn.by == "model":
                model = model.after(won)
            elif turn.by == "classical":
                classical = classical.after(won)
        if turn.loss is not None:
            insort(seen, turn.loss)
    for _ in range(refused):
        model = model.after(won=False)
    return model, classical


def share_of(model: Record, classical: Record) -> float:
    """Return the share of the next trials that the language model gets.

    It is the probability that its trials win more often than the classical optimiser's, by more
    than a handicap, with uniform priors (Thompson sampling, 1933, by its expectation). Where that
    is less than a tenth it is 0, and only a probe now and then gives the model another chance.
    """
    rng = np.random.default_rng(0)
    ours = rng.beta(1 + model.wins, 1 + model.losses, _DRAWS)
    theirs = rng.beta(1 + classical.wins, 1 + classical.losses, _DRAWS)
    share = float(np.mean(ours > theirs + _HANDICAP))
    return share if share >= _LEAST_SHARE else 0.0


def is_models_turn(turns: Sequence[Turn], refused: int = 0) -> bool:
    """Tell whether the next trial is the language model's.

    It is if the model has had less than its share of the newest trials.

    Args:
        turns: The trials so far, running ones included, oldest first.
        refused: As in `records`.
    """
    share = share_of(*records(turns, refused))
    taken = [turn.by == "model" for turn in turns if turn.by != "nobody"]
    if share == 0.0:
        return not any(taken[-_PROBE_EVERY:])
    newest = taken[-_WINDOW:]
    return sum(newest) < share * (len(newest) + 1)
