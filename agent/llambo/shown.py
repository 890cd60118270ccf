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
    running_table,
    select,
)

BEST = 10
SPREAD = 10

T = TypeVar("T")


def shuffled(items: Sequence[T], seed: int) -> list[T]:
    """Return the items in an order that depends on the seed and their number only."""
    order = np.random.default_rng([seed, len(items)]).permutation(len(items))
    return [items[i] for i in order]


def table_inputs(problem: Problem, history: History, seed: int) -> dict[str, str]:
    """Return what the prompts `candidates` and `scores` begin with, the same text for both.

    The best trials and some that are far from them are shown, not all, in a shuffled order.
    """
    shown: Sequence[Observation] = shuffled(select(problem, history, BEST, SPREAD), seed)
    return {
        "task": describe_task(problem),
        "space": describe_space(problem.space),
        "history": history_table(problem, shown),
        "failures": failures_table(problem, history),
        "running": running_table(problem, history),
    }
