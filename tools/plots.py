"""Plotly figures of a study: Optuna's own where it has one."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import combinations, pairwise

import plotly.graph_objects as go
from optuna.trial import FrozenTrial
from optuna.visualization import (
    plot_contour,
    plot_parallel_coordinate,
    plot_pareto_front,
    plot_slice,
)

from .analysis import best_so_far, best_trials, feasible, importance
from .optuna_bridge import rebuild
from .outcomes import Outcome
from .plot_style import ACCENT, BROKEN, MUTED, OUTCOME_COLORS, SCALE, finished, in_our_scale
from .quiet import quiet
from .records import TrialRecord
from .spec import StudySpec

CURVES = "Learning curves"
_MANY_LINES = 200
"""Curves, or lines through the parameters, that are drawn: each is a trace of its own."""
_MANY_POINTS = 2000
"""Points of a cloud, or bars, that are drawn."""
_CURVE_POINTS = 200
_MANY_MARKERS = 1000
"""Points of curves that are marked: a browser draws each mark, but each curve as one line."""
_HEIGHT = 240


@dataclass(frozen=True)
class Panel:
    """A titled figure, or the reason why there is none."""

    title: str
    figure: go.Figure | None
    note: str = ""
    """One sentence: why there is no figure, or what it leaves out. Plain text."""
    min_width: int = 0
    """Pixels below which the figure should scroll rather than shrink."""


def panels(spec: StudySpec, trials: Sequence[TrialRecord]) -> list[Panel]:
    """Return the figures of a study, whatever state it is in.

    Args:
        spec: The study's spec.
        trials: All its trials, numbered from 0 without gaps, with their curves.

    Returns:
        The same panels in the same order for every study with these objectives. Names and values
        stand in them as literal text, never as Plotly's pseudo-HTML.
    """
    return [draw(spec, trials) for draw in drawers(spec).values()]


Draw = Callable[[StudySpec, Sequence[TrialRecord]], Panel]
_Draw = Callable[[str, StudySpec, Sequence[TrialRecord]], Panel]


def drawers(spec: StudySpec) -> dict[str, Draw]:
    """Return what draws each panel of a study with these objectives, by the panel's title."""
    objectives = list(spec.objectives)
    drawn: dict[str, _Draw] = {}
    if len(objectives) == 1:
        drawn |= {"Progress": _history, CURVES: _objective_curves}
    for pair in combinations(range(len(objectives)), 2):
        first, second = (objectives[axis] for axis in pair)
        drawn[f"Pareto front of {first} and {second}"] = partial(_front, pair)
    drawn |= {"Importance of parameters": _importance, "Parameters together": _parallel}
    for axis, name in enumerate(objectives):
        drawn[f"{name} by parameter"] = partial(_slice, axis)
    if len(objectives) == 1:
        drawn |= {"The two that matter most": _contour, "Who found what": _sources}
    drawn["Timeline"] = _timeline
    return {title: partial(_drawn, draw, title) for title, draw in drawn.items()}


def _drawn(draw: _Draw, title: str, spec: StudySpec, trials: Sequence[TrialRecord]) -> Panel:
    with quiet():
        panel = draw(title, spec, trials)
    return panel if panel.figure is None else replace(panel, figure=finished(panel.figure))


