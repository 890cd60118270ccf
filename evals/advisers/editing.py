"""Simulated models that edit a workflow: they read our real prompt and answer in its form."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from random import Random
from typing import Any

from .mind import Mind, Reply, Request

_FENCE = "> "


def editor(edits: Callable[[str, Random], Mapping[str, Any]], diagnosis: str, seed: int) -> Mind:
    """Return a model that answers with the edits that a function makes of its prompt.

    Args:
        edits: From the prompt's text, without its fences, and a source of chance to new values.
        diagnosis: What it says of them.
        seed: Decides its chance, together with the number of answers so far.
    """
    answers = iter(range(10**9))

    def think(request: Request) -> Reply:
        lines = "\n".join(message.content for message in request.messages).splitlines()
        text = "\n".join(line.removeprefix(_FENCE) for line in lines)
        rng = Random(f"{seed}/{next(answers)}")
        made = [
            {"param": name, "new_value_json": json.dumps(value), "why": diagnosis}
            for name, value in edits(text, rng).items()
        ]
        return Reply((json.dumps({"diagnosis": diagnosis, "edits": made}),))

    return think
