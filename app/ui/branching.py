"""The panel of the search space: edited in a grid, shown as a diff, started as a branch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import gradio as gr

from ...agent.worker import check_study, start_detached
from ...tools.errors import LuthierError
from ...tools.spec import SpecError, StudySpec, diff
from ...tools.study import branch, valid_trials
from .acts import plain_html
from .place import PanelName, read_text
from .space_grid import Row, edited, grid, rows_of
from .together import AT_ONCE
from .watching import Watch
from .writing import message, write


class SpacePanel:
    """A study's own space never changes; a branch has the new one, and the trials that fit it."""

    name: PanelName = "space"
    title = "Space"

    def __init__(self, watch: Watch) -> None:
        self._watch = watch

    def build(self) -> None:
        """Lay out its components, in its tab, and wire those that concern nobody else."""
        self.said = plain_html("lu-space-said")
        self.grid = grid("lu-space-grid")
        self.branch_name = gr.Textbox(
            label="Name of the branch", max_lines=1, elem_id="lu-branch-name"
        )
        self.review = plain_html("lu-branch-review")
        self.parent = gr.Textbox(visible="hidden")
        self.confirmed = gr.Textbox(visible="hidden")
        self.start = gr.Button(
            "Start the branch", variant="primary", interactive=False, elem_id="lu-branch"
        )
        self.filled = [self.said, self.grid, self.branch_name, self.parent]
        checked = [self.review, self.start, self.confirmed]
        for part in (self.grid, self.branch_name):
            part.change(
                self.check,
                [self.parent, self.grid, self.branch_name],
                checked,
                trigger_mode="always_last",
                **AT_ONCE,
            )

    def fill(self, place: str, parent: str) -> list[Any]:
        """Show the study's space, unless it is shown already: an edit under way stays."""
        here = read_text(place)
        try:
            name = here.study or self._watch.first_shown()
            if here.panel != self.name or name is None or name == parent:
                return [gr.skip()] * len(self.filled)
            study = self._watch.study(name)
            said = write("space", study=study.name)
            return [said, rows_of(study.spec), self._free_name(study.name), study.name]
        except LuthierError as error:
            return [message(str(error), "problem"), [], "", ""]

    def follow(self, place: str, parent: str) -> list[Any]:
        """Show the space of the study that a person has gone to meanwhile.

        A space that was never shown is being filled in by whatever brought the person here.
        """
        return self.fill(place, parent) if parent else [gr.skip()] * len(self.filled)

    def check(self, parent: str, rows: Sequence[Row], name: str) -> tuple[str, Any, str]:
        """Return what is different, whether it can be started, and the hash of what was shown."""
        shut = gr.Button(interactive=False)
        if not parent:
            return "", shut, ""
        try:
            spec, page = self._reviewed(parent, rows, name)
        except LuthierError as error:
            return message(str(error), "problem"), shut, ""
        if spec is None:
            return page, shut, ""
        return page, gr.Button(interactive=True), spec.content_hash()

    def _reviewed(
        self, parent: str, rows: Sequence[Row], name: str
    ) -> tuple[StudySpec | None, str]:
        study = self._watch.study(parent)
        spec = edited(study.spec, rows, name.strip())
        changes = [str(change) for change in diff(study.spec, spec)]
        if not changes:
            return None, ""
        if spec.name in {other.name for other in self._watch.studies()}:
            raise SpecError(f"there is a study {spec.name!r} already; give the branch another name")
        check_study(spec, study.record.working_directory)
        trials = study.trials(curves=False)
        taken = len(valid_trials(study.spec, trials, spec))
        page = write("branch", changes=changes, taken=taken, trials=len(trials), spec=spec)
        return spec, page

    def begin(self, parent: str, rows: Sequence[Row], name: str, confirmed: str) -> str:
        """Store the branch that was looked over, start a worker for it, and return its name.

        Raises:
            LuthierError: If it is another than that, or cannot be run.
        """
        study = self._watch.study(parent)
        spec, _ = self._reviewed(parent, rows, name)
        if spec is None or spec.content_hash() != confirmed:
            raise SpecError("the space was changed since it was looked over; look it over again")
        child, _ = branch(study.ledger, study.record, spec, study.record.working_directory)
        start_detached(study.ledger, child, study.workspace)
        self._watch.forget()
        return child.name

    def _free_name(self, name: str) -> str:
        taken = {study.name for study in self._watch.studies()}
        count = 2
        while f"{name[:90]}-{count}" in taken:
            count += 1
        return f"{name[:90]}-{count}"
