"""The panel of analysis: the figures of a study, one at a time."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any

import gradio as gr
from gradio.components import Component

from ...tools.evidence_plots import (
    OUTLOOKS,
    PREDICTIONS,
    REPEATS,
    outlooks,
    predictions,
    repeats,
)
from ...tools.plots import CURVES, Draw, drawers
from ...tools.reviews import reviews_in
from .acts import plain_html
from .pace import Pace
from .place import PanelName
from .sight import Sight
from .writing import cut, message

_RUNNING_SECONDS = 10.0
"""How often figures of a study that runs are drawn anew."""

_SCREEN = 700
"""Pixels that most screens have."""


class AnalysisPanel:
    """Progress, importance, slices, timeline and the like."""

    name: PanelName = "analysis"
    title = "Analysis"

    def __init__(self) -> None:
        self._pace = Pace(_RUNNING_SECONDS)

    def build(self) -> None:
        """Lay out its components, in its tab."""
        figure = gr.Radio(label="Figure", choices=[], elem_classes="lu-controls")
        with gr.Column(elem_classes="lu-scroll"):
            plot = gr.Plot(show_label=False, elem_id="lu-analysis")
        note = plain_html()
        self.inputs: list[Component] = [figure]
        self.outputs: list[Component] = [figure, note, plot]
        self.acting: list[gr.HTML] = []

    def key(self, sight: Sight, *values: Any) -> Hashable:
        """Return what it shows depends on."""
        return self._pace.version(sight), _chosen(_figures(sight), values[0])

    def render(self, sight: Sight, *values: Any) -> list[Any]:
        """Return the choice of figures, a note, and the figure."""
        drawn = _figures(sight)
        title = _chosen(drawn, values[0])
        panel = drawn[title](sight.spec, sight.trials)
        if panel.figure is not None:
            # A figure with many parts scrolls on a narrow screen rather than shrink.
            wide = panel.min_width > _SCREEN
            panel.figure.update_layout(width=panel.min_width if wide else None)
        return [
            gr.Radio(choices=[(cut(name), name) for name in drawn], value=title),
            message(panel.note) if panel.note else "",
            gr.Plot(panel.figure, visible=panel.figure is not None),
        ]


def _figures(sight: Sight) -> dict[str, Draw]:
    """Return what draws each figure of a study, by its title."""
    drawn = {title: draw for title, draw in drawers(sight.spec).items() if title != CURVES}
    if len(sight.spec.objectives) == 1:
        study = sight.study
        drawn[REPEATS] = repeats
        drawn[PREDICTIONS] = lambda spec, trials: predictions(
            spec, trials, study.ledger.decisions(sight.snapshot.record)
        )
        drawn[OUTLOOKS] = lambda spec, trials: outlooks(spec, trials, reviews_in(study.events()))
    return drawn


def _chosen(drawn: dict[str, Draw], title: str | None) -> str:
    """Return the figure that is drawn: the first one until a person chooses."""
    return title if title is not None and title in drawn else next(iter(drawn))
