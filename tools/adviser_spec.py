"""The part of a spec on the language model: what it may do in the study."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from .section import Section


class Adviser(Section):
    """What a language model may do, if one is set up."""

    mode: Literal["shared", "strict", "off"] = "shared"
    """`shared`: it proposes as many trials as its proposals have earned. `strict`: a quarter of the
    trials, and the classical optimiser learns nothing of them, so that the study is never behind
    what the classical optimiser alone would have reached with the other three quarters. `off`:
    nothing."""
    task: str = Field(default="", max_length=2000)
    """What is tuned, in a person's words: model, data, purpose. The language model is told."""
    reviews: bool = True
    """Whether it says now and then what the study shows: how far it will come, where good values
    lie, what to stop, what to repeat. Nothing follows from it by itself. A rule answers the same
    beside it, and what comes out marks both."""
    replay: str | None = None
    """Name of a study of this workspace whose recorded answers are taken; nothing is sent."""
