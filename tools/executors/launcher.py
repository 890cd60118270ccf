"""The launcher: watches over one attempt, and writes how it ended.

It leads a session of its own and outlives both the server that forked it and the worker: it keeps
the limits of time and memory, copies the output, and leaves exactly one `outcome.json`, so a trial
needs nobody to wait for it.
"""

from __future__ import annotations

import contextlib
import math
import os
import select
import selectors
import signal
import time
from pathlib import Path
from typing import Any

from ..outcomes import StopReason
from .folder import claim, read_json, wake, write_atomically
from .output import PrintedReports, Pump
from .processes import (
    become_subreaper,
    descendants,
    kernel_oom_kills,
    kill_descendants,
    proportional_bytes,
    resident_bytes,
    start_ticks,
)
from .request import REHEARSAL, Request, decode, encode
from .trial import Trial

_LOOK_SECONDS = 0.5
_MEMORY_SECONDS = 0.1
_LINGER_SECONDS = 0.1
_KILL_SECONDS = 5.0
"""How long what was killed may take to be gone; a device's driver can hold it for good."""


def launch() -> None:
    """Run the attempt whose request comes on standard input; this process becomes its launcher.

    The trial's process is forked before the request is there, so that the request finds it ready.
    """
    os.setsid()
    become_subreaper()
    signals = _Signals()
    trial = Trial()
    identity = _identity(trial)
    _rehearse()
    with open(0, "rb", closefd=False) as file:
        line = file.readline()
    if not line:  # nobody needs it any more
        return
    if trial.ended():  # somebody killed it in its sleep
        trial = Trial()
        identity = _identity(trial)
    request = decode(line)
    folder = Path(request.folder)
    trial.hand(line)  # it gets ready on another core meanwhile
    if not claim(folder, identity):
        return
    kills_before = kernel_oom_kills()
    begun = time.monotonic()
    trial.go()
    watch = _Watch(request, trial, signals, begun)
    watch.run()
    evidence = {
        "exit_code": os.WEXITSTATUS(trial.status) if os.WIFEXITED(trial.status) else None,
        "signal": os.WTERMSIG(trial.status) if os.WIFSIGNALED(trial.status) else None,
        "stop_reason": watch.reason,
        "kernel_oom_kills": kernel_oom_kills() - kills_before,
        "peak_bytes": max(watch.peak_bytes, trial.usage.ru_maxrss * 1024),
        "memory_bytes": request.memory_bytes,
        "cpu_seconds": trial.usage.ru_utime + trial.usage.ru_stime,
        "seconds": time.monotonic() - begun,
        "ended": time.time(),
    }
    write_atomically(folder / "outcome.json", evidence)
    wake(request.environment)
    # The kernel takes milliseconds to take down what this process shares with the server, which the
    # next trial's start would have to wait for.
    time.sleep(_LINGER_SECONDS)


def _rehearse() -> None:
    """Do once what is going to be done, for nothing; see `trial`."""
    decode(encode(REHEARSAL))
    kernel_oom_kills()
    list(descendants(os.getpid()))
    read_json(Path(os.devnull))


def _identity(trial: Trial) -> dict[str, Any]:
    """Return by what this process and the trial's are known for good."""
    return _name(os.getpid()) | {"trial": _name(trial.pid)}


def _name(pid: int) -> dict[str, int | None]:
    return {"pid": pid, "start": start_ticks(pid)}


