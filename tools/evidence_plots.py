"""Figures of evidence: what was expected against what came, and what repeats say of luck."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import plotly.graph_objects as go

from .analysis import best_so_far, repeats_by_trial
from .claims import claim
from .outcomes import Outcome
from .plot_style import ACCENT, MUTED, OUTCOME_COLORS, finished
from .plots import Panel
from .records import Decision, TrialRecord
from .reviews import LEVEL, Review, complete_trials, marks
from .spec import StudySpec
from .stats import student_mean

PREDICTIONS = "Predictions"
OUTLOOKS = "Outlooks"
REPEATS = "Repeats"
_HEIGHT = 240
_ROW = 56


def predictions(
    spec: StudySpec, trials: Sequence[TrialRecord], decisions: Mapping[int, Decision]
) -> Panel:
    """Return what was expected of trials against what came of them, of a single objective.

    Args:
        spec: The study's spec.
        trials: All its trials.
        decisions: Why each was tried, by number, with what was expected of it.
    """
    (metric,) = spec.objectives
    told = [
        (trial, prediction, trial.metrics[metric])
        for trial in complete_trials(spec, trials)
        if trial.number in decisions
        and (prediction := decisions[trial.number].prediction) is not None
    ]
    if not told:
        why = "No trial that a language model proposed with a prediction is complete."
        return Panel(PREDICTIONS, None, why)
    means = [prediction.mean for _, prediction, _ in told]
    values = [value for _, _, value in told]
    figure = go.Figure(
        go.Scatter(
            x=means,
            y=values,
            mode="markers",
            marker={"color": ACCENT, "size": 8},
            error_x={
                "type": "data",
                "symmetric": False,
                "array": [prediction.high - prediction.mean for _, prediction, _ in told],
                "arrayminus": [prediction.mean - prediction.low for _, prediction, _ in told],
                "color": MUTED,
            },
            text=[f"trial {trial.number}" for trial, _, _ in told],
            hovertemplate="%{text}: expected %{x:.6g}, came %{y:.6g}<extra></extra>",
        )
    )
    ends = [min(*means, *values), max(*means, *values)]
    figure.add_scatter(x=ends, y=ends, mode="lines", line={"color": MUTED, "dash": "dot"})
    figure.update_xaxes(title=f"expected {metric}")
    figure.update_yaxes(title=metric)
    figure.update_layout(showlegend=False, height=2 * _HEIGHT)
    inside = sum(prediction.low <= value <= prediction.high for _, prediction, value in told)
    note = f"{inside} of {len(told)} outcomes lie in the interval that should hold 80% of them."
    return Panel(PREDICTIONS, finished(figure), note)


def outlooks(spec: StudySpec, trials: Sequence[TrialRecord], reviews: Sequence[Review]) -> Panel:
    """Return where reviews saw the best value in the end, against where it went.

    Args:
        spec: The study's spec, with a single objective.
        trials: All its trials.
        reviews: What the language model and the rule beside it said, oldest first.
    """
    (metric,) = spec.objectives
    told = [review for review in reviews if review.trials < len(trials)]
    if not told:
        why = "No review was followed by trials yet; the first comes after a third of them."
        return Panel(OUTLOOKS, None, why)
    figure = go.Figure()
    best = best_so_far(spec, trials)
    figure.add_scatter(
        x=[number for number, _ in best],
        y=[value for _, value in best],
        name="best so far",
        mode="lines",
        line={"color": OUTCOME_COLORS["complete"], "shape": "hv"},
    )
    for name, color, views in (
        ("the language model", ACCENT, [review.model for review in told]),
        ("the rule", MUTED, [review.rule for review in told]),
    ):
        middles = [(view.low + view.high) / 2 for view in views]
        halves = [(view.high - view.low) / 2 for view in views]
        shift = 0.15 if name == "the rule" else -0.15
        figure.add_scatter(
            x=[review.trials + shift for review in told],
            y=middles,
            name=name,
            mode="markers",
            marker={"color": color, "size": 6},
            error_y={"type": "data", "array": halves, "color": color, "thickness": 3},
            hovertemplate=f"{name}: %{{y:.6g}} ± %{{error_y.array:.2g}}<extra></extra>",
        )
    figure.update_xaxes(title="trials seen")
    figure.update_yaxes(title=metric)
    figure.update_layout(height=2 * _HEIGHT)
    held = [
        sum(marks(view, review, spec, trials).covered for view, review in pairs)
        for pairs in ([(r.model, r) for r in told], [(r.rule, r) for r in told])
    ]
    note = (
        f"The best value lies in {held[0]} of {len(told)} intervals of the model and {held[1]} of "
        f"the rule, which should hold {LEVEL:.0%} of the cases in the end."
    )
    return Panel(OUTLOOKS, finished(figure), note)


def repeats(spec: StudySpec, trials: Sequence[TrialRecord]) -> Panel:
    """Return what the repeats of trials came to, with what may be claimed of the best one.

    Args:
        spec: The study's spec, with a single objective.
        trials: All its trials.
    """
    (metric,) = spec.objectives
    chosen = {trial.number: trial.metrics.get(metric) for trial in trials}
    values = {
        number: [t.metrics[metric] for t in ended if t.state is Outcome.COMPLETE]
        for number, ended in repeats_by_trial(trials).items()
    }
    values = {number: found for number, found in values.items() if found}
    said = claim(spec, trials)
    if not values:
        why = "Nothing was repeated yet: a single run may be luck, and `luthier confirm` tells."
        return Panel(REPEATS, None, why)
    names = {number: f"trial {number}" for number in sorted(values, reverse=True)}
    figure = go.Figure()
    figure.add_scatter(
        x=[value for number in names for value in values[number]],
        y=[names[number] for number in names for _ in values[number]],
        name="one repeat",
        mode="markers",
        marker={"color": MUTED, "size": 7},
        hovertemplate="%{y}: %{x:.6g}<extra></extra>",
    )
    several = [number for number in names if len(values[number]) > 1]
    means = {number: student_mean(values[number]) for number in several}
    figure.add_scatter(
        x=[means[number].mean for number in several],
        y=[names[number] for number in several],
        name="mean, 95% interval",
        mode="markers",
        marker={"color": ACCENT, "size": 9, "symbol": "diamond"},
        error_x={
            "type": "data",
            "symmetric": False,
            "array": [means[number].high - means[number].mean for number in several],
            "arrayminus": [means[number].mean - means[number].low for number in several],
            "color": ACCENT,
        },
        hovertemplate="%{y}: mean %{x:.6g}<extra></extra>",
    )
    figure.add_scatter(
        x=[chosen[number] for number in names],
        y=list(names.values()),
        name="the run that it was chosen by",
        mode="markers",
        marker={"color": OUTCOME_COLORS["complete"], "size": 9, "symbol": "x"},
        hovertemplate="%{y}: %{x:.6g}<extra></extra>",
    )
    figure.update_xaxes(title=metric)
    figure.update_yaxes(type="category")
    figure.update_layout(height=max(_HEIGHT, 120 + _ROW * len(names)))
    note = "" if said is None else f"Trial {said.trial}, {said.status}: {said.sentence}"
    return Panel(REPEATS, finished(figure), note)