def _history(title: str, spec: StudySpec, trials: Sequence[TrialRecord]) -> Panel:
    (name,) = spec.objectives
    complete = _complete(trials)
    if not complete:
        return Panel(title, None, "No trial is complete yet.")
    # Drawn here, for Optuna's plot needs a study of its own, whose trials are copied twice.
    kept: dict[bool, list[TrialRecord]] = {True: [], False: []}
    for trial in complete:
        kept[feasible(trial, spec)].append(trial)
    figure = go.Figure()
    for holds, what, marker in (
        (True, name, {"color": OUTCOME_COLORS["complete"]}),
        (False, "breaks a limit", BROKEN),
    ):
        figure.add_scatter(
            mode="markers",
            name=what,
            x=[trial.number for trial in kept[holds]],
            y=[trial.metrics[name] for trial in kept[holds]],
            marker=marker,
            showlegend=len(kept[holds]) > 0,
        )
    progress = best_so_far(spec, trials)
    figure.add_scatter(
        mode="lines",
        name="best so far",
        x=[number for number, _ in progress],
        y=[best for _, best in progress],
        line={"color": ACCENT, "shape": "hv"},
    )
    figure.update_traces(hovertemplate="trial %{x}: %{y:.6g}<extra></extra>")
    figure.update_layout(xaxis_title="trial", yaxis_title=name)
    return Panel(title, figure)


def _objective_curves(title: str, spec: StudySpec, trials: Sequence[TrialRecord]) -> Panel:
    (name,) = spec.objectives
    kept, note = spread(spec, trials, name)
    best = {trial.number for trial in best_trials(spec, trials)}
    panel = _curves(title, kept, name, best, smoothing=0.0)
    return replace(panel, note=note or panel.note)


def spread(
    spec: StudySpec, trials: Sequence[TrialRecord], metric: str, most: int = _MANY_LINES
) -> tuple[Sequence[TrialRecord], str]:
    """Return the trials whose curves of a metric are drawn, and a note if those are not all.

    Args:
        spec: The study's spec.
        trials: Its trials; those without curves may or may not have reported the metric.
        metric: The metric.
        most: About how many are drawn.
    """
    able = [
        trial
        for trial in trials
        if trial.state in (Outcome.COMPLETE, Outcome.PRUNED, "running")
        and not trial.is_repeat
        and (trial.curves is None or any(map(math.isfinite, trial.curves.get(metric, {}).values())))
    ]
    return _spread(spec, able, most)


def curves(
    trials: Sequence[TrialRecord], metric: str, best: Collection[int], smoothing: float = 0.0
) -> Panel:
    """Return the curves of a metric, one over the other, whatever the study optimises.

    Args:
        trials: Those to draw, with their curves.
        metric: The metric.
        best: Numbers of the trials that stand out.
        smoothing: Weight in [0, 1) of what came before, at each step.
    """
    with quiet():
        panel = _curves(CURVES, trials, metric, best, smoothing)
    return panel if panel.figure is None else replace(panel, figure=finished(panel.figure))


def _curves(
    title: str,
    trials: Sequence[TrialRecord],
    metric: str,
    best: Collection[int],
    smoothing: float,
) -> Panel:
    drawn = {}
    for trial in trials:
        curve = _thinned((trial.curves or {}).get(metric, {}))
        if any(map(math.isfinite, curve.values())):
            drawn[trial.number] = (
                trial,
                dict(zip(curve, _smooth(curve.values(), smoothing), strict=True)),
            )
    if not drawn:
        return Panel(title, None, f"No trial reported {metric!r} along its way.")
    marked = sum(len(curve) for _, curve in drawn.values()) <= _MANY_MARKERS
    lines = []
    for trial, curve in drawn.values():
        leads = trial.number in best
        state = str(trial.state)
        color = ACCENT if leads else OUTCOME_COLORS[state] if state == "running" else MUTED
        lines.append(
            {
                "type": "scatter",
                "mode": "lines+markers" if marked or len(curve) == 1 else "lines",
                "x": list(curve),
                "y": list(curve.values()),
                "name": f"trial {trial.number}" + (" (pruned)" if state == "pruned" else ""),
                "line": {"color": color, "width": 2.5 if leads else 1},
                "marker": {"color": color, "size": 4},
                "opacity": 1.0 if leads else 0.3 if state == "pruned" else 0.6,
                "hovertemplate": "step %{x}: %{y:.6g}<extra>%{fullData.name}</extra>",
            }
        )
    # What is drawn last lies on top.
    overlay = go.Figure(sorted(lines, key=lambda line: float(str(line["opacity"]))))
    overlay.update_layout(xaxis_title="step", yaxis_title=metric, showlegend=False)
    told = "The best trial's curve is orange." if drawn.keys() & set(best) else ""
    return Panel(title, overlay, told)


