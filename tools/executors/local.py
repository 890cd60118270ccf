"""Runs trials on this machine, each under a launcher of its own."""

from __future__ import annotations

import contextlib
import math
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..metrics import MetricsFile, Report
from ..outcomes import Evidence, StopReason
from .folder import claim, read_json, write_atomically
from .processes import kill_session, start_ticks
from .protocol import Handle
from .request import Request, encode, without_secrets
from .server import ENVIRONMENT

_START_SECONDS = 30.0
_TAIL_BYTES = 4000
_ABANDONED = {"abandoned": True}
_MEASURED = ("exit_code", "signal", "kernel_oom_kills", "peak_bytes", "memory_bytes", "seconds")


class LocalExecutor:
    """Runs attempts as process groups under launchers forked from a preloaded server."""

    def __init__(self, study_folder: Path, preload: Sequence[str]) -> None:
        """Start the fork server.

        Args:
            study_folder: Where the wake FIFO and the server's log go.
            preload: Modules that the server imports once for all trials.
        """
        self._preload = list(preload)
        # Trials are forked from the server, so it must not know the secrets either.
        self._environment = without_secrets(os.environ)
        self._log = study_folder / "executor.log"
        self._fifo_path = study_folder / "wake"
        self._fifo_path.unlink(missing_ok=True)
        os.mkfifo(self._fifo_path)
        # Opened for writing too, so that it never reads as closed.
        self._fifo = os.open(self._fifo_path, os.O_RDWR | os.O_NONBLOCK)
        self._server = self._start_server()
        self._launchers: dict[Path, dict[str, Any]] = {}

    def _start_server(self) -> subprocess.Popen[bytes]:
        with self._log.open("ab") as log:
            return subprocess.Popen(
                [sys.executable, "-P", "-m", "luthier.tools.executors.server", *self._preload],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                env=self._environment | ENVIRONMENT,
                start_new_session=True,
            )

    def submit(self, request: Request) -> Handle:
        """Start an attempt; its folder exists and holds `config.json`."""
        folder = Path(request.folder)
        for _ in range(2):
            assert self._server.stdin is not None
            try:
                self._server.stdin.write(encode(request))
                self._server.stdin.flush()
                break
            except BrokenPipeError:  # the server died; a new one serves as well
                self._close_server()
                self._server = self._start_server()
        return Handle(folder, MetricsFile(folder / "metrics.jsonl"))

    def adopt(self, folder: Path) -> Handle:
        """Take over an attempt that another worker started, wherever it stands."""
        claim(folder, _ABANDONED)
        stop = read_json(folder / "stop") or {}
        return Handle(
            folder,
            MetricsFile(folder / "metrics.jsonl"),
            heard_at=_written_at(folder / "process.json"),
            stop_asked=StopReason(stop["reason"]) if stop else None,
        )

    def reports(self, handle: Handle) -> list[Report]:
        """Return what it reported since the last call."""
        reports = handle.metrics.read_new()
        if reports:
            # What is read only now, because another worker died, may have been written long ago.
            handle.heard_at = max(handle.heard_at, _written_at(handle.metrics.path))
        return reports

    def ended(self, handle: Handle) -> Evidence | None:
        """Return the evidence of its end, None while it runs."""
        outcome = read_json(handle.folder / "outcome.json")
        if outcome is not None:
            return self._evidence(handle, outcome)
        launcher = self._launcher(handle.folder)
        if launcher is None:
            if time.monotonic() - handle.asked_at < _START_SECONDS and self._server.poll() is None:
                return None
            launcher = self._abandon(handle.folder)
        if launcher == _ABANDONED:
            return Evidence(started=False, stop_reason=handle.stop_asked)
        if start_ticks(launcher["pid"]) == launcher["start"]:
            return None
        # The launcher is gone; it may have written its last word between the two looks.
        outcome = read_json(handle.folder / "outcome.json")
        if outcome is None:
            _kill_what_is_left(launcher)
            return Evidence(stop_reason=handle.stop_asked, error_tail=tail(handle.folder))
        return self._evidence(handle, outcome)

    def _launcher(self, folder: Path) -> dict[str, Any] | None:
        """Return who runs an attempt, None as long as nobody has claimed it.

        It is remembered, since the trial could remove the file.
        """
        if folder not in self._launchers:
            found = read_json(folder / "process.json")
            if found is None:
                return None
            self._launchers[folder] = found
        return self._launchers[folder]

    def _abandon(self, folder: Path) -> dict[str, Any]:
        """Claim an attempt so that it is never run, and return who has it: whoever came first."""
        claim(folder, _ABANDONED)
        return self._launcher(folder) or _ABANDONED

    def _evidence(self, handle: Handle, outcome: Mapping[str, Any]) -> Evidence:
        self._launchers.pop(handle.folder, None)
        exception = read_json(handle.folder / "exception.json") or {}
        # What the launcher never acted upon did not end the trial.
        reason = outcome.get("stop_reason")
        return Evidence(
            **{name: outcome[name] for name in _MEASURED if name in outcome},
            stop_reason=StopReason(reason) if reason is not None else None,
            exception=str(exception["type"]) if "type" in exception else None,
            exception_message=str(exception.get("message", "")),
            error_tail=tail(handle.folder),
        )

    def stop(self, handle: Handle, reason: StopReason, *, at_once: bool = False) -> None:
        """Ask it to stop; `at_once` kills it without grace."""
        if handle.stop_asked is None:
            handle.stop_asked = reason
        elif not at_once:
            return
        content = {"reason": handle.stop_asked, "at_once": at_once}
        write_atomically(handle.folder / "stop", content)
        # Not claimed yet: whoever comes first decides.
        launcher = self._launcher(handle.folder) or self._abandon(handle.folder)
        if launcher != _ABANDONED and start_ticks(launcher["pid"]) == launcher["start"]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(launcher["pid"], signal.SIGTERM)

    def wait(self, seconds: float, deadline: float = math.inf, *, thinking: bool = False) -> None:
        """Wait until a trial reports or ends, or the time is up."""
        ready, _, _ = select.select([self._fifo], [], [], max(0.0, min(seconds, deadline)))
        if ready:
            with contextlib.suppress(BlockingIOError):
                os.read(self._fifo, 1 << 16)

    def wake(self) -> None:
        """End a running `wait`, from another thread or a signal handler."""
        with contextlib.suppress(BlockingIOError):
            os.write(self._fifo, b"\n")

    def close(self) -> None:
        """Close the server and the FIFO; attempts go on under their launchers."""
        self._close_server()
        os.close(self._fifo)

    def _close_server(self) -> None:
        assert self._server.stdin is not None
        assert self._server.stdout is not None
        with contextlib.suppress(BrokenPipeError):
            self._server.stdin.close()
        self._server.stdout.close()
        self._server.wait()


def _written_at(path: Path) -> float:
    """Return when a file was last written, on the monotonic clock; now if that cannot be told."""
    now = time.monotonic()
    try:
        return now - max(0.0, time.time() - path.stat().st_mtime)
    except OSError:  # the trial removed it, or locked its folder
        return now


def tail(folder: Path, name: str = "stderr.log", lines: int | None = None) -> str:
    """Return the last few thousand characters (or lines) of an attempt's log; untrusted text."""
    try:
        with (folder / name).open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - _TAIL_BYTES))
            text = file.read().decode("utf-8", "replace")
    except FileNotFoundError:
        return ""
    return text if lines is None else "\n".join(text.splitlines()[-lines:])


def _kill_what_is_left(launcher: Mapping[str, Any]) -> None:
    """Kill the trial of a launcher that was lost, which could not clean up after it."""
    trial = launcher.get("trial")
    # Its number may belong to another process by now.
    if trial is not None and start_ticks(trial["pid"]) in (None, trial["start"]):
        kill_session(trial["pid"])
