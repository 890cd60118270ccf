"""Reads our real prompts as a model would: the space, the history and the question, out of text."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import ValidationError

from ...tools.space import Categorical, Configuration, Float, Int, Parameter, SearchSpace
from ..task import Direction
from .mind import Request

Kind = Literal[
    "portfolio",
    "configurations",
    "configuration",
    "scores",
    "score",
    "promising",
    "wishes",
    "review",
]
"""What is asked for; a configuration, a score and a promise are asked for in free text."""

_BLOCK = re.compile(r"^([a-z' ]+):\n((?:>.*\n)*)\(end of \1\)", re.M)
_COUNT = re.compile(r"(?:Propose|Give|each of the) (\d+)")
_STANDING = re.compile(r"^(\d+): .* than (\d+) of (\d+) others$", re.M)
_CONDITION = re.compile(r"(?:^| and )(\"(?:[^\"\\]|\\.)*\"|\S+) in (\[.*?\])(?= and |$)")


@dataclass(frozen=True)
class Query:
    """What a prompt asks, and what it tells."""

    kind: Kind
    space: SearchSpace
    direction: Direction
    trials: tuple[tuple[Configuration, float], ...]
    """The trials that are shown, with their values; labels where promising ones are asked for."""
    candidates: tuple[Configuration, ...]
    """The configurations to be judged."""
    count: int
    """How many configurations are asked for."""
    words: str
    """What a person said."""
    numbers: tuple[int, ...] = ()
    """The numbers of the trials, where they have some."""
    behind: tuple[int, ...] = ()
    """The running trials that most others were better than at the same step."""


def read(request: Request) -> Query | None:
    """Return what a request asks; None if it is none of LLAMBO's prompts."""
    text = "\n".join(message.content for message in request.messages)
    blocks = {label: _unquoted(lines) for label, lines in _BLOCK.findall(text)}
    if "search space" not in blocks:
        return None
    space = read_space(blocks["search space"])
    numbered = [line.partition(" ") for line in blocks.get("trials", "").splitlines()]
    numbers = tuple(int(n) for n, _, cells in numbered if cells.startswith("["))
    shown = (
        blocks.get("history", "")
        or blocks.get("examples", "")
        or "\n".join(cells for _, _, cells in numbered)
    )
    judged = blocks.get("candidates", "") or blocks.get("configuration", "")
    count = _COUNT.search(text)
    return Query(
        kind=_kind(request.schema, blocks, text),
        space=space,
        direction="maximize" if blocks.get("task", "").startswith("maximize") else "minimize",
        trials=tuple(_trial(space, line) for line in shown.splitlines() if line[:1] == "["),
        candidates=tuple(
            _configuration(space, json.loads(line[line.index("[") :]))
            for line in judged.splitlines()
            if "[" in line
        ),
        count=int(count[1]) if count else 1,
        words=blocks.get("the person's words", ""),
        numbers=numbers,
        behind=tuple(
            int(number)
            for number, beaten, others in _STANDING.findall(blocks.get("running trials", ""))
            if 2 * int(beaten) < int(others)
        ),
    )


def read_space(text: str) -> SearchSpace:
    """Return the space that a table describes, as exactly as its digits allow."""
    header, *lines = text.splitlines()
    columns = header.split(" | ")
    constraints: list[str] = []
    parameters: dict[str, Parameter] = {}
    for line in lines:
        if line.startswith("constraints: "):
            constraints = line.removeprefix("constraints: ").split("; ")
            continue
        if line.startswith("("):  # cut off
            break
        cells = dict(zip(columns, (cell.strip() for cell in line.split(" |")), strict=False))
        parameters[_text(cells["name"])] = _parameter(cells)
    return SearchSpace.model_validate({"parameters": parameters, "constraints": constraints})


def _parameter(cells: Mapping[str, str]) -> Parameter:
    data: dict[str, Any] = {
        "unit": cells.get("unit") or None,
        "meaning": cells.get("meaning") or None,
        "when": {
            _text(name): json.loads(values)
            for name, values in _CONDITION.findall(cells.get("active if", ""))
        },
    }
    default = json.loads(cells["default"]) if cells.get("default") else None
    kind, _, scale = cells["type"].partition(" ")
    if kind == "choice":
        return Categorical(choices=json.loads(cells["range"]), default=default, **data)
    span, _, step = cells["range"].partition(" step ")
    low, high = map(json.loads, span.split(".."))
    data |= {"low": low, "high": high, "log": scale == "log"}
    exact = {"default": default} | ({"step": json.loads(step)} if step else {})
    model = Int if kind == "int" else Float
    try:
        return model.model_validate(data | exact)
    except ValidationError:  # a grid or a default that four digits do not hit
        return model.model_validate(data)


def _trial(space: SearchSpace, line: str) -> tuple[Configuration, float]:
    *cells, value = json.loads(line)
    return _configuration(space, cells), float(value)


def _configuration(space: SearchSpace, cells: list[Any]) -> Configuration:
    given = dict(zip(space.parameters, cells, strict=True))
    configuration: Configuration = {}
    for name, parameter in space.walk(configuration):
        value = given[name]
        configuration[name] = value if isinstance(parameter, Categorical) else parameter.clip(value)
    return configuration


def _kind(schema: Mapping[str, Any] | None, blocks: Mapping[str, str], text: str) -> Kind:
    properties = (schema or {}).get("properties", {})
    if "hypothesis" in properties:
        return "review"
    if "scores" in properties:
        return "scores"
    if "limits" in properties:
        return "wishes"
    if "configurations" in properties:
        items = properties["configurations"].get("items", {}).get("properties", {})
        return "portfolio" if "role" in items and "values" in items else "configurations"
    if "configuration" in blocks:
        return "promising" if "digit 1 or 0" in text else "score"
    return "configuration"


def _text(cell: str) -> str:
    return str(json.loads(cell)) if cell.startswith('"') else cell


def _unquoted(lines: str) -> str:
    return "\n".join(line.removeprefix(">").removeprefix(" ") for line in lines.splitlines())
