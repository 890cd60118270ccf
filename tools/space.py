"""The search space: what may vary, within which limits, and under which conditions.

A configuration is a plain dict from parameter name to value. It holds the *active* parameters only:
those whose conditions (`when`) hold.
"""

from __future__ import annotations

import contextlib
import difflib
import itertools
import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from decimal import Decimal
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Discriminator,
    Field,
    Tag,
    model_serializer,
    model_validator,
)

if TYPE_CHECKING:
    import numpy as np
    from optuna.distributions import BaseDistribution

Scalar = bool | int | float | str | None
Configuration = dict[str, Scalar]

_SAMPLING_ATTEMPTS = 10_000
_MOST_COUNTED = 10_000
_GRID_TOLERANCE = 1e-9


class ConfigurationError(ValueError):
    """A configuration does not belong to its search space; the message names what and why."""


class _Parameter(BaseModel):
    """What every kind of parameter has; use `Float`, `Int` or `Categorical`."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    unit: str | None = None
    """Unit of the value, for people and prompts ("epochs", "MB")."""
    meaning: str | None = None
    """One line on what the parameter does."""
    when: dict[str, list[Scalar]] = Field(default_factory=dict)
    """Active only if each named parent is active and has one of the listed values. A parent is an
    `Int` or a `Categorical`. A single value may stand without its list."""

    @model_validator(mode="before")
    @classmethod
    def _lists_of_values(cls, data: Any) -> Any:
        if isinstance(data, dict) and isinstance(data.get("when"), dict):
            when = {k: v if isinstance(v, list) else [v] for k, v in data["when"].items()}
            return {**data, "when": when}
        return data


class Float(_Parameter):
    """A real parameter in [low, high], on a linear or logarithmic scale, or on a grid of `step`."""

    type: Literal["float"] = "float"
    low: float
    """Smallest value."""
    high: float
    """Largest value, included."""
    log: bool = False
    """Search on a logarithmic scale; needs `low > 0`."""
    step: float | None = Field(default=None, gt=0)
    """Distance of the grid's points, counted from `low`; None for no grid."""
    default: float | None = None
    """The value that would be used without tuning."""

    @model_validator(mode="after")
    def _check(self) -> Float:
        _check_range(self.low, self.high, self.log, self.step)
        if self.default is not None:
            self.check(self.default)
        return self

    def check(self, value: object) -> None:
        """Raise `ValueError` with the broken rule if `value` is not one of this parameter's."""
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise ValueError(f"must be a number, but got {value!r}")
        if not self.low <= value <= self.high:
            raise ValueError(f"`{self.low} <= value <= {self.high}` must hold, but got {value!r}")
        if self.step is not None and not _on_grid(value, self.low, self.step):
            raise ValueError(f"must be {self.low} plus a multiple of {self.step}, got {value!r}")

    def clip(self, value: float) -> float:
        """Return the nearest allowed value.

        Raises:
            ValueError: If `value` is not a number.
        """
        value = float(min(max(_number(value), self.low), self.high))
        return value if self.step is None else self._grid_value(self._nearest_point(value))

    def to_unit(self, value: float) -> float:
        """Map a value to [0, 1]; values beyond the limits map to the ends."""
        value = min(max(value, self.low), self.high)
        if self.step is not None:
            return (self._nearest_point(value) + 0.5) / self._grid_points()
        if self.log:
            return math.log(value / self.low) / math.log(self.high / self.low)
        return (value - self.low) / (self.high - self.low)

    def from_unit(self, unit: float) -> float:
        """Map a point of [0, 1] to a value."""
        if self.step is not None:
            return self._grid_value(_bin(unit, self._grid_points()))
        if self.log:
            value = self.low * math.exp(unit * math.log(self.high / self.low))
        else:
            value = self.low + unit * (self.high - self.low)
        return min(max(value, self.low), self.high)

    def to_optuna(self) -> BaseDistribution:
        """Return the same range as an Optuna distribution."""
        from optuna.distributions import FloatDistribution

        if self.step is None:
            return FloatDistribution(self.low, self.high, log=self.log)
        return FloatDistribution(self.low, self._decimal(self._grid_points() - 1), step=self.step)

    def values(self) -> Iterator[float] | None:
        """Return the grid's points in order, None without a grid."""
        if self.step is None:
            return None
        return (self._grid_value(point) for point in range(self._grid_points()))

    def _grid_points(self) -> int:
        assert self.step is not None
        return math.floor((self.high - self.low) / self.step + _GRID_TOLERANCE) + 1

    def _nearest_point(self, value: float) -> int:
        assert self.step is not None
        return min(round((value - self.low) / self.step), self._grid_points() - 1)

    def _grid_value(self, point: int) -> float:
        return min(self._decimal(point), self.high)

    def _decimal(self, point: int) -> float:
        # In decimal, as people and Optuna count: 0.1 + 2 * 0.1 is 0.3.
        return float(Decimal(repr(self.low)) + point * Decimal(repr(self.step)))


