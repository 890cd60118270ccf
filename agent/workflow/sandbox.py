"""Runs code that a language model wrote where it can neither reach nor keep anything.

The code gets inputs and gives back values. Whoever calls judges the values, with labels that the
code never sees: a forged answer can only be a wrong one. The walls are the kernel's: namespaces of
its own (users, network, processes, IPC), Landlock (read the Python libraries, write nothing), a
seccomp filter (no process, program or socket), resource limits, an empty environment. They are no
defence against a hole in the kernel. A packaged data set can be read with its labels (scikit-learn
carries some), so what is scored must not be one as it is packaged.
"""

from __future__ import annotations

import functools
import json
import os
import platform
import selectors
import shutil
import signal
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from ...tools.errors import LuthierError

_JAIL = Path(__file__).with_name("jail.py")
_TOOLS = ("setpriv", "unshare")
_BLOCK = 1 << 16
_LONGEST_MESSAGE = 2_000
_ENVIRONMENT = {
    "LANG": "C.UTF-8",
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "TORCHINDUCTOR_CACHE_DIR": "/usr/lib",  # torch wants a folder that is there, and writes nothing
}


class SandboxError(LuthierError, RuntimeError):
    """Code cannot be isolated on this machine, so it is not run; or its inputs are no JSON."""


class CodeError(LuthierError, RuntimeError):
    """Code in the sandbox failed; its message is a stranger's."""

    def __init__(self, kind: str, message: str, line: int | None = None) -> None:
        """Say what failed.

        Args:
            kind: The type of the exception; `Killed` or `Malformed` if the sandbox found it out.
            message: Its message, at most 2,000 characters.
            line: The line of the code, from 1; None if unknown.
        """
        where = "" if line is None else f" in line {line}"
        super().__init__(f"{kind}{where}: {message}")
        self.kind, self.message, self.line = kind, message, line


@dataclass(frozen=True)
class Limits:
    """What a call may use."""

    seconds: float = 20.0
    """Wall time of the whole call, more than 0."""
    memory_bytes: int = 4 << 30
    """Address space, which libraries take more of than memory; scikit-learn needs about 1 GiB."""
    output_bytes: int = 8 << 20
    """Of the answer, as JSON."""

    def __post_init__(self) -> None:
        if min(self.seconds, self.memory_bytes, self.output_bytes) <= 0:
            raise SandboxError(f"the limits of a sandbox must be more than 0, but got {self}")


@dataclass(frozen=True)
class Outcome:
    """What one run came to."""

    values: list[Any] | None
    """One of JSON's values for each input, in their order; None if it failed. Their type and shape
    are the caller's to check."""
    error: CodeError | None
    seconds: float
    """Wall time."""


def run(
    code: str, function: str, inputs: Sequence[Sequence[Any]], limits: Limits | None = None
) -> Outcome:
    """Call a function of some code with each of the inputs, in one process that ends with it.

    Args:
        code: Python source; untrusted.
        function: The name of a function that it defines.
        inputs: The positional arguments of each call, of JSON's types (a tuple arrives as a list).
        limits: What it may use; by default 20 s, 4 GiB and 8 MiB of answers.

    Raises:
        SandboxError: If `available` has a reason against it, or the inputs are no JSON.
    """
    if reason := available():
        raise SandboxError(reason)
    return _run(code, function, inputs, limits or Limits())


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
    """Return why code cannot be isolated on this machine, None if it can.

    It is tried out once a process, by a call in the sandbox, which needs all of its walls.
    """
    hint = "code parameters cannot be trained here, texts and data can"
    if sys.platform != "linux" or platform.machine() not in ("x86_64", "aarch64"):
        system = f"{platform.system()} on {platform.machine()}"
        return f"the sandbox needs Linux on x86-64 or ARM, but this is {system}; {hint}"
    for tool in _TOOLS:
        if shutil.which(tool) is None:
            return f"the sandbox needs `{tool}` (Debian: util-linux); {hint}"
    tried = _run("def f(x):\n    return x", "f", [(7,)], Limits())
    if tried.values == [7]:
        return None
    reason = tried.error or "it answered something else"
    return (
        f"this machine does not let a process be isolated ({reason}); the kernel must offer user "
        f"namespaces, Landlock and seccomp, which containers often take away; {hint}"
    )