def _smooth(values: Iterable[float], weight: float) -> list[float]:
    """Return the running mean in which every value weighs `weight` times as much as the next."""
    smooth: list[float] = []
    total = mass = 0.0
    for value in values:
        if math.isfinite(value):
            total, mass = weight * total + value, weight * mass + 1.0
            smooth.append(total / mass)
        else:
            smooth.append(value)
    return smooth


def _front(
    pair: tuple[int, int], title: str, spec: StudySpec, trials: Sequence[TrialRecord]
) -> Panel:
    """A flat pair rather than Optuna's three axes: it can be read, and needs no WebGL."""
    objectives = list(spec.objectives)
    kept, note = _spread(spec, _complete(trials), _MANY_POINTS)
    if not kept:
        return Panel(title, None, "No trial is complete yet.")
    names = [objectives[axis] for axis in pair]
    study = rebuild(spec, _only(trials, kept))
    figure = plot_pareto_front(study, target_names=names, targets=_values_at(pair))
    for trace in figure.data:
        best = "Best" in trace.hovertemplate
        broken = "Infeasible" in trace.hovertemplate
        trace.update(
            name="best" if best else "breaks a limit" if broken else "dominated",
            text=None,
            hovertemplate="%{x:.6g}, %{y:.6g}<extra>%{fullData.name}</extra>",
            showlegend=len(trace.x) > 0,
        )
        if broken:
            trace.marker = BROKEN
        elif best:
            trace.marker = {"color": ACCENT, "size": 9}
        else:
            trace.marker = {"color": OUTCOME_COLORS["complete"]}
    return Panel(title, figure, note)


def _importance(title: str, spec: StudySpec, trials: Sequence[TrialRecord]) -> Panel:
    if len(spec.space) == 1:
        return Panel(title, None, "There is a single parameter.")
    weights = importance(spec, trials)
    if weights is None:
        return Panel(title, None, "Too few trials are complete, or they are too alike, to tell.")
    # Drawn from the numbers that reports print; Optuna's plot would compute its own.
    names = list(reversed(weights))
    figure = go.Figure(
        go.Bar(
            x=[weights[name] for name in names],
            y=names,
            orientation="h",
            marker={"color": OUTCOME_COLORS["complete"]},
            texttemplate="%{x:.0%}",
            textposition="outside",
            cliponaxis=False,
            hovertemplate="%{y}: %{x:.1%}<extra></extra>",
        )
    )
    figure.update_xaxes(tickformat=".0%", rangemode="tozero")
    figure.update_yaxes(type="category", categoryarray=names)
    figure.update_layout(height=max(_HEIGHT, 90 + 28 * len(names)), margin={"r": 50})
    return Panel(title, figure, "Share in what sets the best trials apart (PED-ANOVA).")


def _parallel(title: str, spec: StudySpec, trials: Sequence[TrialRecord]) -> Panel:
    complete = _complete(trials)
    if len(spec.space) == 1:
        return Panel(title, None, "There is a single parameter.")
    if len(complete) < 2:
        return Panel(title, None, "Fewer than two trials are complete.")
    kept, note = _spread(spec, complete, _MANY_LINES)
    study = rebuild(spec, _only(trials, kept))
    study.set_metric_names(list(spec.objectives))
    if len(spec.objectives) > 1:
        figure = plot_parallel_coordinate(study)
    else:
        figure = plot_parallel_coordinate(study, target_name=next(iter(spec.objectives)))
    for trace in figure.data:
        if trace.customdata is not None:
            trace.update(line={"color": in_our_scale(trace.line.color), "width": 1.6})
        elif trace.marker.showscale:
            trace.marker.update(colorscale=SCALE, colorbar={"thickness": 12})
        else:
            trace.line.color = MUTED
    figure.update_annotations(font_color=None)
    figure.update_layout(plot_bgcolor=None, margin={"l": 60, "t": 50})
    columns = len(spec.space) + len(spec.objectives)
    return Panel(title, figure, note, min_width=106 * columns)


