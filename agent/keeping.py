"""Which checkpoints of a study's trials stay on the disk."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from ..tools import checkpoints
from ..tools.outcomes import Outcome
from ..tools.records import TrialRecord
from ..tools.workspace import Workspace
from ..tools.writer import Writer
from .history import History


class Keeper:
    """Deletes checkpoints that nobody needs any more, and knows whose the others are."""

    def __init__(self, writer: Writer, workspace: Workspace, history: History) -> None:
        """Begin without having looked at the disk."""
        self._writer = writer
        self._workspace = workspace
        self._history = history
        self._kept: set[int] = set()
        """Complete trials that have checkpoints."""

    def folder(self, trial: TrialRecord) -> Path:
        """Return where a trial's checkpoints are."""
        return self._workspace.checkpoint_folder(self._writer.study.name, trial.number)

    def look(self, trials: Iterable[TrialRecord]) -> None:
        """Find the checkpoints that complete trials have."""
        complete = (trial for trial in trials if trial.state is Outcome.COMPLETE)
        self._kept = {t.number for t in complete if not checkpoints.is_empty(self.folder(t))}

    def tidy(self, ended: TrialRecord) -> None:
        """Delete the checkpoints of complete trials that are not, or not any more, the best."""
        if ended.state is Outcome.COMPLETE and not checkpoints.is_empty(self.folder(ended)):
            self._kept.add(ended.number)
        trials = self._history.trials
        needless = checkpoints.superseded(self._writer.study.spec, trials, self._kept)
        for number in needless:
            checkpoints.discard(self.folder(trials[number]))
        self._kept -= needless

    def objection(self, trial: TrialRecord) -> str | None:
        """Return why a trial cannot go on from its checkpoint, None if it can."""
        folder = self.folder(trial)
        if not checkpoints.belongs_to_another(folder, trial.configuration):
            return None
        return (
            f"the checkpoint in {str(folder)!r} belongs to another configuration; start over with "
            f"`luthier retry {self._writer.study.name} --trial {trial.number} --fresh`"
        )
