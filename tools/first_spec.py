"""Writes the first `StudySpec` for a training script, with comments that say where it comes from.

What stands in a script, its names and comments, is untrusted text: it enters the document only as a
quoted YAML scalar or as one printable line of a comment.
"""

from __future__ import annotations

import os
import re
import textwrap
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from .script import ReadParameter, ScriptError, ScriptReading, read_script
from .script_declared import Remark, printable
from .script_metrics import GuessedMetric
from .space import Parameter
from .spec import SpecDumper

_TRIALS = 50
_WIDTH = 100
_PLAIN_NAMES = {"main", "run", "script", "train", "training"}
_EXAMPLE_SPACE = """\
# TODO: no parameter could be read; remove the `#` below and name one of the script's arguments.
# space:
#   lr: {type: float, low: 1.0e-05, high: 0.1, log: true}
"""
_EXAMPLE_METRICS = """\
# TODO: no metric to optimise could be read; remove the `#` below and give the line that the script
# prints, with {value} for the number, {step} for the epoch and * for any text.
# metrics:
#   val_acc: {direction: maximize, pattern: 'epoch {step} * val_acc={value}'}
"""
_UNDIRECTED_METRICS = """\
# TODO: what is to be optimised could not be read; remove the `#` below and write `maximize` or
# `minimize` for one of these.
"""


@dataclass(frozen=True)
class InitResult:
    """A spec that was written."""

    path: Path
    reading: ScriptReading
    missing: str | None
    """One sentence on what a person has to fill in before the spec loads; None if nothing."""


def write_spec(script: Path, output: Path | None = None) -> InitResult:
    """Read a script, without running it, and write a spec that tunes it.

    Args:
        script: The training script, a `.py` file.
        output: The spec to write; `luthier.yaml` beside the script if None. Trials run in its
            folder.

    Raises:
        ScriptError: If the script cannot be read, or the spec exists or cannot be written.
    """
    output = script.parent / "luthier.yaml" if output is None else output
    reading, text = draft_spec(script, output.parent)
    try:
        with output.open("x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        raise ScriptError(
            f"spec {str(output)!r} exists already; remove it, or give another output"
        ) from None
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise ScriptError(f"cannot write spec {str(output)!r}: {reason}; check the path") from None
    return InitResult(output, reading, _missing(reading, output))


def draft_spec(script: Path, folder: Path) -> tuple[ScriptReading, str]:
    """Read a script, without running it, and return a spec that tunes it from a folder.

    Raises:
        ScriptError: If the script cannot be read.
    """
    reading = read_script(script)
    path = os.path.relpath(script, folder)
    if path.startswith("-"):  # python would take it for an option
        path = f".{os.sep}{path}"
    return reading, render_spec(reading, study_name(script), ["python", path])


def render_spec(reading: ScriptReading, name: str, command: list[str]) -> str:
    """Return a commented spec as YAML text.

    Args:
        reading: What the script tells.
        name: The study's name.
        command: The script's command, to which the reading's sub-command is added.

    Returns:
        A document that loads as a `StudySpec`. Where the reading has no parameter or no metric to
        optimise, that field is left out, with an example in a comment.
    """
    source = f" (its {reading.source})" if reading.source is not None else ""
    parts = [
        _comment(f"Tunes {reading.path.name}{source}, which was read and not run.")
        + _comment("Trials run in this file's folder; line numbers are the script's."),
        f"name: {_flow(name)}\n",
        _objective(reading, [*command, *reading.command]),
        _space(reading.found) if reading.found else _EXAMPLE_SPACE,
        _metrics(reading),
        _comment("Further caps: wall_seconds (such as 2h), device_seconds, trial_seconds.")
        + f"budget: {{trials: {_TRIALS}}}\n",
        _remarks("Left as it is:", reading.left_alone),
        _remarks("Not read, or to be given by hand:", reading.unread),
    ]
    return "\n".join(part for part in parts if part)


