"""The folder that holds everything Luthier writes."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Workspace:
    """A folder with the ledger, the trials' files and the reports."""

    folder: Path

    @property
    def ledger_path(self) -> Path:
        """The ledger's database."""
        return self.folder / "ledger.db"

    @property
    def mirror_path(self) -> Path:
        """The mirror in Optuna's own tables."""
        return self.folder / "optuna.db"

    @property
    def reports(self) -> Path:
        """Where reports are written."""
        return self.folder / "reports"

    def recording_folder(self, study: str) -> Path:
        """Where the language model's answers to a study are kept."""
        return self.folder / "recordings" / study

    def study_folder(self, study: str) -> Path:
        """Where a study's files are."""
        return self.folder / "trials" / study

    def lab_folder(self, study: str) -> Path:
        """Where the register of a study's pretend devices is."""
        return self.study_folder(study) / "devices"

    def attempt_folder(self, study: str, trial: int, attempt: int) -> Path:
        """Where one attempt's files are."""
        return self.study_folder(study) / str(trial) / str(attempt)

    def checkpoint_folder(self, study: str, trial: int) -> Path:
        """Where a trial's checkpoints are, whichever attempt wrote them."""
        return self.study_folder(study) / str(trial) / "checkpoint"


def find_workspace(environment: Mapping[str, str] = os.environ) -> Workspace:
    """Return the workspace: `LUTHIER_HOME`, or `.luthier` in the current folder."""
    home = environment.get("LUTHIER_HOME")
    return Workspace(Path(home).expanduser().absolute() if home else Path.cwd() / ".luthier")
