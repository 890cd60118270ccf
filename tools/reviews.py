"""What is said of a study as a whole while it runs, by a language model and by a rule beside it.

Both answer the same questions from the same trials, before the next ones run: how far it will come,
where the good values lie, which trials are worth repeating. What came out marks both, so that it
can be seen how far the model's explanations are to be believed. Nothing here acts by itself.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from pydantic import Field

from .analysis import importance, repeats_by_trial
from .outcomes import Outcome
from .records import EventRecord, TrialRecord
from .repeats import leaders
from .section import Section
from .space import Categorical, Int, Parameter
from .spec import StudySpec, parse_spec

KIND = "review"
"""The events of the ledger that hold reviews."""
LEVEL = 0.8
"""How often the outlook is to hold."""
LEAST_TRIALS = 6
"""Complete trials before there is something to review."""
_TOP = 0.25
_NARROWER = 0.7
_MARGIN = 0.1
_TAIL = 1 - LEVEL


class Range(Section):
    """Where the good values of a numeric parameter lie."""

    parameter: str
    low: float
    high: float
    why: str = ""


class View(Section):
    """What one of the two says."""

    low: float
    high: float
    """The interval in which the best value will be when the budget is used, with 80%."""
    ranges: tuple[Range, ...] = ()
    repeat: tuple[int, ...] = ()
    """Trials, by number, that are worth repeating to tell luck from merit."""
    stop: tuple[int, ...] = ()
    """Running trials that are not worth going on with."""
    text: str
    """What the study shows so far, in a few sentences."""


class Review(Section):
    """One moment of a study, seen by both."""

    trials: int = Field(ge=0)
    """How many trials there were; the outlook and the ranges are marked by later ones."""
    best: float
    """The best value then."""
    running: tuple[int, ...] = ()
    """The trials that ran then and had reported something."""
    model: View
    rule: View
    hypothesis: str
    """What the model believes is going on."""
    risk: str
    """What could make it wrong."""
    dropped: tuple[str, ...] = ()
    """What the model said that was not taken, and why."""
    prompt: str
    """The prompt that it answered, as `id@version`."""


@dataclass(frozen=True)
class Marks:
    """How right a view was; of what nothing is known yet, None."""

    covered: bool
    """Whether the best value lay in the interval."""
    interval: float
    """Its interval score, in the metric's unit, smaller is better (Gneiting and Raftery, JASA
    102:359, 2007, eq. 43)."""
    ranges: float | None
    """Share of the best quarter of later trials in its ranges, less that of all later ones."""
    repeat: float | None
    """The best mean over repeats of a trial that it named, in the metric's unit."""
    stops: tuple[bool, ...] = ()
    """For each trial that ran then and has a result now, whether it was right of it: to be stopped,
    and no better than the median of the others, or not to be, and better."""


@dataclass(frozen=True)
class Credit:
    """What both earned over all reviews of a study that can be marked."""

    question: str
    model: str
    rule: str
    better: str
    """`model`, `rule`, or empty if neither was."""


def reviews_in(events: Iterable[EventRecord]) -> list[Review]:
    """Return a study's reviews, oldest first."""
    return [Review.model_validate(event.data) for event in events if event.kind == KIND]


def complete_trials(spec: StudySpec, trials: Iterable[TrialRecord]) -> list[TrialRecord]:
    """Return the complete trials of the search that have a finite value, by number."""
    (metric,) = spec.objectives
    return [
        trial
        for trial in trials
        if trial.state is Outcome.COMPLETE
        and not trial.is_repeat
        and math.isfinite(trial.metrics.get(metric, math.nan))
    ]


def losses_of(spec: StudySpec, trials: Iterable[TrialRecord]) -> list[float]:
    """Return the values of a single objective, smaller is better."""
    ((metric, direction),) = spec.objectives.items()
    sign = -1 if direction == "maximize" else 1
    return [sign * trial.metrics[metric] for trial in trials]


def narrowed(spec: StudySpec, ranges: Sequence[Range], name: str) -> StudySpec:
    """Return a spec whose parameters have these ranges, under another name.

    A default that lies outside is left out.

    Raises:
        SpecError: If a range is none of its parameter.
    """
    data = spec.to_dict() | {"name": name}
    for found in ranges:
        whole = isinstance(spec.space.get(found.parameter), Int)
        bounds = (
            (math.ceil(found.low), math.floor(found.high)) if whole else (found.low, found.high)
        )
        parameter = data["space"][found.parameter] | dict(zip(("low", "high"), bounds, strict=True))
        default = parameter.get("default")
        if default is not None and not bounds[0] <= default <= bounds[1]:
            del parameter["default"]
        data["space"][found.parameter] = parameter
    return parse_spec(data, "the narrowed spec")


