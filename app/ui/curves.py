"""The panel of learning curves, one over the other."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any

import gradio as gr
from gradio.components import Component

from ...tools.plots import curves, spread
from ...tools.records import TrialRecord
from .acts import plain_html
from .pace import Pace
from .place import PanelName
from .sight import Sight
from .writing import cut, message

_RUNNING_SECONDS = 3.0
"""How often figures of a study that runs are drawn anew."""
_MOST_LINES = 100
"""Curves that are drawn at once."""


class CurvesPanel:
    """All curves of one metric."""

    name: PanelName = "curves"
    title = "Curves"

    def __init__(self) -> None:
        self._pace = Pace(_RUNNING_SECONDS)

    def build(self) -> None:
        """Lay out its components, in its tab."""
        with gr.Row(elem_classes="lu-controls"):
            metric = gr.Dropdown(label="Metric", choices=[], min_width=160)
            smoothing = gr.Slider(0.0, 0.95, value=0.0, step=0.05, label="Smoothing")
            axes = gr.CheckboxGroup(["log steps", "log values"], label="Axes")
        plot = gr.Plot(show_label=False, elem_id="lu-curves")
        note = plain_html()
        self.inputs: list[Component] = [metric, smoothing, axes]
        self.outputs: list[Component] = [metric, note, plot]
        self.acting: list[gr.HTML] = []

    def key(self, sight: Sight, *values: Any) -> Hashable:
        """Return what it shows depends on."""
        metric, *others = values
        return self._pace.version(sight), sight.place.compare, _chosen(sight, metric), others

    def render(self, sight: Sight, *values: Any) -> list[Any]:
        """Return the choice of metrics, a note, and the figure."""
        metric, smoothing, axes = values
        metric = _chosen(sight, metric)
        drawn, note = _trials(sight, metric)
        best = {trial.number for trial in sight.best}
        panel = curves(drawn, metric, best, min(max(float(smoothing or 0), 0.0), 0.95))
        if panel.figure is not None:
            panel.figure.update_layout(height=430)
            if "log steps" in (axes or []):
                panel.figure.update_xaxes(type="log")
            if "log values" in (axes or []):
                panel.figure.update_yaxes(type="log")
        said = " ".join(text for text in (note, panel.note) if text)
        return [
            gr.Dropdown(choices=[(cut(name), name) for name in _metrics(sight)], value=metric),
            message(f"{said} Pruned curves are faint, running ones green." if drawn else said),
            gr.Plot(panel.figure, visible=panel.figure is not None),
        ]


def _metrics(sight: Sight) -> list[str]:
    """Return the metrics that can be drawn, the objectives first."""
    return list(dict.fromkeys([*sight.spec.objectives, *sight.spec.metrics]))


def _chosen(sight: Sight, metric: object) -> str:
    """Return the metric that is drawn: the first one until a person chooses."""
    names = _metrics(sight)
    return metric if isinstance(metric, str) and metric in names else names[0]


def _trials(sight: Sight, metric: str) -> tuple[list[TrialRecord], str]:
    """Read the curves that are drawn: those that are compared, or a spread of all."""
    if len(sight.place.compare) > 1:
        numbers = {*sight.place.compare, *(trial.number for trial in sight.best[:1])}
        note = "Those that are compared, and the best."
    else:
        kept, note = spread(sight.spec, sight.trials, metric, _MOST_LINES)
        numbers = {trial.number for trial in kept}
    record = sight.snapshot.record
    return sight.study.ledger.trials(record, curves=True, numbers=numbers), note
