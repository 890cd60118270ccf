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
    )
    methods = list(dict.fromkeys(method for standing in drawn for method in standing.methods))
    colors = _colors(methods)
    for i, standing in enumerate(drawn):
        for method in standing.methods:
            figure.add_trace(
                _line(standing, method, colors[method], show_legend=i == 0),
                row=i // columns + 1,
                col=i % columns + 1,
            )
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
    above, below = [0.0] * len(curve), [0.0] * len(curve)
    for mark in standing.marks:
        interval = standing.mean(method, mark)
        if math.isfinite(interval.low):  # there are enough seeds for a bar
            above[mark - 1] = interval.high - interval.mean
            below[mark - 1] = interval.mean - interval.low
    return go.Scatter(
        x=list(range(1, len(curve) + 1)),
        y=curve,
        name=method,
        legendgroup=method,
        showlegend=show_legend,
        mode="lines",
        line={"color": color, "width": 3 if _is_ours(method) else 1.5},
        error_y={"array": above, "arrayminus": below, "thickness": 1, "width": 3},
    )


def _is_ours(method: str) -> bool:
    return method in METHODS and METHODS[method].ours


def _colors(methods: Sequence[str]) -> dict[str, str]:
    """Return a color a method; ours have the accent."""
    others = [method for method in methods if not _is_ours(method)]
    colors = {method: _OTHERS[i % len(_OTHERS)] for i, method in enumerate(others)}
    return {method: colors.get(method, ACCENT) for method in methods}
