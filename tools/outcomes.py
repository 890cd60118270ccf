"""The typed ends of a trial, told from evidence."""

from __future__ import annotations

import math
import re
import signal
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple


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
    STOP_IF = "stop_if"
    DIVERGED = "diverged"
    DEADLINE = "deadline"
    SILENCE = "silence"
    MEMORY = "memory"
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
    exception_message: str = ""
    """What that exception says; untrusted."""
    kernel_oom_kills: int = 0
    """Kills by the kernel's out-of-memory killer in the control group while the attempt ran."""
    started: bool = True
    """Whether the process came to run at all."""
    error_tail: str = ""
    """The last lines of standard error; untrusted."""
    peak_bytes: int = 0
    """Peak memory: of all its processes together where that was watched, else of the largest."""
    memory_bytes: int | None = None
    """What they were allowed to use together."""
    seconds: float = 0.0
    """Wall time from start to end."""


@dataclass(frozen=True)
class Verdict:
    """An outcome with the one sentence that explains it."""

    outcome: Outcome
    reason: str


class _Raised(NamedTuple):
    """An exception that ended a trial."""

    type: str
    message: str

    @property
    def name(self) -> str:
        """The type without its module."""
        return re.split(r"[.:]", self.type)[-1]


_BY_REQUEST = {
    StopReason.PRUNE: Verdict(Outcome.PRUNED, "stopped early by the pruner"),
    StopReason.STOP_IF: Verdict(Outcome.PRUNED, "stopped early by a rule of pruner.stop_if"),
    StopReason.DIVERGED: Verdict(Outcome.DIVERGED, "a metric was NaN or infinite"),
    StopReason.DEADLINE: Verdict(Outcome.TIMED_OUT, "reached its time limit"),
    StopReason.SILENCE: Verdict(Outcome.TIMED_OUT, "reported nothing for too long"),
    StopReason.STOP: Verdict(Outcome.KILLED, "stopped on request"),
}
_MEMORY_ERRORS = {
    "MemoryError",
    "OutOfMemoryError",
    "ResourceExhaustedError",
    "_ArrayMemoryError",
    "bad_alloc",
}
_XLA_ERRORS = {"XlaRuntimeError", "JaxRuntimeError"}
_TORCH_ERRORS = {"RuntimeError", "AcceleratorError", "DistBackendError", "Error"}
"""What torch raises for want of a type of its own; the last is `c10::Error`."""
_TORCH_MEMORY = re.compile(
    r"(?:CUDA|HIP) out of memory"
    r"|(?:CUDA|HIP) error: (?:out of memory|\w+_STATUS_ALLOC_FAILED)"
    r"|\[enforce fail at .*\] .*DefaultCPUAllocator: (?:can't allocate|not enough) memory"
)
_DEVICE_FAULT = re.compile(
    r"CUDA error: (?:uncorrectable ECC error"
    r"|no CUDA-capable device is detected"
    r"|(?:all )?CUDA-capable device\(?s\)? (?:is/)?are busy or unavailable"
    r"|unspecified launch failure|unknown error|initialization error|GPU is lost)"
    r"|CUDA unknown error|GPU is lost"
    r"|NCCL error\b.*\bunhandled system error"
)
_LAST_FRAME = re.compile(
    r"^(?:Traceback \(most recent call last\):|  File ).*\n(?:[ \t].*\n|\n)*", re.M
)
_EXCEPTION = re.compile(
    r"([A-Za-z_][\w.]*(?:Error|Exception|Interrupt|Pruned|_GpuIsLost))(?:: (.*))?$"
)
_ABORTED = re.compile(
    r"^terminate called after throwing an instance of '([\w:]+)'\n +what\(\): +(.*)", re.M
)
_SIGNALLED = {StopReason.STOP, StopReason.DEADLINE, StopReason.SILENCE}
_FULL_DISK = "[Errno 28] No space left on device"
_RANK = re.compile(r"^\[rank\d+\]: ?", re.M)


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
    raised = _exception_in(evidence)
    # Who catches the signal, saves and leaves in order has not come to the end.
    signalled = evidence.stop_reason in _SIGNALLED
    if clean and raised is None and not missing and not signalled:
        if any(not math.isfinite(values[name]) for name in required):
            return _BY_REQUEST[StopReason.DIVERGED]
        return Verdict(Outcome.COMPLETE, "ended by itself")
    if evidence.stop_reason is StopReason.MEMORY:
        return Verdict(Outcome.OUT_OF_MEMORY, _excess(evidence))
    if evidence.stop_reason is not None:
        return _BY_REQUEST[evidence.stop_reason]
    if raised is not None and raised.name == "TrialPruned":
        return Verdict(Outcome.PRUNED, "the trial stopped itself early")
    verdict = _lack_of_memory(evidence, raised) or _failure_of_the_machine(evidence, raised)
    if verdict is not None:
        return verdict
    if clean:
        return Verdict(Outcome.CRASHED, f"ended without reporting {', '.join(missing)}")
    if evidence.signal is not None:
        name = _signal_name(evidence.signal)
        if evidence.signal in (signal.SIGKILL, signal.SIGTERM, signal.SIGINT):
            return Verdict(Outcome.KILLED, f"ended from outside by {name}")
        return Verdict(Outcome.CRASHED, f"ended by {name}")
    if evidence.exit_code == 2 and re.search(r"^usage: ", evidence.error_tail, re.M | re.I):
        return Verdict(Outcome.INVALID, "the script refused its arguments")
    if raised is not None:
        return Verdict(Outcome.CRASHED, f"raised {raised.type}")
    if evidence.exit_code is not None:
        return Verdict(Outcome.CRASHED, f"exit code {evidence.exit_code}")
    return Verdict(Outcome.INFRASTRUCTURE, "its launcher was lost")


