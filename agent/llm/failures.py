"""What an endpoint's errors mean: the cause, and whether it is worth trying again."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from typing import Any

from ...tools.clock import Clock
from .answers import Cause, LLMError

_LONGEST_DETAIL = 200
_TOO_LONG = re.compile(r"context.{0,12}(length|size|window)|maximum context|too many tokens", re.I)
_EXHAUSTED = re.compile(r"insufficient_quota|exceeded your current quota", re.I)
_UNREAD = re.compile(r"validation error|literal_error|extra_forbidden|unsupported", re.I)
"""How servers say 500 of a request that they cannot read (llama-cpp-python's does)."""


class Failure(LLMError):
    """A request without an answer."""

    def __init__(
        self, message: str, cause: Cause, *, passing: bool = False, wait: float | None = None
    ) -> None:
        """Say why.

        Args:
            message: One sentence that is safe to show.
            cause: The same for programs.
            passing: Whether the same request may well succeed if it is repeated.
            wait: Seconds after which the endpoint asks to come again, if it does.
        """
        super().__init__(message, cause)
        self.passing = passing
        self.wait = wait


def failure_of(
    status: int, headers: Mapping[str, str], body: str, model: str, clock: Clock
) -> Failure | None:
    """Return what an HTTP error means.

    None means that the request asks for something in particular which the endpoint cannot do.

    Args:
        status: The HTTP status, none of success.
        headers: The response's headers, names in lower case.
        body: The response, without secrets.
        model: What was asked for.
        clock: Tells how long it is until a date.
    """
    said = f"the endpoint answers {status}: {detail_of(body)}"
    if status in (400, 413, 422) and (status == 413 or _TOO_LONG.search(body)):
        advice = "use a model with a larger context or a smaller space"
        return Failure(
            f"the prompt is too long for {model!r} ({said}); {advice}", "context_too_small"
        )
    if status in (400, 422) or (status == 403 and "logprob" in body):
        return None
    if status == 500 and _UNREAD.search(body):
        return None
    if status == 401:
        return Failure(f"the key is refused ({said}); check LUTHIER_LLM_API_KEY", "unauthorized")
    if status in (402, 403):
        return Failure(f"the key may not do this ({said}); check the account", "unauthorized")
    if status in (404, 410):
        advice = "check LUTHIER_LLM_MODEL, and that LUTHIER_LLM_BASE_URL ends as in `/v1`"
        return Failure(f"there is no model {model!r} ({said}); {advice}", "unknown_model")
    if status == 429:
        hopeless = _EXHAUSTED.search(body) is not None
        advice = "check the account" if hopeless else "lower LUTHIER_LLM_CONCURRENCY"
        return Failure(
            f"too many requests ({said}); {advice}",
            "rate_limited",
            passing=not hopeless,
            wait=_wait(headers, clock),
        )
    if status >= 500 or status in (408, 409, 425):
        return Failure(
            f"{said}; it is in trouble, try later",
            "server",
            passing=True,
            wait=_wait(headers, clock),
        )
    return Failure(f"{said}; check LUTHIER_LLM_BASE_URL", "server")


def detail_of(body: str) -> str:
    """Return what an endpoint says of an error, in one short line."""
    text = body
    try:
        data = json.loads(body)
    except (ValueError, RecursionError):
        data = None
    if isinstance(data, dict):
        error: Any = data.get("error", data)
        said = error.get("message", error.get("detail")) if isinstance(error, dict) else error
        text = said if isinstance(said, str) else text
    line = " ".join("".join(c if c.isprintable() else " " for c in text[:2000]).split())
    short = line if len(line) <= _LONGEST_DETAIL else line[: _LONGEST_DETAIL - 1] + "…"
    return short.rstrip(".") or "nothing else"


def _wait(headers: Mapping[str, str], clock: Clock) -> float | None:
    """Return for how many seconds the endpoint asks to be left alone."""
    text = headers.get("retry-after", "").strip()
    if re.fullmatch(r"\d{1,9}(\.\d{1,9})?", text):
        return float(text)
    try:
        return max(0.0, parsedate_to_datetime(text).timestamp() - clock.time())
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
