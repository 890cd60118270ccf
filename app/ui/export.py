"""The panel of report and export: the report's summary, and files to take along."""

from __future__ import annotations

from collections.abc import Hashable
from pathlib import Path
from typing import Any

import gradio as gr
from gradio.components import Component

from ...tools.spec import SpecError
from ...tools.study import Study, export_study
from ...tools.winner import export_winner
from ..reading import write_report_of
from ..report import without_secrets
from .acts import plain_html
from .place import PanelName
from .sight import Sight
from .writing import message


class ExportPanel:
    """Files are written when they are asked for, into the workspace's folder of reports."""

    name: PanelName = "report"
    title = "Report"

    def build(self) -> None:
        """Lay out its components, in its tab."""
        self.make = gr.Button("Write the report as of now", variant="primary", size="md")
        note = plain_html()
        files = gr.Files(label="Download", visible=False, interactive=False)
        preview = gr.Markdown(elem_id="lu-report", container=True, visible=False)
        self.inputs: list[Component] = []
        self.outputs: list[Component] = [note, files, preview]
        self.acting: list[gr.HTML] = []

    def key(self, sight: Sight, *values: Any) -> Hashable:
        """Return what it shows depends on: a report stays as it was written."""
        return sight.snapshot.record.id

    def render(self, sight: Sight, *values: Any) -> list[Any]:
        """Return the panel before anything was asked for."""
        text = (
            "The report is one HTML page that needs nothing but itself, and a summary in Markdown. "
            "With them come the trials as CSV, the spec, the best configuration, and its model if "
            "one was kept."
        )
        return [message(text), gr.Files(visible=False), gr.Markdown(visible=False)]

    def written(self, study: Study) -> list[Any]:
        """Write the report and the files, and return the panel with them."""
        paths = write_files(study)
        summary = next(path for path in paths if path.suffix == ".md").read_text(encoding="utf-8")
        return [
            message(f"Written to {paths[0].parent}."),
            gr.Files([str(path) for path in paths], visible=True),
            gr.Markdown(summary, visible=True),
        ]


def write_files(study: Study) -> list[Path]:
    """Write what a person takes along: report, trials, spec, best configuration and its model.

    Raises:
        SpecError: If the folder of reports cannot be written.
    """
    report = write_report_of(study)
    folder, name = study.workspace.reports, study.name
    table, spec = folder / f"{name}.csv", folder / f"{name}.yaml"
    export_study(study, table)
    try:
        spec.write_text(without_secrets(study.spec).to_yaml(resolved=True), encoding="utf-8")
    except OSError as error:
        raise SpecError(f"cannot write to {str(folder)!r}: {error.strerror}") from None
    return [report.html, report.markdown, table, spec, *export_winner(study)]