def _excess(evidence: Evidence) -> str:
    used, allowed = evidence.peak_bytes / 2**30, (evidence.memory_bytes or 0) / 2**30
    return f"used {used:.3g} GiB of main memory, but only {allowed:.3g} GiB are allowed"


def _lack_of_memory(evidence: Evidence, raised: _Raised | None) -> Verdict | None:
    if evidence.signal == signal.SIGKILL and evidence.kernel_oom_kills > 0:
        return Verdict(Outcome.OUT_OF_MEMORY, "killed by the kernel for lack of memory")
    if raised is None or not _failed(evidence):
        return None
    if raised.name in _MEMORY_ERRORS:
        return Verdict(Outcome.OUT_OF_MEMORY, f"raised {raised.type}")
    said = _TORCH_MEMORY.match(raised.message) if raised.name in _TORCH_ERRORS else None
    if raised.name in _XLA_ERRORS:
        said = re.match("RESOURCE_EXHAUSTED", raised.message)
    if said is not None:
        return Verdict(Outcome.OUT_OF_MEMORY, f"raised {raised.type}: {said[0]}")
    return None


def _failure_of_the_machine(evidence: Evidence, raised: _Raised | None) -> Verdict | None:
    if raised is None or not _failed(evidence):
        return None
    if raised.type == "OSError" and raised.message.startswith(_FULL_DISK):
        return Verdict(Outcome.INFRASTRUCTURE, "no space was left on the disk")
    if raised.name in _TORCH_ERRORS or raised.name == "NVMLError_GpuIsLost":
        fault = _DEVICE_FAULT.match(raised.message)
        if fault is not None:
            return Verdict(Outcome.INFRASTRUCTURE, f"its device failed: {fault[0]}")
    return None


def _failed(evidence: Evidence) -> bool:
    return evidence.exit_code not in (0, None) or evidence.signal is not None


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:  # most real-time signals have no name
        return f"signal {number}"


def _exception_in(evidence: Evidence) -> _Raised | None:
    """Return what ended a trial: told by itself, or read off what a failed end corroborates."""
    if evidence.exception is not None:
        return _Raised(evidence.exception, evidence.exception_message)
    if evidence.signal == signal.SIGABRT:
        aborted = _ABORTED.findall(evidence.error_tail)
        return _Raised(*aborted[-1]) if aborted else None
    if evidence.exit_code in (0, None):
        return None
    text = _RANK.sub("", evidence.error_tail)
    *_, last = [0, *(frame.end() for frame in _LAST_FRAME.finditer(text))]
    found = _EXCEPTION.match(text[last:].partition("\n")[0]) if last else None
    return _Raised(found[1], found[2] or "") if found else None
