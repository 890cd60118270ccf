"""What a conversation consists of, as typed events: every front end shows the same ones."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from .approvals import Approval


@dataclass(frozen=True)
class Text:
    """Something that Luthier says, or a piece of it."""

    text: str
    by: Literal["planner", "offline"]


@dataclass(frozen=True)
class ToolCalled:
    """A tool begins."""

    id: str
    tool: str
    arguments: dict[str, Any]


@dataclass(frozen=True)
class ToolAnswered:
    """A tool has ended; the answer may quote text of strangers."""

    id: str
    tool: str
    answer: str
    """JSON."""
    failed: bool


@dataclass(frozen=True)
class ApprovalNeeded:
    """A person has to decide; the conversation goes on with what they say."""

    approval: Approval


@dataclass(frozen=True)
class Interrupted:
    """The language model was lost, or the turn was ended; the reason is one sentence."""

    reason: str


@dataclass(frozen=True)
class Done:
    """The turn is over."""


Event = Text | ToolCalled | ToolAnswered | ApprovalNeeded | Interrupted | Done
