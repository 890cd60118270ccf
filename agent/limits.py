"""What the loop keeps to: its policy, the study's budget, and how long a trial may be silent."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from ..tools.budget import Meters, read_meters
from ..tools.writer import Writer
from .attempts import Run
from .history import History

TICK = 0.001
"""Seconds that limits are exact to."""


@dataclass(frozen=True)
class Policy:
    """The limits of the loop."""

    most_attempts: int = 3
    """Attempts at a trial before a failing machine counts against it."""
    hopeless: int = 5
    """Trials that fail alike, with none complete, before the study halts."""
    hopeless_later: int = 10
    """Trials in a row that fail alike, after others that worked, before the study halts."""
    patience_share: float = 0.02
    """Share of the median trial time (1 s before the first) that a free device waits for a fresher
    proposal."""
    patience_seconds: float = 5.0
    """The most that it waits, in seconds; with both infinite, as in evals, it always waits."""
    silence_factor: float = 5.0
    """How many times the longest complete trial one may be silent, where the spec sets no limit."""
    least_silence_seconds: float = 600.0
    """Shorter silences than this are never taken for a hang, where the spec sets no limit."""
    free_bytes: int = 64 << 20
    """Free space on the disk below which no trial is started."""
    poll_seconds: float = 0.5
    """How often wishes are looked at when nothing else happens, in real seconds."""


class Limits:
    """What a study has used so far, and when it runs out."""

    def __init__(
        self, writer: Writer, history: History, running: Mapping[int, Run], policy: Policy
    ) -> None:
        """Begin with the wall time of earlier runs; the clock stands until `go`."""
        self._writer = writer
        self._clock = writer.clock
        self._history = history
        self._running = running
        self._policy = policy
        self._wall_before = writer.study.wall_seconds
        self._wall_since: float | None = None

    def go(self) -> None:
        """Let the wall time run."""
        self._wall_since = self._clock.monotonic()

    def halt(self) -> None:
        """Let the wall time stand."""
        self._wall_before, self._wall_since = self.wall_seconds(), None

    def wall_seconds(self) -> float:
        """Return how long the study has run in all, pauses left out."""
        since = self._wall_since
        return self._wall_before + (self._clock.monotonic() - since if since is not None else 0.0)

    def meters(self) -> Meters:
        """Return what is spent and reserved of the budget."""
        now, runs = self._clock.time(), self._running.values()
        return read_meters(
            self._writer.study.spec,
            trials=self._history.counted,
            wall_seconds=self.wall_seconds(),
            device_spent=self._history.device_seconds + sum(run.elapsed(now) for run in runs),
            device_reserved=sum(max(0.0, run.reserved - run.elapsed(now)) for run in runs),
            tokens=self._history.tokens,
            dollars=self._history.dollars,
        )

    def is_hung(self, run: Run) -> bool:
        """Tell whether a trial has been silent for too long."""
        return self._clock.monotonic() - run.handle.heard_at >= self._silence() - TICK

    def _silence(self) -> float:
        """Return after how many seconds without a report a trial counts as hung."""
        if self._writer.study.spec.budget.silence_seconds is not None:
            return self._writer.study.spec.budget.silence_seconds
        longest = self._history.longest
        if longest == 0.0:
            return math.inf
        return max(self._policy.least_silence_seconds, self._policy.silence_factor * longest)

    def seconds_left(self) -> float:
        """Return the seconds until one of the limits is reached, infinite if none will be."""
        now, meters, runs = self._clock.monotonic(), self.meters(), self._running.values()
        handles = [run.handle for run in runs if not run.handle.stop_asked]
        ends = [handle.heard_at + self._silence() - now for handle in handles]
        if self._wall_since is not None and meters.wall_seconds.cap is not None:
            ends.append(meters.wall_seconds.left)
        if runs and meters.device_seconds.cap is not None:
            ends.append((meters.device_seconds.cap - meters.device_seconds.spent) / len(runs))
        # What has passed has been acted upon; clocks are not exact to the microsecond.
        return min((max(end, TICK) for end in ends if end > -TICK), default=math.inf)