def study_name(script: Path) -> str:
    """Return a study's name from the script's, or its folder's if it is called `train.py`."""
    stem = script.stem
    if stem in _PLAIN_NAMES:
        stem = script.absolute().parent.name or stem
    return re.sub(r"[^A-Za-z0-9._-]+", "-", stem).lstrip("._-")[:100] or "study"


def _missing(reading: ScriptReading, output: Path) -> str | None:
    lacks = [] if reading.found else ["no parameter"]
    if reading.objective is None:
        lacks.append("no metric to optimise")
    if not lacks:
        return None
    return f"{reading.path} shows {' and '.join(lacks)}; fill in what is marked TODO in {output}"


def _objective(reading: ScriptReading, command: list[str]) -> str:
    lines = [f"  kind: script\n  command: {_flow(command)}"]
    if reading.pass_by != "arguments":
        lines.append(f"  pass_by: {reading.pass_by}")
    if reading.arguments:
        lines.append("  arguments:")
        lines += [f"    {_flow(name)}: {_flow(form)}" for name, form in reading.arguments.items()]
    if reading.seed_argument is not None:
        lines.append(f"  seed_argument: {_flow(reading.seed_argument)}")
    else:
        lines.append("  # no argument for the random seed was found")
    return "objective:\n" + "\n".join(lines) + "\n"


def _space(found: dict[str, ReadParameter]) -> str:
    text = "space:\n"
    for name, read in found.items():
        note = f": {read.note}" if read.note else ""
        text += _comment(f"line {read.declared.line}{note}", "  ")
        text += f"  {_flow(name)}: {_flow(_parameter(read.parameter))}\n"
    return text


def _parameter(parameter: Parameter) -> dict[str, Any]:
    data = parameter.model_dump(mode="json", exclude_defaults=True)
    meaning = {"meaning": data.pop("meaning")} if "meaning" in data else {}
    return {"type": parameter.type} | data | meaning


def _metrics(reading: ScriptReading) -> str:
    if not reading.metrics:
        return _EXAMPLE_METRICS
    text = "metrics:\n"
    for metric in reading.metrics:
        note = f": {metric.note}" if metric.note else ""
        text += _comment(f"line {metric.line}, {metric.how}{note}", "  ")
        text += f"  {_flow(metric.name)}: {_flow(_metric(metric, reading.objective))}\n"
    if reading.objective is not None:
        return text
    return _UNDIRECTED_METRICS + textwrap.indent(text, "# ")


def _metric(metric: GuessedMetric, objective: GuessedMetric | None) -> dict[str, str]:
    direction = metric.direction if metric is objective else None
    pattern = {} if metric.pattern is None else {"pattern": metric.pattern}
    return {"direction": direction or "watch"} | pattern


def _remarks(title: str, remarks: Iterable[Remark]) -> str:
    lines = [_comment(f"line {line}: {text}", "", "  ") for line, text in remarks]
    return _comment(title) + "".join(lines) if lines else ""


def _comment(text: str, indent: str = "", inner: str = "") -> str:
    """Return a comment of one or more lines, which nothing in the text can end."""
    start = f"{indent}# {inner}"
    words = " ".join(printable(text).split())
    return "".join(
        f"{line}\n"
        for line in textwrap.wrap(
            words,
            _WIDTH,
            initial_indent=start,
            subsequent_indent=f"{start}  ",
            break_on_hyphens=False,
        )
    )


class _Dumper(SpecDumper):
    """Keeps a text on one line."""


def _text(dumper: _Dumper, text: str) -> yaml.ScalarNode:
    style = None if text.isprintable() else '"'
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style)


_Dumper.add_representer(str, _text)


def _flow(value: Any) -> str:
    """Return a value as printable YAML on one line."""
    text = _dump(value, allow_unicode=True)
    return text if text.isprintable() else _dump(value, allow_unicode=False)


def _dump(value: Any, *, allow_unicode: bool) -> str:
    text = yaml.dump(
        value,
        Dumper=_Dumper,
        default_flow_style=True,
        allow_unicode=allow_unicode,
        sort_keys=False,
        width=float("inf"),
    )
    return text.removesuffix("\n").removesuffix("\n...")
