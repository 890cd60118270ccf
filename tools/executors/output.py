"""What a trial prints: copied to logs of bounded size, and read for metrics."""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from ..metrics import OutputReader
from .folder import wake, with_folder
from .request import Request

_BLOCK = 1 << 16
_MOST_LEFT = 1 << 20  # no pipe holds more
_TAIL_BYTES = 64_000

OnLines = Callable[[list[bytes]], None]


class Pump:
    """Copies a pipe to a log, of which it keeps the head and the tail, and hands whole lines on."""

    def __init__(self, descriptor: int, log: Path, limit: int, on_lines: OnLines | None) -> None:
        """Begin with an empty pipe.

        Args:
            descriptor: The end of the pipe that is read.
            log: The file that is appended to.
            limit: The most bytes that are written to it.
            on_lines: Called with the lines as they come, many at a time.
        """
        os.set_blocking(descriptor, False)
        self._descriptor = descriptor
        self._log: BinaryIO = log.open("ab", buffering=0)
        self._tail_bytes = min(_TAIL_BYTES, limit // 2)
        self._room = limit - self._tail_bytes
        self._left_out = 0
        self._tail = b""
        self._on_lines = on_lines
        self._partial = b""

    def copy(self) -> bool:
        """Copy a block if there is one, and tell whether the pipe is still open."""
        block = self._read()
        if block:
            self._take(block)
        return block != b""

    def close(self) -> None:
        """Copy what is left in the pipe, and end the log.

        Who holds its other end now is no process of the trial, and is not waited for.
        """
        for _ in range(_MOST_LEFT // _BLOCK):
            block = self._read()
            if not block:
                break
            self._take(block)
        if self._partial and self._on_lines is not None:
            self._on_lines([self._partial])
        with contextlib.suppress(OSError):
            if self._left_out:
                self._log.write(b"\n[... %d bytes left out ...]\n" % self._left_out)
            self._log.write(self._tail)
            self._log.close()
        os.close(self._descriptor)

    def _read(self) -> bytes | None:
        try:
            return os.read(self._descriptor, _BLOCK)
        except BlockingIOError:
            return None

    def _take(self, block: bytes) -> None:
        self._write(block)
        if self._on_lines is not None:
            *lines, rest = (self._partial + block).split(b"\n")
            self._partial = rest[-_BLOCK:]
            if lines:
                self._on_lines(lines)

    def _write(self, block: bytes) -> None:
        kept, rest = block[: self._room], block[self._room :]
        self._room -= len(kept)
        # A full disk costs the log, never the trial.
        with contextlib.suppress(OSError):
            self._log.write(kept)
        if rest:
            whole = self._tail + rest
            self._tail = whole[max(0, len(whole) - self._tail_bytes) :]
            self._left_out += len(whole) - len(self._tail)


class PrintedReports:
    """Appends the metrics that a trial prints to its metrics file."""

    def __init__(self, request: Request) -> None:
        """Look for the metrics that a request names."""
        self._folder = Path(request.folder)
        self._environment = request.environment
        self._reader = OutputReader(request.patterns, frozenset(request.metric_names))

    @property
    def found(self) -> bool:
        """Whether any line held a report so far."""
        return self._reader.found

    def read(self, lines: list[bytes]) -> None:
        """Look through lines, and append what they report, all at once."""
        if not self._reader.patterns:
            lines = [line for line in lines if b"{" in line]
        text = ""
        for line in lines:
            for report in self._reader.read(line.decode("utf-8", "replace")):
                step = {} if report.step is None else {"step": report.step}
                text += json.dumps({**step, "metrics": report.metrics, "time": time.time()}) + "\n"
        if text:
            with contextlib.suppress(OSError):
                with_folder(self._folder, lambda: self._append(text.encode()))
            wake(self._environment)

    def _append(self, text: bytes) -> None:
        with (self._folder / "metrics.jsonl").open("ab", buffering=0) as file:
            file.write(text)