class Int(_Parameter):
    """An integer parameter in [low, high], on a linear or logarithmic scale or a grid of `step`."""

    type: Literal["int"] = "int"
    low: int
    """Smallest value."""
    high: int
    """Largest value, included."""
    log: bool = False
    """Search on a logarithmic scale; needs `low > 0`."""
    step: int = Field(default=1, gt=0)
    """Distance of the grid's points, counted from `low`; 1 if `log` is set."""
    default: int | None = None
    """The value that would be used without tuning."""

    @model_validator(mode="after")
    def _check(self) -> Int:
        _check_range(self.low, self.high, self.log, None if self.step == 1 else self.step)
        if self.default is not None:
            self.check(self.default)
        return self

    def check(self, value: object) -> None:
        """Raise `ValueError` with the broken rule if `value` is not one of this parameter's."""
        if isinstance(value, bool) or not isinstance(value, int):
            raise ValueError(f"must be an integer, but got {value!r}")
        if not self.low <= value <= self.high:
            raise ValueError(f"`{self.low} <= value <= {self.high}` must hold, but got {value!r}")
        if (value - self.low) % self.step != 0:
            raise ValueError(f"must be {self.low} plus a multiple of {self.step}, got {value!r}")

    def clip(self, value: float) -> int:
        """Return the nearest allowed value.

        Raises:
            ValueError: If `value` is not a number.
        """
        value = round(min(max(_number(value), self.low), self.high))
        return self.low + self._nearest_point(value) * self.step

    def to_unit(self, value: float) -> float:
        """Map a value to [0, 1]; values beyond the limits map to the ends."""
        value = round(min(max(value, self.low), self.high))
        if self.log:
            low, high = self.low - 0.5, self.high + 0.5
            return math.log(value / low) / math.log(high / low)
        return (self._nearest_point(value) + 0.5) / self._grid_points()

    def from_unit(self, unit: float) -> int:
        """Map a point of [0, 1] to a value."""
        if self.log:
            low, high = self.low - 0.5, self.high + 0.5
            value = round(low * math.exp(unit * math.log(high / low)))
            return min(max(value, self.low), self.high)
        return self.low + _bin(unit, self._grid_points()) * self.step

    def to_optuna(self) -> BaseDistribution:
        """Return the same range as an Optuna distribution."""
        from optuna.distributions import IntDistribution

        high = self.low + (self._grid_points() - 1) * self.step
        return IntDistribution(self.low, high, log=self.log, step=self.step)

    def values(self) -> Iterator[int]:
        """Return the allowed values in order."""
        return iter(range(self.low, self.high + 1, self.step))

    def _grid_points(self) -> int:
        return (self.high - self.low) // self.step + 1

    def _nearest_point(self, value: int) -> int:
        return min(round((value - self.low) / self.step), self._grid_points() - 1)


