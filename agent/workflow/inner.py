"""The numbers inside a workflow: tuned by the classical optimiser, never by a language model."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ...tools.space import Configuration, SearchSpace


def tuned(
    space: Mapping[str, Any],
    score: Callable[[Sequence[Configuration]], Sequence[float]],
    *,
    trials: int = 8,
    at_once: int = 4,
    seed: int = 0,
) -> tuple[Configuration, float]:
    """Return the best configuration that so many trials find, and its score.

    With the same space, scores and seed it is the same one, so that two edits are compared on equal
    terms.

    Args:
        space: A search space as `SearchSpace` reads it.
        score: From configurations to their scores; more is better. It is given several, since a
            call of the sandbox costs more than the training of a small model.
        trials: How many are tried, >= 1.
        at_once: How many are given to `score` at a time, >= 1.
        seed: Seed of what is tried.
    """
    import optuna

    from ...tools.quiet import quiet
    from ..classical import ClassicalSampler

    searched = SearchSpace.model_validate(dict(space))
    best: tuple[Configuration, float] = ({}, float("-inf"))
    with quiet():
        sampler = ClassicalSampler(searched, seed=seed)
        study = optuna.create_study(direction="maximize", sampler=sampler)
        for begun in range(0, trials, at_once):
            asked = [study.ask(searched.to_optuna()) for _ in range(min(at_once, trials - begun))]
            configurations = [searched.clip(trial.params) for trial in asked]
            for trial, configuration, value in zip(
                asked, configurations, score(configurations), strict=True
            ):
                study.tell(trial, value)
                if value > best[1]:
                    best = configuration, value
    return best
