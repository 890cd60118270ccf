"""Spaces, configurations and histories as text for prompts: deterministic, compact, bounded.

Rows are JSON arrays in the space's own order, numbers have four significant digits, whatever the
decimals of a bound are, and values that lie close together as many as tell them apart.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

from ...tools.space import Categorical, Configuration, Parameter, Scalar, SearchSpace
from .context import History, Observation, Problem
from .geometry import farthest_first

DIGITS = 4
_MOST_DIGITS = 9
_MOST_FAILURES = 8
_MOST_RUNNING = 8
_REMARK = 80
_BARE = re.compile(r"[A-Za-z_][\w.-]*")


def number(value: float, digits: int = DIGITS) -> str:
    """Return a number with this many significant digits; a whole one as it is."""
    if isinstance(value, int):
        return str(value)
    return f"{value:.{digits}g}"


def rounded(value: float, digits: int = DIGITS) -> float:
    """Return a number that prints with this many significant digits."""
    return float(number(float(value), digits))


def scalar(value: Scalar) -> str:
    """Return a value as JSON."""
    if isinstance(value, float) and math.isfinite(value):
        return number(value)
    return _json(value)


def digits_of(values: Sequence[float]) -> int:
    """Return how many significant digits tell these values apart: four of their range."""
    spread, size = max(values) - min(values), max(map(abs, values))
    if spread <= 0 or size <= 0:
        return DIGITS
    return min(max(DIGITS, math.ceil(math.log10(size / spread)) + DIGITS - 1), _MOST_DIGITS)


def row(space: SearchSpace, configuration: Configuration, *more: str) -> str:
    """Return a configuration as a JSON array in the space's order, null for what is not active."""
    cells = [scalar(configuration.get(name)) for name in space.parameters]
    return f"[{','.join([*cells, *more])}]"


def describe_space(space: SearchSpace) -> str:
    """Return a space as a table, with the columns that say something, and its constraints."""
    rows = [_cells(name, parameter) for name, parameter in space.parameters.items()]
    columns = [c for c in rows[0] if any(cells[c] for cells in rows)]
    lines = [" | ".join(columns)]
    lines += [" | ".join(cells[column] for column in columns).rstrip(" |") for cells in rows]
    if space.constraints:
        lines.append(f"constraints: {'; '.join(map(str, space.constraints))}")
    return "\n".join(lines)


def _cells(name: str, parameter: Parameter) -> dict[str, str]:
    default = "" if parameter.default is None else scalar(parameter.default)
    if isinstance(parameter, Categorical):
        kind, span = "choice", f"[{','.join(_json(choice) for choice in parameter.choices)}]"
    else:
        digits = digits_of((parameter.low, parameter.high))
        ends = (number(parameter.low, digits), number(parameter.high, digits))
        kind, span = parameter.type, "..".join(ends)
        if parameter.log:
            kind += " log"
        if parameter.step is not None and parameter.step != 1:
            span += f" step {number(parameter.step)}"
    conditions = (
        f"{_name(parent)} in [{','.join(map(_json, values))}]"
        for parent, values in parameter.when.items()
    )
    return {
        "name": _name(name),
        "type": kind,
        "range": _cell(span),
        "default": _cell(default),
        "unit": _remark(parameter.unit),
        "active if": _cell(" and ".join(conditions)),
        "meaning": _remark(parameter.meaning),
    }


def describe_task(problem: Problem) -> str:
    """Return what is optimised, with as much of the task as its level allows."""
    card, verb = problem.card, problem.direction
    if card.level == "none":
        return f"{verb} the value"
    lines = [f"{verb} {_one_line(card.metric)}"]
    if card.description:
        lines.append(card.description)
    if card.data is not None:
        lines.append(card.data.describe(card.level))
    return "\n".join(lines)


def select(problem: Problem, history: History, best: int, spread: int) -> tuple[Observation, ...]:
    """Return the observations worth showing, oldest first: the best, and others far from those."""
    complete = history.complete
    order = sorted(range(len(complete)), key=lambda i: problem.sign * (complete[i].value or 0.0))
    top, rest = order[:best], order[best:]
    chosen = farthest_first(
        problem.space,
        [complete[i].configuration for i in rest],
        spread,
        others=[complete[i].configuration for i in top],
    )
    shown = sorted([*top, *(rest[i] for i in chosen)])
    return tuple(complete[i] for i in shown)


def history_table(problem: Problem, observations: Sequence[Observation]) -> str:
    """Return one row a trial: its parameters, then its value."""
    values = [o.value for o in observations if o.value is not None]
    digits = digits_of(values) if values else DIGITS
    return "\n".join(
        row(problem.space, o.configuration, number(o.value, digits))
        for o in observations
        if o.value is not None
    )


def failures_table(problem: Problem, history: History) -> str:
    """Return the newest failed trials, one row each, ending with the outcome."""
    newest = history.failed[-_MOST_FAILURES:]
    return "\n".join(row(problem.space, o.configuration, _json(o.outcome)) for o in newest)


def running_table(problem: Problem, history: History) -> str:
    """Return the newest trials that have not ended, one row each."""
    newest = history.running[-_MOST_RUNNING:]
    return "\n".join(row(problem.space, o.configuration) for o in newest)


def candidates_table(space: SearchSpace, configurations: Sequence[Configuration]) -> str:
    """Return numbered configurations, counted from 1, one row each."""
    rows = (f"{i} {row(space, c)}" for i, c in enumerate(configurations, 1))
    return "\n".join(rows)


def named(configuration: Mapping[str, Any]) -> str:
    """Return a configuration as a JSON object."""
    return f"{{{','.join(f'{_json(n)}:{scalar(v)}' for n, v in configuration.items())}}}"


def _name(name: str) -> str:
    return name if _BARE.fullmatch(name) else _cell(_json(name))


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)


def _cell(text: str) -> str:
    # Within JSON the bar that parts the cells can be written so.
    return text.replace("|", "\\u007c")


def _remark(text: str | None) -> str:
    line = _one_line(text or "")
    return line if len(line) <= _REMARK else f"{line[: _REMARK - 3]}..."


def _one_line(text: str) -> str:
    return " ".join(text.replace("|", "/").split())
