"""How figures look: colors, a template for light and dark pages, names as literal text."""

from __future__ import annotations

import html
import re
from typing import Any

import numpy as np
import plotly.graph_objects as go
from plotly.colors import sample_colorscale, sequential

OUTCOME_COLORS = {
    "complete": "#3b82c4",
    "pruned": "#e0a030",
    "out_of_memory": "#9b51b0",
    "diverged": "#d6459a",
    "timed_out": "#8d6e63",
    "crashed": "#d64545",
    "killed": "#7b8794",
    "invalid": "#e07a45",
    "infrastructure": "#4f5d73",
    "running": "#2fa36b",
    "waiting": "#b4bcc8",
}
"""The color of each outcome and of the states before one; readable on light and dark pages."""

MUTED, ACCENT = "#8fa3bd", "#e8590c"
BROKEN = {"color": "#8a94a3", "symbol": "circle-open"}
"""The marker of trials that break a limit."""
SCALE = [[0.0, "#a9b8cc"], [0.5, "#5b8fd6"], [1.0, ACCENT]]

_LONGEST = 24
"""Characters of a name that stand in a figure."""

_TEMPLATE = go.layout.Template(
    layout={
        "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": "rgba(0,0,0,0)",
        "font": {"family": "system-ui, sans-serif", "size": 12, "color": "#75808f"},
        "colorway": [MUTED, ACCENT, *OUTCOME_COLORS.values()],
        "margin": {"l": 60, "r": 20, "t": 48, "b": 50},
        "legend": {"orientation": "h", "x": 0, "y": 1.02, "yanchor": "bottom"},
        "modebar": {"bgcolor": "rgba(0,0,0,0)", "color": "#8a94a3", "activecolor": ACCENT},
        **{
            axis: {
                "gridcolor": "rgba(128,140,160,0.2)",
                "zeroline": False,
                "automargin": True,
                "ticklabelstandoff": 4,
            }
            for axis in ("xaxis", "yaxis")
        },
    }
)


def in_our_scale(blue: str) -> str:
    """Move a color of Optuna's scale, which fades into white pages, to the same place of ours."""
    place = np.interp(_green(blue), _GREENS[::-1], np.linspace(1, 0, len(_GREENS)))
    return str(sample_colorscale(SCALE, float(place))[0])


def _green(color: str) -> float:
    return float(re.findall(r"[\d.]+", color)[1])


_GREENS = [_green(color) for color in sequential.Blues]


def short(name: str) -> str:
    """Return a name that leaves room for the figure."""
    return name if len(name) <= _LONGEST else f"{name[: _LONGEST - 1]}…"


def finished(figure: go.Figure) -> go.Figure:
    """Return a figure in our look, in which names stand as literal text.

    Hover and text templates must be constants, for they stay as they are.
    """
    figure.update_layout(template=_TEMPLATE, title=None)
    for axis in (*figure.select_xaxes(), *figure.select_yaxes()):
        if axis.title.text:
            axis.title.text = short(axis.title.text)
        if axis.type == "log":
            # 1e-5, for a learning rate of 10µ reads oddly; few ticks, for panels are narrow.
            axis.update(exponentformat="e", nticks=4)
        if axis.type == "category" and axis.categoryarray is not None:
            # Optuna names a category by its `repr`.
            axis.tickvals = axis.categoryarray
            axis.ticktext = [short(name.strip("'")) for name in axis.categoryarray]
    figure.for_each_annotation(lambda note: note.update(text=short(note.text)))
    return go.Figure(_literal(figure.to_plotly_json()))


def _literal(value: Any, key: str = "") -> Any:
    """Escape every string, for Plotly reads tags in names; templates are our own constants."""
    if isinstance(value, str):
        return value if key.endswith("template") else html.escape(value, quote=False)
    if isinstance(value, dict):
        return {name: _literal(item, name) for name, item in value.items()}
    if isinstance(value, list | tuple) or (isinstance(value, np.ndarray) and value.dtype == object):
        return [_literal(item, key) for item in value]
    return value
