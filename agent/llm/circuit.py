"""A breaker that leaves an endpoint alone which fails time and again."""

from __future__ import annotations

import threading

from ...tools.clock import Clock
from .answers import LLMError

_FAILURES = 3
"""So many in a row open it."""
_REST_SECONDS = 30.0
"""How long it stays open before the next try."""


class Circuit:
    """Opens after failures in a row; after a rest, one request tries whether it may close."""

    def __init__(self, clock: Clock) -> None:
        """Begin closed."""
        self._clock = clock
        self._row = 0
        self._open_until: float | None = None
        self._lock = threading.Lock()

    def enter(self) -> None:
        """Ask to send a request; who enters must call `leave`.

        Raises:
            LLMError: If the circuit is open.
        """
        with self._lock:
            if self._row < _FAILURES:
                return
            now = self._clock.monotonic()
            if self._open_until is not None and now < self._open_until:
                left = self._open_until - now
                raise LLMError(
                    f"the endpoint failed {self._row} times in a row; it is tried again in "
                    f"{left:.0f} s",
                    "circuit_open",
                )
            # Who comes while this one tries is turned away.
            self._open_until = now + _REST_SECONDS

    def leave(self, failed: bool | None) -> None:
        """Say whether the endpoint failed; None if the request does not tell."""
        with self._lock:
            if failed is None:
                return
            self._row = self._row + 1 if failed else 0
            self._open_until = self._clock.monotonic() + _REST_SECONDS if failed else None
