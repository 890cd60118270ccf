"""Rules that lay a range around a default: one small class a rule."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from .script_declared import Declared, Kind
from .space import Categorical, Float, Int, Parameter, Scalar


@dataclass(frozen=True)
class Proposal:
    """A parameter with a proposed range."""

    parameter: Parameter
    note: str | None = None
    """What a person should know about the range, if anything."""


@dataclass(frozen=True)
class Refusal:
    """Why an argument is left alone."""

    reason: str


class Scale(Protocol):
    """A rule that lays a range around a default."""

    @property
    def kinds(self) -> tuple[Kind, ...]:
        """Kinds of value for which the rule makes sense."""

    def propose(self, declared: Declared) -> Proposal | Refusal:
        """Return the range, or why there is none."""


_NO_DEFAULT = Refusal("no default, and nothing is known about the name, so that no range follows")
_NO_SCALE = Refusal("its default is 0, which gives no scale")
_NO_ROOM = Refusal("the script's own limits leave no range around its default")
_BREAKS_LIMITS = "its default breaks the script's own limits"


@dataclass(frozen=True)
class LogFloat:
    """From the default divided by `factor` to the default times `factor`, logarithmic."""

    factor: float
    floor: float
    ceiling: float
    typical: tuple[float, float] | None = None
    """The range if the default is missing or 0; its low end then stands for 0."""
    kinds: tuple[Kind, ...] = ("float",)

    def propose(self, declared: Declared) -> Proposal | Refusal:
        """Return the range, or why there is none."""
        default = _number(declared.default)
        if default is not None and default < 0:
            return Refusal("its default is negative, which a logarithmic range cannot hold")
        if default:
            low = min(default, max(_round(default / self.factor), self.floor))
            high = max(default, min(_round(default * self.factor), self.ceiling))
            return _float(declared, low, high, log=True, default=default)
        if self.typical is None:
            return _NO_DEFAULT if default is None else _NO_SCALE
        low, high = self.typical
        if default is None:
            return _float(declared, low, high, log=True, default=None)
        low = low if declared.low is None else max(low, declared.low)
        note = f"0 in the script; {low:g} is the nearest"
        return _float(declared, low, high, log=True, default=low, note=note)


@dataclass(frozen=True)
class Linear:
    """A fixed range, widened to hold the default."""

    low: float
    high: float
    near_one: tuple[float, float] | None = None
    """The range if the default is 0.9 or more."""
    kinds: tuple[Kind, ...] = ("float",)

    def propose(self, declared: Declared) -> Proposal | Refusal:
        """Return the range, or why there is none."""
        default = _number(declared.default)
        low, high = self.low, self.high
        if default is not None and default < 0 <= low:
            return Refusal(f"its default is {default}, where 0 or more was expected")
        if default is not None:
            if self.near_one is not None and default >= 0.9:
                low, high = self.near_one
            low, high = min(low, default), max(high, default)
        return _float(declared, low, high, log=False, default=default)


@dataclass(frozen=True)
class LogInt:
    """From the default divided by `factor`, at least 1, to the default times `factor`."""

    factor: int = 4
    typical: tuple[int, int] | None = None
    kinds: tuple[Kind, ...] = ("int",)

    def propose(self, declared: Declared) -> Proposal | Refusal:
        """Return the range, or why there is none."""
        default = _integer(declared.default)
        if default is None:
            if self.typical is None:
                return _NO_DEFAULT
            return _int(declared, *self.typical, log=True, default=None)
        if default <= 0:
            return Refusal(f"its default is {default}, which gives no scale")
        low, high = max(1, default // self.factor), default * self.factor
        return _int(declared, low, high, log=True, default=default)


@dataclass(frozen=True)
class PowersOfTwo:
    """The powers of two around the default; another default gets a logarithmic range."""

    typical: tuple[int, ...]
    kinds: tuple[Kind, ...] = ("int",)

    def propose(self, declared: Declared) -> Proposal | Refusal:
        """Return the range, or why there is none."""
        default = _integer(declared.default)
        if default is not None and (default <= 0 or default & (default - 1)):
            return LogInt().propose(declared)
        around = self.typical if default is None else _powers_around(default)
        low = 1 if declared.low is None else declared.low
        high = math.inf if declared.high is None else declared.high
        choices = [choice for choice in around if low <= choice <= high]
        return categorical(choices, default)


@dataclass(frozen=True)
class SmallInt:
    """Whole numbers from `low` to twice the default, at least to `least_high`."""

    low: int
    least_high: int
    factor: int = 2
    kinds: tuple[Kind, ...] = ("int",)

    def propose(self, declared: Declared) -> Proposal | Refusal:
        """Return the range, or why there is none."""
        default = _integer(declared.default)
        if default is not None and default < 0:
            return Refusal(f"its default is {default}, which gives no scale")
        low = self.low if default is None else min(self.low, default)
        high = max(self.least_high, self.factor * (default or 0))
        return _int(declared, low, high, log=False, default=default)


@dataclass(frozen=True)
class Odd:
    """Odd numbers near an odd default."""

    kinds: tuple[Kind, ...] = ("int",)

    def propose(self, declared: Declared) -> Proposal | Refusal:
        """Return the range, or why there is none."""
        default = _integer(declared.default) or 0
        if default < 1 or default % 2 == 0:
            return Refusal("its default is not an odd number")
        return categorical([c for c in range(default - 2, default + 3, 2) if c >= 1], default)


@dataclass(frozen=True)
class Switch:
    """On or off."""

    kinds: tuple[Kind, ...] = ("bool",)

    def propose(self, declared: Declared) -> Proposal | Refusal:
        """Return the range, or why there is none."""
        default = declared.default if isinstance(declared.default, bool) else None
        return categorical([True, False], default)


def categorical(choices: Sequence[Scalar], default: Scalar) -> Proposal | Refusal:
    """Return the choices as a range, with the default if it is one of them."""
    if len(choices) < 2:
        return Refusal("only one value is possible")
    known = any(type(c) is type(default) and c == default for c in choices)
    note = None if known or default is None else _BREAKS_LIMITS
    return Proposal(Categorical(choices=list(choices), default=default if known else None), note)


def _float(
    declared: Declared,
    low: float,
    high: float,
    *,
    log: bool,
    default: float | None,
    note: str | None = None,
) -> Proposal | Refusal:
    low = low if declared.low is None else max(low, float(declared.low))
    high = high if declared.high is None else min(high, float(declared.high))
    if not low < high:
        return _NO_ROOM
    if default is not None and not low <= default <= high:
        default, note = None, _BREAKS_LIMITS
    return Proposal(Float(low=low, high=high, log=log, default=default), note)


def _int(
    declared: Declared, low: int, high: int, *, log: bool, default: int | None
) -> Proposal | Refusal:
    low = low if declared.low is None else max(low, math.ceil(declared.low))
    high = high if declared.high is None else min(high, math.floor(declared.high))
    if not low < high:
        return _NO_ROOM
    note = None
    if default is not None and not low <= default <= high:
        default, note = None, _BREAKS_LIMITS
    return Proposal(Int(low=low, high=high, log=log and low > 0, default=default), note)


def _powers_around(default: int) -> tuple[int, ...]:
    powers = (default // 4, default // 2, default, default * 2, default * 4)
    return tuple(power for power in powers if power > 0)


def _number(value: Scalar) -> float | None:
    return float(value) if isinstance(value, int | float) else None


def _integer(value: Scalar) -> int | None:
    return value if isinstance(value, int) else None


def _round(value: float) -> float:
    return float(f"{value:.1g}")
