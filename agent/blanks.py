"""Empty folders of trials to come, made while no device waits for them."""

from __future__ import annotations

import contextlib
import shutil
from pathlib import Path


class Blanks:
    """As many folders as trials may begin at once, each with all that a first attempt needs."""

    def __init__(self, folder: Path, count: int) -> None:
        """Make none yet.

        Args:
            folder: Where to keep them, on the disk of the trials' folders.
            count: How many to keep.
        """
        self._folder = folder
        self._count = count
        self._ready: list[Path] = []

    def fill(self) -> None:
        """Make those that are missing."""
        taken = {path.name for path in self._ready}
        missing = [name for name in map(str, range(self._count)) if name not in taken]
        for path in (self._folder / name for name in missing):
            _make(path)
            self._ready.append(path)

    def become(self, trial_folder: Path) -> None:
        """Make one of them a trial's folder; there is none of that name."""
        with contextlib.suppress(IndexError, FileNotFoundError):
            self._ready.pop().rename(trial_folder)
            return
        _make(trial_folder)

    def clear(self) -> None:
        """Remove those that are left."""
        self._ready.clear()
        shutil.rmtree(self._folder, ignore_errors=True)


def _make(trial_folder: Path) -> None:
    for name in ("1", "checkpoint"):
        (trial_folder / name).mkdir(parents=True, exist_ok=True)
