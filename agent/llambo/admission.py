"""From what a model answered to configurations of the space; whatever is wrong is counted.

Nothing is evaluated, and nothing is trusted: a number is clipped, a name is looked up, and what
cannot be read costs the configuration that it stands in.
"""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, Literal

from ...tools.space import Categorical, Configuration, Float, Int, Scalar, SearchSpace

Fault = Literal[
    "not an object",
    "unknown parameter",
    "missing parameter",
    "inactive parameter",
    "number as text",
    "unit in a number",
    "not a number",
    "not finite",
    "not whole",
    "out of range",
    "choice as text",
    "unknown choice",
    "constraint",
    "more than asked for",
    "near another",
    "no prediction",
]
"""What can be wrong with an answer."""

_MOST = 100
_MOST_TEXT = 64
_NUMBER = re.compile(r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?")
_UNIT = re.compile(r"\s+[^\W\d_][^\d/*^]*|\s*[(\[][^\d]*")
_OBJECT = re.compile(r"\{[^{}]*\}")
_LARGE = 10**300


@dataclass(frozen=True)
class Admitted:
    """What could be used of an answer."""

    configurations: tuple[Configuration, ...] = ()
    positions: tuple[int, ...] = ()
    """Where each of them stood in the answer."""
    faults: Counter[Fault] = field(default_factory=Counter)
    """What was wrong, mended or not, and how often."""


def admit(space: SearchSpace, answers: Iterable[Any], most: int = _MOST) -> Admitted:
    """Return the configurations of an answer that belong to the space.

    Args:
        space: The space.
        answers: Whatever stood where configurations were asked for.
        most: How many of them to look at.
    """
    faults: Counter[Fault] = Counter()
    configurations, positions = [], []
    answers = iter(answers)
    for position, raw in enumerate(islice(answers, most)):
        configuration = _admit_one(space, raw, faults)
        if configuration is not None:
            configurations.append(configuration)
            positions.append(position)
    faults["more than asked for"] += sum(1 for _ in answers)
    return Admitted(tuple(configurations), tuple(positions), +faults)


def object_in(text: str) -> Any:
    """Return the first flat JSON object in a text, None if there is none."""
    found = _OBJECT.search(text[:20_000])
    try:
        return None if found is None else json.loads(found[0])
    except (ValueError, RecursionError):
        return None


def number_in(text: str) -> float | None:
    """Return the first finite number in a text, None if there is none."""
    found = _NUMBER.search(text[:200])
    value = math.nan if found is None else float(found[0])
    return value if math.isfinite(value) else None


def _admit_one(space: SearchSpace, raw: Any, faults: Counter[Fault]) -> Configuration | None:
    if not isinstance(raw, Mapping):
        faults["not an object"] += 1
        return None
    given = _by_name(space, raw, faults)
    configuration: Configuration = {}
    for name, parameter in space.walk(configuration):
        value = given.pop(name, None)
        may_be_none = isinstance(parameter, Categorical) and None in parameter.choices
        if value is None and not may_be_none:
            faults["missing parameter"] += 1
            if parameter.default is None:
                return None
            configuration[name] = parameter.default
            continue
        try:
            configuration[name] = admit_value(parameter, value, faults)
        except ValueError:
            return None
    faults["inactive parameter"] += sum(value is not None for value in given.values())
    if not space.satisfies_constraints(configuration):
        faults["constraint"] += 1
        return None
    return configuration


def _by_name(space: SearchSpace, raw: Mapping[Any, Any], faults: Counter[Fault]) -> dict[str, Any]:
    given: dict[str, Any] = {}
    for key, value in raw.items():
        name = find_name(space, key)
        if name is None:
            faults["unknown parameter"] += 1
        else:
            given.setdefault(name, value)
    return given


def find_name(space: SearchSpace, key: object) -> str | None:
    """Return the parameter that a model means by a name, None if there is none."""
    if not isinstance(key, str):
        return None
    if key in space.parameters:
        return key
    word = key.strip().casefold()
    alike = [name for name in space.parameters if name.casefold() == word]
    return alike[0] if len(alike) == 1 else None


def admit_value(parameter: Float | Int | Categorical, raw: Any, faults: Counter[Fault]) -> Scalar:
    """Return a value of the parameter.

    Raises:
        ValueError: If there is none in it; the faults say why.
    """
    if isinstance(parameter, Categorical):
        return _choice(parameter, raw, faults)
    value = _number(parameter, raw, faults)
    if not parameter.low <= value <= parameter.high:
        faults["out of range"] += 1
    if isinstance(parameter, Int):
        faults["not whole"] += value != int(value)
    return parameter.clip(value)


def _choice(parameter: Categorical, raw: Any, faults: Counter[Fault]) -> Scalar:
    if isinstance(raw, bool | int | float | str | None):
        try:
            parameter.check(raw)
            return parameter.from_unit(parameter.to_unit(raw))
        except ValueError:
            pass  # looked up as text below
        word = str(raw)[:200].strip().casefold()
        alike = [choice for choice in parameter.choices if str(choice).casefold() == word]
        if len(alike) == 1:
            faults["choice as text"] += 1
            return alike[0]
    raise _refused("unknown choice", faults)


def _number(parameter: Float | Int, raw: Any, faults: Counter[Fault]) -> int | float:
    if isinstance(raw, str):
        return _number_as_text(parameter, raw[: _MOST_TEXT + 1].strip(), faults)
    if isinstance(raw, bool) or not isinstance(raw, int | float):
        raise _refused("not a number", faults)
    if isinstance(raw, float) and not math.isfinite(raw):
        raise _refused("not finite", faults)
    return min(max(raw, -_LARGE), _LARGE)


def _number_as_text(parameter: Float | Int, text: str, faults: Counter[Fault]) -> float:
    if text.strip("+-").casefold() in ("nan", "inf", "infinity"):
        raise _refused("not finite", faults)
    found = _NUMBER.match(text)
    if found is None or len(text) > _MOST_TEXT:
        raise _refused("not a number", faults)
    rest = text[found.end() :]
    own_unit = parameter.unit is not None and rest.strip().casefold() == parameter.unit.casefold()
    if rest and not own_unit and not _UNIT.fullmatch(rest):
        raise _refused("not a number", faults)  # 10k, 5%, 1/3, 10^-3: what it means is a guess
    value = float(found[0])
    if not math.isfinite(value):
        raise _refused("not finite", faults)
    faults["unit in a number" if rest else "number as text"] += 1
    return value


def _refused(fault: Fault, faults: Counter[Fault]) -> ValueError:
    faults[fault] += 1
    return ValueError(fault)
