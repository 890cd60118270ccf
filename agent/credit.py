"""How many trials a language model gets: as many as its trials so far have earned."""

from __future__ import annotations

from bisect import bisect_right, insort
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

_MEMORY = 0.9
"""What a trial still counts for when its source has had another one."""
_HANDICAP = 0.05
"""By how much the model must be better than the classical optimiser, which costs nothing."""
_LEAST_SHARE = 0.2
_PROBE_EVERY = 10
"""Trials after which a model without a share gets another chance."""
_WINDOW = 16
_LEAST_TRIALS = 4
_UNKNOWN = 0.5
_MODEL, _CLASSICAL = (0.5, 0.5), (2.5, 1.5)
"""Wins and losses that each source begins with; of the classical optimiser more is known."""
_EXAM_TRIALS, _CHANCE = 3.0, 0.3
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
    """What one source has achieved; older trials count less."""

    wins: float = 0.0
    losses: float = 0.0

    def after(self, merit: float) -> Record:
        """Return the record with one more trial, whose merit is in [0, 1]."""
        return Record(_MEMORY * self.wins + merit, _MEMORY * self.losses + 1 - merit)


def records(
    turns: Sequence[Turn], refused: int = 0, exam: float | None = None
) -> tuple[Record, Record]:
    """Return the records of the language model and of the classical optimiser.

    A trial's merit is 1 if it is better than all before it, 0 if it is no better than their median,
    and between them the square of the way. The first four show only what the values are.

    Args:
        turns: The trials, oldest first.
        refused: How often the model was asked in vain, or for nothing that was worth a trial; each
            counts as a trial without merit.
        exam: The rank correlation of what the model predicted of trials that it was not shown, in
            [-1, 1]; None if it was not examined. It counts as three trials, a wrong order as six.
    """
    model, classical = Record(*_MODEL), Record(*_CLASSICAL)
    if exam is not None:
        # With few trials, chance alone often gives some correlation.
        merit = _EXAM_TRIALS * max(exam - _CHANCE, 0.0) / (1 - _CHANCE)
        wrong = _EXAM_TRIALS * max(-exam, 0.0)
        model = Record(model.wins + merit, model.losses + _EXAM_TRIALS - merit + wrong)
    seen: list[float] = []
    for turn in turns:
        if turn.ended and len(seen) >= _LEAST_TRIALS:
            beaten = 0 if turn.loss is None else len(seen) - bisect_right(seen, turn.loss)
            merit = max(0.0, 2 * beaten / len(seen) - 1) ** 2
            if turn.by == "model":
                model = model.after(merit)
            elif turn.by == "classical":
                classical = classical.after(merit)
        if turn.loss is not None:
            insort(seen, turn.loss)
    for _ in range(refused):
        model = model.after(0.0)
    return model, classical


def share_of(model: Record, classical: Record) -> float:
    """Return the share of the next trials that the language model gets.

    It is the probability that its trials win more often than the classical optimiser's, by more
    than a handicap (Thompson sampling, 1933, by its expectation). Where that is less than a fifth
    it is 0, and only a probe now and then gives the model another chance.
    """
    rng = np.random.default_rng(0)
    # A record fades to nothing, and a source without trials may be anything.
    ours = rng.beta(_UNKNOWN + model.wins, _UNKNOWN + model.losses, _DRAWS)
    theirs = rng.beta(_UNKNOWN + classical.wins, _UNKNOWN + classical.losses, _DRAWS)
    share = float(np.mean(ours > theirs + _HANDICAP))
    return share if share >= _LEAST_SHARE else 0.0


def is_models_turn(turns: Sequence[Turn], refused: int = 0, exam: float | None = None) -> bool:
    """Tell whether the next trial is the language model's.

    It is if the model has had less than its share of the newest trials.

    Args:
        turns: The trials so far, running ones included, oldest first.
        refused: As in `records`.
        exam: As in `records`.
    """
    share = share_of(*records(turns, refused, exam))
    taken = [turn.by == "model" for turn in turns if turn.by != "nobody"]
    if share == 0.0:
        return len(taken) >= _PROBE_EVERY and not any(taken[-_PROBE_EVERY:])
    newest = taken[-_WINDOW:]
    return sum(newest) < share * (len(newest) + 1)
