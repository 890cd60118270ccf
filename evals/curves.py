"""Anytime curves: the mean regret of each method after each trial, a panel a family."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from ..tools.plot_style import ACCENT, OUTCOME_COLORS, finished
from .methods import METHODS
from .standings import Standing

_COLUMNS = 3
_PANEL_WIDTH, _PANEL_HEIGHT = 400, 300
_BAR_GAP = 0.6
"""Trials between the bars of two methods."""
_OTHERS = [OUTCOME_COLORS[name] for name in ("killed", "complete", "running", "out_of_memory")]


def write_page(standings: Sequence[Standing], path: Path) -> None:
    """Write a page that needs nothing but itself."""
    page = figure_of(standings).to_html(include_plotlyjs=True, full_html=True)
    path.write_text(page, encoding="utf-8")


def figure_of(standings: Sequence[Standing]) -> go.Figure:
    """Draw a panel a family; the bars are 95% intervals over seeds."""
    drawn = [standing for standing in standings if standing.tasks]
    columns = min(_COLUMNS, max(1, len(drawn)))
    rows = max(1, -(-len(drawn) // columns))
    figure = make_subplots(
        rows,
        columns,
        subplot_titles=[f"{s.name} ({len(s.tasks)} tasks)" for s in drawn],
        x_title="trials",
        y_title="mean normalised regret",
        vertical_spacing=0.2 / rows,
    )
    methods = list(dict.fromkeys(method for standing in drawn for method in standing.methods))
    colors = _colors(methods)
    for i, standing in enumerate(drawn):
        for k, method in enumerate(standing.methods):
            beside = _BAR_GAP * (k - (len(standing.methods) - 1) / 2)
            for trace in (
                _line(standing, method, colors[method], show_legend=i == 0),
                _bars(standing, method, colors[method], beside),
            ):
                figure.add_trace(trace, row=i // columns + 1, col=i % columns + 1)
    figure.update_yaxes(rangemode="tozero")
    figure = finished(figure)
    figure.update_layout(
        width=columns * _PANEL_WIDTH + 100,
        height=rows * _PANEL_HEIGHT + 140,
        margin={"l": 80, "t": 90, "b": 80},
        legend={"y": 1 + 50 / (rows * _PANEL_HEIGHT)},
    )
    return figure


def _line(standing: Standing, method: str, color: str, *, show_legend: bool) -> go.Scatter:
    curve = standing.curve(method)
    return go.Scatter(
        x=list(range(1, len(curve) + 1)),
        y=curve,
        name=method,
        legendgroup=method,
        showlegend=show_legend,
        mode="lines",
        line={"color": color, "width": 3 if _is_ours(method) else 1.5},
    )


def _bars(standing: Standing, method: str, color: str, beside: float) -> go.Scatter:
    """Draw the intervals a little beside their trial, so that no method hides another's."""
    intervals = {mark: standing.mean(method, mark) for mark in standing.marks}
    known = {mark: i for mark, i in intervals.items() if math.isfinite(i.low)}
    return go.Scatter(
        x=[mark + beside for mark in known],
        y=[interval.mean for interval in known.values()],
        legendgroup=method,
        showlegend=False,
        hoverinfo="skip",
        mode="markers",
        marker={"color": color, "size": 4},
        error_y={
            "array": [interval.high - interval.mean for interval in known.values()],
            "arrayminus": [interval.mean - interval.low for interval in known.values()],
            "thickness": 1.5,
            "width": 0,
        },
    )


def _is_ours(method: str) -> bool:
    return method in METHODS and METHODS[method].ours


def _colors(methods: Sequence[str]) -> dict[str, str]:
    """Return a color a method; ours have the accent."""
    others = [method for method in methods if not _is_ours(method)]
    colors = {method: _OTHERS[i % len(_OTHERS)] for i, method in enumerate(others)}
    return {method: colors.get(method, ACCENT) for method in methods}
