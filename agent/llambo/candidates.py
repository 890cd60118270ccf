"""Candidates conditioned on a target value (arXiv:2402.03921, section 6)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ...prompts.loading import render
from ...tools.space import Configuration
from ..llm.answers import LLMError
from .admission import Fault, admit, object_in
from .asking import Conversation
from .context import History, Problem
from .forms import configurations_form
from .geometry import NEAR, nearest
from .serialisation import (
    describe_space,
    describe_task,
    digits_of,
    history_table,
    rounded,
)
from .shown import shuffled, table_inputs

SOURCE = "llambo"
"""The source of a trial that came from a candidate."""

FIRST_ALPHA = 0.1
LEAST_ALPHA = 0.0125
MOST_ALPHA = 0.4

_TOKENS = 60
_MOST_WHY = 160
_MOST_EXAMPLES = 100


@dataclass(frozen=True)
class Candidates:
    """Configurations that could reach a target."""

    configurations: tuple[Configuration, ...]
    target: float
    why: str = ""
    """What led to them in the model's words; untrusted."""


def alpha_of(problem: Problem, history: History) -> float:
    """Return how far beyond the best value to aim, as a share of the range of the values.

    It begins at 0.1, the value of the paper's code; a trial of this source that became the best one
    doubles it, any other one halves it, within [0.0125, 0.4].
    """
    alpha, best = FIRST_ALPHA, float("inf")
    for observation in history.observations:
        if observation.outcome == "running":
            continue
        loss = float("inf")
        if observation.value is not None:
            loss = problem.sign * observation.value
        if observation.source == SOURCE:
            alpha *= 2 if loss < best else 0.5
            alpha = min(max(alpha, LEAST_ALPHA), MOST_ALPHA)
        best = min(best, loss)
    return alpha


def target_of(problem: Problem, history: History, alpha: float) -> float:
    """Return the value to aim at: beyond the best one by a share of the range of the values.

    Values that all lie in [0, 1], or are all positive where smaller is better, look like shares or
    losses: then a target on or beyond the limit is moved to half way between it and the best value.

    Args:
        problem: What is optimised.
        history: At least one complete trial.
        alpha: The share.
    """
    values, best = history.values, history.best(problem)
    span = max(values) - min(values) or 0.1 * abs(best)
    target = best - problem.sign * alpha * span
    if problem.direction == "maximize" and min(values) >= 0 and max(values) <= 1 <= target:
        target = (best + 1) / 2
    elif problem.direction == "minimize" and min(values) >= 0 >= target:
        target = best / 2
    return rounded(target, digits_of(values))


def propose_candidates(
    conversation: Conversation,
    problem: Problem,
    history: History,
    count: int,
    *,
    seed: int,
    alpha: float | None = None,
    left: int | None = None,
) -> Candidates:
    """Ask for candidates, all in one request.

    Args:
        conversation: The model.
        problem: What is optimised.
        history: At least one complete trial.
        count: How many candidates to ask for.
        seed: Seed of the order in which trials are shown.
        alpha: How far to aim beyond the best value; None to adapt it to the history.
        left: How many trials are left, if that is known.

    Raises:
        LLMError: If the model gives no answer.
    """
    target = target_of(problem, history, alpha_of(problem, history) if alpha is None else alpha)
    prompt = render(
        "candidates",
        **table_inputs(problem, history, seed),
        best=rounded(history.best(problem), digits_of(history.values)),
        target=target,
        maximize=problem.direction == "maximize",
        count=count,
        left=left,
    )
    form = conversation.ask(
        prompt,
        configurations_form(problem.space),
        max_tokens=200 + _TOKENS * count,
        temperature=0.8,
    )
    kept = _keep(conversation, problem, history, form.configurations, count)
    why = " ".join(form.why.split())[:_MOST_WHY] if isinstance(form.why, str) else ""
    return Candidates(kept, target, why)


def sample_candidates(
    conversation: Conversation,
    problem: Problem,
    history: History,
    count: int,
    *,
    seed: int,
    alpha: float = FIRST_ALPHA,
    permutations: int = 2,
) -> Candidates:
    """Sample candidates as the paper does: one an answer, over permutations of the examples.

    Args:
        conversation: The model.
        problem: What is optimised.
        history: At least one complete trial.
        count: How many candidates to sample.
        seed: Seed of the permutations.
        alpha: How far to aim beyond the best value.
        permutations: Orders of the examples, one request each.

    Raises:
        LLMError: If the model gives no answer.
    """
    target = target_of(problem, history, alpha)
    known = history.complete[-_MOST_EXAMPLES:]
    prompts = [
        render(
            "candidate",
            task=describe_task(problem),
            space=describe_space(problem.space),
            history=history_table(problem, shuffled(known, seed + i)),
            target=target,
        )
        for i in range(permutations)
    ]
    texts = conversation.sample(
        prompts, -(-count // permutations), max_tokens=_TOKENS * 4, temperature=0.8
    )
    answers = [object_in(text) for each in texts for text in each]
    return Candidates(_keep(conversation, problem, history, answers, count), target)


def require(candidates: Sequence[Configuration], least: int, faults: Counter[Fault]) -> None:
    """Check that there are enough candidates.

    Raises:
        LLMError: If there are not, with the most frequent fault.
    """
    if len(candidates) < least:
        worst = next((fault for fault, _ in faults.most_common(1)), "nothing was proposed")
        raise LLMError(
            f"only {len(candidates)} usable candidates of at least {least} ({worst}); "
            "the classical sampler answers",
            "malformed",
        )


def _keep(
    conversation: Conversation,
    problem: Problem,
    history: History,
    answers: Sequence[Any],
    count: int,
) -> tuple[Configuration, ...]:
    """Return the valid candidates that are new: far from all trials, and from each other."""
    admitted = admit(problem.space, answers, most=2 * count)
    conversation.faults.update(admitted.faults)
    tried = [o.configuration for o in history.observations]
    kept: list[Configuration] = []
    for configuration in admitted.configurations:
        if nearest(problem.space, configuration, [*tried, *kept]) < NEAR:
            conversation.faults["near another"] += 1
        else:
            kept.append(configuration)
    return tuple(kept)
