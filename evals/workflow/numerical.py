"""One hidden number, seen through different arithmetic in each case.

After the numerical problems of Trace (arXiv:2406.16218, section 5.1), with our own generator.
"""

from __future__ import annotations

import math
import re
from random import Random
from typing import Any

from ...agent.workflow import Case, Feedback, Param, ParamSet, Suite, op, param
from .problem import Problem, Values

_CASES, _STEPS, _MOST = 40, 4, 10.0
_CALL = re.compile(r"^v\d+ = (plus|minus|times)\((\S+), (\S+)\)", re.M)
_WANTED = re.compile(r"run (\w+): .*?\nthe output should be (larger|smaller) by (\S+)$", re.M)
_CURRENT = re.compile(r"^x: .*\nconstraint: .*\nvalue:\n(\S+)$", re.M)
_UNKNOWN_SLOPE = 5.0
"""What a step is divided by where the arithmetic is not shown; a guess on the safe side."""


@op
def plus(a: float, b: float) -> float:
    """Return a + b."""
    return a + b


@op
def minus(a: float, b: float) -> float:
    """Return a - b."""
    return a - b


@op
def times(a: float, b: float) -> float:
    """Return a * b."""
    return a * b


_OPS = {"plus": plus, "minus": minus, "times": times}


def _workflow(steps: list[tuple[str, float]]) -> Any:
    value = param("x")
    for name, constant in steps:
        value = _OPS[name](value, constant)
    return value


def numerical(seed: int = 0) -> Problem:
    """Return a problem whose hidden number lies in [-10, 10]; a score of 1 is an exact hit."""
    rng = Random(f"numerical/{seed}")
    hidden = round(rng.choice((-1, 1)) * rng.uniform(3.0, _MOST), 2)
    cases, targets = [], {}
    for i in range(_CASES):
        steps = [(rng.choice(tuple(_OPS)), round(rng.uniform(0.5, 4.0), 2)) for _ in range(_STEPS)]
        case = Case(f"chain{i:02}", steps)
        value = hidden
        for name, constant in steps:
            value = _OPS[name](value, constant)
        cases.append(case)
        targets[case.name] = value

    def score(case: Case, output: Any) -> Feedback:
        gap = targets[case.name] - output
        words = f"the output should be {'larger' if gap > 0 else 'smaller'} by {abs(gap):.4g}"
        return Feedback(1.0 / (1.0 + abs(gap)), words, {"error": abs(gap)})

    return Problem(
        "numerical",
        "Every run should give its own target.",
        _workflow,
        ParamSet([Param.number("x", 0.0, -_MOST, _MOST, "the number that all runs begin with")]),
        Suite(cases, score),
        fix=_fix,
        guess=lambda rng: {"x": rng.uniform(-_MOST, _MOST)},
        harm=lambda rng: {"x": -math.copysign(_MOST, hidden)},
    )


def _fix(text: str, rng: Random) -> Values:
    """Make a Newton step where calls are shown, a careful one where they are not."""
    wanted, current = _WANTED.search(text), _CURRENT.search(text)
    if wanted is None or current is None:
        return {"x": rng.uniform(-_MOST, _MOST)}
    case, way, size = wanted.groups()
    shown = re.search(rf"^run {case}:\n((?:v\d+ = .*\n?)+)", text, re.M)
    slope = _UNKNOWN_SLOPE
    if shown is not None:
        factors = [float(b) for name, _, b in _CALL.findall(shown[1]) if name == "times"]
        slope = math.prod(factors)
    moved = float(current[1]) + float(size) * (1 if way == "larger" else -1) / slope
    return {"x": min(_MOST, max(-_MOST, moved))}
