"""Progress as plain lines, for a log, a notebook or a script."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from ..tools.claims import claim
from ..tools.records import TrialRecord
from ..tools.spec import StudySpec


class PrintProgress:
    """Prints a line to standard error for every trial that ends."""

    def __init__(self, spec: StudySpec, trials: Sequence[TrialRecord] = ()) -> None:
        """Begin with the trials that there are already."""
        self._spec = spec
        self._ended = {trial.number: trial for trial in trials}

    def __call__(self, trial: TrialRecord) -> None:
        """Print a trial that has ended, with the best one so far."""
        self._ended[trial.number] = trial
        which = f", a repeat of {trial.repeat_of}," if trial.is_repeat else ""
        line = f"trial {trial.number}{which} {trial.state}"
        values = [
            f"{n}={trial.metrics[n]:.6g}" for n in self._spec.objectives if n in trial.metrics
        ]
        if values:
            line += f": {', '.join(values)}"
        found = claim(self._spec, list(self._ended.values()))
        if found is not None:
            line += f" (best {found.value}, trial {found.trial})"
        print(line, file=sys.stderr, flush=True)
