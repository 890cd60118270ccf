"""What runs inside the sandbox: the standard library alone, started by path with `python -I`.

It reads one request from standard input, locks itself in, and only then runs the code. File access
(Landlock), new processes and new sockets (seccomp) are given up for good; namespaces, which take
the network and the sight of other processes away, are made before it starts.
"""

import ctypes
import json
import os
import platform
import resource
import struct
import sys
import traceback
from pathlib import Path
from typing import Any

FILE = "<code>"
"""The name of the code in its tracebacks."""
_LANDLOCK = {"create": 444, "add": 445, "restrict": 446}
_READ = 1 << 0 | 1 << 2 | 1 << 3  # execute, read a file, list a folder
_ALL = (1 << 13) - 1
_NO_NEW_PRIVS, _SECCOMP = 38, 22
# clone, clone3, and what is refused outright: fork, vfork, execve, execveat, ptrace, socket,
# io_uring_setup, process_vm_readv, process_vm_writev
_CALLS = {
    "x86_64": (0xC000003E, 56, 435, (57, 58, 59, 322, 101, 41, 425, 310, 311)),
    "aarch64": (0xC00000B7, 220, 435, (221, 281, 117, 198, 425, 270, 271)),
}
_CLONE_THREAD = 0x00010000
_ALLOW, _EPERM, _ENOSYS, _KILL = 0x7FFF0000, 0x00050001, 0x00050026, 0x80000000


def main() -> None:
    """Answer the request on standard input on what was standard output."""
    answer = os.dup(1)
    null = os.open(os.devnull, os.O_RDWR)
    request = json.load(sys.stdin)
    for descriptor in (0, 1, 2):
        os.dup2(null, descriptor)
    _lock_in(request)
    try:
        reply = {"values": _values(request)}
        text = json.dumps(reply)
    except BaseException as error:
        text = json.dumps({"error": _told(error)})
    with os.fdopen(answer, "w", encoding="utf-8") as file:
        file.write(text)
    os._exit(0)


def _values(request: dict[str, Any]) -> list[Any]:
    space: dict[str, Any] = {"__name__": "code"}
    exec(compile(request["code"], FILE, "exec"), space)
    function = space[request["function"]]
    return [function(*given) for given in request["inputs"]]


def _told(error: BaseException) -> dict[str, Any]:
    lines = [f.lineno for f in traceback.extract_tb(error.__traceback__) if f.filename == FILE]
    if isinstance(error, SyntaxError) and error.filename == FILE:
        lines.append(error.lineno)
    return {
        "type": type(error).__name__,
        "message": str(error)[:2000],
        "line": lines[-1] if lines else None,
    }


def _lock_in(request: dict[str, Any]) -> None:
    limits = request["limits"]
    os.environ.clear()
    for name, value in (
        ("RLIMIT_AS", limits["memory_bytes"]),
        ("RLIMIT_CPU", int(limits["seconds"]) + 1),
        ("RLIMIT_FSIZE", limits["file_bytes"]),
        ("RLIMIT_NOFILE", 256),
        ("RLIMIT_CORE", 0),
    ):
        resource.setrlimit(getattr(resource, name), (value, value))
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_NO_NEW_PRIVS, 1, 0, 0, 0):
        raise OSError("no_new_privs was refused")
    _restrict_files(libc, request["readable"], str(Path.cwd()))
    _restrict_calls(libc)


def _restrict_files(libc: ctypes.CDLL, readable: list[str], folder: str) -> None:
    handled = struct.pack("QQQ", _ALL, 3, 3)  # files; TCP; abstract sockets and signals
    abi = libc.syscall(_LANDLOCK["create"], None, 0, 1)
    size = 24 if abi >= 6 else 16 if abi >= 4 else 8
    ruleset = libc.syscall(_LANDLOCK["create"], handled, size, 0)
    if ruleset < 0:
        raise OSError("Landlock was refused")
    for path, rights in [*((p, _READ) for p in readable), (folder, _ALL)]:
        try:
            opened = os.open(path, os.O_PATH | os.O_CLOEXEC)
        except FileNotFoundError:
            continue
        if not Path(path).is_dir():
            rights &= 1 << 0 | 1 << 1 | 1 << 2
        rule = struct.pack("=Qi", rights, opened)
        if libc.syscall(_LANDLOCK["add"], ruleset, 1, rule, 0):
            raise OSError(f"Landlock refused a rule for {path}")
        os.close(opened)
    if libc.syscall(_LANDLOCK["restrict"], ruleset, 0):
        raise OSError("Landlock was refused")
    os.close(ruleset)


def _restrict_calls(libc: ctypes.CDLL) -> None:
    machine, clone, clone3, refused = _CALLS[platform.machine()]
    load, equal, masked, back = 0x20, 0x15, 0x45, 0x06
    program = [
        (load, 0, 0, 4),
        (equal, 1, 0, machine),
        (back, 0, 0, _KILL),
        (load, 0, 0, 0),
        (equal, 0, 1, clone3),  # its flags cannot be looked at; libc falls back to clone
        (back, 0, 0, _ENOSYS),
    ]
    for number in refused:
        program += [(equal, 0, 1, number), (back, 0, 0, _EPERM)]
    program += [
        (equal, 1, 0, clone),
        (back, 0, 0, _ALLOW),
        (load, 0, 0, 16),
        (masked, 1, 0, _CLONE_THREAD),
        (back, 0, 0, _EPERM),
        (back, 0, 0, _ALLOW),
    ]
    code = b"".join(struct.pack("HBBI", *step) for step in program)
    text = ctypes.create_string_buffer(code)
    filters = struct.pack("HxxxxxxP", len(program), ctypes.addressof(text))
    if libc.prctl(_SECCOMP, 2, ctypes.c_char_p(filters), 0, 0):
        raise OSError("seccomp was refused")


if __name__ == "__main__":
    main()
