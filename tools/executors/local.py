"""Runs trials on this machine, each under a launcher of its own."""

from __future__ import annotations

import contextlib
import json
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
from .launcher import (
    Request,
    claim,
    encode,
    session_of,
    start_ticks,
    without_secrets,
    write_atomically,
)
from .protocol import Handle

_START_SECONDS = 30.0
_TAIL_BYTES = 4000


class LocalExecutor:
    """Runs attempts as process groups under launchers forked from a preloaded server."""

    def __init__(
        self, study_folder: Path, preload: Sequence[str], environment: Mapping[str, str]
    ) -> None:
        """Start the fork server.

        Args:
            study_folder: Where the wake FIFO and the server's log go.
            preload: Modules that the server imports once for all trials.
            environment: Variables to set before they are imported (thread limits).
        """
        self._preload = list(preload)
        # Trials are forked from the server, so it must not know the secrets either.
        self._environment = without_secrets(os.environ) | dict(environment)
        self._log = study_folder / "executor.log"
        self._fifo_path = study_folder / "wake"
        self._fifo_path.unlink(missing_ok=True)
        os.mkfifo(self._fifo_path)
        # Opened for writing too, so that it never reads as closed.
        self._fifo = os.open(self._fifo_path, os.O_RDWR | os.O_NONBLOCK)
        self._server = self._start_server()

    def _start_server(self) -> subprocess.Popen[bytes]:
        with self._log.open("ab") as log:
            return subprocess.Popen(
                [sys.executable, "-P", "-m", "luthier.tools.executors.launcher", *self._preload],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                env=self._environment,
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
        claim(folder, {"abandoned": True})
        stop = read_json(folder / "stop") or {}
        return Handle(
            folder,
            MetricsFile(folder / "metrics.jsonl"),
            stop_asked=StopReason(stop["reason"]) if stop else None,
        )

    def reports(self, handle: Handle) -> list[Report]:
        """Return what it reported since the last call."""
        return handle.metrics.read_new()

    def ended(self, handle: Handle) -> Evidence | None:
        """Return the evidence of its end, None while it runs."""
        outcome = read_json(handle.folder / "outcome.json")
        if outcome is not None:
            return self._evidence(handle, outcome)
        process = read_json(handle.folder / "process.json")
        if process is None:
            if time.monotonic() - handle.asked_at < _START_SECONDS and self._server.poll() is None:
                return None
            claim(handle.folder, {"abandoned": True})
            process = read_json(handle.folder / "process.json")
        if process is None or "pid" not in process:
            return Evidence(started=False, stop_reason=handle.stop_asked)
        if start_ticks(int(process["pid"])) == process["start"]:
            return None
        # The launcher is gone; it may have written its last word between the two looks.
        outcome = read_json(handle.folder / "outcome.json")
        if outcome is None:
            _kill_session(handle.folder)
            return Evidence(stop_reason=handle.stop_asked, error_tail=tail(handle.folder))
        return self._evidence(handle, outcome)

    def _evidence(self, handle: Handle, outcome: Mapping[str, Any]) -> Evidence:
        exception = (read_json(handle.folder / "exception.json") or {}).get("type")
        known = {
            name: outcome[name]
            for name in ("exit_code", "signal", "kernel_oom_kills", "peak_bytes", "seconds")
            if name in outcome
        }
        # What the launcher never acted upon did not end the trial.
        reason = outcome.get("stop_reason")
        return Evidence(
            **known,
            stop_reason=StopReason(str(reason)) if reason is not None else None,
            exception=exception if isinstance(exception, str) else None,
            error_tail=str(outcome.get("error", "")) or tail(handle.folder),
        )

    def stop(self, handle: Handle, reason: StopReason, *, at_once: bool = False) -> None:
        """Ask it to stop; `at_once` kills it without grace."""
        if handle.stop_asked is None:
            handle.stop_asked = reason
            write_atomically(handle.folder / "stop", {"reason": reason})
        if at_once:
            (handle.folder / "kill").touch()
        process = read_json(handle.folder / "process.json")
        if process is None:
            # Not claimed yet: whoever comes first decides.
            claim(handle.folder, {"abandoned": True})
            process = read_json(handle.folder / "process.json")
        if process is not None and "pid" in process:
            pid = int(process["pid"])
            if start_ticks(pid) == process["start"]:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGTERM)

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


def _kill_session(folder: Path) -> None:
    """Kill what is left of a trial whose launcher was lost, which could not clean up after it."""
    trial = read_json(folder / "trial.json")
    if trial is None or start_ticks(trial["pid"]) not in (None, trial["start"]):
        return  # it never ran, or its number belongs to another process now
    for process in Path("/proc").glob("[0-9]*"):
        if session_of(int(process.name)) == trial["pid"]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(process.name), signal.SIGKILL)


def read_json(path: Path) -> dict[str, Any] | None:
    """Return the object of a JSON file; None if there is no such file, or something else in it."""
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return None
    return data if isinstance(data, dict) else None
