"""What cannot run, told before it is launched: a recipe's training that needs too much memory.

What did run and failed teaches the samplers by itself, see `optuna_bridge.rebuild_for_sampling`.
"""

from __future__ import annotations

import json
import os
import select
import statistics
import time
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from .device_memory import Memory
from .devices import DeviceError, DevicePlan
from .executors.local import LocalExecutor
from .executors.processes import main_memory_bytes
from .executors.request import Request
from .records import Decision, TrialRecord
from .space import Configuration
from .spec import StudySpec

_START_SECONDS = 15.0
"""Less than a proposal may take; who is not ready by then is asked again for the next one."""
_ANSWER_SECONDS = 5.0
_LOOK_SECONDS = 0.25


class Need(NamedTuple):
    """What a training needs of memory."""

    bytes: int
    """At least; of main memory, or of a CUDA device."""
    fits: bool


class MemoryEstimator:
    """Tells how much memory a configuration of a recipe needs, in a process of its own.

    That process is forked like a trial, so it holds torch, loads the data as a trial does, and can
    be lost without harm. If it cannot tell, nothing is known; its `stderr.log` says why.
    """

    def __init__(
        self, executor: LocalExecutor, request: Request, limit_bytes: int, *, cuda: bool
    ) -> None:
        """Start the process; it is ready when it has loaded the data.

        Args:
            executor: What forks it.
            request: That of a trial of the recipe, in a folder of this estimator's own.
            limit_bytes: The memory that a training can have.
            cuda: Whether that is a CUDA device's.
        """
        folder = Path(request.folder)
        folder.mkdir()
        self._outcome = folder / "outcome.json"
        self._pipes = []
        for name in ("questions", "answers"):
            os.mkfifo(folder / name)
            # Opened for both, so that neither waits for the other side.
            self._pipes.append(os.open(folder / name, os.O_RDWR | os.O_NONBLOCK))
        self._limit = limit_bytes
        self._is_watched = request.memory_bytes is not None and not cuda
        self._received = b""
        self._shared: int | None = None
        self._is_lost = False
        fifos = {name: str(folder / name) for name in ("questions", "answers")}
        entry = {**(request.entry or {}), "estimate": {"cuda": cuda, **fifos}}
        executor.submit(replace(request, entry=entry, memory_bytes=None, limit_seconds=None))

    def __call__(self, configuration: Configuration) -> Need | None:
        """Return what a configuration needs, None if that is not known."""
        if self._is_lost:
            return None
        if self._shared is None:
            ready = self._answer(_START_SECONDS)
            if ready is None:
                return None
            self._shared = int(ready["shared"])
        os.write(self._pipes[0], json.dumps(configuration).encode() + b"\n")
        answer = self._answer(_ANSWER_SECONDS)
        if answer is None:  # a late one would be taken for that to another question
            self._is_lost = True
        if answer is None or "needed" not in answer:
            return None
        needed = int(answer["needed"])
        # Where trials are watched, what they share with the fork server counts for none of them.
        own = needed - self._shared if self._is_watched else needed
        return Need(needed, own <= self._limit)

    def _answer(self, seconds: float) -> dict[str, Any] | None:
        deadline = time.monotonic() + seconds
        while b"\n" not in self._received:
            if not select.select([self._pipes[1]], [], [], _LOOK_SECONDS)[0]:
                self._is_lost = self._outcome.exists()
                if self._is_lost or time.monotonic() > deadline:
                    return None
                continue
            self._received += os.read(self._pipes[1], 1 << 16)
        line, _, self._received = self._received.partition(b"\n")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def close(self) -> None:
        """Let the process end."""
        while self._pipes:
            os.close(self._pipes.pop())


def memory_limit(spec: StudySpec, plan: DevicePlan, memory: Memory | None) -> int | None:
    """Return the bytes that a recipe's training can have at most, None if that is not known.

    That is the memory of the smallest CUDA device, since a trial may get any of them; on the CPU
    what the spec allows (`executor.memory_gib`), or what the machine or its container has.
    """
    if plan.is_cuda:
        if memory is None:
            return None
        try:
            return min(memory.total_bytes(device.name) for device in plan.devices)
        except DeviceError:  # its leases will tell
            return None
    allowed = spec.executor.memory_gib
    return main_memory_bytes() if allowed is None else int(allowed * 2**30)


class EstimateError(NamedTuple):
    """How far estimates of memory were from what trials then used."""

    trials: int
    median: float
    """Of estimate / measured - 1; below 0 if too little was estimated."""
    worst: float
    """The one farthest from 0."""

    def __str__(self) -> str:
        return (
            f"over {self.trials} trials, the median was {self.median:+.0%} of what they used, and "
            f"the farthest {self.worst:+.0%}"
        )


def estimate_error(
    trials: Iterable[TrialRecord], decisions: Mapping[int, Decision]
) -> EstimateError | None:
    """Return the error over the trials that ran to their end, None if there is none."""
    known = ((trial, decisions[trial.number]) for trial in trials if trial.number in decisions)
    errors = [error for pair in known if (error := error_of(*pair)) is not None]
    if not errors:
        return None
    return EstimateError(len(errors), statistics.median(errors), max(errors, key=abs))


def error_of(trial: TrialRecord, decision: Decision) -> float | None:
    """Return estimate / measured - 1 of a trial, None where one of them is not known."""
    measured = _measured(trial)
    if decision.memory_bytes is None or not measured or not trial.is_finished:
        return None
    return decision.memory_bytes / measured - 1


def _measured(trial: TrialRecord) -> int:
    return max((attempt.peak_bytes or 0 for attempt in trial.attempts), default=0)


def memory_notes(trial: TrialRecord, decision: Decision) -> list[str]:
    """Return sentences about what a trial needed of memory, and what was vetoed before it."""
    notes = []
    if decision.memory_bytes is not None:
        note = f"needs at least {_size(decision.memory_bytes)} of memory by estimate"
        if error_of(trial, decision) is not None:
            note += f", and used {_size(_measured(trial))}"
        notes.append(note)
    for veto in decision.vetoes:
        values = ", ".join(f"{name}={value}" for name, value in veto.configuration.items())
        needed = _size(veto.needed_bytes)
        notes.append(f"vetoed before it, since it needs at least {needed} of memory: {values}")
    return notes


def _size(count: int) -> str:
    return f"{count / 2**30:.1f} GiB" if count >= 2**30 else f"{count / 2**20:.0f} MiB"
