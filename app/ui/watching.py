"""Reads a workspace for all tabs of a server: what they look at together is read once."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import NamedTuple

from ...tools.ledger import Ledger, StudyNotFoundError, open_ledger
from ...tools.records import StudyRecord
from ...tools.study import Study, state_of
from ...tools.workspace import Workspace
from ..live import Snapshot, look

_FRESH_SECONDS = 0.7
"""How old a look may be that another tab took."""
_LIST_SECONDS = 3.0
"""How old the list of studies may be."""
_MOST_WATCHED = 8
"""Studies whose latest look is kept."""


class Listed(NamedTuple):
    """A study in the list."""

    name: str
    state: str


class _Look(NamedTuple):
    taken: float
    snapshot: Snapshot


class Watch:
    """The workspace as it stands; safe to use from several threads."""

    def __init__(self, workspace: Workspace) -> None:
        """Look at a workspace, which need not be there yet."""
        self.workspace = workspace
        self._lock = threading.RLock()
        self._ledger: Ledger | None = None
        self._file: tuple[int, int] | None = None
        self._looks: dict[str, _Look] = {}
        self._listed: tuple[float, list[Listed]] = (-_LIST_SECONDS, [])

    def study(self, name: str) -> Study:
        """Return a study of the workspace.

        Raises:
            StudyNotFoundError: If the workspace has no such study.
            LedgerError: If the ledger cannot be read.
        """
        study = self.study_named(name)
        _ = study.record
        return study

    def study_named(self, name: str) -> Study:
        """Return a study that may or may not be there.

        Raises:
            StudyNotFoundError: If there is no workspace.
        """
        return Study(self._open(name), self.workspace, name)

    def studies(self) -> list[Listed]:
        """Return the studies, newest first; none in an empty or missing workspace.

        Raises:
            LedgerError: If the ledger cannot be read.
        """
        with self._lock:
            taken, listed = self._listed
            if time.monotonic() - taken >= _LIST_SECONDS:
                listed = self._list()
                self._listed = (time.monotonic(), listed)
            return listed

    def first_shown(self) -> str | None:
        """Return the study to show when none is named: one that runs, or the newest.

        Raises:
            LedgerError: If the ledger cannot be read.
        """
        listed = self.studies()
        running = [study.name for study in listed if study.state == "running"]
        return next(iter(running or [study.name for study in listed]), None)

    def look(self, name: str) -> Snapshot:
        """Return a study as it stands now, or stood a moment ago.

        Raises:
            StudyNotFoundError: If there is no such study, or no more.
            LedgerError: If the ledger cannot be read.
        """
        with self._lock:
            ledger = self._open(name)
            before = self._looks.get(name)
            if before is not None and time.monotonic() - before.taken < _FRESH_SECONDS:
                return before.snapshot
            try:
                study = Study(ledger, self.workspace, name)
                snapshot = look(study, before.snapshot if before is not None else None)
            except StudyNotFoundError:
                self._looks.pop(name, None)
                raise
            self._looks.pop(name, None)
            self._looks[name] = _Look(time.monotonic(), snapshot)
            while len(self._looks) > _MOST_WATCHED:
                self._looks.pop(next(iter(self._looks)))
            return snapshot

    def forget(self) -> None:
        """Look anew the next time: something was decided."""
        with self._lock:
            self._looks = {
                name: look._replace(taken=-_FRESH_SECONDS) for name, look in self._looks.items()
            }
            self._listed = (-_LIST_SECONDS, [])

    def _list(self) -> list[Listed]:
        if not self.workspace.ledger_path.exists():
            return []
        ledger = self._open()
        records: list[StudyRecord] = ledger.studies()
        return [
            Listed(record.name, state_of(record, ledger.owner(record)))
            for record in reversed(records)
        ]

    def _open(self, name: str | None = None) -> Ledger:
        """Return the ledger; opened anew if its file is another one than before."""
        path = self.workspace.ledger_path
        with self._lock:
            file = _identity(path)
            if file is None and name is not None:
                self._close()
                raise StudyNotFoundError(
                    f"there is no study {name!r}: {str(self.workspace.folder)!r} holds none"
                )
            if self._ledger is None or file != self._file:
                self._close()
                self._ledger = open_ledger(path)
                self._file = _identity(path)
            return self._ledger

    def open_ledger(self) -> Ledger:
        """Return the ledger, which is made if it is missing.

        Raises:
            LedgerError: If the workspace cannot be written.
        """
        return self._open()

    def _close(self) -> None:
        if self._ledger is not None:
            self._ledger.close()
        self._ledger, self._file, self._looks = None, None, {}


def _identity(path: Path) -> tuple[int, int] | None:
    """Return what tells a file from another one of the same name; None if there is none."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino
