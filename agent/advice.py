"""A language model's ideas for a study: made in one go, used one by one until they are stale."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from ..tools.space import Configuration
from .llambo.admission import Fault
from .llambo.asking import Conversation
from .llambo.calibration import Pair, calibrate, pairs_of
from .llambo.candidates import SOURCE, propose_candidates, require
from .llambo.context import History, Problem
from .llambo.geometry import NEAR, nearest
from .llambo.method import LEAST_CANDIDATES, LEAST_TRIALS, Interval, Suggestion
from .llambo.past import Neighbour
from .llambo.predictions import Predictions
from .llambo.shown import candidates_wanted
from .llambo.surrogate import TableSurrogate, held_out
from .llambo.warmstart import warm_start
from .llm.answers import LanguageModel, Usage
from .referee import Referee

WARM_START = "warm start"
"""The source of a trial that the model proposed before it knew enough results."""
MODEL_SOURCES = frozenset({SOURCE, WARM_START})
"""The sources of trials that a language model proposed."""

EXAM_TRIALS = 5
"""Complete trials that an exam needs."""
_FRESH_TRIALS = 4
"""Results after which ideas are stale, also without a new best one."""
_LEAST_TO_JUDGE = 5
_PRIOR_TRUST, _PRIOR_PAIRS = 0.5, 3.0
_Z90 = 1.2816


@dataclass(frozen=True)
class Exam:
    """How well a language model predicted trials that it was not shown."""

    correlation: float
    """Rank correlation with what came out, in [-1, 1]."""
    usage: Usage
    faults: Mapping[Fault, int]


@dataclass(frozen=True)
class Advice:
    """Configurations that a language model proposes, with what it expects of them."""

    candidates: tuple[Configuration, ...]
    source: str
    why: str
    reasons: tuple[str, ...] = ()
    """Why each of a warm start is proposed."""
    predictions: Predictions | None = None
    """Before calibration; None in a warm start."""
    seen: int = 0
    """Complete trials in the history that it comes from."""
    best: float | None = None
    """The best value in it."""
    prompts: tuple[str, ...] = ()
    usage: Usage = field(default_factory=Usage)
    """What it cost; a trial that is proposed from it later costs nothing more."""
    faults: Mapping[Fault, int] = field(default_factory=dict)

    def is_fresh(self, problem: Problem, history: History) -> bool:
        """Tell whether a history has brought nothing that would change it."""
        if self.source == WARM_START:
            return len(history.complete) < LEAST_TRIALS
        best = history.best(problem) if history.values else None
        return self.best == best and len(history.complete) - self.seen < _FRESH_TRIALS


def advise(
    llm: LanguageModel,
    problem: Problem,
    history: History,
    *,
    seed: int,
    start_up: int,
    past: Sequence[Neighbour] = (),
    left: int | None = None,
    seconds: float | None = None,
) -> Advice:
    """Ask a language model for ideas: a warm start first, then candidates with predictions.

    Args:
        llm: The model; it is asked once or twice.
        problem: What is optimised.
        history: The trials so far.
        seed: Seed of the order in which trials are shown.
        start_up: Configurations of a warm start.
        past: Earlier studies that are near; a warm start begins with what they found.
        left: How many trials are left, if that is known.
        seconds: Deadline of each request.

    Raises:
        LLMError: If the model gives no answer, or too few usable configurations.
    """
    conversation = Conversation(llm, seconds)
    with conversation.accounted():
        advice = _ideas(conversation, problem, history, seed, start_up, past, left)
    return replace(
        advice,
        seen=len(history.complete),
        best=history.best(problem) if history.values else None,
        prompts=tuple(conversation.prompts),
        usage=conversation.usage,
        faults=dict(+conversation.faults),
    )


def _ideas(
    conversation: Conversation,
    problem: Problem,
    history: History,
    seed: int,
    start_up: int,
    past: Sequence[Neighbour],
    left: int | None,
) -> Advice:
    if len(history.complete) < LEAST_TRIALS:
        warm = warm_start(conversation, problem, start_up, seed=seed, past=past)
        if warm.error is not None:
            raise warm.error
        starts = [start for start in warm.starts if start.origin in ("past study", "llm")]
        configurations = tuple(start.configuration for start in starts)
        reasons = tuple(start.reason for start in starts)
        return Advice(configurations, WARM_START, "", reasons)
    wanted = candidates_wanted(problem, history)
    proposed = propose_candidates(conversation, problem, history, wanted, seed=seed, left=left)
    require(proposed.configurations, LEAST_CANDIDATES, conversation.faults)
    surrogate = TableSurrogate(conversation, problem, history, seed)
    predictions = surrogate.predict(proposed.configurations)
    said = f": {proposed.why}" if proposed.why else ""
    why = f"aimed at {proposed.target}{said}"
    return Advice(proposed.configurations, SOURCE, why, predictions=predictions)


def examine(
    llm: LanguageModel,
    problem: Problem,
    history: History,
    *,
    seed: int,
    seconds: float | None = None,
) -> Exam:
    """Have a language model predict trials that it is not shown, each half from the other.

    Trials are dear and predictions are not: who cannot tell good configurations from bad ones need
    not be given trials to show it.

    Args:
        llm: The model; it is asked twice.
        problem: What is optimised.
        history: At least `EXAM_TRIALS` complete trials.
        seed: Seed of the order in which trials are shown.
        seconds: Deadline of each request.

    Raises:
        LLMError: If the model gives no answer.
    """
    conversation = Conversation(llm, seconds)

    def surrogate(known: History) -> TableSurrogate:
        return TableSurrogate(conversation, problem, known, seed)

    with conversation.accounted():
        pairs = held_out(surrogate, history, folds=2)
    return Exam(correlation_of(pairs), conversation.usage, dict(+conversation.faults))


def pick(advice: Advice, problem: Problem, history: History, *, seed: int) -> Suggestion | None:
    """Return the idea that is best by the model and by a Gaussian process together.

    Both rank the candidates by expected improvement. The model's ranking counts by how well its
    earlier predictions had the order of what came out.

    Returns:
        None if no idea is left, or none is worth more to the Gaussian process than an arbitrary
        configuration.
    """
    tried = [o.configuration for o in history.observations]
    new = [
        i
        for i, configuration in enumerate(advice.candidates)
        if nearest(problem.space, configuration, tried) >= NEAR
    ]
    if not new:
        return None
    candidates = [advice.candidates[i] for i in new]
    merit = np.zeros(len(new))
    if len(history.complete) >= _LEAST_TO_JUDGE:
        losses = [problem.sign * value for value in history.values]
        complete = [o.configuration for o in history.complete]
        referee = Referee(problem.space, complete, losses, seed)
        gains = referee.improvement(candidates)
        if gains.max() < referee.usual():
            return None
        merit = _ranks(gains)
    told = Suggestion(
        {},
        advice.source,
        f"{advice.why}, of {len(candidates)} candidates",
        prompts=advice.prompts,
        usage=advice.usage,
        faults=advice.faults,
    )
    if advice.predictions is None:
        chosen = int(np.argmax(merit))
        return replace(told, configuration=candidates[chosen], reason=advice.reasons[new[chosen]])
    pairs = pairs_of(history)
    calibration = calibrate(pairs)
    raw = Predictions(advice.predictions.mean[new], advice.predictions.sd[new])
    predicted = calibration.apply(raw)
    gains = predicted.expected_improvement(history.best(problem), problem.sign)
    trust = _trust(pairs)
    chosen = int(np.argmax((1 - trust) * merit + trust * _ranks(gains)))
    mean, sd = float(predicted.mean[chosen]), float(predicted.sd[chosen])
    return replace(
        told,
        configuration=candidates[chosen],
        predicted=Interval(mean, mean - _Z90 * sd, mean + _Z90 * sd),
        raw=(float(raw.mean[chosen]), float(raw.sd[chosen])),
        calibration=calibration,
    )


def _ranks(values: NDArray[np.float64]) -> NDArray[np.float64]:
    from scipy.stats import rankdata

    return np.asarray(rankdata(values) / len(values))


def _trust(pairs: list[Pair]) -> float:
    """Return what the model's predictions count for, in [0, 1]: their rank correlation so far."""
    known = len(pairs) * max(correlation_of(pairs), 0.0)
    return (_PRIOR_PAIRS * _PRIOR_TRUST + known) / (_PRIOR_PAIRS + len(pairs))


def correlation_of(pairs: Sequence[Pair]) -> float:
    """Return the rank correlation of predictions with what came out; 0 if either is constant."""
    from scipy.stats import spearmanr

    if len({pair.mean for pair in pairs}) < 2 or len({pair.value for pair in pairs}) < 2:
        return 0.0
    return float(spearmanr([p.mean for p in pairs], [p.value for p in pairs]).statistic)