class Categorical(_Parameter):
    """A parameter that takes one of a list of values without an order."""

    type: Literal["categorical"] = "categorical"
    choices: list[Scalar] = Field(min_length=1)
    """The values."""
    default: Scalar = None
    """The value that would be used without tuning; None for no default unless None is a choice."""

    @model_validator(mode="after")
    def _check(self) -> Categorical:
        keys = [_identity(choice) for choice in self.choices]
        for i, key in enumerate(keys):
            if key in keys[:i]:
                raise ValueError(f"`choices` must differ, but got {self.choices[i]!r} twice")
        if self.default is not None:
            self.check(self.default)
        return self

    def check(self, value: object) -> None:
        """Raise `ValueError` with the broken rule if `value` is not one of this parameter's."""
        if _identity(value) not in [_identity(choice) for choice in self.choices]:
            raise ValueError(
                f"must be one of {self.choices}, but got {value!r}"
                + did_you_mean(str(value), [str(choice) for choice in self.choices])
            )

    def to_unit(self, value: Scalar) -> float:
        """Map a choice to the middle of its share of [0, 1]."""
        keys = [_identity(choice) for choice in self.choices]
        return (keys.index(_identity(value)) + 0.5) / len(keys)

    def from_unit(self, unit: float) -> Scalar:
        """Map a point of [0, 1] to a choice."""
        return self.choices[_bin(unit, len(self.choices))]

    def to_optuna(self) -> BaseDistribution:
        """Return the same choices as an Optuna distribution."""
        from optuna.distributions import CategoricalDistribution

        return CategoricalDistribution(self.choices)

    def values(self) -> Iterator[Scalar]:
        """Return the choices in order."""
        return iter(self.choices)


def _kind_of(data: Any) -> str | None:
    return data.get("type") if isinstance(data, dict) else getattr(data, "type", None)


Parameter = Annotated[
    Annotated[Float, Tag("float")]
    | Annotated[Int, Tag("int")]
    | Annotated[Categorical, Tag("categorical")],
    Discriminator(
        _kind_of,
        custom_error_type="parameter_type",
        custom_error_message="`type` must be one of 'float', 'int', 'categorical'",
    ),
]

Operator = Literal["<", "<=", ">", ">=", "==", "!="]
_COMPARISON = re.compile(r"\s*([^\s<>=!]+)\s*(<=|>=|==|!=|<|>)\s*([^\s<>=!]+)\s*")


