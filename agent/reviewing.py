"""Has a language model review a running study now and then, beside the classical rule.

A review changes nothing: it is recorded with what the rule says of the same trials, and marked by
what comes out (`tools.reviews`). A person, or the planner for them, may take it up as a branch, as
repeats, or not at all.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import NamedTuple

from pydantic import BaseModel

from ..prompts.loading import render
from ..tools.records import AdviceRecord, TrialRecord
from ..tools.reviews import (
    LEAST_TRIALS,
    Range,
    Review,
    View,
    by_rule,
    complete_trials,
    losses_of,
    standings,
)
from ..tools.space import Categorical
from ..tools.spec import StudySpec
from .llambo.asking import Conversation
from .llambo.context import History, Problem
from .llambo.serialisation import describe_space, describe_task, failures_table, number, row
from .llm.answers import LanguageModel, LLMError

_EVERY = 20
"""Ended trials between two reviews of a study without a number of trials."""
_PARTS = 3
_SHOWN = 16
_TOKENS, _TEMPERATURE = 900, 0.3
_SECONDS = 30.0
"""Deadline of the last review, which the end of the study waits for."""
_MOST_RANGES, _MOST_REPEATS, _LONGEST = 3, 2, 600
_NUMBER = re.compile(r"(?<![\w.])-?\d+(?:\.\d+)?(?:e[-+]?\d+)?(?![\w.]*\w)%?", re.I)


class RangeForm(BaseModel):
    """A numeric parameter's good values."""

    parameter: str
    low: float
    high: float
    why: str


class ReviewForm(BaseModel):
    """What a language model says of a study."""

    hypothesis: str
    risk: str
    low: float
    high: float
    ranges: list[RangeForm]
    repeat: list[int]
    stop: list[int]
    text: str


class Asked(NamedTuple):
    """What came of a question, and what it cost; no review if the model gave none."""

    review: Review | None
    account: AdviceRecord


