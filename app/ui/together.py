"""One request of the browser that several parts of the page answer.

Each request costs the server some 10 ms and the browser a round trip, however little it asks for;
an open tab makes them all the time.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from gradio.components import Component


class Look(NamedTuple):
    """What a part of the page looks at, and fills in."""

    answer: Callable[..., Sequence[Any]]
    """Takes the values of `inputs`, and returns one for each of `outputs`."""
    inputs: Sequence[Component]
    outputs: Sequence[Component]


def together(happens: Callable[..., Any], looks: Sequence[Look], **options: Any) -> None:
    """Have all of them answer whenever something happens, in one request.

    Args:
        happens: The event, such as `blocks.load`.
        looks: No two of them fill the same component.
        options: Of the event.
    """
    inputs = list(dict.fromkeys(part for look in looks for part in look.inputs))

    def answer(*values: Any) -> list[Any]:
        given = dict(zip(inputs, values, strict=True))
        return [
            value for look in looks for value in look.answer(*(given[part] for part in look.inputs))
        ]

    happens(answer, inputs, [part for look in looks for part in look.outputs], **options)
