"""A person's own words on a study's values, as limits that code enforces.

A model only puts the words into a form. A number or a choice that does not stand in the words is
not taken, so that a model can neither invent a limit nor be talked into one by the space's texts.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from ...prompts.loading import render
from ...tools.space import Categorical, Configuration, Parameter, Scalar, SearchSpace
from ...tools.spec import StudySpec, parse_spec
from ...tools.textbook import prior_of
from ..llm.answers import LanguageModel
from .admission import Fault, admit_value, find_name
from .asking import Conversation
from .forms import WishesForm
from .serialisation import describe_space

_NUMBER = re.compile(r"(?<![\w.])[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?(?![\d.]*\d)")
_POWERS = {"log10": 10.0, "log2": 2.0, "ln": math.e}
_MOST = 50


@dataclass(frozen=True)
class Limit:
    """What a parameter must keep to."""

    low: float | None = None
    high: float | None = None
    choices: tuple[Scalar, ...] = ()
    """The choices that are left; all, if there are none here."""


@dataclass(frozen=True)
class Wishes:
    """What a person wants of a study's values."""

    start: Mapping[str, Scalar] = field(default_factory=dict)
    """Values to begin with."""
    limits: Mapping[str, Limit] = field(default_factory=dict)
    unclear: tuple[str, ...] = ()
    """What was said, or read into it, that is not enforced; one sentence each."""

    def narrow(self, space: SearchSpace) -> SearchSpace:
        """Return the space within the limits.

        A number with one value left becomes a choice of one. A parameter that can no longer be
        active goes, and with it the constraints that speak of it.
        """
        parameters: dict[str, Parameter] = {}
        for name in space.ordered():
            parameter = _possible(space.parameters[name], parameters)
            if parameter is not None:
                limit = self.limits.get(name)
                parameters[name] = parameter if limit is None else _limited(parameter, limit)
        numbers = {n for n, p in parameters.items() if not isinstance(p, Categorical)}
        return SearchSpace(
            parameters={name: parameters[name] for name in space.parameters if name in parameters},
            constraints=[c for c in space.constraints if numbers.issuperset(c.names())],
        )

    def first(self, space: SearchSpace) -> dict[str, Scalar]:
        """Return the values to begin with that a space has, or what lies nearest in it."""
        own = space.parameters
        return {name: _into(own[name], value) for name, value in self.start.items() if name in own}

    def preferred(self, space: SearchSpace, count: int, seed: int) -> list[Configuration]:
        """Return configurations with the values to begin with, completed from the textbook.

        Args:
            space: The space within the limits.
            count: How many at most.
            seed: Seed of the completions after the first.
        """
        if not self.start:
            return []
        chosen: list[Configuration] = []
        wished = self.first(space)
        for completion in prior_of(space).configurations(4 * count, seed):
            configuration = space.complete(wished, completion)
            if space.satisfies_constraints(configuration) and configuration not in chosen:
                chosen.append(configuration)
        return chosen[:count]


def read_wishes(conversation: Conversation, space: SearchSpace, words: str) -> Wishes:
    """Ask a model to put a person's words into limits and values of the space.

    Args:
        conversation: The model.
        space: The space that the words are about.
        words: What the person said.

    Raises:
        LLMError: If the model gives no answer.
    """
    prompt = render("wishes", space=describe_space(space), words=words)
    form = conversation.ask(prompt, WishesForm, max_tokens=800, temperature=0.0)
    unclear = [str(text)[:200] for text in form.unclear[:_MOST]]
    start: dict[str, Scalar] = {}
    for entry in _entries(form.start, space, unclear):
        name, parameter = entry["parameter"], space.parameters[entry["parameter"]]
        raw = _meant(parameter, entry.get("value"))
        try:
            value = admit_value(parameter, raw, Counter[Fault]())
        except ValueError:
            unclear.append(f"{name} cannot be {raw!r:.60}.")
            continue
        if _is_said(words, parameter, raw):
            start[name] = value
        else:
            unclear.append(f"Nobody asked for {name} = {value}.")
    limits: dict[str, Limit] = {}
    for entry in _entries(form.limits, space, unclear):
        limit = _limit(entry, space, words, unclear)
        if limit is not None:
            limits[entry["parameter"]] = limit
    return Wishes(start, limits, tuple(unclear))


def wished(llm: LanguageModel, spec: StudySpec, words: str) -> tuple[StudySpec, tuple[str, ...]]:
    """Return a spec with a person's words put into it, and what of them is not done.

    Limits narrow the space, whoever proposes; values to begin with are tried first.

    Args:
        llm: The model that reads the words.
        spec: The spec that they are about.
        words: What the person said.

    Raises:
        LLMError: If the model gives no answer.
        SpecError: If what was understood does not make a spec.
    """
    wishes = read_wishes(Conversation(llm), spec.search_space, words)
    narrow = wishes.narrow(spec.search_space)
    data = spec.model_dump_explicit()
    kinds = {name: parameter.type for name, parameter in narrow.parameters.items()}
    space = narrow.model_dump(mode="json", exclude_defaults=True)["parameters"]
    data["space"] = {name: {"type": kinds[name], **space[name]} for name in kinds}
    data["constraints"] = [str(comparison) for comparison in narrow.constraints]
    first = wishes.first(narrow)
    if first:
        data["sampler"] = {**data.get("sampler", {}), "first": [first, *spec.sampler.first]}
    return parse_spec(data, "the spec with your wishes"), wishes.unclear


