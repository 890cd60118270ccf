"""The checkpoints of trials as Luthier sees them: whose they are, and when they go.

What is inside them is the trial's own affair; `reporting` writes and reads them.
"""

from __future__ import annotations

import shutil
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from .analysis import best_trials
from .records import TrialRecord
from .reporting import checkpoint_files, checkpoint_header, configuration_digest
from .spec import StudySpec

_HALF_WRITTEN = "*.ckpt.*.tmp"


def prepare(folder: Path) -> None:
    """Make a trial's folder for checkpoints, without what a kill left half written in it."""
    folder.mkdir(exist_ok=True)
    for unfinished in folder.glob(_HALF_WRITTEN):
        unfinished.unlink()


def discard(folder: Path) -> None:
    """Delete all checkpoints of a trial."""
    shutil.rmtree(folder, ignore_errors=True)


def is_empty(folder: Path) -> bool:
    """Tell whether a trial left nothing to go on from, in whatever language it is written."""
    return not folder.is_dir() or all(path.match(_HALF_WRITTEN) for path in folder.iterdir())


def belongs_to_another(folder: Path, configuration: Mapping[str, Any]) -> bool:
    """Tell whether the newest readable checkpoint was written with another configuration."""
    headers = map(checkpoint_header, reversed(checkpoint_files(str(folder))))
    header = next(filter(None, headers), None)
    return header is not None and header.get("configuration") != configuration_digest(
        dict(configuration)
    )


def superseded(spec: StudySpec, trials: Sequence[TrialRecord], kept: Collection[int]) -> set[int]:
    """Return the complete trials whose checkpoints nobody needs any more, by number.

    These are the ones that are not (or not any more) the best: neither will anybody go on from
    them, nor are their weights what the study was for.

    Args:
        spec: The study's spec.
        trials: All its trials.
        kept: Numbers of the complete ones that have checkpoints.
    """
    if not kept:
        return set()
    return set(kept) - {trial.number for trial in best_trials(spec, trials)}
