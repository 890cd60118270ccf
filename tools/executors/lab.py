"""A pretend lab: what its devices do to a training, and when.

Everything follows from the training, the devices and the moment of its start, so that a run can
be repeated, and a trial be taken over by another worker in the middle.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from ..executor_spec import Lab, LabDevice
from ..metrics import Report
from ..outcomes import Evidence, StopReason

_SLOWER = 10.0
_CRASH_SECONDS = 1.0
_NO_DEVICE = "CUDA error: no CUDA-capable device is detected"


@dataclass(frozen=True)
class Training:
    """What training a configuration would be like on a common device."""

    steps: Sequence[dict[str, float]]
    """The metrics of each step, from step 1 on."""
    step_seconds: float
    """How long a step takes, in seconds."""
    memory_gib: float = 0.0
    """Device memory that it needs."""


@dataclass(frozen=True)
class Course:
    """The course that an attempt takes if nobody interferes."""

    reports: list[tuple[float, Report]]
    """When it reports what, by time."""
    ends_at: float
    """When it ends; infinite if it hangs."""
    evidence: Evidence
    """What its end looks like."""


def course(
    training: Training,
    lab: Lab,
    devices: Sequence[int],
    share: float,
    *,
    trial: int,
    begun: float,
    started: float,
    limit_seconds: float | None,
) -> Course:
    """Return the course of an attempt.

    Args:
        training: What it trains.
        lab: The lab.
        devices: Indices of the lab's devices that it runs on; it is as fast as the slowest.
        share: Its share of each of them, in (0, 1].
        trial: The trial's number.
        begun: When the study began, in seconds on the lab's clock.
        started: When the attempt started, likewise.
        limit_seconds: How long it may take.
    """
    places = [lab.devices[index] for index in devices]
    lost_at = min((_lost_at(place, begun, started) for place in places), default=math.inf)
    if lost_at <= started:
        gone = Evidence(exit_code=1, exception="RuntimeError", exception_message=_NO_DEVICE)
        return Course([], started + _CRASH_SECONDS, gone)
    reports = list(_reports(training, places, begun, started))
    ends_at = reports[-1][0] if reports else started
    evidence = Evidence(exit_code=0)
    if any(training.memory_gib > share * place.memory_gib for place in places):
        reports, ends_at = [], started + _CRASH_SECONDS
        evidence = Evidence(exit_code=1, exception="torch.OutOfMemoryError")
    elif any(p.poisoned_at is not None and begun + p.poisoned_at <= started for p in places):
        reports, ends_at = [], started + _CRASH_SECONDS
        evidence = Evidence(exit_code=1, exception="RuntimeError")
    elif trial in lab.hanging_trials:
        reports = reports[: len(reports) // 2]
        ends_at = math.inf
    if limit_seconds is not None and ends_at > started + limit_seconds:
        ends_at = started + limit_seconds
        evidence = Evidence(signal=15, stop_reason=StopReason.DEADLINE)
    if ends_at > lost_at:
        ends_at, evidence = lost_at, Evidence()
    return Course([r for r in reports if r[0] <= ends_at], ends_at, evidence)


def _lost_at(place: LabDevice, begun: float, started: float) -> float:
    """Return when a device loses what was started on it; at once if it is dead."""
    died = math.inf if place.dies_at is None else begun + place.dies_at
    taken = [begun + at for at in place.preempted_at if begun + at > started]
    return min([died, *taken])


def _reports(
    training: Training, places: Sequence[LabDevice], begun: float, started: float
) -> Iterator[tuple[float, Report]]:
    now = started
    for step, metrics in enumerate(training.steps, start=1):
        speed = min((_speed(place, now - begun) for place in places), default=1.0)
        now += training.step_seconds / speed
        yield now, Report(step, metrics)


def _speed(place: LabDevice, at: float) -> float:
    slow = place.slow_at is not None and at >= place.slow_at
    return place.speed / _SLOWER if slow else place.speed
