"""What the tuner needs of whatever runs its trials."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from ..metrics import MetricsFile, Report
from ..outcomes import Evidence, StopReason
from .request import Request


@dataclass
class Handle:
    """One attempt that runs, or ran."""

    folder: Path
    metrics: MetricsFile
    asked_at: float = field(default_factory=time.monotonic)
    heard_at: float = field(default_factory=time.monotonic)
    """When it last gave a sign of life, on the loop's monotonic clock."""
    stop_asked: StopReason | None = None


class TrialExecutor(Protocol):
    """What the tuner needs of an executor."""

    def submit(self, request: Request) -> Handle:
        """Start an attempt; its folder exists and holds `config.json`."""

    def adopt(self, folder: Path) -> Handle:
        """Take over an attempt that another worker started, wherever it stands."""

    def reports(self, handle: Handle) -> list[Report]:
        """Return what it reported since the last call."""

    def ended(self, handle: Handle) -> Evidence | None:
        """Return the evidence of its end, None while it runs."""

    def stop(self, handle: Handle, reason: StopReason, *, at_once: bool = False) -> None:
        """Ask it to stop; `at_once` kills it without grace."""

    def wait(self, seconds: float, deadline: float = math.inf, *, thinking: bool = False) -> None:
        """Wait until something may have happened.

        Args:
            seconds: The longest that the loop may be kept from its wishes, in real seconds.
            deadline: Seconds until the loop has something to do by itself; infinite if nothing.
            thinking: Whether a free device waits for a proposal, so that a pretend clock must not
                jump ahead of who makes it.
        """

    def wake(self) -> None:
        """End a running `wait`, from another thread or a signal handler."""

    def close(self) -> None:
        """Let go of everything; attempts go on."""
