"""Language models as surrogates (arXiv:2402.03921, section 5): discriminative and generative.

All take examples in a shuffled order, since a model is swayed by the last ones, and all predict as
a Gaussian process does: a mean and a standard deviation a configuration.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import fmean, pstdev
from typing import Any

import numpy as np

from ...prompts.loading import Prompt, render
from ...tools.space import Configuration
from ..llm.answers import LLMError
from .admission import Fault, number_in
from .asking import Conversation
from .calibration import Calibration, Pair
from .context import History, Observation, Problem
from .forms import Scores
from .predictions import Predictions, Surrogate
from .serialisation import candidates_table, describe_space, describe_task, history_table, row
from .shown import shuffled, table_inputs

TOP = 0.25
"""Share of the trials that count as promising (the value of the paper's end-to-end runs)."""

_Z90 = 1.2816
_LEAST_SD = 1e-3
_MOST = 100.0
"""Standard deviations of the history that a prediction may lie away, and be wide."""
_MOST_EXAMPLES = 100
_TOKENS_OF_NUMBER = 12
_TOKENS_OF_ROW = 24


@dataclass(frozen=True)
class TableSurrogate:
    """Discriminative, in one request: means and quantiles of all candidates in one table.

    Section 5.1 with a stated interval in the place of the spread over samples.
    """

    conversation: Conversation
    problem: Problem
    history: History
    seed: int

    def predict(self, configurations: Sequence[Configuration]) -> Predictions:
        """Return what the values will probably be.

        Raises:
            LLMError: If the model gives no answer, or one on fewer than half of them.
        """
        inputs = table_inputs(self.problem, self.history, self.seed)
        prompt = render(
            "scores",
            **inputs,
            candidates=candidates_table(self.problem.space, configurations),
            count=len(configurations),
        )
        form = self.conversation.ask(
            prompt,
            Scores,
            max_tokens=200 + _TOKENS_OF_ROW * len(configurations),
            temperature=0.0,
        )
        means, sds = _read_scores(form, len(configurations))
        return _complete(self.conversation, self.history, means, sds)


@dataclass(frozen=True)
class SampledSurrogate:
    """Discriminative as in section 5.1: the spread of many one-number answers.

    Each configuration is asked about with each permutation of the examples.
    """

    conversation: Conversation
    problem: Problem
    history: History
    seed: int
    permutations: int = 2
    samples: int = 10
    """Answers a configuration and permutation."""

    def predict(self, configurations: Sequence[Configuration]) -> Predictions:
        """Return what the values will probably be.

        Raises:
            LLMError: If the model gives no answer, or one on fewer than half of them.
        """
        prompts = _prompts(self, "score", configurations, self._example)
        texts = self.conversation.sample(
            prompts, self.samples, max_tokens=_TOKENS_OF_NUMBER, temperature=0.7
        )
        means, sds = [], []
        for i in range(len(configurations)):
            of_this = texts[i * self.permutations : (i + 1) * self.permutations]
            read = [number_in(text) for each in of_this for text in each]
            values = [value for value in read if value is not None]
            means.append(fmean(values) if values else math.nan)
            sds.append(pstdev(values) if values else math.nan)
        return _complete(self.conversation, self.history, means, sds)

    def _example(self, observations: Sequence[Observation]) -> str:
        return history_table(self.problem, observations)


@dataclass(frozen=True)
class GenerativeSurrogate:
    """The probability of being among the best, as in section 5.2.

    Read off the log-probabilities of one answer where the endpoint has them, else the share of
    sampled answers.
    """

    conversation: Conversation
    problem: Problem
    history: History
    seed: int
    permutations: int = 2
    samples: int = 10
    """Answers a configuration and permutation, where there are no log-probabilities."""

    def probabilities(self, configurations: Sequence[Configuration]) -> list[float]:
        """Return how probably each is among the best quarter; NaN where the model is silent.

        Raises:
            LLMError: If it is silent on all.
        """
        prompts = _prompts(
            self, "promising", configurations, self._example, percent=round(100 * TOP)
        )
        answers = self._weighed(prompts) if self.conversation.llm.has_logprobs else None
        if answers is None:
            texts = self.conversation.sample(
                prompts, self.samples, max_tokens=_TOKENS_OF_NUMBER, temperature=0.7
            )
            answers = [_share_of_ones(each) for each in texts]
        grouped = [
            answers[i * self.permutations : (i + 1) * self.permutations]
            for i in range(len(configurations))
        ]
        known = [[p for p in group if math.isfinite(p)] for group in grouped]
        return [fmean(group) if group else math.nan for group in known]

    def _weighed(self, prompts: Sequence[Prompt]) -> list[float] | None:
        """Return the probability of a 1 after each prompt, None if it cannot be had after all."""
        try:
            weights = self.conversation.weigh(prompts, ("1", "0"))
        except LLMError:
            if self.conversation.llm.has_logprobs:
                raise
            return None  # the endpoint has just told that it gives none
        return [math.nan if w is None else w.get("1", math.nan) for w in weights]

    def predict(self, configurations: Sequence[Configuration]) -> Predictions:
        """Return normal distributions with these probabilities of being among the best.

        All have the spread of the history's values, so their expected improvements have the order
        of the probabilities.

        Raises:
            LLMError: If the model gives no answer, or one on fewer than half of them.
        """
        from scipy.special import ndtri

        probabilities = np.array(self.probabilities(configurations))
        _, sd = _of_history(self.history)
        z = ndtri(np.clip(probabilities, 0.01, 0.99))
        means = self._boundary() - self.problem.sign * sd * z
        sds = np.where(np.isnan(means), np.nan, sd)
        return _complete(self.conversation, self.history, list(means), list(sds))

    def _boundary(self) -> float:
        ranked = sorted(self.problem.sign * value for value in self.history.values)
        return self.problem.sign * ranked[_top(len(ranked)) - 1]

    def _example(self, observations: Sequence[Observation]) -> str:
        boundary, sign = self._boundary(), self.problem.sign
        return "\n".join(
            row(
                self.problem.space,
                o.configuration,
                "1" if sign * o.value <= sign * boundary else "0",
            )
            for o in observations
            if o.value is not None
        )


@dataclass(frozen=True)
class Calibrated:
    """A surrogate whose predictions are corrected."""

    surrogate: Surrogate
    calibration: Calibration

    def predict(self, configurations: Sequence[Configuration]) -> Predictions:
        """Return corrected predictions."""
        return self.calibration.apply(self.surrogate.predict(configurations))


def held_out(make: Callable[[History], Surrogate], history: History, folds: int = 3) -> list[Pair]:
    """Return predictions of a history's trials, each made without its own fold.

    Args:
        make: Makes the surrogate that knows a history.
        history: At least two complete trials for each fold.
        folds: How many predictions the surrogate is asked for.

    Raises:
        LLMError: If the model fails.
    """
    complete, pairs = history.complete, []
    for fold in range(folds):
        kept = tuple(o for i, o in enumerate(complete) if i % folds != fold)
        left = complete[fold::folds]
        predicted = make(History(kept)).predict([o.configuration for o in left])
        for mean, sd, o in zip(predicted.mean, predicted.sd, left, strict=True):
            assert o.value is not None
            pairs.append(Pair(float(mean), float(sd), o.value))
    return pairs


def _prompts(
    surrogate: SampledSurrogate | GenerativeSurrogate,
    id: str,
    configurations: Sequence[Configuration],
    examples: Callable[[Sequence[Observation]], str],
    **more: Any,
) -> list[Prompt]:
    """Return the prompts of all configurations, one for each permutation of the examples."""
    problem = surrogate.problem
    known = surrogate.history.complete[-_MOST_EXAMPLES:]
    orders = [examples(shuffled(known, surrogate.seed + i)) for i in range(surrogate.permutations)]
    return [
        render(
            id,
            task=describe_task(problem),
            space=describe_space(problem.space),
            history=order,
            configuration=row(problem.space, configuration),
            **more,
        )
        for configuration in configurations
        for order in orders
    ]


def _read_scores(form: Scores, count: int) -> tuple[list[float], list[float]]:
    means, sds = [math.nan] * count, [math.nan] * count
    for entry in form.scores[: 2 * count]:
        numbers = [_finite(v) for v in entry] if isinstance(entry, list) else []
        if len(numbers) != 4 or any(v is None for v in numbers):
            continue
        which, *quantiles = (v for v in numbers if v is not None)
        low, middle, high = sorted(quantiles)
        index = int(which) - 1
        if 0 <= index < count:
            means[index], sds[index] = middle, (high - low) / (2 * _Z90)
    return means, sds


def _finite(value: Any) -> float | None:
    if isinstance(value, str):
        return number_in(value)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if abs(value) < 1e300 else None


def _complete(
    conversation: Conversation,
    history: History,
    means: Sequence[float],
    sds: Sequence[float],
) -> Predictions:
    """Return predictions in which what the model left out is what the history alone tells."""
    missing = sum(not math.isfinite(mean) for mean in means)
    conversation.faults.update(Counter[Fault]({"no prediction": missing}))
    if 2 * missing > len(means):
        raise LLMError(
            f"the model predicts only {len(means) - missing} of {len(means)} candidates; "
            "try another model",
            "malformed",
        )
    usual, spread = _of_history(history)
    mean, sd = np.array(means, dtype=np.float64), np.array(sds, dtype=np.float64)
    silent = ~np.isfinite(mean)
    mean[silent], sd[silent] = usual, spread
    return Predictions(
        np.clip(mean, usual - _MOST * spread, usual + _MOST * spread),
        np.clip(sd, _LEAST_SD * spread, _MOST * spread),
    )


def _of_history(history: History) -> tuple[float, float]:
    """Return mean and standard deviation of the values; the latter is never 0."""
    values = history.values
    if not values:
        return 0.0, 1.0
    spread = pstdev(values)
    return fmean(values), spread if spread > 0 else max(abs(values[0]), 1.0) * _LEAST_SD


def _share_of_ones(texts: Sequence[str]) -> float:
    firsts = [text.strip()[:1] for text in texts]
    ones, zeros = firsts.count("1"), firsts.count("0")
    return ones / (ones + zeros) if ones + zeros else math.nan


def _top(count: int) -> int:
    return max(math.ceil(TOP * count), 1)
