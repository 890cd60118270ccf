"""One step of LLAMBO (arXiv:2402.03921, section 3): candidates, predictions, the best of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from ...tools.space import Configuration
from ..llm.answers import Usage
from .admission import Fault
from .asking import Conversation
from .calibration import Calibration, calibrate, pairs_of
from .candidates import SOURCE, propose_candidates, require, sample_candidates
from .context import History, Problem
from .predictions import Surrogate
from .shown import candidates_wanted
from .surrogate import SampledSurrogate, TableSurrogate

Mode = Literal["fast", "paper"]
"""`fast`: two requests a trial. `paper`: the requests of the paper's code, 22 a trial."""

PAPER_CANDIDATES = 10
LEAST_CANDIDATES = 3
LEAST_TRIALS = 3
"""Complete trials without which there is nothing to learn from."""

_Z90 = 1.2816


@dataclass(frozen=True)
class Interval:
    """A prediction: its mean, and where 80% of the outcomes are expected."""

    mean: float
    low: float
    high: float


@dataclass(frozen=True)
class Suggestion:
    """A configuration to try, and all that is to be recorded of it."""

    configuration: Configuration
    source: str
    reason: str
    predicted: Interval | None = None
    raw: tuple[float, float] | None = None
    """Mean and standard deviation before calibration, which learns from them."""
    calibration: Calibration | None = None
    prompts: tuple[str, ...] = ()
    """The prompts that were used, as `id@version`."""
    usage: Usage = field(default_factory=Usage)
    faults: Mapping[Fault, int] = field(default_factory=dict)
    """What was wrong with the answers, and how often."""


def suggest(
    conversation: Conversation,
    problem: Problem,
    history: History,
    *,
    mode: Mode = "fast",
    seed: int,
    left: int | None = None,
    alpha: float | None = None,
    candidates: int | None = None,
) -> Suggestion:
    """Propose candidates, predict their values, return the one of highest expected improvement.

    Args:
        conversation: The model.
        problem: What is optimised.
        history: The trials so far, at least one of them complete.
        mode: `fast` or `paper`.
        seed: Seed of the order in which trials are shown.
        left: How many trials are left, if that is known.
        alpha: How far to aim beyond the best value, as a share of the values' range; None to adapt
            it to the history. The published method has a fixed one of its own.
        candidates: How many to ask for, at least 3; None for as many as the space needs.

    Raises:
        LLMError: If the model gives no answer, or too few usable candidates.
    """
    surrogate: Surrogate
    if mode == "fast":
        proposed = propose_candidates(
            conversation,
            problem,
            history,
            candidates or candidates_wanted(problem, history),
            seed=seed,
            left=left,
            alpha=alpha,
        )
        surrogate = TableSurrogate(conversation, problem, history, seed)
    else:
        proposed = sample_candidates(conversation, problem, history, PAPER_CANDIDATES, seed=seed)
        surrogate = SampledSurrogate(conversation, problem, history, seed)
    require(proposed.configurations, LEAST_CANDIDATES, conversation.faults)
    raw = surrogate.predict(proposed.configurations)
    # The paper has no calibration, and its baseline none either.
    calibration = calibrate(pairs_of(history)) if mode == "fast" else Calibration()
    predictions = calibration.apply(raw)
    gain = predictions.expected_improvement(history.best(problem), problem.sign)
    chosen = int(np.argmax(gain))
    mean, sd = float(predictions.mean[chosen]), float(predictions.sd[chosen])
    said = f": {proposed.why}" if proposed.why else ""
    return Suggestion(
        proposed.configurations[chosen],
        SOURCE,
        f"best of {len(proposed.configurations)} candidates for {proposed.target}{said}",
        Interval(mean, mean - _Z90 * sd, mean + _Z90 * sd),
        (float(raw.mean[chosen]), float(raw.sd[chosen])),
        calibration,
        tuple(conversation.prompts),
        conversation.usage,
        dict(+conversation.faults),
    )
