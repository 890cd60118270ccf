"""The panel of report and export: the report's summary, and files to take along."""

from __future__ import annotations

import time
from collections.abc import Hashable
from pathlib import Path
from typing import Any, NamedTuple

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


class _Written(NamedTuple):
    at: float
    """When, by a clock that only goes forward: the same files may be written again."""
    paths: tuple[Path, ...]
    summary: str


class ExportPanel:
    """Files are written when they are asked for, into the workspace's folder of reports."""

    name: PanelName = "report"
    title = "Report"

    def __init__(self) -> None:
        self._written: dict[int, _Written] = {}

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
        id = sight.snapshot.record.id
        return id, self._written[id].at if id in self._written else None

    def render(self, sight: Sight, *values: Any) -> list[Any]:
        """Return the report that was written last, or the panel before any was asked for."""
        written = self._written.get(sight.snapshot.record.id)
        if written is not None and all(path.is_file() for path in written.paths):
            return [
                message(f"Written to {written.paths[0].parent}."),
                gr.Files([str(path) for path in written.paths], visible=True),
                gr.Markdown(written.summary, visible=True),
            ]
        text = (
            "The report is one HTML page that needs nothing but itself, and a summary in Markdown. "
            "With them come the trials as CSV, the spec, the best configuration, and its model if "
            "one was kept."
        )
        return [message(text), gr.Files(visible=False), gr.Markdown(visible=False)]

    def write(self, study: Study) -> None:
        """Write the report and the files; every tab shows them from then on.

        Raises:
            LuthierError: If the study cannot be read, or the folder of reports not be written.
        """
        paths = tuple(write_files(study))
        summary = next(path for path in paths if path.suffix == ".md").read_text(encoding="utf-8")
        self._written[study.record.id] = _Written(time.monotonic(), paths, summary)


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
