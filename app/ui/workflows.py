"""The panel of workflows: the edits that a search proposed, their evidence, and what is applied.

A pipeline's file is a person's program, so it never runs in the server: `luthier patch` does, in a
process of its own, as from a terminal.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import PurePath
from typing import Any, NamedTuple

import gradio as gr

from ...tools.edits import EditLedger, EditRecord, lineage
from ...tools.errors import LuthierError
from ...tools.workspace import Workspace
from .acts import plain_html
from .place import PanelName, read_text
from .start import Starting
from .together import Look, together
from .writing import cut, digest, message, write

_SECONDS = 600.0
"""How long a patch may take: a part of one is measured anew."""
_COLUMNS = "200"


class Done(NamedTuple):
    """What a command came to."""

    ok: bool
    text: str


class Patches:
    """Everything that the panel does, without its components."""

    def __init__(self, workspace: Workspace, starting: Starting) -> None:
        """Look at a workspace, which need not be there yet; pipelines are files of the project."""
        self._workspace = workspace
        self._starting = starting

    def names(self) -> list[str]:
        """Return the optimised workflows, newest first.

        Raises:
            LuthierError: If the ledger cannot be read.
        """
        ledger = self._ledger()
        return [] if ledger is None else [each.name for each in ledger.workflows()]

    def edits(self, name: str) -> tuple[list[EditRecord], list[EditRecord], Any]:
        """Return the edits that lead to the best, the others, and what the sealed cases said.

        Raises:
            LuthierError: If there is no such workflow.
        """
        ledger = self._ledger()
        if ledger is None:
            return [], [], None
        record = ledger.workflow(name)
        edits = ledger.edits(record)
        line = lineage(edits)
        return line, [edit for edit in edits if edit not in line], record.sealed

    def page(self, name: str | None) -> str:
        """Return the edits of a workflow, each with its evidence."""
        if name is None:
            return write("workflows_none")
        line, others, sealed = self.edits(name)
        edits = [*line, *others]
        costs = [edit.dollars for edit in edits]
        return write(
            "workflows",
            name=name,
            line=line,
            others=others,
            sealed=sealed,
            tokens=sum(edit.tokens for edit in edits),
            dollars=None if None in costs else sum(cost or 0.0 for cost in costs),
        )

    def pipelines(self) -> list[str]:
        """Return the Python files of the project."""
        return self._starting.scripts()

    def pipeline_of(self, name: str) -> str | None:
        """Return the file after which a run is named by default, if there is one."""
        found = [path for path in self.pipelines() if PurePath(path).name == f"{name}.py"]
        return found[0] if found else None

    def apply(self, name: str, file: str, kept: Sequence[int], anyway: bool) -> Done:
        """Apply a run's edits but those that are not kept, as `luthier patch apply` does.

        Raises:
            LuthierError: If there is no such run, or the file is none of the project.
        """
        left_out = [edit.number for edit in self.edits(name)[0] if edit.number not in kept]
        options = [part for number in left_out for part in ("--without", str(number))]
        return self._patch("apply", name, file, *options, *(["--anyway"] if anyway else []))

    def revert(self, name: str, file: str) -> Done:
        """Take a run's edits back, as `luthier patch revert` does.

        Raises:
            LuthierError: If the file is none of the project.
        """
        return self._patch("revert", name, file)

    def _patch(self, deed: str, name: str, file: str, *options: str) -> Done:
        path = self._starting.script(file)
        command = [sys.executable, "-m", "luthier.app", "patch", deed, str(path), f"--name={name}"]
        home = str(self._workspace.folder.resolve())
        try:
            done = subprocess.run(
                [*command, *options],
                cwd=self._starting.project,
                env={**os.environ, "LUTHIER_HOME": home, "COLUMNS": _COLUMNS},
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=_SECONDS,
            )
        except subprocess.TimeoutExpired:
            return Done(False, f"it took longer than {_SECONDS:g} s; use `luthier patch {deed}`")
        return Done(
            done.returncode == 0, "\n".join([done.stdout.strip(), done.stderr.strip()]).strip()
        )

    def _ledger(self) -> EditLedger | None:
        if not self._workspace.ledger_path.is_file():
            return None
        return EditLedger(self._starting.watch.open_ledger().database)


class WorkflowsPanel:
    """The components of the panel."""

    name: PanelName = "workflows"
    title = "Workflows"

    def __init__(self, patches: Patches) -> None:
        self._patches = patches

    def build(self) -> None:
        """Lay out its components, in its tab, and wire those that concern nobody else.

        `looks` fills them in.
        """
        run = gr.Dropdown(choices=[], label="Workflow", elem_id="lu-workflow")
        page = plain_html("lu-workflows")
        with gr.Column(visible=False) as patch:
            kept = gr.CheckboxGroup(
                choices=[],
                label="Edits to apply",
                info="They were measured together; what is left after one is taken out is measured "
                "anew.",
                elem_id="lu-kept",
            )
            with gr.Row(elem_classes="lu-controls"):
                file = gr.Dropdown(
                    choices=[],
                    label="Pipeline",
                    info="The file that defines the workflow. It is run, to see that the edits "
                    "fit it, and stays as it is: they stand beside it.",
                    allow_custom_value=True,
                    elem_id="lu-pipeline",
                )
                anyway = gr.Checkbox(
                    False, label="Also with low evidence, or where the rest gains nothing"
                )
            with gr.Row():
                apply = gr.Button("Apply these edits", variant="primary", elem_id="lu-apply")
                revert = gr.Button("Revert what was applied", elem_id="lu-revert")
        said = plain_html("lu-patched")
        self._seen = gr.Textbox(visible="hidden")
        self._run = run
        self.looks = Look(self.look, [run], [run, page, patch, kept, file, self._seen])
        options: dict[str, Any] = {"queue": False, "api_visibility": "private"}
        together(run.input, [self.looks])
        apply.click(self.apply, [run, file, kept, anyway], said, **options)
        revert.click(self.revert, [run, file], said, **options)

    def follows(self, place: gr.Textbox) -> Look:
        """Return what fills the panel in when something else is to be shown in it."""
        return Look(self._follow, [place, self._run, self._seen], self.looks.outputs)

    def _follow(self, place: str, name: str | None, seen: str) -> list[Any]:
        """Return what `look` does, if the panel is seen and shows something else.

        What a person has ticked or typed stays while nothing else happens.
        """
        if read_text(place).panel != self.name:
            return [gr.skip()] * len(self.looks.outputs)
        return self.look(name, seen)

    def look(self, name: str | None, seen: str = "") -> list[Any]:
        """Return the panel's components for a workflow; for the newest if there is none of it.

        Args:
            name: The workflow.
            seen: The digest of what is shown; if it still holds, the components are left.
        """
        try:
            names = self._patches.names()
            chosen = name if name in names else next(iter(names), None)
            page = self._patches.page(chosen)
            line = [] if chosen is None else self._patches.edits(chosen)[0]
        except LuthierError as error:
            problem = message(str(error), "problem")
            hidden = gr.Column(visible=False)
            return [gr.skip(), problem, hidden, gr.skip(), gr.skip(), digest(problem)]
        now = digest((names, page))
        if now == seen:
            return [gr.skip()] * len(self.looks.outputs)
        choices = [(f"{edit.number}: {cut(edit.diagnosis)}", edit.number) for edit in line]
        return [
            gr.Dropdown(choices=names, value=chosen),
            page,
            gr.Column(visible=bool(line)),
            gr.CheckboxGroup(choices=choices, value=[edit.number for edit in line]),
            gr.Dropdown(
                choices=self._patches.pipelines(),
                value=None if chosen is None else self._patches.pipeline_of(chosen),
            ),
            now,
        ]

    def apply(self, name: str | None, file: str | None, kept: list[int], anyway: bool) -> str:
        """Apply what is ticked; return what came of it."""
        return self._told(lambda: self._patches.apply(name or "", file or "", kept, anyway), file)

    def revert(self, name: str | None, file: str | None) -> str:
        """Take back what was applied; return what came of it."""
        return self._told(lambda: self._patches.revert(name or "", file or ""), file)

    def _told(self, deed: Any, file: str | None) -> str:
        if not file:
            return message("Choose the file that defines the workflow.", "problem")
        try:
            done: Done = deed()
        except LuthierError as error:
            return message(str(error), "problem")
        return write("patched", ok=done.ok, text=done.text)
