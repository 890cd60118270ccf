"""The results of eval runs: one file, one line a cell, a cell being a method on a task with a seed.

One process writes the file. A line is written at once; a run that is killed can leave half of the
last one, which is dropped.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from .task import EvalError

FORMAT = 1
"""Number of the file's format; another one is not read."""

FILE = "cells.jsonl"


@dataclass(frozen=True)
class Cell:
    """What is to be run: a method on a task with a seed, for so many trials."""

    task: str
    method: str
    seed: int
    trials: int


@dataclass(frozen=True)
class Crash:
    """How a method failed."""

    trial: int
    """Number of the first trial that it did not bring about, from 0."""
    error: str


@dataclass(frozen=True)
class Result:
    """What a cell gave, and what it was made with."""

    task: str
    method: str
    seed: int
    trials: int
    family: str
    fingerprint: str
    """The task's."""
    settings: dict[str, Any]
    """The method's."""
    regret: tuple[float, ...]
    """Normalised regret of the incumbent after each trial."""
    failed: int
    """Trials that gave no value or broke the task's limit."""
    seconds: float
    """CPU time of the method, without the objective."""
    crash: Crash | None
    date: str
    lineage: dict[str, str]
    """Versions of what took part."""

    @property
    def cell(self) -> Cell:
        """Which cell it is of."""
        return Cell(self.task, self.method, self.seed, self.trials)


def to_line(result: Result) -> str:
    """Return a result as a line of the file."""
    return json.dumps({"format": FORMAT, **asdict(result)}, separators=(",", ":")) + "\n"


def read_results(folder: Path) -> list[Result]:
    """Return the results in a folder, the latest of each cell; none if nothing was run.

    Raises:
        EvalError: If a line was written by another format, or is damaged and not the last.
    """
    path = folder / FILE
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return []
    except (OSError, UnicodeDecodeError) as error:
        raise EvalError(f"cannot read {str(path)!r}: {error}") from None
    *lines, rest = text.split("\n")  # what follows the last line's end is half a line
    results = [_parse(line, f"line {i + 1} of {str(path)!r}") for i, line in enumerate(lines)]
    return list({result.cell: result for result in results}.values())


def rewrite(folder: Path, results: Iterable[Result]) -> None:
    """Replace the file by these results, at once or not at all."""
    path = folder / FILE
    temporary = path.with_suffix(".tmp")
    temporary.write_text("".join(map(to_line, results)), encoding="utf-8")
    temporary.replace(path)


def append(folder: Path, result: Result) -> None:
    """Add a result."""
    with (folder / FILE).open("a", encoding="utf-8") as file:
        file.write(to_line(result))


def check_agreement(results: Sequence[Result], folder: Path) -> None:
    """Refuse results that cannot be compared with each other.

    Raises:
        EvalError: If a task or the settings of a method changed between two of them.
    """
    first: dict[str, Any] = {}
    for result in results:
        task, method = f"task {result.task!r}", f"method {result.method!r}"
        for what, made_of in ((task, result.fingerprint), (method, result.settings)):
            if first.setdefault(what, made_of) != made_of:
                raise EvalError(
                    f"{what} changed between two results in {str(folder)!r}; run the eval again, "
                    "which replaces the old ones, or use another folder"
                )


def _parse(line: str, where: str) -> Result:
    try:
        data = json.loads(line)
        written = data.pop("format")
    except (ValueError, KeyError, AttributeError, TypeError):
        raise EvalError(f"{where} is no result of an eval; delete the line to go on") from None
    if written != FORMAT:
        raise EvalError(
            f"{where} was written in format {written!r}, but this Luthier reads format {FORMAT}; "
            "use another folder"
        )
    try:
        crash = data.pop("crash")
        regret = tuple(data.pop("regret"))
        return Result(**data, regret=regret, crash=None if crash is None else Crash(**crash))
    except (TypeError, KeyError):
        raise EvalError(f"{where} is no result of an eval; delete the line to go on") from None
