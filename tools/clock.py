"""What time it is: the machine's own clock, or a pretend one of a simulated lab."""

from __future__ import annotations

import time
from typing import Protocol


class Clock(Protocol):
    """A clock; Python's module `time` is one."""

    def time(self) -> float:
        """Return the seconds since 1970."""

    def monotonic(self) -> float:
        """Return seconds that never go back, since whenever."""


class VirtualClock:
    """A clock that can be moved on, and runs as many times as fast as the machine's."""

    def __init__(self, start: float, rate: float) -> None:
        """Set the clock.

        Args:
            start: What it shows now, in seconds since 1970.
            rate: Seconds that it goes on in a real one, >= 0; with 0 it stands until it is moved.
        """
        self.rate = rate
        self._base = start
        self._since = time.monotonic()

    def time(self) -> float:
        """Return the seconds since 1970."""
        return self._base + self.rate * (time.monotonic() - self._since)

    def monotonic(self) -> float:
        """Return the same: it never goes back."""
        return self.time()

    def advance(self, to: float) -> None:
        """Move it on to a time; one that has passed changes nothing."""
        if to > self.time():
            self._base, self._since = to, time.monotonic()