def _slice(axis: int, title: str, spec: StudySpec, trials: Sequence[TrialRecord]) -> Panel:
    complete = _complete(trials)
    if not complete:
        return Panel(title, None, "No trial is complete yet.")
    kept, note = _spread(spec, complete, _MANY_POINTS)
    study = rebuild(spec, _only(trials, kept))
    name = list(spec.objectives)[axis]
    figure = plot_slice(study, target=_value_at(axis), target_name=name)
    figure.update_traces(hovertemplate="%{x}: %{y:.6g}<extra></extra>")
    figure.update_traces(
        marker={"colorscale": SCALE, "line": {"width": 0}, "size": 7},
        marker_colorbar={"thickness": 12, "title": "trial"},
        selector={"name": "Feasible Trial"},
    )
    figure.update_traces(marker=BROKEN, selector={"name": "Infeasible Trial"})
    figure.update_layout(width=None, margin={"r": 70})
    return Panel(title, figure, note, min_width=180 * len(spec.space))


def _contour(title: str, spec: StudySpec, trials: Sequence[TrialRecord]) -> Panel:
    """Draw the objective over the two parameters of most importance."""
    weights = importance(spec, trials)
    if weights is None or len(weights) < 2:
        why = "Too few trials are complete, or they are too alike, to tell which two they are."
        return Panel(title, None, why)
    for pair in combinations(weights, 2):
        # Of branches that exclude each other no trial has both.
        both = [t for t in _complete(trials) if all(name in t.configuration for name in pair)]
        if all(len({trial.configuration[name] for trial in both}) > 1 for name in pair):
            break
    else:
        return Panel(title, None, "No two parameters have changed in the same trials.")
    kept, note = _spread(spec, both, _MANY_POINTS)
    study = rebuild(spec, _only(trials, kept))
    figure = plot_contour(study, list(pair), target_name=next(iter(spec.objectives)))
    for trace in figure.data:
        if trace.type == "contour":
            low_is_good = next(iter(spec.objectives.values())) == "minimize"
            trace.update(colorscale=SCALE, reversescale=low_is_good, colorbar={"thickness": 12})
    return Panel(title, figure, note or "Between the points it is interpolated.")


def _sources(title: str, spec: StudySpec, trials: Sequence[TrialRecord]) -> Panel:
    """Draw how many trials each source proposed, and how often one was the best so far."""
    complete = {trial.number: trial for trial in _complete(trials)}
    if not complete:
        return Panel(title, None, "No trial is complete yet.")
    proposed = Counter(trial.source for trial in complete.values())
    progress = [(-1, math.nan), *best_so_far(spec, complete.values())]
    steps = [number for (_, old), (number, new) in pairwise(progress) if new != old]
    found = Counter(complete[number].source for number in steps)
    names = [name for name, _ in reversed(proposed.most_common())]
    figure = go.Figure()
    for what, counted, color in (
        ("complete trials", proposed, MUTED),
        ("of these the best so far", found, ACCENT),
    ):
        figure.add_bar(
            name=what,
            x=[counted[name] for name in names],
            y=names,
            orientation="h",
            marker={"color": color},
            texttemplate="%{x}",
            textangle=0,
            hovertemplate=f"%{{y}}: %{{x}} {what}<extra></extra>",
        )
    figure.update_yaxes(type="category", categoryarray=names)
    figure.update_layout(height=max(_HEIGHT, 100 + 44 * len(names)), barmode="group")
    return Panel(title, figure, "Whoever comes later has it harder to find a better one.")


