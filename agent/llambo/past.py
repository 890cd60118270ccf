"""What earlier studies found, for those whose space and data are near to a new one's.

The distance between two studies is that of their spaces, or, where both have a data card, three
parts of that and one part of the distance of their cards; both are in [0, 1]:

- spaces: 1 minus the mean likeness over all parameters of either. A parameter that one of them
  lacks has likeness 0; two of one name the share of their ranges (of their choices) that they have
  in common, on the logarithmic scale where both are logarithmic; a number and a choice are unlike.
- cards: the mean over rows, features and classes of the difference of their logarithms, 3 orders
  of magnitude counting as 1; classes against a number count as 1.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from ...tools.analysis import feasible
from ...tools.ledger import Ledger
from ...tools.space import Categorical, Configuration, Parameter, SearchSpace
from ...tools.textbook import prior_of
from .data_card import DataCard

NEAR_ENOUGH = 0.5
_SPACE_SHARE = 0.75
_ORDERS = 3.0
_BEST = 3


@dataclass(frozen=True)
class PastStudy:
    """What is left of an earlier study."""

    name: str
    space: SearchSpace
    best: tuple[Configuration, ...]
    """Its best configurations, the best one first."""
    data: DataCard | None = None


@dataclass(frozen=True)
class Neighbour:
    """An earlier study, and how far away it is."""

    study: PastStudy
    distance: float
    spaces: float
    """Distance of the spaces."""
    cards: float | None
    """Distance of the data cards; None if one of them is missing."""

    @property
    def reason(self) -> str:
        """Why its configurations are tried, with the distance."""
        cards = "data not compared" if self.cards is None else f"data {self.cards:.2f}"
        return (
            f"among the best of study {self.study.name!r} at distance {self.distance:.2f} "
            f"(space {self.spaces:.2f}, {cards})"
        )


def past_studies(
    ledger: Ledger, cards: Mapping[str, DataCard] | None = None, *, without: str = ""
) -> list[PastStudy]:
    """Return what a ledger holds of studies with one objective that found something.

    Args:
        ledger: The ledger.
        cards: Data cards of its studies by name, where there are any.
        without: The study that is to be started.
    """
    found = []
    for record in ledger.studies():
        spec = record.spec
        if record.name == without or len(spec.objectives) != 1:
            continue
        ((metric, direction),) = spec.objectives.items()
        ranked = sorted(
            (trial for trial in ledger.trials(record) if feasible(trial, spec)),
            key=lambda trial: trial.metrics[metric],
            reverse=direction == "maximize",
        )
        if ranked:
            best = tuple(trial.configuration for trial in ranked[:_BEST])
            card = (cards or {}).get(record.name)
            found.append(PastStudy(record.name, spec.search_space, best, card))
    return found


def neighbours(
    space: SearchSpace,
    data: DataCard | None,
    past: Iterable[PastStudy],
    within: float = NEAR_ENOUGH,
) -> list[Neighbour]:
    """Return the studies that are near enough to learn from, the nearest one first."""
    near = []
    for study in past:
        spaces = space_distance(space, study.space)
        known = data is not None and study.data is not None
        cards = card_distance(data, study.data) if known and data and study.data else None
        distance = spaces
        if cards is not None:
            distance = _SPACE_SHARE * spaces + (1 - _SPACE_SHARE) * cards
        if distance <= within:
            near.append(Neighbour(study, distance, spaces, cards))
    return sorted(near, key=lambda neighbour: neighbour.distance)


def carry_over(space: SearchSpace, configuration: Configuration) -> Configuration | None:
    """Return another study's configuration in this space, None if that is not possible.

    A number is moved into its range; what is missing or unknown here is taken from the textbook.
    """
    prior = prior_of(space).configurations(1, 0)
    carried: Configuration = {}
    for name, parameter in space.walk(carried):
        value = configuration.get(name)
        number = isinstance(value, int | float) and not isinstance(value, bool)
        if isinstance(parameter, Categorical):
            fits = name in configuration and _has(parameter, value)
        else:
            fits = number
            value = parameter.clip(value) if number else value  # type: ignore[arg-type]
        if not fits:
            value = prior[0].get(name, parameter.from_unit(0.5)) if prior else None
        carried[name] = value
    return carried if space.contains(carried) else None


def space_distance(a: SearchSpace, b: SearchSpace) -> float:
    """Return how far apart two spaces are, in [0, 1]; the module says how."""
    names = {**a.parameters, **b.parameters}
    likeness = sum(
        _likeness(a.parameters[name], b.parameters[name])
        for name in names
        if name in a.parameters and name in b.parameters
    )
    return 1 - likeness / len(names)


def card_distance(a: DataCard, b: DataCard) -> float:
    """Return how far apart two data sets are, in [0, 1]; the module says how."""
    sizes = [(a.rows, b.rows), (a.features, b.features)]
    sizes.append((len(a.class_shares), len(b.class_shares)))
    return sum(_orders(x, y) for x, y in sizes) / len(sizes)


def _orders(x: int, y: int) -> float:
    if (x == 0) != (y == 0):
        return 1.0
    return 0.0 if x == 0 else min(abs(math.log10(x / y)) / _ORDERS, 1.0)


def _likeness(a: Parameter, b: Parameter) -> float:
    if isinstance(a, Categorical) or isinstance(b, Categorical):
        if not (isinstance(a, Categorical) and isinstance(b, Categorical)):
            return 0.0
        shared = sum(_has(b, choice) for choice in a.choices)
        return shared / (len(a.choices) + len(b.choices) - shared)
    ends = [(a.low, a.high), (b.low, b.high)]
    if a.log and b.log:
        ends = [(math.log(low), math.log(high)) for low, high in ends]
    (low, high), (other_low, other_high) = ends
    overlap = min(high, other_high) - max(low, other_low)
    return max(overlap, 0.0) / (max(high, other_high) - min(low, other_low))


def _has(parameter: Categorical, value: object) -> bool:
    try:
        parameter.check(value)
    except ValueError:
        return False
    return True
