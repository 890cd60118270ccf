"""Reads a training script without running it: its parameters, its metrics, and what is unclear."""

from __future__ import annotations

import ast
import io
import tokenize
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from .errors import LuthierError
from .ranges import is_seed, propose
from .scales import Refusal
from .script_argparse import read_argparse
from .script_click import read_click
from .script_constants import read_classes, read_constants, read_environment
from .script_declared import Declarations, Declared, Remark
from .script_metrics import GuessedMetric, guess_metrics
from .script_source import Script
from .script_typer import read_typer
from .space import Parameter

MAX_BYTES = 2_000_000
"""Largest script that is read."""

PassBy = Literal["arguments", "environment", "constants"]


class ScriptError(LuthierError, ValueError):
    """A script that cannot be read; the message is one sentence with the place and way out."""


@dataclass(frozen=True)
class Source:
    """One way in which scripts declare what they take."""

    name: str
    read: Callable[[Script], Declarations]
    pass_by: PassBy
    known_only: bool = False
    """Whether only names known from training become parameters."""


SOURCES = (
    Source("argparse", read_argparse, "arguments"),
    Source("click", read_click, "arguments"),
    Source("typer", read_typer, "arguments"),
    Source("config classes", read_classes, "constants"),
    Source("environment variables", read_environment, "environment", known_only=True),
    Source("constants", read_constants, "constants", known_only=True),
)
"""In order of preference."""


@dataclass(frozen=True)
class ReadParameter:
    """A parameter with where it stands in the script."""

    parameter: Parameter
    declared: Declared
    note: str | None = None


@dataclass(frozen=True)
class ScriptReading:
    """What a script tells about itself."""

    path: Path
    source: str | None
    """Where the parameters come from ("argparse", "constants", ...); None if there are none."""
    found: dict[str, ReadParameter]
    """Parameter name to its proposed range and its place in the script."""
    pass_by: PassBy
    arguments: dict[str, str]
    """As in `ScriptObjective.arguments`."""
    seed_argument: str | None
    command: tuple[str, ...]
    """Words that follow the script in the command, such as a sub-command."""
    metrics: tuple[GuessedMetric, ...]
    """The best to optimise comes first."""
    left_alone: tuple[Remark, ...]
    """What was understood and is not tuned, with the reason."""
    unread: tuple[Remark, ...]
    """What could not be read, or has to be given by hand, with the reason."""

    @property
    def parameters(self) -> dict[str, Parameter]:
        """Parameter name to its proposed range."""
        return {name: found.parameter for name, found in self.found.items()}

    @property
    def objective(self) -> GuessedMetric | None:
        """The metric to optimise; None if there is none whose name tells a direction."""
        return next((metric for metric in self.metrics if metric.can_be_optimised), None)


@dataclass(frozen=True)
class _Selection:
    source: Source
    command: tuple[str, ...]
    found: dict[str, ReadParameter]
    seed: Declared | None
    left_alone: list[Remark]
    unread: list[Remark]

    @property
    def size(self) -> int:
        return len(self.found) + len(self.left_alone) + len(self.unread)


def read_script(path: Path) -> ScriptReading:
    """Read a training script from its syntax tree; nothing of it is run.

    Raises:
        ScriptError: If the file is missing, larger than 2 MB, not text, or not Python.
    """
    try:
        return _read(path, _parse(path))
    except RecursionError:
        raise _too_deep(path) from None


def _read(path: Path, script: Script) -> ScriptReading:
    selections = [_select(source, script) for source in SOURCES]
    chosen = next((s for s in selections if s.found), None)
    if chosen is None:
        chosen = max(selections, key=lambda s: s.size)
    metrics, remarks = guess_metrics(script)
    remarks = [*chosen.unread, *_passed_over(chosen, selections), *remarks]
    return ScriptReading(
        path=path,
        source=chosen.source.name if chosen.found else None,
        found=chosen.found,
        pass_by=chosen.source.pass_by,
        arguments={name: read.declared.argument for name, read in chosen.found.items()},
        seed_argument=None if chosen.seed is None else chosen.seed.argument,
        command=chosen.command,
        metrics=tuple(metrics),
        left_alone=tuple(sorted(set(chosen.left_alone))),
        unread=tuple(sorted(set(remarks))),
    )


def _parse(path: Path) -> Script:
    content = _content(path)
    try:
        encoding, _ = tokenize.detect_encoding(io.BytesIO(content).readline)
        text = content.decode(encoding)
    except (SyntaxError, UnicodeDecodeError, LookupError):
        raise ScriptError(
            f"script {str(path)!r} is not text in the encoding that it states (UTF-8 if none); "
            "save it as UTF-8"
        ) from None
    try:
        with warnings.catch_warnings():
            # a script's own invalid escapes are not our warnings
            warnings.simplefilter("ignore")
            return Script(text, ast.parse(content))
    except SyntaxError as error:
        where = f"{path}, line {error.lineno}" if error.lineno else str(path)
        raise ScriptError(f"{where}: {error.msg}; correct it so that Python can run it") from None
    except ValueError:
        raise ScriptError(f"script {str(path)!r} holds null bytes; save it as text") from None
    except (RecursionError, MemoryError):
        raise _too_deep(path) from None


def _too_deep(path: Path) -> ScriptError:
    return ScriptError(f"script {str(path)!r} is nested too deeply to be read; simplify it")


def _content(path: Path) -> bytes:
    if path.suffix != ".py":
        raise ScriptError(f"script {str(path)!r} does not end in '.py'; give a Python script")
    try:
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise ScriptError(f"cannot read script {str(path)!r}: {reason}; check the path") from None
    if len(content) > MAX_BYTES:
        raise ScriptError(
            f"script {str(path)!r} has more than {MAX_BYTES:,} bytes; "
            "give the training script itself"
        )
    return content


def _select(source: Source, script: Script) -> _Selection:
    """Sort what one source declares into parameters, the seed, and what is left alone."""
    read = source.read(script)
    seed = next((declared for declared in read.declared if is_seed(declared)), None)
    found: dict[str, ReadParameter] = {}
    left_alone: list[Remark] = []
    unread = list(read.unread)
    for declared in read.declared:
        if declared is seed:
            continue
        proposal = propose(declared, known_only=source.known_only)
        if isinstance(proposal, Refusal):
            text = f"`{declared.shown}`: {proposal.reason}{declared.needed}"
            # without a required argument no trial would run: it stands with what needs attention
            (unread if declared.required else left_alone).append(Remark(declared.line, text))
        else:
            found[declared.name] = ReadParameter(proposal.parameter, declared, proposal.note)
    return _Selection(source, read.command, found, seed, left_alone, unread)


def _passed_over(chosen: _Selection, selections: list[_Selection]) -> list[Remark]:
    """Name the parameters of the sources that were not chosen; a study uses one way in."""
    remarks = []
    for other in selections:
        if other is chosen or not other.found:
            continue
        names = [f"`{read.declared.shown}`" for read in other.found.values()]
        line = min(read.declared.line for read in other.found.values())
        shown = ", ".join([*names[:8], *(["…"] if len(names) > 8 else [])])
        text = f"The {other.source.name} {shown} were passed over for {chosen.source.name}"
        remarks.append(Remark(line, text))
    return remarks