def ask(
    llm: LanguageModel,
    problem: Problem,
    spec: StudySpec,
    trials: Sequence[TrialRecord],
    *,
    seconds: float | None = None,
) -> Asked:
    """Have a study with one objective reviewed.

    Args:
        llm: The model; it is asked once.
        problem: What is optimised, as it is told of it.
        spec: The study's spec.
        trials: Its trials so far with their curves, at least `LEAST_TRIALS` of them complete.
        seconds: Deadline; None for the model's own.
    """
    counted = sum(trial.is_counted for trial in trials)
    left = max(0, (spec.budget.trials or counted + _EVERY) - counted)
    (metric,) = spec.objectives
    complete = complete_trials(spec, trials)
    losses = losses_of(spec, complete)
    order = sorted(range(len(complete)), key=lambda i: losses[i])
    # The best ones and the newest of the others: what is being tried just now.
    others = sorted(order[_SHOWN // 2 :])[-_SHOWN // 2 :]
    shown = [complete[i] for i in sorted([*order[: _SHOWN // 2], *others])]
    best, running = complete[order[0]].metrics[metric], standings(spec, trials)
    prompt = render(
        "review",
        task=describe_task(problem),
        space=describe_space(problem.space),
        history="\n".join(
            f"{t.number} {row(problem.space, t.configuration, number(t.metrics[metric], 6))}"
            for t in shown
        ),
        failures=failures_table(problem, History.of_records(trials, metric)),
        running="\n".join(
            f"{each.number}: {number(each.value, 6)} at step {each.step}, no worse there than "
            f"{each.beaten} of {each.others} others"
            for each in running[-_SHOWN:]
        ),
        best=best,
        complete=len(complete),
        more=left,
    )
    conversation = Conversation(llm, seconds)
    try:
        form = conversation.ask(prompt, ReviewForm, max_tokens=_TOKENS, temperature=_TEMPERATURE)
    except LLMError as error:
        usage = error.usage
        return Asked(
            None, AdviceRecord(error.cause, str(error), usage.tokens, usage.dollars, usage.calls)
        )
    rule = by_rule(spec, trials, left)
    dropped: list[str] = []
    runs = tuple(each.number for each in running)
    model = _view(form, spec, complete, runs, rule, dropped)
    review = Review(
        trials=len(trials),
        best=best,
        running=runs,
        model=model,
        rule=rule,
        hypothesis=_line(form.hypothesis),
        risk=_line(form.risk),
        dropped=tuple(dropped),
        prompt=prompt.key,
    )
    usage = conversation.usage
    faults = {"said of a review": len(dropped)} if dropped else {}
    account = AdviceRecord("", "", usage.tokens, usage.dollars, usage.calls, faults)
    return Asked(review, account)


def _line(text: str) -> str:
    # Half a character, as JSON can hold it, could not be stored.
    whole = text.encode("utf-8", "replace").decode("utf-8")
    return " ".join(whole.split())[:_LONGEST]


def _view(
    form: ReviewForm,
    spec: StudySpec,
    complete: Sequence[TrialRecord],
    running: Sequence[int],
    rule: View,
    dropped: list[str],
) -> View:
    """Return what can be taken of an answer; where it cannot, what the rule says stands."""
    low, high = form.low, form.high
    if not (math.isfinite(low) and math.isfinite(high) and low <= high):
        dropped.append(f"its interval is {low:g} to {high:g}")
        low, high = rule.low, rule.high
    numbers = {trial.number for trial in complete}
    repeat = tuple(dict.fromkeys(n for n in form.repeat if n in numbers))[:_MOST_REPEATS]
    dropped += [f"there is no complete trial {n}" for n in form.repeat if n not in numbers]
    stop = tuple(dict.fromkeys(n for n in form.stop if n in running))
    dropped += [f"trial {n} does not run" for n in form.stop if n not in running]
    ranges = []
    for said in form.ranges[:_MOST_RANGES]:
        reason = _refusal(said, spec)
        if reason is None:
            ranges.append(
                Range(parameter=said.parameter, low=said.low, high=said.high, why=_line(said.why))
            )
        else:
            dropped.append(reason)
    text = _line(form.text)
    strange = list(_unknown_numbers(text, complete, spec))
    if strange:
        dropped.append(f"its text has numbers that no trial has: {', '.join(strange[:5])}")
        text = rule.text
    return View(low=low, high=high, ranges=tuple(ranges), repeat=repeat, stop=stop, text=text)


def _refusal(said: RangeForm, spec: StudySpec) -> str | None:
    parameter = spec.space.get(said.parameter)
    if parameter is None or isinstance(parameter, Categorical):
        return f"{said.parameter[:60]!r} is no numeric parameter"
    if not parameter.low <= said.low < said.high <= parameter.high:
        return f"{said.parameter!r} from {said.low:g} to {said.high:g} is no range of the space"
    return None


def _unknown_numbers(text: str, complete: Sequence[TrialRecord], spec: StudySpec) -> Iterator[str]:
    """Yield the numbers of a text that are no value of a trial, rounded as they are written.

    Whole numbers up to the number of trials may count anything.
    """
    known = [value for trial in complete for value in trial.metrics.values()]
    for configuration in (trial.configuration for trial in complete):
        known += [v for v in configuration.values() if isinstance(v, int | float)]
    for parameter in spec.space.values():
        if not isinstance(parameter, Categorical):
            known += [parameter.low, parameter.high]
    counts = max((trial.number for trial in complete), default=0) + 1
    for found in _NUMBER.findall(text):
        said = float(found.rstrip("%"))
        if said == int(said) and 0 <= said <= counts:
            continue
        scale = 100.0 if found.endswith("%") else 1.0
        mantissa, _, exponent = found.rstrip("%").lower().partition("e")
        step = 10.0 ** (int(exponent or 0) - len(mantissa.partition(".")[2])) / scale
        if not any(abs(value - said / scale) <= 0.51 * step for value in known):
            yield found


def ended_trials(trials: Sequence[TrialRecord]) -> int:
    """Return how many trials of the search have ended."""
    return sum(trial.is_counted and trial.is_finished for trial in trials)


class Reviewer:
    """Asks for reviews when a good part of the budget has been used, and once more at the end.

    For one thread; the model is asked in another one.
    """

    def __init__(
        self,
        llm: LanguageModel,
        problem: Problem,
        spec: StudySpec,
        read: Callable[[], Sequence[TrialRecord]],
        last: int,
        *,
        ahead: bool,
    ) -> None:
        """Ask nothing yet.

        Args:
            llm: The model.
            problem: What is optimised.
            spec: The study's spec; it has one objective.
            read: Returns its trials with their curves; called in the other thread.
            last: How many trials had ended at the last review; 0 if there was none.
            ahead: Whether the study goes on while the model is asked.
        """
        self._llm = llm
        self._problem = problem
        self._spec = spec
        self._read = read
        self._last = last
        self._ahead = ahead
        self._pool = ThreadPoolExecutor(1, "review")
        self._asked: Future[Asked] | None = None

    @property
    def is_busy(self) -> bool:
        """Whether the model is being asked."""
        return self._asked is not None

    def look(self, trials: Sequence[TrialRecord], *, over: bool = False) -> Asked | None:
        """Ask if it is time to; return what came of the last question, once.

        Args:
            trials: The study's trials.
            over: Whether there will be no more of them.
        """
        every = self._spec.budget.trials
        part = _EVERY if every is None else max(LEAST_TRIALS, math.ceil(every / _PARTS))
        ended = ended_trials(trials)
        new = ended - self._last
        if not self.is_busy and (new >= part or (over and new)):
            self._last = ended
            if len(complete_trials(self._spec, trials)) >= LEAST_TRIALS:
                self._asked = self._pool.submit(self._ask, _SECONDS if over else None)
        if self._asked is None or (self._ahead and not self._asked.done()):
            return None
        asked, self._asked = self._asked, None
        try:
            return asked.result()
        except Exception as error:  # told as any failure of the model is; no study ends for it
            told = f"a review failed: {type(error).__name__}: {error}"
            return Asked(None, AdviceRecord("malformed", told))

    def _ask(self, seconds: float | None) -> Asked:
        return ask(self._llm, self._problem, self._spec, self._read(), seconds=seconds)

    def close(self) -> None:
        """End the thread; an answer that is still waited for is not used any more."""
        self._pool.shutdown(wait=False, cancel_futures=True)