class Standing(NamedTuple):
    """How a running trial does, beside the others at the same step."""

    number: int
    step: int
    value: float
    beaten: int
    """How many of the others had done no better by that step."""
    others: int


def standings(spec: StudySpec, trials: Sequence[TrialRecord]) -> list[Standing]:
    """Return how the running trials do, by number.

    Each is compared by its best value so far with the best of every other trial up to that step, as
    the median stopping rule does (Golovin et al., Google Vizier, KDD 2017, section 3.2.2).

    Args:
        spec: The study's spec, with a single objective.
        trials: Its trials with their curves; those that have reported nothing are left out.
    """
    ((metric, direction),) = spec.objectives.items()
    sign = -1 if direction == "maximize" else 1
    curves = {
        trial.number: {step: sign * v for step, v in curve.items() if math.isfinite(v)}
        for trial in trials
        if (curve := (trial.curves or {}).get(metric))
    }
    found = []
    for trial in trials:
        own = curves.get(trial.number)
        if trial.state != "running" or not own or trial.is_repeat:
            continue
        last, best = max(own), min(own.values())
        others = [
            min(before)
            for number, curve in curves.items()
            if number != trial.number
            and (before := [value for step, value in curve.items() if step <= last])
        ]
        beaten = sum(best <= other for other in others)
        found.append(Standing(trial.number, last, sign * own[last], beaten, len(others)))
    return found


def by_rule(spec: StudySpec, trials: Sequence[TrialRecord], left: int) -> View:
    """Return what the classical rule says of a study with one objective.

    The outlook comes from the best quarter so far: values beyond it fall off exponentially (peaks
    over a threshold, Pickands, Ann. Statist. 3:119, 1975, with shape 0), and `left` more are drawn.
    The ranges are those of the best quarter, with a margin, where they leave out a good part.

    Args:
        spec: The study's spec.
        trials: Its trials, at least `LEAST_TRIALS` of them complete.
        left: How many more there will be.
    """
    complete = complete_trials(spec, trials)
    losses = losses_of(spec, complete)
    best = min(losses)
    threshold = float(np.quantile(losses, _TOP))
    excess = float(np.mean([threshold - loss for loss in losses if loss <= threshold]))
    reached = best
    if left and excess > 0:
        # The smallest of `left` draws is beyond this with a tenth.
        rate = max(left * _TOP / -math.log(1 - _TAIL / 2), 1.0)
        reached = min(best, threshold - excess * math.log(rate))
    top = [trial for trial, loss in zip(complete, losses, strict=True) if loss <= threshold]
    ranges = [
        found
        for name, parameter in spec.space.items()
        if (found := _range_of(name, parameter, top)) is not None
    ]
    low, high = sorted((_value(spec, reached), _value(spec, best)))
    return View(
        low=low,
        high=high,
        ranges=tuple(ranges),
        repeat=tuple(trial.number for trial in leaders(spec, trials)),
        stop=tuple(
            each.number for each in standings(spec, trials) if each.beaten < each.others / 2
        ),
        text=_told(spec, trials, complete, losses),
    )


def _value(spec: StudySpec, loss: float) -> float:
    (direction,) = spec.objectives.values()
    return -loss if direction == "maximize" else loss


def _range_of(name: str, parameter: Parameter, top: Sequence[TrialRecord]) -> Range | None:
    values: list[Any] = [t.configuration[name] for t in top if name in t.configuration]
    if isinstance(parameter, Categorical) or len(values) < 3:
        return None
    units = [parameter.to_unit(value) for value in values]
    low, high = max(0.0, min(units) - _MARGIN), min(1.0, max(units) + _MARGIN)
    if high - low > _NARROWER:
        return None
    ends = {"low": parameter.from_unit(low), "high": parameter.from_unit(high)}
    return Range(parameter=name, **ends, why="the best quarter lies there")


def _told(
    spec: StudySpec,
    trials: Sequence[TrialRecord],
    complete: Sequence[TrialRecord],
    losses: Sequence[float],
) -> str:
    (metric,) = spec.objectives
    first = complete[int(np.argmin(losses))]
    text = (
        f"{len(complete)} of {len(trials)} trials are complete. The best is trial {first.number} "
        f"with {metric} {first.metrics[metric]:.6g}; the median is "
        f"{_value(spec, float(np.median(losses))):.6g}."
    )
    shares = importance(spec, trials)
    if shares:
        name = max(shares, key=lambda each: shares[each])
        text += f" {name} matters most ({shares[name]:.0%} of what can be told apart)."
    return text


