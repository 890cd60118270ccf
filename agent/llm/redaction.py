"""Keeps a key out of every text."""

from __future__ import annotations

import json
from collections.abc import Callable

from pydantic import SecretStr

_SHORTEST = 8
"""Characters; what is shorter is no secret but a word such as "none", for a server that wants no
key, and taking it out would tear answers apart."""


def redactor(key: SecretStr | None) -> Callable[[str], str]:
    """Return a function that takes a key out of a text, in which an endpoint may repeat it."""
    plain = key.get_secret_value() if key is not None else ""
    if len(plain) < _SHORTEST:
        return lambda text: text
    # As JSON writes it, too, which matters if it has quotes or slashes.
    quoted = json.dumps(plain)[1:-1]
    forms = {plain, quoted, quoted.replace("/", "\\/")}

    def redact(text: str) -> str:
        for form in forms:
            text = text.replace(form, "[key]")
        return text

    return redact
