"""Running ended trials again: which ones, with what configuration, and what stands against it."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from .analysis import counts
from .checkpoints import belongs_to_another, is_empty
from .errors import LuthierError
from .outcomes import Outcome
from .records import TrialRecord
from .space import (
    Categorical,
    Configuration,
    ConfigurationError,
    Float,
    Int,
    Scalar,
    SearchSpace,
    did_you_mean,
)
from .spec import StudySpec


class RetryError(LuthierError, ValueError):
    """Trials that cannot be run again as asked; the message is one sentence that says why."""


@dataclass(frozen=True)
class Retry:
    """What is asked for: the data of a `retry` wish."""

    trials: list[int]
    set: dict[str, Scalar]
    """Parameters to change, and their new values."""
    fresh: bool
    """Whether to delete the checkpoints, so that the trials start over."""


def select(
    trials: Sequence[TrialRecord], outcomes: Sequence[str], numbers: Sequence[int]
) -> list[int]:
    """Return the numbers of the ended trials that have one of the outcomes and of the numbers.

    Raises:
        RetryError: If neither is given, one is unknown, a trial has not ended, or none is left.
    """
    there_are = ", ".join(f"{count} {state}" for state, count in counts(trials).items()) or "none"
    if not outcomes and not numbers:
        raise RetryError(
            f"say which trials to run again, by --outcome or --trial; there are {there_are}"
        )
    for outcome in outcomes:
        if outcome not in set(Outcome):
            raise RetryError(f"no trial ever ends as {outcome!r}{did_you_mean(outcome, Outcome)}")
    for number in numbers:
        if not 0 <= number < len(trials):
            last = f"the last one is {len(trials) - 1}" if trials else "there is none yet"
            raise RetryError(f"there is no trial {number}; {last}")
        if not trials[number].is_finished:
            raise RetryError(
                f"trial {number} is {trials[number].state}; only one that has ended is run again"
            )
    chosen = [
        trial.number
        for trial in trials
        if trial.is_finished
        and (not outcomes or trial.state in outcomes)
        and (not numbers or trial.number in numbers)
    ]
    if not chosen:
        raise RetryError(f"no trial matches; there are {there_are}")
    return chosen


def parse_settings(space: SearchSpace, texts: Sequence[str]) -> dict[str, Scalar]:
    """Read `NAME=VALUE` texts as parameters of a space and their values.

    Raises:
        RetryError: If a text reads otherwise, the parameter is unknown, or the value is none of it.
    """
    settings: dict[str, Scalar] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals:
            raise RetryError(f"--set must read NAME=VALUE, but got {text!r}")
        if name not in space.parameters:
            raise RetryError(f"unknown parameter {name!r}{did_you_mean(name, space.parameters)}")
        try:
            settings[name] = _parse(space.parameters[name], value)
        except ValueError as error:
            raise RetryError(f"parameter {name!r} {error}") from None
    return settings


def _parse(parameter: Float | Int | Categorical, text: str) -> Scalar:
    """Read a value as people write it: `64`, `1e-3`, `true`, `adam`."""
    value: Scalar = text
    number: float | None = None
    with contextlib.suppress(ValueError):
        number = float(text)
    if isinstance(parameter, Categorical):
        for choice in parameter.choices:
            is_number = isinstance(choice, int | float) and not isinstance(choice, bool)
            if text in (str(choice), json.dumps(choice)) or (is_number and number == choice):
                return choice
    elif number is None:
        kind = "an integer" if isinstance(parameter, Int) else "a number"
        raise ValueError(f"must be {kind} in [{parameter.low}, {parameter.high}], but got {text!r}")
    else:
        value = number
        if isinstance(parameter, Int) and number.is_integer():
            value = int(number)
    parameter.check(value)
    return value


def plan(
    spec: StudySpec,
    trials: Sequence[TrialRecord],
    retry: Retry,
    checkpoint_folder: Callable[[int], Path],
) -> list[tuple[TrialRecord, Configuration]]:
    """Return the trials to run again with the configuration of each; unended ones are left out.

    Args:
        spec: The study's spec.
        trials: All trials by number.
        retry: What is asked for.
        checkpoint_folder: Where the checkpoints of the trial with a number are.

    Raises:
        RetryError: If a changed configuration does not belong to the space, or a trial would have
            to go on from a checkpoint of another configuration.
    """
    plans = []
    for trial in (trials[number] for number in retry.trials):
        if not trial.is_finished:
            continue
        if trial.is_repeat:
            _check_repeat(trial, retry)
        configuration = _changed(spec.search_space, trial, retry.set)
        if not retry.fresh:
            _check_checkpoint(trial, configuration, checkpoint_folder(trial.number))
        plans.append((trial, configuration))
    return plans


def _check_repeat(trial: TrialRecord, retry: Retry) -> None:
    what = f"trial {trial.number} is a repeat of trial {trial.repeat_of}"
    if trial.state is Outcome.COMPLETE:
        raise RetryError(
            f"{what} and complete, so it stands as evidence; add others with `luthier confirm`"
        )
    if retry.set:
        raise RetryError(f"{what}, whose configuration it must have; leave out --set")


def _changed(
    space: SearchSpace, trial: TrialRecord, settings: Mapping[str, Scalar]
) -> Configuration:
    """Return a trial's configuration with these changes; what they make inactive is dropped."""
    merged = trial.configuration | dict(settings)
    active = dict(space.walk(merged))
    for name in active:
        if name not in merged:
            raise RetryError(
                f"trial {trial.number} needs a value for parameter {name!r} too; "
                f"add --set {name}=VALUE"
            )
    configuration = {n: value for n, value in merged.items() if n in active or n in settings}
    try:
        space.validate_configuration(configuration)
    except ConfigurationError as error:
        raise RetryError(f"trial {trial.number}: {error}") from None
    return configuration


def _check_checkpoint(trial: TrialRecord, configuration: Configuration, folder: Path) -> None:
    # What a script wrote by itself does not say whose it is.
    changed = configuration != trial.configuration and not is_empty(folder)
    if changed or belongs_to_another(folder, configuration):
        raise RetryError(
            f"trial {trial.number} has a checkpoint of another configuration than "
            f"{configuration}; add --fresh to start it over"
        )
