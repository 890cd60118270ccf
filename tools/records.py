"""What the ledger holds, as typed rows."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from .outcomes import Outcome, StopReason
from .space import Configuration
from .spec import StudySpec

StudyState = Literal["created", "running", "paused", "stopped", "finished", "halted"]
"""`halted`: ended by itself because going on made no sense; the reason says why."""

TrialState = Literal["waiting", "running"] | Outcome
"""`waiting`: between two attempts."""


@dataclass(frozen=True)
class StudyRecord:
    """One study as stored."""

    id: int
    name: str
    spec: StudySpec
    working_directory: Path
    parent: str | None
    state: StudyState
    reason: str
    version: int
    wall_seconds: float
    """Wall time over all its finished runs."""
    created_at: float


@dataclass(frozen=True)
class Owner:
    """Who holds a study's lease."""

    name: str
    """`user@host (pid 123)`."""
    host: str
    pid: int
    pid_start: int
    token: int
    expires_at: float


@dataclass(frozen=True)
class AttemptRecord:
    """One run of a trial's configuration."""

    id: int
    number: int
    slot: str
    started_at: float
    finished_at: float | None = None
    outcome: Outcome | None = None
    reason: str = ""
    seconds: float | None = None
    peak_bytes: int | None = None
    error_tail: str = ""
    """Last lines of standard error; untrusted text."""
    stop_reason: StopReason | None = None
    """Why its worker asked it to stop, if it did."""
    ended_for: str | None = None
    """Why its trial must end with it, if it must."""


@dataclass(frozen=True)
class Decision:
    """Why a configuration was chosen."""

    source: str
    """Who proposed it: `default`, `sobol`, `gp`, `tpe`, `random`, `import`, ..."""
    reason: str
    seen_ended: int = 0
    """Trials that had ended in the history it saw."""
    seen_pending: int = 0
    """Trials that were running in the history it saw."""
    seconds: float = 0.0
    """Time that the proposal took."""
    deadline_missed: bool = False
    """Whether a fresher proposal was waited for in vain."""


@dataclass(frozen=True)
class TrialRecord:
    """One evaluation of one configuration, with its attempts and its curves."""

    id: int
    number: int
    state: TrialState
    reason: str
    configuration: Configuration
    metrics: dict[str, float]
    """Final value of each metric."""
    source: str
    created_at: float
    finished_at: float | None
    attempts: tuple[AttemptRecord, ...] = ()
    curves: Mapping[str, Mapping[int, float]] | None = None
    """Metric to step to value, of the latest attempt; None if not asked for."""
    imported: bool = False
    """Whether it was taken over from another study."""

    @property
    def is_finished(self) -> bool:
        """Whether it has an outcome."""
        return isinstance(self.state, Outcome)

    @property
    def seconds(self) -> float:
        """Time on a device, over all attempts."""
        return sum(attempt.seconds or 0.0 for attempt in self.attempts)


@dataclass(frozen=True)
class EventRecord:
    """One thing that happened."""

    id: int
    time: float
    kind: str
    trial: int | None
    data: dict[str, Any]


@dataclass(frozen=True)
class Wish:
    """What a front end asks of a study's worker."""

    id: int
    kind: Literal["pause", "resume", "stop", "stop_trial"]
    data: dict[str, Any]
    """`resume`: changed caps under `budget`; `stop_trial`: its number under `trial`."""
    author: str


def to_json(data: object) -> str:
    """Return compact JSON."""
    return json.dumps(data, separators=(",", ":"), ensure_ascii=False)


def trial_state(text: str) -> TrialState:
    """Parse a trial's stored state."""
    return "waiting" if text == "waiting" else "running" if text == "running" else Outcome(text)
