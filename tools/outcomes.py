"""The typed ends of a trial, told from evidence."""

from __future__ import annotations

import math
import re
import signal
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum


class Outcome(StrEnum):
    """How a trial, or an attempt at it, ended."""

    COMPLETE = "complete"
    PRUNED = "pruned"
    OUT_OF_MEMORY = "out_of_memory"
    DIVERGED = "diverged"
    TIMED_OUT = "timed_out"
    CRASHED = "crashed"
    KILLED = "killed"
    INVALID = "invalid"
    INFRASTRUCTURE = "infrastructure"


CONFIGURATION_FAULTS = frozenset(
    {
        Outcome.OUT_OF_MEMORY,
        Outcome.DIVERGED,
        Outcome.TIMED_OUT,
        Outcome.CRASHED,
        Outcome.INVALID,
    }
)
"""Failures that tell something about the configuration, so that a sampler may learn from them."""


class StopReason(StrEnum):
    """Why Luthier asked an attempt to stop."""

    PRUNE = "prune"
    DIVERGED = "diverged"
    DEADLINE = "deadline"
    SILENCE = "silence"
    STOP = "stop"


@dataclass(frozen=True)
class Evidence:
    """What is known of an attempt's end."""

    exit_code: int | None = None
    """The process's exit code; None if it was ended by a signal or never ran."""
    signal: int | None = None
    """The signal that ended it."""
    stop_reason: StopReason | None = None
    """What Luthier asked for before it ended."""
    exception: str | None = None
    """Qualified type of the exception that ended a Python trial."""
    kernel_oom_kills: int = 0
    """Kills by the kernel's out-of-memory killer in the control group while the attempt ran."""
    started: bool = True
    """Whether the process came to run at all."""
    error_tail: str = ""
    """The last lines of standard error; untrusted."""
    peak_bytes: int = 0
    """Peak resident memory of the process tree's largest process."""
    seconds: float = 0.0
    """Wall time from start to end."""


@dataclass(frozen=True)
class Verdict:
    """An outcome with the one sentence that explains it."""

    outcome: Outcome
    reason: str


_MEMORY_ERRORS = {"MemoryError", "OutOfMemoryError"}
_BY_REQUEST = {
    StopReason.PRUNE: Verdict(Outcome.PRUNED, "stopped early by the pruner"),
    StopReason.DIVERGED: Verdict(Outcome.DIVERGED, "a metric was NaN or infinite"),
    StopReason.DEADLINE: Verdict(Outcome.TIMED_OUT, "reached its time limit"),
    StopReason.SILENCE: Verdict(Outcome.TIMED_OUT, "reported nothing for too long"),
    StopReason.STOP: Verdict(Outcome.KILLED, "stopped on request"),
}
_SIGNALLED = frozenset({StopReason.STOP, StopReason.DEADLINE, StopReason.SILENCE})
_LAST_EXCEPTION = re.compile(r"^([A-Za-z_][\w.]*(?:Error|Exception|Interrupt|Pruned))\b", re.M)


def classify(evidence: Evidence, values: Mapping[str, float], required: Iterable[str]) -> Verdict:
    """Tell an attempt's outcome.

    Args:
        evidence: What is known of its end.
        values: Its final metrics.
        required: Metrics without which it is not complete.
    """
    if not evidence.started:
        if evidence.stop_reason is not None:
            return _BY_REQUEST[evidence.stop_reason]
        return Verdict(Outcome.INFRASTRUCTURE, "its process never started")
    required = list(required)
    missing = [name for name in required if name not in values]
    clean = evidence.exit_code == 0
    exception = evidence.exception or _exception_in(evidence)
    signalled = evidence.stop_reason in _SIGNALLED
    # Who catches the signal, saves and leaves in order has not come to the end.
    if clean and exception is None and not missing and not signalled:
        if any(not math.isfinite(values[name]) for name in required):
            return _BY_REQUEST[StopReason.DIVERGED]
        return Verdict(Outcome.COMPLETE, "ended by itself")
    if evidence.stop_reason is not None:
        return _BY_REQUEST[evidence.stop_reason]
    if exception is not None and exception.rpartition(".")[2] == "TrialPruned":
        return Verdict(Outcome.PRUNED, "the trial stopped itself early")
    if exception == "OSError" and "No space left on device" in evidence.error_tail:
        return Verdict(Outcome.INFRASTRUCTURE, "no space was left on the disk")
    if exception is not None and exception.rpartition(".")[2] in _MEMORY_ERRORS:
        return Verdict(Outcome.OUT_OF_MEMORY, f"raised {exception}")
    if evidence.signal == signal.SIGKILL and evidence.kernel_oom_kills > 0:
        return Verdict(Outcome.OUT_OF_MEMORY, "killed by the kernel for lack of memory")
    if clean:
        return Verdict(Outcome.CRASHED, f"ended without reporting {', '.join(missing)}")
    if evidence.signal is not None:
        name = _signal_name(evidence.signal)
        if evidence.signal in (signal.SIGKILL, signal.SIGTERM, signal.SIGINT):
            return Verdict(Outcome.KILLED, f"ended from outside by {name}")
        return Verdict(Outcome.CRASHED, f"ended by {name}")
    if evidence.exit_code == 2 and re.search(r"^usage: ", evidence.error_tail, re.M | re.I):
        return Verdict(Outcome.INVALID, "the script refused its arguments")
    if exception is not None:
        return Verdict(Outcome.CRASHED, f"raised {exception}")
    if evidence.exit_code is not None:
        return Verdict(Outcome.CRASHED, f"exit code {evidence.exit_code}")
    return Verdict(Outcome.INFRASTRUCTURE, "its launcher was lost")


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:  # most real-time signals have no name
        return f"signal {number}"


def _exception_in(evidence: Evidence) -> str | None:
    """Read the exception's type off a traceback, where a failed exit code corroborates it."""
    if evidence.exit_code in (0, None) or "Traceback" not in evidence.error_tail:
        return None
    found = _LAST_EXCEPTION.findall(evidence.error_tail)
    return found[-1] if found else None
