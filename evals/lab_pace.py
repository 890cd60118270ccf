"""What the loop costs in a long study, measured in a pretend lab, where trials cost nothing."""

from __future__ import annotations

import os
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

from ..tools.database import open_database
from ..tools.records import TrialRecord
from .lab_runs import create, lab_spec, run

TRIALS = 5_000
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


class Pace(NamedTuple):
    """The cost of a trial in a study of 5,000."""

    early: float
    """CPU time at the 100th trial, in seconds: the mean over 100 trials around it."""
    late: float
    """CPU time over the last 100 trials, likewise."""
    growth: float
    """Bytes by which the process grows, from the 1,000th trial on."""
    wall: float
    """Wall time over all trials, in seconds."""


class _Marks:
    """What the process has used when so many trials have ended."""

    def __init__(self) -> None:
        self.cpu = [time.process_time()]
        self.resident = [resident_bytes()]

    def __call__(self, _: TrialRecord) -> None:
        self.cpu.append(time.process_time())
        self.resident.append(resident_bytes())

    def cpu_between(self, first: int, last: int) -> float:
        return (self.cpu[last] - self.cpu[first]) / (last - first)


def pace(trials: int = TRIALS) -> Pace:
    """Run a study on four pretend devices, and return what its loop costs a trial.

    The process does nothing else, so its CPU time is the loop's, however loaded the machine is.
    """
    with tempfile.TemporaryDirectory() as folder:
        database = open_database(Path(folder) / "ledger.db")
        study = create(database, lab_spec(trials, [{}] * 4))
        marks, begun = _Marks(), time.perf_counter()
        run(study, on_trial=marks)
        wall = time.perf_counter() - begun
        database.close()
    grown = marks.resident[trials] - marks.resident[trials // 5]
    return Pace(
        marks.cpu_between(50, 150),
        marks.cpu_between(trials - 100, trials),
        grown / (trials - trials // 5),
        wall / trials,
    )


def resident_bytes() -> int:
    """Return the memory of this process that is not shared with a file."""
    fields = Path("/proc/self/statm").read_text(encoding="ascii").split()
    return (int(fields[1]) - int(fields[2])) * _PAGE_BYTES