def _entries(
    entries: Iterable[Any], space: SearchSpace, unclear: list[str]
) -> Iterable[dict[str, Any]]:
    for entry in list(entries)[:_MOST]:
        name = find_name(space, entry.get("parameter")) if isinstance(entry, dict) else None
        if name is None:
            unclear.append(f"No parameter is meant by {entry!r:.80}.")
        else:
            yield {**entry, "parameter": name}


def _limit(
    entry: Mapping[str, Any], space: SearchSpace, words: str, unclear: list[str]
) -> Limit | None:
    name, parameter = entry["parameter"], space.parameters[entry["parameter"]]
    raw = entry.get("choices") if isinstance(parameter, Categorical) else None
    ends = () if isinstance(parameter, Categorical) else (entry.get("low"), entry.get("high"))
    ends = tuple(_meant(parameter, end) for end in ends)
    asked = [v for v in (*(raw if isinstance(raw, list) else ()), *ends) if v is not None][:_MOST]
    for value in asked:
        if not _is_said(words, parameter, value):
            unclear.append(f"Nobody asked for the limit {value!r:.60} of {name}.")
            return None
    try:
        if isinstance(parameter, Categorical):
            choices = tuple(admit_value(parameter, v, Counter[Fault]()) for v in asked)
            return Limit(choices=choices) if choices else None
        low, high = (
            None if end is None else admit_value(parameter, end, Counter[Fault]()) for end in ends
        )
    except ValueError:
        unclear.append(f"The limit of {name} cannot be read.")
        return None
    assert not isinstance(low, str)
    assert not isinstance(high, str)
    limit = Limit(low, high)
    try:
        _limited(parameter, limit)
    except ValueError:
        unclear.append(f"The limits of {name} leave no value.")
        return None
    return limit if asked else None


def _limited(parameter: Parameter, limit: Limit) -> Parameter:
    """Return a parameter within a limit.

    Raises:
        ValueError: If no value is left.
    """
    if isinstance(parameter, Categorical):
        if not limit.choices:
            return parameter
        default = parameter.default if parameter.default in limit.choices else None
        return parameter.model_copy(update={"choices": list(limit.choices), "default": default})
    low = parameter.low if limit.low is None else max(limit.low, parameter.low)
    high = parameter.high if limit.high is None else min(limit.high, parameter.high)
    if parameter.step is not None:  # only the points of its own grid
        points = [v for v in parameter.values() or () if low <= v <= high]
        if not points:
            raise ValueError("no value is left")
        low, high = points[0], points[-1]
    if low > high:
        raise ValueError("no value is left")
    if low == high:
        return Categorical(
            choices=[low], when=parameter.when, unit=parameter.unit, meaning=parameter.meaning
        )
    kept = {} if parameter.default is None else {"default": min(max(parameter.default, low), high)}
    step = parameter.step
    if step is not None and step > high - low:
        kept["step"] = high - low
    return type(parameter).model_validate(
        {**parameter.model_dump(), "low": low, "high": high, **kept}
    )


def _possible(parameter: Parameter, parents: Mapping[str, Parameter]) -> Parameter | None:
    """Return a parameter with the conditions that can still hold, None if one cannot."""
    when: dict[str, list[Scalar]] = {}
    for parent, values in parameter.when.items():
        left = [] if parent not in parents else [v for v in values if _has(parents[parent], v)]
        if not left:
            return None
        when[parent] = left
    return parameter.model_copy(update={"when": when})


def _has(parameter: Parameter, value: Scalar) -> bool:
    try:
        parameter.check(value)
    except ValueError:
        return False
    return True


def _into(parameter: Parameter, value: Scalar) -> Scalar:
    """Return the value if it is one of the parameter's, else what lies nearest."""
    if isinstance(parameter, Categorical):
        return value if _has(parameter, value) else parameter.choices[0]
    assert isinstance(value, int | float)
    return parameter.clip(value)


def _meant(parameter: Parameter, value: Any) -> Any:
    """Return a number as the power that the parameter stands for, if only so it can be meant."""
    base = _POWERS.get(parameter.unit or "")
    if base is None or isinstance(parameter, Categorical) or isinstance(value, bool):
        return value
    if not isinstance(value, int | float) or value <= 0 or parameter.low <= value <= parameter.high:
        return value
    power = math.log(value, base)
    return power if parameter.low <= power <= parameter.high else value


def _is_said(words: str, parameter: Parameter, value: object) -> bool:
    """Tell whether a value stands in the words: as it is, or as the power that it stands for."""
    if isinstance(value, bool) or value is None:
        return True  # on, off and none have too many names
    if isinstance(value, str) and not _NUMBER.fullmatch(value.strip()):
        return value.strip().casefold() in words.casefold()
    if not isinstance(value, int | float | str):
        return False
    found = [(float(match[0]), words[match.end() :]) for match in _NUMBER.finditer(words)]
    said = [n / 100 if rest.lstrip().startswith("%") else n for n, rest in found]
    base = _POWERS.get(parameter.unit or "")
    if base is not None:
        said += [math.log(n, base) for n in said if n > 0]
    return any(math.isclose(float(value), n, rel_tol=1e-3, abs_tol=1e-12) for n in said)
