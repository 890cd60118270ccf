"""What all tools work at: one workspace, one project folder, one person."""

from __future__ import annotations

import getpass
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from ...tools.workspace import Workspace, find_workspace
from .declaring import ToolError, visible

if TYPE_CHECKING:
    from ...tools.ledger import Ledger
    from ...tools.records import TrialRecord
    from ...tools.study import Study
    from ..conversations import Conversations

WriteReport = Callable[["Study"], Path]
"""Writes a study's report and returns the page's path."""


@dataclass(frozen=True)
class Desk:
    """Where a conversation's tools look and write, and for whom."""

    workspace: Workspace
    project: Path
    """The folder of the person's scripts and data, and what is below it, may be read."""
    allowed: tuple[Path, ...] = ()
    """Further folders that the person has allowed."""
    person: str = field(default_factory=getpass.getuser)
    write_report: WriteReport | None = None
    """None where the front end cannot write one."""

    @cached_property
    def ledger(self) -> Ledger:
        """The workspace's ledger; made if there is none."""
        from ...tools.ledger import open_ledger

        return open_ledger(self.workspace.ledger_path)

    @cached_property
    def conversations(self) -> Conversations:
        """What was said, drafted and approved in this workspace."""
        from ..conversations import Conversations

        return Conversations(self.workspace.folder / "conversations.db")

    def path(self, text: str) -> Path:
        """Return a file that tools may read.

        Raises:
            ToolError: If there is none, or it lies where the person has not allowed it.
        """
        try:
            path = (self.project / text).resolve()
            inside = any(
                path.is_relative_to(folder.resolve()) for folder in (self.project, *self.allowed)
            )
            found = inside and path.is_file()
        except (OSError, ValueError, RuntimeError):  # too long, a null byte, a loop of links
            raise ToolError(f"{visible(text)!r} is no path of a file") from None
        if not inside:
            raise ToolError(
                f"{visible(text)!r} lies outside the project folder {str(self.project)!r}; only "
                "the person can allow it, by starting there or with --allow FOLDER"
            )
        if not found:
            raise ToolError(f"there is no file {visible(text)!r} in {str(self.project)!r}")
        return path

    def study(self, name: str | None) -> Study:
        """Return a study, by default the newest one.

        Raises:
            StudyNotFoundError: With the nearest name.
            ToolError: If there is none at all.
        """
        from ...tools.study import Study

        if name is None:
            studies = self.ledger.studies()
            if not studies:
                raise ToolError("there is no study in this workspace yet; draft one and start it")
            name = studies[-1].name
        self.ledger.study(name)
        return Study(self.ledger, self.workspace, name)


def trial_of(study: Study, number: int, *, curves: bool = False) -> TrialRecord:
    """Return one trial of a study.

    Raises:
        ToolError: If it has none of that number.
    """
    trials = study.trials(curves=curves)
    for trial in trials:
        if trial.number == number:
            return trial
    last = f"the last one is {trials[-1].number}" if trials else "it has none yet"
    raise ToolError(f"study {study.name!r} has no trial {number}; {last}")


def find_desk(
    project: Path | None = None,
    workspace: Path | None = None,
    allowed: tuple[Path, ...] = (),
    write_report: WriteReport | None = None,
) -> Desk:
    """Return the desk of a folder, by default of the current one."""
    place = find_workspace() if workspace is None else Workspace(workspace.absolute())
    return Desk(place, (project or Path.cwd()).absolute(), allowed, write_report=write_report)
