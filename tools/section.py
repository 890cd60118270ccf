"""What the sections of a spec are made of: a strict model, and durations as people write them."""

from __future__ import annotations

import re
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

_DURATION = re.compile(r"\s*(\d+(?:\.\d+)?)\s*(s|m|h|d)\s*")
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


def _parse_duration(value: Any) -> Any:
    match = _DURATION.fullmatch(value) if isinstance(value, str) else None
    return float(match[1]) * _SECONDS[match[2]] if match else value


Seconds = Annotated[float, BeforeValidator(_parse_duration), Field(gt=0)]
"""Seconds as a number, or text such as "90s", "10m", "2h", "1d"."""


Moment = Annotated[float, BeforeValidator(_parse_duration), Field(ge=0)]
"""Seconds from a beginning, as a number or as text such as "10m"."""


class Section(BaseModel):
    """A part of a spec: frozen, and without fields that nobody knows."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", allow_inf_nan=False, use_attribute_docstrings=True
    )
