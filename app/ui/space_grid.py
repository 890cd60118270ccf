"""A search space as a grid of texts that a person edits, and back."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import gradio as gr
import yaml

from ...tools.spec import SpecError, StudySpec, parse_spec

COLUMNS = ("tune", "parameter", "type", "low", "high", "log", "choices", "default")
_FIXED = [1, 2]
_NUMBERS = {"float": float, "int": int}
_CALLED = {"float": "a number", "int": "a whole number"}

Row = list[Any]


def grid(elem_id: str) -> gr.Dataframe:
    """Return the component; names and types cannot be edited, rows neither added nor removed."""
    return gr.Dataframe(
        headers=list(COLUMNS),
        datatype=["bool", "str", "str", "str", "str", "bool", "str", "str"],
        type="array",
        column_count=len(COLUMNS),
        static_columns=_FIXED,
        column_widths=["10%", "18%", "15%", "11%", "11%", "10%", "15%", "10%"],
        interactive=True,
        wrap=True,
        label="Search space: click a cell twice to change it",
        elem_id=elem_id,
    )


def rows_of(spec: StudySpec) -> list[Row]:
    """Return a spec's search space, a row for each parameter."""
    return [_row(name, fields) for name, fields in spec.to_dict()["space"].items()]


def _row(name: str, fields: dict[str, Any]) -> Row:
    return [
        True,
        name,
        fields["type"],
        _text(fields.get("low")),
        _text(fields.get("high")),
        bool(fields.get("log", False)),
        _listed(fields["choices"]) if "choices" in fields else "",
        _text(fields.get("default")),
    ]


def edited(spec: StudySpec, rows: Sequence[Sequence[Any]], name: str) -> StudySpec:
    """Return a spec with the space that a grid shows, under a name.

    Args:
        spec: What the grid was filled from; what it does not show is kept.
        rows: The grid's rows, as edited; parameters that are not ticked are left out.
        name: The new spec's name.

    Raises:
        SpecError: With a sentence for each cell that cannot be, or for what does not go together.
    """
    data = spec.to_dict()
    problems: list[str] = []
    space = {}
    for row in rows:
        cells = dict(zip(COLUMNS, row, strict=False))
        parameter = str(cells.get("parameter", ""))
        before = data["space"].get(parameter)
        if before is None or len(row) != len(COLUMNS):
            problems.append(f"no row or column can be added; load the page anew ({parameter!r})")
        elif _is_ticked(cells["tune"]):
            space[parameter], wrong = _fields(parameter, cells, before)
            problems += wrong
    if problems:
        raise SpecError("; ".join(problems))
    return parse_spec({**data, "name": name, "space": space}, "the changed space")


def _fields(
    parameter: str, cells: dict[str, Any], before: dict[str, Any]
) -> tuple[dict[str, Any], list[str]]:
    """Return a parameter's fields, and what is wrong with their texts."""
    fields, problems = dict(before), []
    kind = before["type"]
    shown = dict(zip(COLUMNS, _row(parameter, before), strict=True))
    for name in ("low", "high", "default", "choices"):
        text = str(cells[name] or "").strip()
        if text == shown[name].strip():  # a choice may end with a space of a kind
            continue
        if not text and name == "default":
            fields.pop("default", None)
            continue
        try:
            fields[name] = _value(kind, name, text)
        except ValueError as error:
            problems.append(f"{parameter}: `{name}` {error}")
    if kind in _NUMBERS and _is_ticked(cells["log"]) != shown["log"]:
        fields["log"] = not shown["log"]
    return fields, problems


def _value(kind: str, name: str, text: str) -> Any:
    if name == "choices":
        if kind != "categorical":
            raise ValueError(f"is for categorical parameters only; empty it, but it says {text!r}")
        return _loaded(f"[{text}]", text)
    if kind == "categorical":
        if name != "default":
            raise ValueError(f"is for numbers only; empty it, but it says {text!r}")
        return _loaded(text, text)
    try:
        return _NUMBERS[kind](text)
    except ValueError:
        raise ValueError(f"must be {_CALLED[kind]}, but got {text!r}") from None


def _loaded(source: str, text: str) -> Any:
    try:
        return yaml.safe_load(source)
    except yaml.YAMLError:
        raise ValueError(f"must be values with commas between them, but got {text!r}") from None


def _is_ticked(cell: Any) -> bool:
    return cell is True or str(cell).lower() == "true"


def _text(value: Any) -> str:
    if isinstance(value, str) or value is None:
        return value or ""
    return _listed([value])


def _listed(values: Sequence[Any]) -> str:
    """Return values as YAML would read them again, with commas between them."""
    dumped: str = yaml.safe_dump(
        list(values), default_flow_style=True, width=10**9, allow_unicode=True
    )
    return dumped.strip()[1:-1]
