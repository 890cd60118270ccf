"""One request of the browser that several parts of the page answer.

Each request costs the server some 10 ms and the browser a round trip, however little it asks for;
an open tab makes them all the time.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from gradio.components import Component

AT_ONCE: dict[str, Any] = {"queue": False, "show_progress": "hidden", "api_visibility": "private"}
"""Options of an event that the server answers outside gradio's queue, which takes a round more."""
PLACED = {**AT_ONCE, "js": "(...given) => [window.luthierPlace(), ...given.slice(1)]"}
"""The same of one whose first input is the tab's place.

The URL is where the tab is; the text box of the place only tells the browser of a move.
"""


class Look(NamedTuple):
    """What a part of the page looks at, and fills in."""

    answer: Callable[..., Sequence[Any]]
    """Takes the values of `inputs`, and returns one for each of `outputs`."""
    inputs: Sequence[Component]
    outputs: Sequence[Component]


def together(
    happens: Callable[..., Any], looks: Sequence[Look], options: Mapping[str, Any] = AT_ONCE
) -> None:
    """Have all of them answer whenever something happens, in one request.

    Args:
        happens: The event, such as `blocks.load`.
        looks: No two of them fill the same component.
        options: Of the event; with `PLACED`, the first look's first input is the place.
    """
    inputs = list(dict.fromkeys(part for look in looks for part in look.inputs))

    def answer(*values: Any) -> list[Any]:
        given = dict(zip(inputs, values, strict=True))
        return [
            value for look in looks for value in look.answer(*(given[part] for part in look.inputs))
        ]

    happens(answer, inputs, [part for look in looks for part in look.outputs], **options)
