"""The textbook prior: which configurations a practitioner would try, told by the parameters' names.

What it knows is in `textbook_facts`; here names are read, ranges are respected and configurations
are made. A parameter whose name or range it does not understand is left uniform.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from .sensible import Bell, Number, Weights
from .space import Categorical, Configuration, Float, Int, SearchSpace
from .textbook_facts import FACTS, INTERACTIONS, Fact, Interaction
from .textbook_names import Rule, model_of, rule_of_names, rule_of_optimiser, words_of

_LEAST_SHARE = 0.01
"""A range that holds less than this share of the sensible values means something else."""

_LEAST_DENSITY = 1e-6
_CELL = 1e-3
_DRAWS = 256
_MOST_POWER = 300.0

_BASES = {"log10": 10.0, "log2": 2.0, "ln": math.e}


def prior_of(space: SearchSpace) -> Prior:
    """Return what is known about the parameters of a space."""
    known: dict[str, _Known] = {}
    for name, parameter in space.parameters.items():
        company = [other for other in space.parameters if _may_meet(space, name, other)]
        words = [words_of(other) for other in company]
        model = model_of(words)
        axis = _Axis(parameter)
        facts = tuple(
            fact
            for fact in FACTS
            if re.search(fact.names, words_of(name))
            and (not fact.models or model in fact.models)
            and axis.holds(fact)
        )
        if facts:
            known[name] = _Known(axis, facts, rule_of_names(words), tuple(company))
    return Prior(space, known)


@dataclass(frozen=True)
class Prior:
    """A distribution over the configurations of a space; `prior_of` makes one."""

    space: SearchSpace
    _known: Mapping[str, _Known]

    @cached_property
    def knows(self) -> dict[str, str]:
        """The parameters that it knows something about, and how it read each name."""
        return {name: known.facts[0].role for name, known in self._known.items()}

    def log_density(self, configuration: Mapping[str, Any]) -> float:
        """Return the logarithm of the density relative to the uniform one, 0 if nothing is known.

        The density of each parameter that is known is that given the others' values.
        """
        total = 0.0
        for name in configuration:
            values = self._values(name, configuration)
            if values is not None:
                density = self._known[name].axis.density(values, configuration[name])
                total += math.log(max(density, _LEAST_DENSITY))
        return total

    def configurations(self, n: int, seed: int) -> list[Configuration]:
        """Return up to `n` different allowed configurations, the most typical one first.

        The others are spread over what is sensible, and evenly over what nothing is known of.
        """
        from scipy.stats import qmc

        chosen: list[Configuration] = []
        points = qmc.Sobol(len(self.space.parameters), scramble=True, rng=seed)
        for draw in range(_DRAWS):
            if len(chosen) >= n:
                break
            shares = None if draw == 0 else [float(u) for u in points.random(1)[0]]
            configuration = self._configuration(shares)
            if self.space.satisfies_constraints(configuration) and configuration not in chosen:
                chosen.append(configuration)
        return chosen

    def _configuration(self, shares: Sequence[float] | None) -> Configuration:
        """Return the configuration at these quantiles, or that of all typical values."""
        units = dict(zip(self.space.parameters, shares or (), strict=shares is not None))
        configuration: Configuration = {}
        # What depends on other values is right in the second round.
        for _ in range(2):
            others, configuration = configuration, {}
            for name, parameter in self.space.walk(configuration):
                values = self._values(name, others)
                if values is None and shares is None:
                    default = parameter.default
                    value = parameter.from_unit(0.5) if default is None else default
                elif values is None:
                    value = parameter.from_unit(units[name])
                elif shares is None:
                    value = self._known[name].axis.typical(values)
                else:
                    value = self._known[name].axis.quantile(values, units[name])
                configuration[name] = value
        return configuration

    def _values(self, name: str, configuration: Mapping[str, Any]) -> Bell | Weights | None:
        """Return the sensible values of a parameter, given those of the others."""
        known = self._known.get(name)
        if known is None:
            return None
        rule = self._rule(known, configuration)
        fact = next((f for f in known.facts if not f.rules or rule in f.rules), None)
        if fact is None or isinstance(fact.values, Weights):
            return None if fact is None else fact.values
        values, axis = fact.values, known.axis
        for interaction in INTERACTIONS:
            if interaction.of == fact.role and (not interaction.rules or rule in interaction.rules):
                values = values.times(self._factor(interaction, known, configuration))
        return axis.within(values, fact.values.typical)

    def _rule(self, known: _Known, configuration: Mapping[str, Any]) -> Rule | None:
        """Return the optimisation rule of a configuration, or what the names tell of it."""
        for name in self._named("optimiser", known):
            if name in configuration:
                return rule_of_optimiser(configuration[name])
        return known.rule

    def _factor(
        self, interaction: Interaction, known: _Known, configuration: Mapping[str, Any]
    ) -> float:
        for name in self._named(interaction.by, known):
            if name in configuration:
                by = self._known[name].axis.real(configuration[name])
                by = 1 - by if interaction.from_one else by
                if by > 0:
                    return float((by / interaction.at) ** interaction.power)
        return 1.0

    def _named(self, role: str, known: _Known) -> list[str]:
        return [name for name in known.company if self.knows.get(name) == role]


@dataclass(frozen=True)
class _Known:
    """What is known about one parameter."""

    axis: _Axis
    facts: tuple[Fact, ...]
    rule: Rule | None
    """The optimisation rule that the names of the space tell, where no parameter chooses it."""
    company: tuple[str, ...]
    """The parameters that can be active together with it."""


@dataclass(frozen=True)
class _Axis:
    """A parameter's range, seen in the values that it stands for.

    One whose unit says "log10", "log2" or "ln" stands for a power.
    """

    parameter: Float | Int | Categorical

    @property
    def _base(self) -> float | None:
        return _BASES.get(self.parameter.unit or "")

    def real(self, value: Any) -> float:
        """Return what a value of the parameter stands for."""
        power = min(float(value), _MOST_POWER)
        return float(value) if self._base is None else self._base**power

    def holds(self, fact: Fact) -> bool:
        """Tell whether a fact can be about this range."""
        match self.parameter, fact.values:
            case Categorical(choices=choices), Weights() as weights:
                return any(weights.knows(choice) for choice in choices)
            case Categorical(choices=choices), Bell() as bell:
                numbers = [self.real(c) for c in choices if _is_number(c)]
                return (
                    len(numbers) == len(choices)
                    and _in_limits(bell, min(numbers), max(numbers))
                    and max(map(bell.weight, numbers)) >= _LEAST_SHARE
                )
            case ((Float() | Int()), Bell() as bell):
                ends = self.real(self.parameter.low), self.real(self.parameter.high)
                return _in_limits(bell, *ends) and self._inside(bell) >= _LEAST_SHARE
            case _:
                return False

    def within(self, values: Bell, typical: float) -> Bell:
        """Return a bell that was moved, by no more than to the end of the range."""
        if isinstance(self.parameter, Categorical):
            numbers = [self.real(choice) for choice in self.parameter.choices]
            low, high = min(numbers), max(numbers)
        else:
            low, high = self.real(self.parameter.low), self.real(self.parameter.high)
        moved = min(max(values.typical, min(low, typical)), max(high, typical))
        return values.times(moved / values.typical)

    def typical(self, values: Bell | Weights) -> Any:
        """Return the value that is most sensible."""
        if isinstance(self.parameter, Categorical):
            return max(self.parameter.choices, key=lambda choice: self._weight(values, choice))
        assert isinstance(values, Bell)
        return self._clip(values.typical)

    def quantile(self, values: Bell | Weights, share: float) -> Any:
        """Return the value below which a share of the sensible ones lies."""
        if isinstance(self.parameter, Categorical):
            choices = self.parameter.choices
            left = share * sum(self._weight(values, choice) for choice in choices)
            for choice in choices:
                left -= self._weight(values, choice)
                if left <= 0:
                    return choice
            return choices[-1]
        assert isinstance(values, Bell)
        low, high = (values.cumulative(end) for end in self._ends())
        return self._clip(values.quantile(low + share * (high - low)))

    def density(self, values: Bell | Weights, value: Any) -> float:
        """Return the density of a value, 1 being that of the uniform distribution."""
        if isinstance(self.parameter, Categorical):
            choices = self.parameter.choices
            mean = sum(self._weight(values, choice) for choice in choices) / len(choices)
            return self._weight(values, value) / mean
        assert isinstance(values, Bell)
        low, high, width = self._cell(value)
        share = values.cumulative(high) - values.cumulative(low)
        return share / self._inside(values) / width

    def _weight(self, values: Bell | Weights, choice: Any) -> float:
        return values.weight(self.real(choice) if isinstance(values, Bell) else choice)

    def _inside(self, bell: Bell) -> float:
        low, high = self._ends()
        return bell.cumulative(high) - bell.cumulative(low)

    def _ends(self) -> tuple[float, float]:
        """Return the ends of the range, half a cell beyond the outermost points of a grid."""
        first, last = self._outer()
        return self.real(first), self.real(last)

    def _outer(self) -> tuple[float, float]:
        assert isinstance(self.parameter, Float | Int)
        margin = self._margin()
        last = self.parameter.clip(self.parameter.high)
        return self.parameter.low - margin, last + margin

    def _cell(self, value: Number) -> tuple[float, float, float]:
        """Return the ends of a value's cell, and its share of the uniform distribution."""
        parameter, margin = self.parameter, self._margin()
        assert isinstance(parameter, Float | Int)
        if margin == 0:
            unit = parameter.to_unit(value)
            low, high = max(unit - _CELL, 0.0), min(unit + _CELL, 1.0)
            ends = self.real(parameter.from_unit(low)), self.real(parameter.from_unit(high))
            return *ends, high - low
        low, high = value - margin, value + margin
        first, last = self._outer()
        if parameter.log:
            width = math.log(high / low) / math.log(last / first)
        else:
            width = 2 * margin / (last - first)
        return self.real(low), self.real(high), width

    def _margin(self) -> float:
        assert isinstance(self.parameter, Float | Int)
        return (self.parameter.step or 0) / 2

    def _clip(self, real: float) -> Any:
        assert isinstance(self.parameter, Float | Int)
        if self._base is None:
            return self.parameter.clip(real)
        return self.parameter.clip(math.log(real, self._base))


def _in_limits(bell: Bell, low: float, high: float) -> bool:
    # A logarithmic scale cannot hold negative values: they are not what the name says.
    return bell.limits[0] <= low and high <= bell.limits[1]


def _is_number(choice: object) -> bool:
    return isinstance(choice, int | float) and not isinstance(choice, bool)


def _may_meet(space: SearchSpace, one: str, other: str) -> bool:
    """Tell whether no condition keeps two parameters apart."""
    a, b = space.parameters[one].when, space.parameters[other].when
    return all(any(value in b[parent] for value in a[parent]) for parent in a.keys() & b.keys())
