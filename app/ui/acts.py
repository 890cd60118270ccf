"""HTML whose links and buttons tell the server what was asked for."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import gradio as gr

from .writing import script

_LONGEST_ARGUMENT = 50_000
"""Characters; a form that is sent has many fields."""


class Act(NamedTuple):
    """What a link or a button asks for; a browser sent it, so it is checked where it is used."""

    kind: str
    argument: str


def act_html(elem_id: str, value: str = "") -> gr.HTML:
    """Return a piece of the page, in which a click on an element with `data-act` is told of."""
    # A class of our own would have gradio write a stub file beside this one.
    return gr.HTML(value, js_on_load=script("acts"), elem_id=elem_id, apply_default_css=False)


def plain_html(elem_id: str | None = None, value: str | Callable[[], str] = "") -> gr.HTML:
    """Return a piece of the page in which there is nothing to click."""
    return gr.HTML(value, elem_id=elem_id, apply_default_css=False)


def act_of(event: gr.EventData) -> Act:
    """Return what a click asked for."""
    data = event._data if isinstance(event._data, dict) else {}
    return Act(str(data.get("act", ""))[:50], str(data.get("arg", ""))[:_LONGEST_ARGUMENT])