def marks(view: View, review: Review, spec: StudySpec, trials: Sequence[TrialRecord]) -> Marks:
    """Return how right a view was, by all that is known now."""
    complete = complete_trials(spec, trials)
    reached = _value(spec, min(losses_of(spec, complete)))
    missed = max(view.low - reached, reached - view.high, 0.0)
    later = [trial for trial in complete if trial.number >= review.trials]
    return Marks(
        covered=missed == 0.0,
        interval=view.high - view.low + 2 / _TAIL * missed,
        ranges=_gain(view, spec, later),
        repeat=_repeated(view, spec, trials),
        stops=_stops(view, review, spec, complete),
    )


def _gain(view: View, spec: StudySpec, later: Sequence[TrialRecord]) -> float | None:
    if len(later) < 4:
        return None
    losses = losses_of(spec, later)
    threshold = float(np.quantile(losses, _TOP))
    within = [_is_within(view.ranges, trial) for trial in later]
    top = [inside for inside, loss in zip(within, losses, strict=True) if loss <= threshold]
    return float(np.mean(top) - np.mean(within))


def _stops(
    view: View, review: Review, spec: StudySpec, complete: Sequence[TrialRecord]
) -> tuple[bool, ...]:
    """A trial that was stopped tells nothing of what it would have come to, and is left out."""
    losses = dict(zip((t.number for t in complete), losses_of(spec, complete), strict=True))
    others = [loss for number, loss in losses.items() if number not in review.running]
    if not others:
        return ()
    median = float(np.median(others))
    return tuple(
        (number in view.stop) == (losses[number] >= median)
        for number in review.running
        if number in losses
    )


def _is_within(ranges: Iterable[Range], trial: TrialRecord) -> bool:
    for found in ranges:
        value = trial.configuration.get(found.parameter)
        if isinstance(value, int | float) and not found.low <= value <= found.high:
            return False
    return True


def _repeated(view: View, spec: StudySpec, trials: Sequence[TrialRecord]) -> float | None:
    repeats = repeats_by_trial(trials)
    means = [
        float(np.mean(losses_of(spec, ended)))
        for number in view.repeat
        if (ended := [t for t in repeats.get(number, ()) if t.state is Outcome.COMPLETE])
    ]
    return _value(spec, min(means)) if means else None


def credit(
    spec: StudySpec, reviews: Sequence[Review], trials: Sequence[TrialRecord]
) -> list[Credit]:
    """Return what model and rule earned, one row a question that can be marked already."""
    marked = [
        (marks(review.model, review, spec, trials), marks(review.rule, review, spec, trials))
        for review in reviews
        if review.trials < len(trials)
    ]
    if not marked:
        return []
    count = len(marked)
    rows = [
        _row(
            f"how far it comes: interval score, mean of {count}, smaller is better",
            *(float(np.mean([pair[i].interval for pair in marked])) for i in (0, 1)),
            smaller=True,
            notes=tuple(f", held {sum(pair[i].covered for pair in marked)} times" for i in (0, 1)),
        )
    ]
    gains = [
        (m.ranges, r.ranges) for m, r in marked if m.ranges is not None and r.ranges is not None
    ]
    if gains:
        rows.append(
            _row(
                "where good values lie: share of the best later trials within, less that of all",
                *(float(np.mean([pair[i] for pair in gains])) for i in (0, 1)),
            )
        )
    stops = [(m.stops, r.stops) for m, r in marked if m.stops]
    if stops:
        shares = [float(np.mean([right for pair in stops for right in pair[i]])) for i in (0, 1)]
        judged = sum(len(pair[0]) for pair in stops)
        rows.append(_row(f"what to stop: share right of {judged} running trials", *shares))
    repeated = [(m.repeat, r.repeat) for m, r in marked]
    known = [(m, r) for m, r in repeated if m is not None and r is not None]
    if known:
        (direction,) = spec.objectives.values()
        rows.append(
            _row(
                "what to repeat: best mean over repeats",
                *(float(np.mean([pair[i] for pair in known])) for i in (0, 1)),
                smaller=direction == "minimize",
            )
        )
    return rows


def _row(
    question: str,
    model: float,
    rule: float,
    *,
    smaller: bool = False,
    notes: tuple[str, ...] = ("", ""),
) -> Credit:
    better = "" if model == rule else "model" if (model < rule) == smaller else "rule"
    return Credit(question, f"{model:.4g}{notes[0]}", f"{rule:.4g}{notes[1]}", better)
