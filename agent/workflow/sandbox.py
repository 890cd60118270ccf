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

_CHILD = Path(__file__).with_name("sandbox_child.py")
_TOOLS = ("setpriv", "unshare")
_BLOCK = 1 << 16
_LONGEST_MESSAGE = 2_000
_ENVIRONMENT = {"LANG": "C.UTF-8", "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}


class SandboxError(LuthierError):
    """Code cannot be isolated here, or what it was to be given is no JSON."""


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
class Failure:
    """Why there are no values; untrusted text."""

    type: str
    """Of the exception, or `Timeout`, `Flood`, `Died`, `Forged` for what the sandbox saw itself."""
    message: str
    """At most 2,000 characters."""
    line: int | None = None
    """Of the code, from 1; None where it is not known."""


@dataclass(frozen=True)
class Outcome:
    """What a call gave: values, or an error."""

    values: tuple[Any, ...]
    """One of JSON's values an input, in their order; empty if there is an error. Their type and
    shape are the caller's to check."""
    error: Failure | None
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
        raise SandboxError(f"Code cannot be run: {reason}.")
    return _run(code, function, inputs, limits or Limits())


@functools.cache
def available() -> str | None:
    """Return None if code can be isolated on this machine, else the reason why not.

    It is found out once a process by a call in the sandbox itself, which needs all of its walls.
    """
    if sys.platform != "linux" or platform.machine() != "x86_64":
        system = f"{platform.system()} on {platform.machine()}"
        return f"the sandbox needs Linux on x86_64, but this is {system}"
    for tool in _TOOLS:
        if shutil.which(tool) is None:
            return f"the sandbox needs the program `{tool}` of util-linux, and it is not installed"
    outcome = _run("def ready():\n    return True\n", "ready", [()], Limits())
    if outcome.values == (True,):
        return None
    error = outcome.error
    told = f"{error.type}: {error.message}" if error else "it gave a wrong answer"
    return (
        f"this machine cannot isolate a process ({told}); the kernel must offer user namespaces, "
        "Landlock and seccomp, which containers often take away"
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
    result = answer if isinstance(answer, Failure) else _parse(answer, len(inputs))
    seconds = time.monotonic() - begun
    if isinstance(result, Failure):
        return Outcome((), result, seconds)
    return Outcome(result, None, seconds)


def _command() -> list[str]:
    setpriv, unshare = (shutil.which(tool) or tool for tool in _TOOLS)
    dies_with_us = [setpriv, "--pdeathsig", "KILL", "--"]
    walls = [unshare, "--user", "--net", "--pid", "--ipc", "--fork", "--kill-child", "--"]
    return [*dies_with_us, *walls, sys.executable, "-I", "-S", str(_CHILD)]


def _libraries() -> list[str]:
    return sorted({sysconfig.get_path(name) for name in ("purelib", "platlib")})


def _readable() -> list[str]:
    """Return the folders of Python and of the libraries that it loads."""
    python = {sysconfig.get_path(name) for name in ("stdlib", "platstdlib")}
    shared = ("/lib", "/lib64", "/usr/lib", "/usr/lib64", "/etc/ld.so.cache")
    return sorted({*python, *_libraries(), str(Path(sys.base_prefix) / "lib"), *shared})


def _answer(
    command: list[str], stdin: IO[bytes], limits: Limits, deadline: float
) -> bytes | Failure:
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
                return Failure("Flood", f"It wrote more than {limits.output_bytes} bytes.")
            code = process.wait(max(0.0, deadline - time.monotonic()))
        except (TimeoutError, subprocess.TimeoutExpired):
            return Failure("Timeout", f"It took more than {limits.seconds:g} s.")
        finally:
            process.kill()  # its children die with it, and cannot help it
    if code:
        how = f"by {signal.Signals(-code).name}" if code < 0 else f"with exit code {code}"
        return Failure("Died", f"The process ended {how} before it answered.")
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


def _parse(answer: bytes, count: int) -> tuple[Any, ...] | Failure:
    """Read an answer, which the code may have written as it liked."""
    if not answer:
        return Failure("Died", "The process ended before it answered.")
    try:
        data = json.loads(answer, parse_constant=_refuse)
    except (ValueError, RecursionError):
        return Failure("Forged", "The answer is no JSON.")
    match data:
        case {"values": list(values)} if len(data) == 1 and len(values) == count:
            return tuple(values)
        case {"type": str(kind), "message": str(message), "line": int() | None as line}:
            return Failure(kind[:100], message[:_LONGEST_MESSAGE], line)
    return Failure("Forged", f"The answer has not the shape of {count} values or of an error.")


def _refuse(constant: str) -> None:
    raise ValueError(constant)
