"""Runs trials in a pretend lab, on a clock of its own: for tests, demos and scheduling evals."""

from __future__ import annotations

import json
import math
import signal
import sys
import threading
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from ..clock import VirtualClock
from ..executor_spec import Executor
from ..metrics import MetricsFile, Report
from ..outcomes import Evidence, StopReason
from ..space import Configuration
from .entry import load_function
from .lab import Course, Training, course
from .protocol import Handle
from .request import Request

_LONGEST_SLEEP = 0.5
"""Real seconds between two looks of the loop at its wishes while nothing happens in the lab."""


@dataclass(frozen=True)
class _Start:
    """What the course of an attempt follows from, besides its configuration."""

    time: float
    trial: int
    devices: list[str]
    limit_seconds: float | None
    entry: dict[str, Any]
    import_path: list[str]


@dataclass
class _Attempt:
    started: float
    course: Course
    delivered: int = 0
    over: bool = False
    """Whether its end has been told."""

    def due(self) -> float:
        """Return when the next thing happens that has not been told."""
        reports = self.course.reports
        ends_at = self.course.ends_at
        return min(reports[self.delivered][0], ends_at) if self._more() else ends_at

    def _more(self) -> bool:
        return self.delivered < len(self.course.reports)

    def reports(self, now: float) -> list[Report]:
        """Return what was reported up to now and has not been told."""
        told = self.delivered
        while self._more() and self.course.reports[self.delivered][0] <= now:
            self.delivered += 1
        return [report for _, report in self.course.reports[told : self.delivered]]

    def stop(self, now: float, reason: StopReason) -> None:
        """End it now, unless it has ended."""
        if now < self.course.ends_at:
            evidence = Evidence(signal=signal.SIGTERM, stop_reason=reason)
            reports = [report for report in self.course.reports if report[0] <= now]
            self.course = Course(reports, now, evidence)


class SimulatedExecutor:
    """Runs attempts in a pretend lab.

    An attempt goes on in the lab while no worker looks, so another worker can adopt it: its course
    follows from its configuration and from what `process.json` in its folder says of its start.
    """

    def __init__(self, executor: Executor, clock: VirtualClock, begun: float) -> None:
        """Open the lab.

        Args:
            executor: The spec's section, of kind `simulated`.
            clock: The lab's clock.
            begun: When the study began, in seconds on that clock.
        """
        assert executor.lab is not None
        self._lab = executor.lab
        self._share = min(1.0, executor.devices_per_trial)
        self._clock = clock
        self._begun = begun
        self._function: Callable[[Configuration], Training] | None = None
        self._running: dict[Path, _Attempt] = {}
        self._wake = threading.Event()

    def submit(self, request: Request) -> Handle:
        """Start an attempt; its folder exists and holds `config.json`."""
        assert request.entry is not None
        start = _Start(
            self._clock.time(),
            int(request.environment["LUTHIER_TRIAL"]),
            request.devices,
            request.limit_seconds,
            request.entry,
            request.import_path,
        )
        folder = Path(request.folder)
        temporary = folder / "process.tmp"
        temporary.write_text(json.dumps(asdict(start)), encoding="utf-8")
        temporary.replace(folder / "process.json")
        return self._begin(folder, start)

    def adopt(self, folder: Path) -> Handle:
        """Take over an attempt that another worker started, wherever it stands."""
        try:
            start = _Start(**json.loads((folder / "process.json").read_text(encoding="utf-8")))
        except FileNotFoundError:  # that worker died before it could start it
            never = Course([], -math.inf, Evidence(started=False))
            self._running[folder] = _Attempt(self._clock.time(), never)
            return self._handle(folder)
        return self._begin(folder, start)

    def _begin(self, folder: Path, start: _Start) -> Handle:
        configuration = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        if self._function is None:
            self._function = _load(start.entry, start.import_path)
        self._running[folder] = _Attempt(
            start.time,
            course(
                self._function(configuration),
                self._lab,
                [int(name.rpartition(":")[2]) for name in start.devices],
                self._share,
                trial=start.trial,
                begun=self._begun,
                started=start.time,
                limit_seconds=start.limit_seconds,
            ),
        )
        return self._handle(folder)

    def _handle(self, folder: Path) -> Handle:
        started = self._running[folder].started
        return Handle(folder, MetricsFile(folder / "metrics.jsonl"), heard_at=started)

    def reports(self, handle: Handle) -> list[Report]:
        """Return what it reported since the last call."""
        attempt = self._running[handle.folder]
        reports = attempt.reports(self._clock.time())
        if reports:
            handle.heard_at = attempt.course.reports[attempt.delivered - 1][0]
        return reports

    def ended(self, handle: Handle) -> Evidence | None:
        """Return the evidence of its end, None while it runs."""
        attempt = self._running[handle.folder]
        if attempt.course.ends_at > self._clock.time():
            return None
        attempt.over = True
        seconds = max(0.0, attempt.course.ends_at - attempt.started)
        return replace(attempt.course.evidence, seconds=seconds)

    def stop(self, handle: Handle, reason: StopReason, *, at_once: bool = False) -> None:
        """Ask it to stop, which it does at once."""
        handle.stop_asked = handle.stop_asked or reason
        self._running[handle.folder].stop(self._clock.time(), reason)

    def wait(self, seconds: float, deadline: float = math.inf, *, thinking: bool = False) -> None:
        """Let the lab's clock go on to the next thing that happens, or to the deadline."""
        self._running = {f: attempt for f, attempt in self._running.items() if not attempt.over}
        now = self._clock.time()
        due = min((attempt.due() for attempt in self._running.values()), default=math.inf)
        until = min(due, now + deadline)
        if until > now and (thinking or not self._lab.jumps or until == math.inf):
            rate = self._clock.rate
            real = (until - now) / rate if rate > 0 else math.inf
            self._wake.wait(min(real, _LONGEST_SLEEP))
        elif not self._wake.is_set():
            self._clock.advance(until)
        self._wake.clear()

    def wake(self) -> None:
        """End a running `wait`, from another thread or a signal handler."""
        self._wake.set()

    def close(self) -> None:
        """Leave the lab; its attempts go on."""


def _load(entry: dict[str, Any], import_path: list[str]) -> Any:
    before = list(sys.path)
    sys.path[:] = import_path
    try:
        return load_function(entry)
    finally:
        sys.path[:] = before
