"""A configuration that a person wants tried: completed, and checked before anybody is asked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from .errors import LuthierError
from .records import TrialRecord
from .space import Configuration, SearchSpace, did_you_mean
from .spec import StudySpec


class EnqueueError(LuthierError, ValueError):
    """A configuration that cannot be tried."""


def wanted(
    spec: StudySpec,
    trials: Sequence[TrialRecord],
    values: Mapping[str, Any],
    like: int | None = None,
) -> Configuration:
    """Return a whole configuration with these values.

    Args:
        spec: The study's spec.
        trials: Its trials, by number.
        values: Parameter to the value that it shall have.
        like: The trial that the others are taken from; None for their defaults.

    Raises:
        EnqueueError: If the trial is not there, or a value is unknown, missing or impossible.
    """
    space = spec.search_space
    if like is not None and not 0 <= like < len(trials):
        raise EnqueueError(f"there is no trial {like}; the last one is {len(trials) - 1}")
    base = _defaults(space) if like is None else trials[like].configuration
    for name in values:
        if name not in space.parameters:
            raise EnqueueError(f"unknown parameter {name!r}{did_you_mean(name, space.parameters)}")
    configuration: Configuration = {}
    for name, _ in space.walk(configuration):
        if name not in values and name not in base:
            raise EnqueueError(
                f"parameter {name!r} has no default: give it a value, or name a trial to take it of"
            )
        configuration[name] = values.get(name, base.get(name))
    for name in values:
        if name not in configuration:
            raise EnqueueError(
                f"parameter {name!r} is not active here: it needs {space.parameters[name].when}"
            )
    try:
        space.validate_configuration(configuration)
    except ValueError as error:
        raise EnqueueError(str(error)) from None
    return configuration


def _defaults(space: SearchSpace) -> Mapping[str, Any]:
    return {n: p.default for n, p in space.parameters.items() if p.default is not None}
