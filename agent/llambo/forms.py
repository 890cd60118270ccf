"""The forms of a language model's answers: strict in what is asked for, lenient in what is taken.

The JSON schema that reaches the model names every parameter and its type. What comes back is taken
as it is, so that one bad value costs one configuration, not the answer; `admission` sorts it out.
"""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, Field, WithJsonSchema, create_model

from ...tools.space import Categorical, Parameter, SearchSpace

ROLES = ("safe", "large", "regularised", "fast", "contrarian")
"""What the configurations of a warm start are for."""


def _object(properties: dict[str, Any]) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


def _list(items: dict[str, Any]) -> WithJsonSchema:
    return WithJsonSchema({"type": "array", "items": items})


_SCALAR = {"type": ["number", "string", "boolean", "null"]}
_NUMBER = {"type": ["number", "null"]}
_START = _object({"parameter": {"type": "string"}, "value": _SCALAR})
_LIMIT = _object(
    {
        "parameter": {"type": "string"},
        "low": _NUMBER,
        "high": _NUMBER,
        "choices": {"type": ["array", "null"], "items": _SCALAR},
    }
)


class Configurations(BaseModel):
    """New configurations, and what led to them."""

    why: Annotated[Any, WithJsonSchema({"type": "string"})] = ""
    configurations: list[Any]


class Portfolio(BaseModel):
    """Configurations to begin with, each with its role."""

    configurations: list[Any]


class Scores(BaseModel):
    """One row a candidate: its number, then the 10% quantile, the mean, the 90% quantile."""

    scores: Annotated[list[Any], _list({"type": "array", "items": {"type": "number"}})]


class WishesForm(BaseModel):
    """What a person wants of a study's values."""

    start: Annotated[list[Any], _list(_START)] = Field(default_factory=list)
    limits: Annotated[list[Any], _list(_LIMIT)] = Field(default_factory=list)
    unclear: Annotated[list[Any], _list({"type": "string"})] = Field(default_factory=list)


def configurations_form(space: SearchSpace) -> type[Configurations]:
    """Return the form of several configurations of a space."""
    return create_model(
        "Configurations", __base__=Configurations, configurations=_required(_configuration(space))
    )


def portfolio_form(space: SearchSpace) -> type[Portfolio]:
    """Return the form of several configurations, each with its role."""
    entry = _object({"role": {"enum": list(ROLES)}, "values": _configuration(space)})
    return create_model("Portfolio", __base__=Portfolio, configurations=_required(entry))


def _required(items: dict[str, Any]) -> Any:
    return (Annotated[list[Any], _list(items)], ...)


def _configuration(space: SearchSpace) -> dict[str, Any]:
    return _object({name: _value(parameter) for name, parameter in space.parameters.items()})


def _value(parameter: Parameter) -> dict[str, Any]:
    if isinstance(parameter, Categorical):
        choices = list(parameter.choices)
        if parameter.when and None not in choices:
            choices.append(None)
        return {"enum": choices}
    kind = "number" if parameter.type == "float" else "integer"
    return {"type": [kind, "null"] if parameter.when else kind}