class Comparison(BaseModel):
    """A constraint between two numeric parameters or a parameter and a number.

    Written as text (`warmup_steps < total_steps`), which is parsed, never evaluated. It holds where
    one of its parameters is inactive.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    left: str
    operator: Operator
    right: str | float

    @model_validator(mode="before")
    @classmethod
    def _parse(cls, data: Any) -> Any:
        if not isinstance(data, str):
            return data
        match = _COMPARISON.fullmatch(data)
        right: str | float = match[3] if match else ""
        with contextlib.suppress(ValueError):
            right = float(right)
        if match is None or (isinstance(right, float) and not math.isfinite(right)):
            raise ValueError(
                "a constraint must read `parameter < parameter` or `parameter < number` "
                f"(or <=, >, >=, ==, !=), but got {data!r}"
            )
        return {"left": match[1], "operator": match[2], "right": right}

    @model_serializer
    def __str__(self) -> str:
        right = self.right
        if not isinstance(right, str):
            right = repr(right).removesuffix(".0")
        return f"{self.left} {self.operator} {right}"

    def names(self) -> list[str]:
        """Return the parameters that the comparison speaks of."""
        return [self.left, self.right] if isinstance(self.right, str) else [self.left]

    def holds(self, configuration: Mapping[str, Any]) -> bool:
        """Tell whether a configuration satisfies the comparison."""
        if any(name not in configuration for name in self.names()):
            return True
        left = configuration[self.left]
        right = configuration[self.right] if isinstance(self.right, str) else self.right
        return bool(_COMPARE[self.operator](left, right))


_COMPARE: dict[Operator, Any] = {
    "<": lambda a, b: a < b,
    "<=": lambda a, b: a <= b,
    ">": lambda a, b: a > b,
    ">=": lambda a, b: a >= b,
    "==": lambda a, b: a == b,
    "!=": lambda a, b: a != b,
}


class SearchSpace(BaseModel):
    """Named parameters and the constraints between them."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    parameters: dict[str, Parameter] = Field(min_length=1)
    """Parameter name to its range."""
    constraints: list[Comparison] = Field(default_factory=list)
    """Comparisons that every configuration must satisfy."""

    @model_validator(mode="after")
    def _check(self) -> SearchSpace:
        for name, parameter in self.parameters.items():
            for parent, values in parameter.when.items():
                self._check_condition(name, parent, values)
        self.ordered()
        for comparison in self.constraints:
            for name in comparison.names():
                if name not in self.parameters:
                    raise ValueError(
                        f"constraint '{comparison}' names an unknown parameter {name!r}"
                        + did_you_mean(name, self.parameters)
                    )
                if isinstance(self.parameters[name], Categorical):
                    raise ValueError(
                        f"constraint '{comparison}' compares {name!r}, which is categorical; "
                        "only numbers can be compared"
                    )
        if self.constraints:
            self._check_satisfiable()
        return self

    def _check_condition(self, name: str, parent: str, values: Sequence[Scalar]) -> None:
        if parent not in self.parameters:
            raise ValueError(
                f"parameter {name!r} is conditional on an unknown parameter {parent!r}"
                + did_you_mean(parent, self.parameters)
            )
        parent_parameter = self.parameters[parent]
        if isinstance(parent_parameter, Float):
            raise ValueError(
                f"parameter {name!r} is conditional on {parent!r}, which is a float; "
                "a condition needs an int or a categorical parent"
            )
        if not values:
            raise ValueError(f"the condition of {name!r} on {parent!r} lists no value")
        for value in values:
            try:
                parent_parameter.check(value)
            except ValueError as error:
                raise ValueError(
                    f"the condition of {name!r} on {parent!r} can never hold: {parent!r} {error}"
                ) from None

    def _check_satisfiable(self) -> None:
        import numpy as np

        self.sample(np.random.default_rng(0))

    def ordered(self) -> list[str]:
        """Return the names so that parents come before their children."""
        ordered: list[str] = []
        waiting = list(self.parameters)
        while waiting:
            ready = [n for n in waiting if all(p in ordered for p in self.parameters[n].when)]
            if not ready:
                raise ValueError(f"the conditions of {sorted(waiting)} depend on each other")
            ordered += ready
            waiting = [n for n in waiting if n not in ready]
        return ordered

    @property
    def is_conditional(self) -> bool:
        """Whether any parameter has a condition."""
        return any(parameter.when for parameter in self.parameters.values())

    def is_active(self, name: str, configuration: Mapping[str, Any]) -> bool:
        """Tell whether parameter `name` is active, given the values of its ancestors."""
        return all(
            parent in configuration
            and _identity(configuration[parent]) in [_identity(value) for value in values]
            and self.is_active(parent, configuration)
            for parent, values in self.parameters[name].when.items()
        )

    def walk(self, configuration: Mapping[str, Any]) -> Iterator[tuple[str, Parameter]]:
        """Yield the active parameters, parents first.

        `configuration` is read as the walk goes on, so the caller may fill it in on the way.
        """
        for name in self.ordered():
            if self.is_active(name, configuration):
                yield name, self.parameters[name]

    def validate_configuration(self, configuration: Mapping[str, Any]) -> None:
        """Check that a configuration belongs to this space.

        Raises:
            ConfigurationError: Naming the first parameter that is unknown, missing, inactive or out
                of its range, or the constraint that does not hold.
        """
        for name in configuration:
            if name not in self.parameters:
                raise ConfigurationError(
                    f"unknown parameter {name!r}" + did_you_mean(name, self.parameters)
                )
        active = dict(self.walk(configuration))
        for name, parameter in active.items():
            if name not in configuration:
                raise ConfigurationError(f"parameter {name!r} is missing")
            try:
                parameter.check(configuration[name])
            except ValueError as error:
                raise ConfigurationError(f"parameter {name!r} {error}") from None
        for name in configuration:
            if name not in active:
                raise ConfigurationError(
                    f"parameter {name!r} is not active: it needs {self.parameters[name].when}"
                )
        for comparison in self.constraints:
            if not comparison.holds(configuration):
                values = {name: configuration[name] for name in comparison.names()}
                raise ConfigurationError(f"`{comparison}` must hold, but got {values}")

    def contains(self, configuration: Mapping[str, Any]) -> bool:
        """Tell whether a configuration belongs to this space."""
        try:
            self.validate_configuration(configuration)
        except ConfigurationError:
            return False
        return True

    def satisfies_constraints(self, configuration: Mapping[str, Any]) -> bool:
        """Tell whether all constraints hold."""
        return all(comparison.holds(configuration) for comparison in self.constraints)

    def clip(self, configuration: Mapping[str, Any]) -> Configuration:
        """Move each number of a configuration to the nearest allowed value.

        Inactive parameters are dropped; constraints are not mended.

        Raises:
            ConfigurationError: If a parameter is unknown or missing, or a choice is.
        """
        clipped: Configuration = {}
        for name in configuration:
            if name not in self.parameters:
                raise ConfigurationError(
                    f"unknown parameter {name!r}" + did_you_mean(name, self.parameters)
                )
        for name, parameter in self.walk(clipped):
            if name not in configuration:
                raise ConfigurationError(f"parameter {name!r} is missing")
            value: Any = configuration[name]
            try:
                if isinstance(parameter, Categorical):
                    parameter.check(value)
                    clipped[name] = value
                else:
                    clipped[name] = parameter.clip(value)
            except ValueError as error:
                raise ConfigurationError(f"parameter {name!r} {error}") from None
        return clipped

    def default(self) -> Configuration | None:
        """Return the configuration of all defaults, or None if it is incomplete or not allowed."""
        configuration: Configuration = {}
        for name, parameter in self.walk(configuration):
            if parameter.default is None and not (
                isinstance(parameter, Categorical) and None in parameter.choices
            ):
                return None
            configuration[name] = parameter.default
        return configuration if self.satisfies_constraints(configuration) else None

    def encode(self, configuration: Mapping[str, Any]) -> list[float]:
        """Map a configuration to the unit cube, one coordinate a parameter in the space's order.

        Inactive parameters get 0.5.
        """
        return [
            _to_unit(parameter, configuration[name]) if name in configuration else 0.5
            for name, parameter in self.parameters.items()
        ]

    def decode(self, point: Sequence[float]) -> Configuration:
        """Map a point of the unit cube, shape (number of parameters,), to a configuration.

        Coordinates of parameters that turn out inactive are ignored; constraints are not mended.
        """
        units = dict(zip(self.parameters, point, strict=True))
        configuration: Configuration = {}
        for name, parameter in self.walk(configuration):
            configuration[name] = parameter.from_unit(float(units[name]))
        return configuration

    def complete(self, *sources: Mapping[str, Any]) -> Configuration:
        """Return the configuration of the first source that has each active parameter's value.

        Where none has it, it is the middle of the range. Constraints are not mended.
        """
        configuration: Configuration = {}
        for name, parameter in self.walk(configuration):
            known = next((source for source in sources if name in source), None)
            configuration[name] = parameter.from_unit(0.5) if known is None else known[name]
        return configuration

    def sample(self, rng: np.random.Generator) -> Configuration:
        """Draw a configuration uniformly (log-uniformly where `log`) among the allowed ones.

        Raises:
            ValueError: If none of many draws satisfies the constraints.
        """
        for _ in range(_SAMPLING_ATTEMPTS):
            configuration = self.decode(list(rng.random(len(self.parameters))))
            if self.satisfies_constraints(configuration):
                return configuration
        raise ValueError(
            f"no configuration out of {_SAMPLING_ATTEMPTS} satisfied the constraints "
            f"{[str(comparison) for comparison in self.constraints]}; loosen them"
        )

    def size(self) -> int | None:
        """Return the number of configurations, None if there are infinitely or very many."""
        if any(parameter.values() is None for parameter in self.parameters.values()):
            return None
        everything = self._configurations(self.ordered(), {})
        counted = list(itertools.islice(everything, _MOST_COUNTED + 1))
        if len(counted) > _MOST_COUNTED:
            return None
        return sum(map(self.satisfies_constraints, counted))

    def _configurations(
        self, names: Sequence[str], configuration: Configuration
    ) -> Iterator[Configuration]:
        """Yield every way to go on with a configuration, constraints left aside."""
        if not names:
            yield configuration
        elif not self.is_active(names[0], configuration):
            yield from self._configurations(names[1:], configuration)
        else:
            for value in self.parameters[names[0]].values() or ():
                yield from self._configurations(names[1:], {**configuration, names[0]: value})

    def to_optuna(self) -> dict[str, BaseDistribution]:
        """Return each parameter's range as an Optuna distribution."""
        return {name: parameter.to_optuna() for name, parameter in self.parameters.items()}

    @classmethod
    def from_optuna(cls, distributions: Mapping[str, BaseDistribution]) -> SearchSpace:
        """Build a flat space from Optuna distributions.

        Raises:
            TypeError: If a distribution is of none of Optuna's three kinds.
        """
        from optuna.distributions import (
            CategoricalDistribution,
            FloatDistribution,
            IntDistribution,
        )

        parameters: dict[str, Float | Int | Categorical] = {}
        for name, distribution in distributions.items():
            match distribution:
                case FloatDistribution(low=low, high=high, log=log, step=step):
                    parameters[name] = Float(low=low, high=high, log=log, step=step)
                case IntDistribution(low=low, high=high, log=log, step=step):
                    parameters[name] = Int(low=low, high=high, log=log, step=step)
                case CategoricalDistribution(choices=choices):
                    parameters[name] = Categorical(choices=list(choices))
                case _:
                    raise TypeError(f"parameter {name!r}: {distribution!r} is not supported")
        return cls(parameters=parameters)


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return "; did you mean 'x'?" for the nearest known word, or the list of them."""
    names = [str(name) for name in known]
    close = difflib.get_close_matches(word, names, n=1)
    if close:
        return f"; did you mean {close[0]!r}?"
    return f"; known are {', '.join(map(repr, names[:20]))}" if names else ""


def _check_range(low: float, high: float, log: bool, step: float | None) -> None:
    if not low < high:
        raise ValueError(f"`low < high` must hold, but got low={low!r}, high={high!r}")
    if log and low <= 0:
        raise ValueError(f"`low > 0` must hold with `log: true`, but got low={low!r}")
    if log and step is not None:
        raise ValueError(f"`step` cannot be set with `log: true`, but got step={step!r}")
    if step is not None and step > (high - low) * (1 + _GRID_TOLERANCE):
        raise ValueError(f"`step <= high - low` must hold, but got step={step!r}")


def _number(value: object) -> int | float:
    if isinstance(value, bool) or not isinstance(value, int | float) or value != value:
        raise ValueError(f"must be a number, but got {value!r}")
    return value


def _to_unit(parameter: Float | Int | Categorical, value: Any) -> float:
    return parameter.to_unit(value)


def _identity(value: object) -> tuple[bool, object]:
    # 1 == 1.0 is the same choice to a person, 1 == True is not.
    return isinstance(value, bool), value


def _bin(unit: float, bins: int) -> int:
    return min(int(unit * bins), bins - 1)


def _on_grid(value: float, low: float, step: float) -> bool:
    steps = (value - low) / step
    return abs(steps - round(steps)) <= _GRID_TOLERANCE * max(1.0, abs(steps))
