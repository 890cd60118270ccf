"""Runs code that a language model wrote, where it can reach nothing and nobody.

The child has namespaces of its own (no network, no other process), Landlock (no file but Python's,
and a folder that is deleted), seccomp (no new process, no socket), limits of memory, time and file
size, and an empty environment. It answers with values only: labels never enter it, and whoever asks
does the scoring. Where any of that is missing nothing is run at all. The kernel is shared, so this
is no defence against a hole in the kernel.
"""

from __future__ import annotations

import functools
import json
import os
import platform
import shutil
import signal
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ...tools.errors import LuthierError

_UNSHARE = ("--user", "--map-root-user", "--net", "--pid", "--ipc", "--uts", "--fork")
_SYSTEM = ("/usr", "/lib", "/lib64", "/etc/ld.so.cache", "/dev/null", "/dev/urandom")


class SandboxError(LuthierError, RuntimeError):
    """Code cannot be isolated on this machine, so it is not run."""


class CodeError(LuthierError, RuntimeError):
    """Code in the sandbox failed; its message is a stranger's."""

    def __init__(self, kind: str, message: str, line: int | None) -> None:
        """Say what failed.

        Args:
            kind: The type of the exception, or `Killed`.
            message: Its message.
            line: The line of the code, from 1; None if unknown.
        """
        where = "" if line is None else f" in line {line}"
        super().__init__(f"{kind}{where}: {message}")
        self.kind, self.message, self.line = kind, message, line


@dataclass(frozen=True)
class Limits:
    """What one run may take."""

    seconds: float = 20.0
    """Wall time; the same in CPU seconds."""
    memory_bytes: int = 2 << 30
    """Address space."""
    file_bytes: int = 16 << 20
    """The largest file that it may write, its answer included."""


@dataclass(frozen=True)
class Outcome:
    """What one run came to."""

    values: list[Any] | None
    """One value for each input, JSON-like; None if it failed."""
    error: CodeError | None
    seconds: float


def run(
    code: str,
    function: str,
    inputs: Sequence[Sequence[Any]],
    limits: Limits = Limits(),
) -> Outcome:
    """Call a function of some code with each of the inputs, in a process that is locked in.

    Args:
        code: Python source.
        function: The name of a function that it defines.
        inputs: Positional arguments of each call, JSON-like.
        limits: What all calls together may take.

    Raises:
        SandboxError: If it cannot be isolated here; nothing was run.
    """
    if (why := available()) is not None:
        raise SandboxError(why)
    return _run(code, function, inputs, limits)


def call(code: str, function: str, inputs: Sequence[Sequence[Any]], **limits: Any) -> list[Any]:
    """Return the values of `run`.

    Raises:
        CodeError: If the code failed.
        SandboxError: As of `run`.
    """
    outcome = run(code, function, inputs, Limits(**limits))
    if outcome.error is not None:
        raise outcome.error
    assert outcome.values is not None
    return outcome.values


@functools.cache
def available() -> str | None:
    """Return why code cannot be isolated on this machine, None if it can; it is tried out once."""
    hint = "code parameters cannot be trained here, texts and data can"
    if sys.platform != "linux" or platform.machine() not in ("x86_64", "aarch64"):
        return f"the sandbox needs Linux on x86-64 or ARM; {hint}"
    if shutil.which("unshare") is None:
        return f"the sandbox needs `unshare` (Debian: util-linux); {hint}"
    tried = _run("def f(x):\n    return x", "f", [(7,)], Limits())
    if tried.values != [7]:
        reason = tried.error.message if tried.error is not None else "it answered something else"
        return f"this machine does not let a process be isolated ({reason}); {hint}"
    return None


def _run(code: str, function: str, inputs: Sequence[Sequence[Any]], limits: Limits) -> Outcome:
    request = {
        "code": code,
        "function": function,
        "inputs": [list(given) for given in inputs],
        "limits": asdict(limits),
        "readable": sorted({*_SYSTEM, *_python_folders()}),
    }
    jail = str(Path(__file__).with_name("jail.py"))
    command = ["unshare", *_UNSHARE, "--kill-child", sys.executable, "-I", jail]
    begun = time.monotonic()
    with (
        tempfile.TemporaryDirectory(prefix="luthier-jail-") as folder,
        # Files, not pipes: of them the kernel lets it write no more than its limit.
        tempfile.TemporaryFile() as answer,
        tempfile.TemporaryFile() as complaint,
        subprocess.Popen(
            command,
            cwd=folder,
            env={"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "PATH": os.defpath},
            stdin=subprocess.PIPE,
            stdout=answer,
            stderr=complaint,
            start_new_session=True,
        ) as process,
    ):
        failure = _wait(process, json.dumps(request).encode(), limits.seconds)
        answer.seek(0)
        complaint.seek(0)
        if failure is None and (process.returncode != 0 or not answer.read(1)):
            last = complaint.read().decode("utf-8", "replace").strip().splitlines()[-1:]
            message = f"it ended with status {process.returncode}: {''.join(last)[:300]}"
            failure = CodeError("Killed", message.removesuffix(": "), None)
        answer.seek(0)
        text = answer.read()
    seconds = time.monotonic() - begun
    return Outcome(None, failure, seconds) if failure is not None else _outcome(text, seconds)


def _wait(process: subprocess.Popen[bytes], request: bytes, seconds: float) -> CodeError | None:
    """Wait for its end, and return why it was killed, if it was."""
    try:
        process.communicate(request, timeout=seconds)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        return CodeError("Killed", f"it took longer than {seconds:g} s", None)
    return None


def _outcome(answer: bytes, seconds: float) -> Outcome:
    def failed(message: str) -> Outcome:
        return Outcome(None, CodeError("Malformed", message, None), seconds)

    try:
        reply = json.loads(answer)
    except (ValueError, RecursionError):
        return failed("it answered no JSON")
    match reply:
        case {"values": list(values)}:
            return Outcome(values, None, seconds)
        case {"error": {"type": str(kind), "message": str(message), "line": line}}:
            number = line if isinstance(line, int) else None
            return Outcome(None, CodeError(kind[:80], message[:2000], number), seconds)
    return failed("it answered something else than values")


def _python_folders() -> set[str]:
    """Return where Python and its packages are."""
    paths = sysconfig.get_paths()
    names = ("stdlib", "platstdlib", "purelib", "platlib")
    return {*(paths[name] for name in names), sys.base_prefix, sys.prefix, sys.exec_prefix}