def _timeline(title: str, _: StudySpec, trials: Sequence[TrialRecord]) -> Panel:
    """Our own, for Optuna knows one kind of failure and no devices."""
    runs = [
        (trial, attempt) for trial in trials if not trial.imported for attempt in trial.attempts
    ]
    if not runs:
        return Panel(title, None, "No trial of this study has run yet.")
    note = ""
    if len(runs) > _MANY_POINTS:
        note = f"The latest {_MANY_POINTS} of {len(runs)} runs are drawn."
        runs = runs[-_MANY_POINTS:]
    start = min(attempt.started_at for _, attempt in runs)
    # An attempt that still runs is drawn up to the last thing that is known.
    end = max(attempt.finished_at or attempt.started_at for _, attempt in runs)
    unit, seconds = next(
        ((u, s) for u, s in (("hours", 3600), ("minutes", 60)) if end - start >= 2 * s),
        ("seconds", 1),
    )
    figure = go.Figure()
    for outcome, color in OUTCOME_COLORS.items():
        bars = [(t, a) for t, a in runs if str(a.outcome or "running") == outcome]
        if bars:
            figure.add_bar(
                name=outcome.replace("_", " "),
                orientation="h",
                base=[(a.started_at - start) / seconds for _, a in bars],
                x=[((a.finished_at or end) - a.started_at) / seconds for _, a in bars],
                y=[a.slot for _, a in bars],
                customdata=[[t.number, (a.finished_at or end) - a.started_at] for t, a in bars],
                marker={"color": color, "line": {"width": 1, "color": "rgba(128,140,160,0.6)"}},
                hovertemplate="trial %{customdata[0]}: %{customdata[1]:.0f} s"
                "<extra>%{fullData.name}</extra>",
            )
    slots = sorted({attempt.slot for _, attempt in runs}, reverse=True)
    figure.update_xaxes(title=f"{unit} since start")
    figure.update_yaxes(type="category", categoryarray=slots)
    figure.update_layout(
        barmode="overlay", showlegend=True, height=max(_HEIGHT, 130 + 34 * len(slots))
    )
    return Panel(title, figure, note)


def _value_at(axis: int) -> Callable[[FrozenTrial], float]:
    return lambda trial: trial.values[axis]


def _values_at(axes: Sequence[int]) -> Callable[[FrozenTrial], list[float]]:
    return lambda trial: [trial.values[axis] for axis in axes]


def _complete(trials: Sequence[TrialRecord]) -> list[TrialRecord]:
    return [t for t in trials if t.state is Outcome.COMPLETE and not t.is_repeat]


def _spread(
    spec: StudySpec, trials: Sequence[TrialRecord], limit: int
) -> tuple[Sequence[TrialRecord], str]:
    """Return about `limit` trials, evenly spread, with the best; and a note if that is fewer."""
    if len(trials) <= limit:
        return trials, ""
    stride = math.ceil(len(trials) / limit)
    best = {trial.number for trial in best_trials(spec, trials)}
    kept = [t for i, t in enumerate(trials) if i % stride == 0 or t.number in best]
    return kept, f"An even spread of {len(kept)} of {len(trials)} is drawn, the best included."


def _only(trials: Sequence[TrialRecord], kept: Sequence[TrialRecord]) -> list[TrialRecord]:
    """Return all trials, the others as ones that no figure draws, so that numbers stay."""
    numbers = {trial.number for trial in kept}
    return [
        replace(trial, curves=None)
        if trial.number in numbers
        else replace(trial, state=Outcome.KILLED, curves=None)
        for trial in trials
    ]


def _thinned(curve: Mapping[int, float]) -> dict[int, float]:
    steps = sorted(curve)
    stride = math.ceil(len(steps) / _CURVE_POINTS)
    return {step: curve[step] for step in sorted({*steps[:: stride or 1], *steps[-1:]})}
