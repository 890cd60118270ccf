"""Where a person is in the UI: all of it stands in the URL, so that a reload comes back to it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Annotated, Any, Literal, get_args

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

PanelName = Literal[
    "start",
    "trials",
    "curves",
    "analysis",
    "budget",
    "report",
    "space",
    "workflows",
    "approvals",
    "settings",
]
PANELS: tuple[PanelName, ...] = get_args(PanelName)
APART: tuple[PanelName, ...] = ("start", "workflows", "approvals", "settings")
"""Those that show no study."""

MOST_COMPARED = 8

LONGEST_FILTER = 500

Number = Annotated[int, Field(ge=0, lt=1 << 31)]


def _numbers(value: Any) -> Any:
    """Read `3,7,12` as it stands in a URL."""
    if not isinstance(value, str):
        return value
    return [int(text) for text in value.split(",") if text.isdecimal()]


def _words(value: Any) -> Any:
    """Read `complete,pruned` as it stands in a URL."""
    return value.split(",") if isinstance(value, str) else value


class Place(BaseModel):
    """What one browser tab shows."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    study: str | None = Field(default=None, max_length=100)
    conversation: str | None = Field(default=None, max_length=100)
    panel: PanelName = "trials"
    trial: Number | None = None
    """The trial whose detail is open."""
    compare: Annotated[tuple[Number, ...], BeforeValidator(_numbers)] = Field(
        default=(), max_length=MOST_COMPARED
    )
    """The trials that are compared."""
    sort: str = Field(default="number", max_length=300)
    """The column by which the trials are ordered."""
    descending: bool = True
    page: Number = 0
    """Of the table of trials, from 0."""

    states: Annotated[tuple[str, ...], BeforeValidator(_words)] = Field(default=(), max_length=20)
    """The states of the trials that the table shows; all if empty."""
    text: str = Field(default="", max_length=LONGEST_FILTER)
    """What the trials in the table match."""

    def query(self) -> dict[str, str]:
        """Return what of the place differs from the ordinary, as it stands in a URL."""
        data = self.model_dump(exclude_defaults=True)
        if "compare" in data:
            data["compare"] = ",".join(map(str, data["compare"]))
        if "states" in data:
            data["states"] = ",".join(data["states"])
        return {name: str(value) for name, value in data.items()}

    def since(self, came: Place) -> str:
        """Return as JSON what is different from another place.

        Two events may be under way at once, and neither shall undo what the other one did.
        """
        before = came.model_dump()
        changes = {k: v for k, v in self.model_dump().items() if v != before[k]}
        return json.dumps(changes)

    def elsewhere(self) -> Place:
        """Return where one is in another study: in the same conversation, with the same filters."""
        return Place(conversation=self.conversation, states=self.states, text=self.text)

    def but(self, **changes: Any) -> Place:
        """Return the place with some fields changed."""
        return self.model_copy(update=changes)


def read_place(data: Mapping[str, Any]) -> Place:
    """Return the place that a URL or a browser names; what makes no sense in it is left out.

    Whoever writes a link writes this, so nothing is taken for granted.
    """
    place = Place()
    for name in Place.model_fields:
        if name in data:
            try:
                place = Place.model_validate({**place.model_dump(), name: data[name]})
            except ValueError:
                continue
    return place


def read_text(text: str) -> Place:
    """Return the place that a browser says it is at, as JSON."""
    try:
        data = json.loads(text or "{}")
    except ValueError:
        data = {}
    return read_place(data if isinstance(data, dict) else {})
