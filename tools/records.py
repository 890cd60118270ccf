"""What the ledger holds, as typed rows."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from .outcomes import Outcome, StopReason
from .space import Configuration
from .spec import StudySpec

StudyState = Literal["created", "running", "paused", "stopped", "finished", "halted"]
"""`halted`: ended by itself because going on made no sense; the reason says why."""

TrialState = Literal["waiting", "running"] | Outcome
"""`waiting`: between two attempts."""


Curves = Mapping[str, Mapping[int, float]]
"""Metric to step to value."""


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
    configuration: Configuration = field(default_factory=dict)
    """What it ran with; `luthier retry --set` changes it from one attempt to the next."""

    @property
    def never_began(self) -> bool:
        """Whether it ended before it came to run, so that its end says nothing of its device."""
        return self.seconds == 0.0


@dataclass(frozen=True)
class Prediction:
    """What was expected of a configuration before it was tried."""

    mean: float
    low: float
    high: float
    """80% of the outcomes are expected between `low` and `high`."""
    raw: tuple[float, float]
    """Mean and standard deviation before they were calibrated by earlier trials."""


@dataclass(frozen=True)
class Veto:
    """A configuration that was not run, because it cannot fit into memory."""

    configuration: Configuration
    source: str
    """Who proposed it, as in `Decision`."""
    needed_bytes: int
    """What it needs at least."""


@dataclass(frozen=True)
class Decision:
    """Why a configuration was chosen."""

    source: str
    """Who proposed it: `default`, `sobol`, `gp`, `tpe`, `random`, `import`, `confirm`, ..."""
    reason: str
    seen_ended: int = 0
    """Trials that had ended in the history it saw."""
    seen_pending: int = 0
    """Trials that were running in the history it saw."""
    seconds: float = 0.0
    """Time that the proposal took."""
    deadline_missed: bool = False
    """Whether a fresher proposal was waited for in vain."""
    prediction: Prediction | None = None
    prompt_version: str = ""
    """The prompts that it comes from, as `id@version`, if a language model proposed it."""
    tokens: int = 0
    """What was asked of the language model for it, and for others that came with it."""
    dollars: float = 0.0
    """What that cost, as far as it is known."""
    memory_bytes: int | None = None
    """What it was estimated to need at least: of main memory, or of a CUDA device."""
    vetoes: tuple[Veto, ...] = ()
    """What was proposed before it for the same trial, and cannot fit."""


@dataclass(frozen=True)
class AdviceRecord:
    """What came of one question to the language model."""

    cause: str = ""
    """Why it was in vain; empty if it was not."""
    message: str = ""
    tokens: int = 0
    dollars: float | None = 0.0
    """None if the price is unknown."""
    calls: int = 0
    faults: dict[str, int] = field(default_factory=dict)
    """What was wrong with the answers, and how often."""
    exam: float | None = None
    """If it was an exam: the rank correlation of predictions with what had come out."""


@dataclass(frozen=True)
class TrialRecord:
    """One evaluation of one configuration, with its attempts and its curves."""

    id: int
    number: int
    state: TrialState
    reason: str
    configuration: Configuration
    """That of its newest attempt, or of the one that it waits for."""
    metrics: dict[str, float]
    """Final value of each metric."""
    source: str
    created_at: float
    finished_at: float | None
    attempts: tuple[AttemptRecord, ...] = ()
    curves: Curves | None = None
    """Over the attempts that went on from each other up to the latest, see `continued`; None if not
    asked for."""
    imported: bool = False
    """Whether it was taken over from another study."""
    repeat_of: int | None = None
    """Of a repeat: the number of the trial whose configuration it runs again."""
    seed: int | None = None
    """Of a repeat: its seed; the others have the spec's."""

    @property
    def is_finished(self) -> bool:
        """Whether it has an outcome."""
        return isinstance(self.state, Outcome)

    @property
    def is_repeat(self) -> bool:
        """Whether it runs the configuration of another trial again, as evidence for a claim."""
        return self.repeat_of is not None

    @property
    def is_counted(self) -> bool:
        """Whether it costs one of the budget's trials."""
        return not self.imported and not self.is_repeat

    @property
    def seconds(self) -> float:
        """Time on a device, over all attempts."""
        return sum(attempt.seconds or 0.0 for attempt in self.attempts)

    @property
    def configurations(self) -> list[Configuration]:
        """Its configuration, and others that earlier attempts ran with."""
        others = [a.configuration for a in self.attempts if a.configuration != self.configuration]
        return [self.configuration, *others]


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
    kind: Literal["pause", "resume", "stop", "stop_trial", "retry", "confirm", "enqueue"]
    data: dict[str, Any]
    """`resume`: changed caps under `budget`; `stop_trial`: its number under `trial`; `retry`: the
    fields of a `retry.Retry`; `confirm`: those of a `repeats.Confirm`; `enqueue`: a
    `configuration`."""
    author: str


def continued(earlier: Curves, later: Curves) -> dict[str, dict[int, float]]:
    """Join the curves of two attempts where the later one went on: at the first step it reported.

    An attempt that begins anew reports the first step again, so nothing of the earlier one stays.
    """
    first = min((step for curve in later.values() for step in curve), default=math.inf)
    joined = {
        name: {step: value for step, value in curve.items() if step < first}
        for name, curve in earlier.items()
    }
    for name, curve in later.items():
        joined[name] = {**joined.get(name, {}), **curve}
    return {name: curve for name, curve in joined.items() if curve}


def to_json(data: object) -> str:
    """Return compact JSON."""
    return json.dumps(data, separators=(",", ":"), ensure_ascii=False)


def trial_state(text: str) -> TrialState:
    """Parse a trial's stored state."""
    return "waiting" if text == "waiting" else "running" if text == "running" else Outcome(text)
