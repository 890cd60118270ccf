"""Measurements beside their references, and the table of them."""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from rich.console import Console
from rich.table import Table

_REPEATS = 5

Unit = Literal["us", "ms", "KB", "tokens", "modules"]
_SCALES: dict[Unit, float] = {"us": 1e6, "ms": 1e3, "KB": 1e-3, "tokens": 1.0, "modules": 1.0}


@dataclass(frozen=True)
class Row:
    """One measurement beside its reference, the less the better."""

    what: str
    value: float
    reference: str
    reference_value: float
    limit: float
    """The largest ratio that is allowed."""
    unit: Unit = "ms"
    """What both are shown in; they are in seconds, bytes or numbers of things."""

    @property
    def ratio(self) -> float:
        """How many times the reference it takes."""
        return self.value / self.reference_value

    def cells(self) -> list[str]:
        """Return the row as it is shown."""
        scale = _SCALES[self.unit]
        return [
            self.what,
            f"{scale * self.value:.1f}",
            self.reference,
            f"{scale * self.reference_value:.1f}",
            self.unit,
            f"{self.ratio:.2f}",
            f"{self.limit:.2f}",
            "ok" if self.ratio <= self.limit else "too much",
        ]


def import_seconds(statement: str) -> float:
    """Return the time of an import statement in a fresh interpreter, median of 5."""
    code = f"import time; t = time.perf_counter(); {statement}; print(time.perf_counter() - t)"
    return median(lambda: float(told_by([sys.executable, "-c", code])))


def process_seconds(command: list[str]) -> float:
    """Return the wall time of a whole process, median of 5."""

    def once() -> float:
        begun = time.perf_counter()
        told_by(command)
        return time.perf_counter() - begun

    return median(once)


def median(measure: Callable[[], float]) -> float:
    """Return the median of 5 measurements, after one that does not count."""
    measure()  # the first one reads the files from the disk
    return statistics.median(measure() for _ in range(_REPEATS))


def told_by(command: list[str]) -> str:
    """Return what a process prints.

    Raises:
        CalledProcessError: If it fails.
    """
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def print_rows(rows: Sequence[Row]) -> int:
    """Print measurements as a table; return 1 if a limit is exceeded, else 0."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in ("what", "", "reference", "", "", "ratio", "limit", ""):
        table.add_column(column)
    for index in (1, 3, 5, 6):
        table.columns[index].justify = "right"
    for row in rows:
        table.add_row(*row.cells())
    Console(width=120).print(table)
    return int(any(row.ratio > row.limit for row in rows))
