"""Which edits of a proposal count: checked in code, whatever the prompt said."""

from __future__ import annotations

import json
import re
from collections.abc import Collection
from dataclasses import dataclass, field, replace
from typing import Any

from .params import ParamSet
from .propose import Proposal
from .represent import unshown

_WORD = re.compile(r"\w+")
_RUN_OF_WORDS = 8


@dataclass(frozen=True)
class Checked:
    """A proposal, edit by edit."""

    values: dict[str, Any] = field(default_factory=dict)
    """Parameter to its new value; those that change nothing are left out."""
    refused: dict[str, str] = field(default_factory=dict)
    """Parameter to why its edit is refused."""

    @property
    def complaint(self) -> str:
        """All refusals as text."""
        return "\n".join(f"{name}: {reason}" for name, reason in self.refused.items())


def check(
    proposal: Proposal,
    params: ParamSet,
    allowed: Collection[str],
    secrets: Collection[str] = (),
) -> Checked:
    """Check every edit by itself.

    Args:
        proposal: What was proposed.
        params: The parameters as they are.
        allowed: Those that may be edited: trainable, and part of what ran.
        secrets: Texts of the eval's cases, of which no text or code may hold eight words in a row.
    """
    checked = Checked()
    phrases = {phrase for text in secrets for phrase in _phrases(text)}
    for edit in proposal.edits:
        name = edit.param
        try:
            value = _value(edit.new_value_json, name, params, allowed, checked)
            if why := unshown(replace(params.params[name], value=value)):
                raise ValueError(why)
            if isinstance(value, str) and not phrases.isdisjoint(_phrases(value)):
                raise ValueError(f"repeats {_RUN_OF_WORDS} words of a case; describe, do not quote")
        except ValueError as error:
            checked.refused[name] = str(error)
            checked.values.pop(name, None)
            continue
        if value != params[name]:
            checked.values[name] = value
    return checked


def _value(
    text: str, name: str, params: ParamSet, allowed: Collection[str], checked: Checked
) -> Any:
    if name not in params:
        raise ValueError(f"there is no such parameter; there are {', '.join(sorted(allowed))}")
    if not params.params[name].trainable:
        raise ValueError("is frozen")
    if name not in allowed:
        raise ValueError("had no part in what ran, so nothing speaks for an edit of it")
    if name in checked.values or name in checked.refused:
        raise ValueError("is edited twice")
    try:
        given = json.loads(text, parse_constant=_refuse)
    except (ValueError, RecursionError):
        raise ValueError(f"new_value_json is no JSON: {text[:60]!r}") from None
    return params.params[name].parse(given)


def _refuse(constant: str) -> Any:
    raise ValueError(f"{constant} is no JSON")


def _phrases(text: str) -> set[tuple[str, ...]]:
    words = [word.lower() for word in _WORD.findall(text)]
    return {tuple(words[i : i + _RUN_OF_WORDS]) for i in range(len(words) - _RUN_OF_WORDS + 1)}