def _run(code: str, function: str, inputs: Sequence[Sequence[Any]], limits: Limits) -> Outcome:
    job = {
        "code": code,
        "function": function,
        "inputs": [list(given) for given in inputs],
        "readable": _readable(),
        "path": _libraries(),
        "memory_bytes": limits.memory_bytes,
    }
    try:
        text = json.dumps(job, allow_nan=False).encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise SandboxError(
            f"The inputs of {function!r} must be finite JSON, but {error}."
        ) from error
    begun = time.monotonic()
    with tempfile.TemporaryFile() as stdin:  # as a file it cannot block, whatever the child does
        stdin.write(text)
        stdin.seek(0)
        answer = _answer(_command(), stdin, limits, begun + limits.seconds)
    result = answer if isinstance(answer, CodeError) else _parse(answer, len(inputs))
    seconds = time.monotonic() - begun
    if isinstance(result, CodeError):
        return Outcome(None, result, seconds)
    return Outcome(result, None, seconds)


def _command() -> list[str]:
    setpriv, unshare = (shutil.which(tool) or tool for tool in _TOOLS)
    dies_with_us = [setpriv, "--pdeathsig", "KILL", "--"]
    walls = [unshare, "--user", "--net", "--pid", "--ipc", "--fork", "--kill-child", "--"]
    return [*dies_with_us, *walls, sys.executable, "-I", "-S", str(_JAIL)]


def _libraries() -> list[str]:
    return sorted({sysconfig.get_path(name) for name in ("purelib", "platlib")})


def _readable() -> list[str]:
    """Return the folders of Python and of the libraries that it loads."""
    python = {sysconfig.get_path(name) for name in ("stdlib", "platstdlib")}
    shared = ("/lib", "/lib64", "/usr/lib", "/usr/lib64", "/etc/ld.so.cache", "/dev/urandom")
    return sorted({*python, *_libraries(), str(Path(sys.base_prefix) / "lib"), *shared})


def _answer(
    command: list[str], stdin: IO[bytes], limits: Limits, deadline: float
) -> bytes | CodeError:
    """Return what a process wrote before it ended by itself, or why that is worth nothing."""
    with subprocess.Popen(
        command,
        stdin=stdin,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=_ENVIRONMENT,
        cwd="/",
        start_new_session=True,
    ) as process:
        try:
            assert process.stdout is not None
            written = _read(process.stdout, limits.output_bytes, deadline)
            if len(written) > limits.output_bytes:
                return CodeError("Killed", f"it wrote more than {limits.output_bytes} bytes")
            code = process.wait(max(0.0, deadline - time.monotonic()))
        except (TimeoutError, subprocess.TimeoutExpired):
            return CodeError("Killed", f"it took longer than {limits.seconds:g} s")
        finally:
            process.kill()  # its children die with it, and cannot help it
    if code:
        how = f"by {signal.Signals(-code).name}" if code < 0 else f"with exit code {code}"
        return CodeError("Killed", f"it ended {how} before it answered")
    return written


def _read(pipe: IO[bytes], most: int, deadline: float) -> bytes:
    """Read to the end, or to the first block past `most` bytes.

    Raises:
        TimeoutError: At the deadline.
    """
    written = bytearray()
    with selectors.DefaultSelector() as selector:
        selector.register(pipe, selectors.EVENT_READ)
        while len(written) <= most:
            if not selector.select(max(0.0, deadline - time.monotonic())):
                raise TimeoutError
            block = os.read(pipe.fileno(), _BLOCK)
            if not block:
                break
            written += block
    return bytes(written)


def _parse(answer: bytes, count: int) -> list[Any] | CodeError:
    """Read an answer, which the code may have written as it liked."""
    if not answer:
        return CodeError("Killed", "it ended before it answered")
    try:
        data = json.loads(answer, parse_constant=_refuse)
    except (ValueError, RecursionError):
        return CodeError("Malformed", "its answer is no JSON")
    match data:
        case {"values": list(values)} if len(data) == 1 and len(values) == count:
            return values
        case {"type": str(kind), "message": str(message), "line": int() | None as line}:
            return CodeError(kind[:100], message[:_LONGEST_MESSAGE], line)
    return CodeError("Malformed", f"its answer is neither {count} values nor an error")


def _refuse(constant: str) -> None:
    raise ValueError(constant)
