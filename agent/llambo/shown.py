"""What of a history is shown, and in which order."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import numpy as np

from .context import History, Observation, Problem
from .serialisation import (
    describe_space,
    describe_task,
    failures_table,
    history_table,
    named,
    row,
    running_table,
    select,
)

_ROWS = (6, 20)
_CANDIDATES = (6, 12)
_BYTES = 900
"""What a history, or an answer with candidates, may take beyond its least number of rows."""

T = TypeVar("T")


def shuffled(items: Sequence[T], seed: int) -> list[T]:
    """Return the items in an order that depends on the seed and their number only."""
    order = np.random.default_rng([seed, len(items)]).permutation(len(items))
    return [items[i] for i in order]


def table_inputs(problem: Problem, history: History, seed: int) -> dict[str, str]:
    """Return what the prompts `candidates` and `scores` begin with, the same text for both.

    The best trials and as many that are far from them are shown, not all, in a shuffled order.
    """
    rows = _how_many(row(problem.space, history.complete[0].configuration, "0.1234"), *_ROWS)
    selected = select(problem, history, rows - rows // 2, rows // 2)
    shown: Sequence[Observation] = shuffled(selected, seed)
    return {
        "task": describe_task(problem),
        "space": describe_space(problem.space),
        "history": history_table(problem, shown),
        "failures": failures_table(problem, history),
        "running": running_table(problem, history),
    }


def candidates_wanted(problem: Problem, history: History) -> int:
    """Return how many candidates to ask for: more of short ones, so that an answer stays short."""
    return _how_many(named(history.complete[0].configuration), *_CANDIDATES)


def _how_many(text: str, least: int, most: int) -> int:
    return min(max(_BYTES // len(text.encode()), least), most)
