"""Distances between configurations, in the unit cube."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from ...tools.space import Categorical, Configuration, Parameter, SearchSpace

NEAR = 0.02
"""Closer than this in every parameter, two configurations are the same trial again."""


def distance(space: SearchSpace, a: Configuration, b: Configuration) -> float:
    """Return the largest difference over the parameters, in [0, 1].

    Another choice, and a parameter that is active in one of the two only, count as 1.
    """
    return max(_difference(parameter, a, b, name) for name, parameter in space.parameters.items())


def _difference(parameter: Parameter, a: Configuration, b: Configuration, name: str) -> float:
    if name not in a and name not in b:
        return 0.0
    if name not in a or name not in b:
        return 1.0
    units = [_unit(parameter, configuration[name]) for configuration in (a, b)]
    if isinstance(parameter, Categorical):
        return float(units[0] != units[1])
    return abs(units[0] - units[1])


def _unit(parameter: Parameter, value: object) -> float:
    return parameter.to_unit(value)  # type: ignore[arg-type]  # a configuration of the space


def nearest(
    space: SearchSpace, configuration: Configuration, others: Iterable[Configuration]
) -> float:
    """Return the distance to the nearest of others, 1 if there are none."""
    return min((distance(space, configuration, other) for other in others), default=1.0)


def farthest_first(
    space: SearchSpace,
    configurations: Sequence[Configuration],
    count: int,
    *,
    others: Sequence[Configuration] = (),
    least: float = 0.0,
) -> list[int]:
    """Choose configurations that are far from each other, one after the other.

    Args:
        space: Their space.
        configurations: What there is to choose from; the first one is always chosen first.
        count: How many to choose at most.
        others: Configurations to be far from as well.
        least: A configuration that is nearer than this to one that was chosen is not.

    Returns:
        Their indices, in the order of choice.
    """
    away = [nearest(space, configuration, others) for configuration in configurations]
    chosen: list[int] = []
    while len(chosen) < min(count, len(configurations)):
        left = [i for i in range(len(configurations)) if i not in chosen]
        # The first one is the most trustworthy one.
        index = 0 if not chosen and not others else max(left, key=lambda i: (away[i], -i))
        if away[index] < least:
            break
        chosen.append(index)
        picked = configurations[index]
        away = [
            min(d, distance(space, c, picked)) for d, c in zip(away, configurations, strict=True)
        ]
    return chosen
