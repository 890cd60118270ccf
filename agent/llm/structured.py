"""Answers that follow a pydantic model: how it is described, read, and asked for again."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from .answers import Message

ANSWER = "answer"
"""The name of the schema, and of the tool that gives an answer."""
_MOST_STARTS = 50
"""Places in a text where an object may begin that are tried."""
_MOST_ERRORS = 8
_LONGEST_ECHO = 4000
"""Characters of a refused answer that the model sees again."""
_LONGEST = 1 << 18
"""Characters of an answer that is read."""

T = TypeVar("T", bound=BaseModel)


class Unusable(ValueError):
    """An answer that does not follow its model; the message is for the language model."""


def json_schema(model: type[BaseModel]) -> dict[str, Any]:
    """Return a schema as endpoints take it, and whether it can be kept to strictly."""
    from openai import pydantic_function_tool

    function = pydantic_function_tool(model, name=ANSWER)["function"]
    schema = dict(function.get("parameters") or {})
    # Objects with names of their own choice cannot be described strictly.
    return {"schema": schema, "strict": not _has_open_objects(schema)}


def _has_open_objects(schema: Any) -> bool:
    if isinstance(schema, list):
        return any(map(_has_open_objects, schema))
    if not isinstance(schema, dict):
        return False
    is_open = schema.get("additionalProperties", False) is not False
    return is_open or any(map(_has_open_objects, schema.values()))


def instruction(model: type[BaseModel]) -> str:
    """Return what a model is told that is held to its schema by nothing else."""
    schema = json.dumps(model.model_json_schema(), separators=(",", ":"))
    return f"Answer with one JSON object and nothing else. It follows this JSON schema: {schema}"


def said(text: str) -> str:
    """Return what a model says, without what it thinks aloud before.

    Some templates keep the opening tag to themselves; a thought that was cut off says nothing.
    """
    for name in ("think", "thinking"):
        text = text.rpartition(f"</{name}>")[2].partition(f"<{name}>")[0]
    return text.strip()


def parse(model: type[T], text: str, *, cut_off: bool = False) -> T:
    """Read an answer.

    Args:
        model: What it must be.
        text: What the language model said; fences and words around the object do not matter.
        cut_off: Whether it ended for want of tokens.

    Raises:
        Unusable: If there is no object in it, or none that follows the model.
    """
    text = said(text)
    if len(text) > _LONGEST:
        raise Unusable(f"- it has {len(text)} characters; be much shorter")
    problems: list[str] = []
    for read in _objects(text, problems):
        try:
            value = model.model_validate(read)
            is_finite = _is_finite(value.model_dump())
        except ValidationError as error:
            problems.append(_listed(error))
        except RecursionError:
            problems.append("- it is nested too deeply")
        else:
            # What is inside of an object that is no JSON may pass for one without its fields.
            if is_finite and (value.model_fields_set or not read):
                return value
            problems.append("- numbers must be finite, not NaN or infinite")
    if cut_off:
        raise Unusable("- it was cut off before its end; be much shorter")
    if not text:
        raise Unusable("- it was empty")
    raise Unusable(problems[0] if problems else "- there is no JSON object in it")


def _objects(text: str, problems: list[str]) -> Iterator[Any]:
    """Yield the JSON objects in a text, and note what is wrong with what looks like one."""
    start = text.find("{")
    for _ in range(_MOST_STARTS):
        if start < 0:
            return
        try:
            read, end = _DECODER.raw_decode(text, start)
        except RecursionError:
            problems.append("- it is nested too deeply")
            return
        except ValueError as error:
            problems.append(f"- it is no JSON: {error}")
            end = start + 1
        else:
            yield read
        start = text.find("{", end)


def _refuse(constant: str) -> float:
    raise ValueError(f"{constant} is no number in JSON")


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"{text} is too large")
    return value


_DECODER = json.JSONDecoder(parse_constant=_refuse, parse_float=_finite)


def _is_finite(value: Any) -> bool:
    """Tell whether all numbers are, those that came as text included."""
    if isinstance(value, float):
        return math.isfinite(value)
    if isinstance(value, dict):
        return all(map(_is_finite, value.values()))
    return all(map(_is_finite, value)) if isinstance(value, list | tuple | set) else True


def _listed(error: ValidationError) -> str:
    errors = error.errors(include_url=False, include_context=False)
    lines = [
        f"- {'.'.join(map(str, e['loc'])) or 'the object'}: {e['msg']}, got {_short(e['input'])}"
        for e in errors[:_MOST_ERRORS]
    ]
    if len(errors) > _MOST_ERRORS:
        lines.append(f"- and {len(errors) - _MOST_ERRORS} more")
    return "\n".join(lines)


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def repair(
    messages: Sequence[Message], model: type[BaseModel], text: str, problem: str
) -> list[Message]:
    """Return the conversation that asks for an answer again, showing what was wrong."""
    asked = f"That answer cannot be used:\n{problem}\n\n{instruction(model)}"
    shown = said(text)[:_LONGEST_ECHO]
    if shown:
        return [*messages, Message("assistant", shown), Message("user", asked)]
    # Many chat templates accept no empty turn, and no two of the same side.
    *before, last = messages
    return [*before, Message(last.role, f"{last.content}\n\n{asked}")]