class _Signals:
    """What this process is told by signals; each makes `descriptor` readable."""

    def __init__(self) -> None:
        self.stop_asked = False
        self.descriptor, wake_write = os.pipe()
        os.set_blocking(self.descriptor, False)
        os.set_blocking(wake_write, False)
        signal.set_wakeup_fd(wake_write, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.signal(signal.SIGTERM, self._hear)

    def _hear(self, *_: object) -> None:
        # No more than this: a lock could be held by what the signal interrupts.
        self.stop_asked = True

    def clear(self) -> None:
        with contextlib.suppress(BlockingIOError):
            os.read(self.descriptor, 4096)


class _Watch:
    """Copies the output of a running trial, and ends it when it must not go on."""

    reason: StopReason | None = None
    """Why it was told to end, if it was."""
    peak_bytes = 0
    """The most memory that all of its processes were seen to use."""

    def __init__(self, request: Request, trial: Trial, signals: _Signals, begun: float) -> None:
        self._request = request
        self._folder = Path(request.folder)
        self._trial = trial
        self._signals = signals
        limit = request.limit_seconds
        self._deadline = math.inf if limit is None else begun + limit
        self._memory_at = math.inf if request.memory_bytes is None else begun
        self._terminate_at = self._kill_at = math.inf
        self._printed = PrintedReports(request)
        out = Pump(trial.stdout, self._folder / "stdout.log", request.log_bytes, self._printed.read)
        err = Pump(trial.stderr, self._folder / "stderr.log", request.log_bytes, None)
        self._pumps = {trial.stdout: out, trial.stderr: err}
        self._selector = selectors.DefaultSelector()
        for descriptor in (signals.descriptor, *self._pumps):
            self._selector.register(descriptor, selectors.EVENT_READ)

    def run(self) -> None:
        """Return when the trial has ended and nothing of it is left."""
        while not self._trial.ended():
            now = time.monotonic()
            self._keep_limits(now)
            self._listen(now)
        gone_by = time.monotonic() + _KILL_SECONDS
        while kill_descendants() and time.monotonic() < gone_by:
            select.select([self._signals.descriptor], [], [], 0.01)
            self._signals.clear()
            self._trial.ended()  # collects its orphans
        for pump in self._pumps.values():
            pump.close()

    def _keep_limits(self, now: float) -> None:
        if self._signals.stop_asked:
            self._signals.stop_asked = False
            self._obey(now)
        if now >= self._deadline:
            self._deadline = math.inf
            self._end(StopReason.DEADLINE, now)
        if now >= self._memory_at:
            self._look_at_memory(now)
        if now >= self._terminate_at:
            self._terminate_at = math.inf
            self._kill_at = min(self._kill_at, now + self._request.grace_seconds)
            for number in (signal.SIGTERM, signal.SIGCONT):  # what is stopped hears nothing
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(self._trial.pid, number)
        if now >= self._kill_at:
            self._kill_at = now + _LOOK_SECONDS
            kill_descendants()

    def _obey(self, now: float) -> None:
        """Do what the worker asks for in the file `stop`."""
        stop = read_json(self._folder / "stop") or {}
        try:
            reason = StopReason(str(stop.get("reason")))
        except ValueError:  # unreadable, or of a newer version
            reason = StopReason.STOP
        # `luthier.report` raises TrialPruned; who prints its metrics cannot be told.
        reports_itself = (self._folder / "metrics.jsonl").exists() and not self._printed.found
        patient = reason in (StopReason.PRUNE, StopReason.STOP_IF) and reports_itself
        self._end(reason, now + self._request.grace_seconds if patient else now)
        if stop.get("at_once"):
            self._kill_at = now

    def _end(self, reason: StopReason, terminate_at: float) -> None:
        if self.reason is None:
            self.reason, self._terminate_at = reason, terminate_at

    def _look_at_memory(self, now: float) -> None:
        limit = self._request.memory_bytes
        assert limit is not None
        pids = list(descendants(os.getpid()))
        used = resident_bytes(pids)
        if used > limit:  # unless they share much of it
            used = proportional_bytes(pids)
        self.peak_bytes = max(self.peak_bytes, used)
        if used > limit:
            self._end(StopReason.MEMORY, math.inf)
            self._kill_at = now
        self._memory_at = time.monotonic() + _MEMORY_SECONDS

    def _listen(self, now: float) -> None:
        due = min(
            self._deadline,
            self._memory_at,
            self._terminate_at,
            self._kill_at,
            now + _LOOK_SECONDS,
        )
        for key, _ in self._selector.select(max(0.0, due - now)):
            if key.fd == self._signals.descriptor:
                self._signals.clear()
            elif not self._pumps[key.fd].copy():
                self._selector.unregister(key.fd)
