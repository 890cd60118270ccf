"""The process in the sandbox: raises its walls, then runs the code; needs the standard library.

It reads one job as JSON from standard input and writes one answer to standard output: `values`, or
the `type`, `message` and `line` of an error. A wall that cannot be raised is such an error, and
then no line of the code has run.
"""

from __future__ import annotations

import ctypes
import json
import os
import platform
import resource
import stat
import struct
import sys
from typing import Any, NoReturn

_FILE = "<recipe>"
_LONGEST_MESSAGE = 2_000
_OPEN_FILES = 256

_NO_NEW_PRIVILEGES, _SECCOMP, _FILTER = 38, 22, 2
_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446  # Landlock
_READ_FILE, _READ_DIR = 1 << 2, 1 << 3
_RIGHTS = {1: 13, 2: 14, 3: 15, 4: 15, 5: 16}
"""How many rights over files each version of Landlock knows; later ones know no more."""

# linux/filter.h, linux/seccomp.h, linux/audit.h, asm/unistd.h
_LOAD, _EQUAL, _AT_LEAST, _ANY_BIT, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
_ALLOW, _KILL, _EPERM, _ENOSYS = 0x7FFF0000, 0x80000000, 0x00050001, 0x00050026
_NUMBER, _ARCHITECTURE, _FIRST_ARGUMENT = 0, 4, 16
_MACHINES = {"x86_64": (0xC000003E, 56), "aarch64": (0xC00000B7, 220)}
"""The machine as the filter sees it, and the number of its clone."""
_X32 = 0x40000000
_CLONE3, _CLONE_THREAD = 435, 0x00010000
_DENIED = {
    "x86_64": (
        *(57, 58, 59, 322),  # fork, vfork, execve, execveat
        *(41, 425),  # socket (Landlock lets a process connect to any socket file), io_uring_setup
        *(157, 109, 112),  # prctl, setpgid, setsid: it could outlive who started it
        *(101, 310, 311, 434, 438),  # ptrace, process_vm_readv, …_writev, pidfd_open, pidfd_getfd
        *(76, 90, 91, 268, 452),  # truncate, chmod in its forms: Landlock leaves them
        *(92, 93, 94, 260),  # chown
        *(132, 235, 261, 280),  # utime
        *(188, 189, 190, 197, 198, 199, 463, 466),  # setxattr and removexattr
        *(29, 68, 240, 319),  # shmget, msgget, mq_open, memfd_create: memory that is not counted
        *(165, 166, 155, 161, 272, 308),  # mount, umount2, pivot_root, chroot, unshare, setns
        *(428, 429, 430, 431, 432, 433, 442),  # open_tree, move_mount, fsopen … mount_setattr
        *(246, 320, 175, 313),  # kexec_load, kexec_file_load, init_module, finit_module
        *(248, 249, 250),  # add_key, request_key, keyctl
        *(298, 321, 323, 303, 304),  # perf_event_open, bpf, userfaultfd, …_handle_at
    ),
    "aarch64": (  # in the same order; it has no fork, chmod, utime by path alone
        *(221, 281),
        *(198, 425),
        *(167, 154, 157),
        *(117, 270, 271, 434, 438),
        *(45, 52, 53, 452),
        *(54, 55),
        *(88,),
        *(5, 6, 7, 14, 15, 16, 463, 466),
        *(194, 186, 180, 279),
        *(40, 39, 41, 51, 97, 268),
        *(428, 429, 430, 431, 432, 433, 442),
        *(104, 294, 105, 273),
        *(217, 218, 219),
        *(241, 280, 282, 264, 265),
    ),
}

_libc = ctypes.CDLL(None, use_errno=True)


def main() -> None:
    """Answer one job."""
    answers = os.dup(1)
    try:
        with open(0, "rb") as stdin:
            job = json.load(stdin)
        # What the code prints is not the answer.
        nowhere = os.open(os.devnull, os.O_RDWR)
        for descriptor in range(3):
            os.dup2(nowhere, descriptor)
        sys.path += job["path"]
        _raise_walls(job["readable"], job["memory_bytes"])
        answer = json.dumps({"values": _call(job)}, default=_plain, allow_nan=False)
    except BaseException as error:  # the code may raise anything, and `SystemExit` is no answer
        answer = json.dumps(_told(error))
    _send(answers, answer.encode())


def _call(job: dict[str, Any]) -> list[Any]:
    if "torch" in job["code"]:
        import tempfile

        tempfile.tempdir = "/"  # torch wants to know of a folder, in which it cannot write either
    scope: dict[str, Any] = {"__name__": "recipe"}
    exec(compile(job["code"], _FILE, "exec"), scope)
    function = scope.get(job["function"])
    if not callable(function):
        raise NameError(f"the code defines no function {job['function']!r}")
    return [function(*given) for given in job["inputs"]]


def _plain(value: Any) -> Any:
    """Return NumPy's arrays and numbers as JSON has them."""
    if hasattr(value, "tolist"):
        return value.tolist()
    raise TypeError(f"{type(value).__name__} is no value of JSON, which the function must return")


def _told(error: BaseException) -> dict[str, Any]:
    line = error.lineno if isinstance(error, SyntaxError) else None
    trace = error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == _FILE:
            line = trace.tb_lineno
        trace = trace.tb_next
    return {"type": type(error).__name__, "message": _message(error), "line": line}


def _message(error: BaseException) -> str:
    try:
        return str(error)[:_LONGEST_MESSAGE]
    except Exception:  # the code's own class
        return "its message could not be read"


def _send(answers: int, answer: bytes) -> NoReturn:
    while answer:
        answer = answer[os.write(answers, answer) :]
    os._exit(0)  # exit handlers and threads of the code get no turn


def _raise_walls(readable: list[str], memory_bytes: int) -> None:
    """Give up all that the code must not have.

    Raises:
        OSError: If the kernel does not take it away.
    """
    limits = {
        resource.RLIMIT_AS: memory_bytes,
        resource.RLIMIT_CORE: 0,
        resource.RLIMIT_FSIZE: 0,
        resource.RLIMIT_NOFILE: _OPEN_FILES,
    }
    for limit, most in limits.items():
        hard = resource.getrlimit(limit)[1]
        most = most if hard == resource.RLIM_INFINITY else min(most, hard)
        resource.setrlimit(limit, (most, most))
    _checked("no new privileges", _libc.prctl(_NO_NEW_PRIVILEGES, 1, 0, 0, 0))
    _allow_reading(readable)
    _filter_calls()


def _allow_reading(paths: list[str]) -> None:
    """Let these files and folders be read, and nothing else of the file system be touched."""
    version = _checked("Landlock", _libc.syscall(_CREATE_RULESET, None, 0, 1))
    rights = (1 << _RIGHTS[min(version, max(_RIGHTS))]) - 1
    handled = struct.pack("Q", rights)
    ruleset = _checked("Landlock", _libc.syscall(_CREATE_RULESET, handled, len(handled), 0))
    for path in paths:
        try:
            descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC)
        except FileNotFoundError:
            continue
        is_folder = stat.S_ISDIR(os.fstat(descriptor).st_mode)
        allowed = _READ_FILE | _READ_DIR if is_folder else _READ_FILE
        rule = struct.pack("=Qi", allowed, descriptor)
        _checked("Landlock", _libc.syscall(_ADD_RULE, ruleset, 1, rule, 0))
        os.close(descriptor)
    _checked("Landlock", _libc.syscall(_RESTRICT_SELF, ruleset, 0))
    os.close(ruleset)


def _filter_calls() -> None:
    """Have the kernel refuse system calls; those that start a thread stay."""
    machine = platform.machine()
    architecture, clone = _MACHINES[machine]
    code = [
        (_LOAD, 0, 0, _ARCHITECTURE),
        (_EQUAL, 1, 0, architecture),
        (_RETURN, 0, 0, _KILL),
        (_LOAD, 0, 0, _NUMBER),
        (_AT_LEAST, 0, 1, _X32),  # the same calls by other numbers, on x86-64
        (_RETURN, 0, 0, _KILL),
        (_EQUAL, 0, 1, _CLONE3),  # its flags lie in memory; C libraries fall back on clone
        (_RETURN, 0, 0, _ENOSYS),
    ]
    for number in _DENIED[machine]:
        code += [(_EQUAL, 0, 1, number), (_RETURN, 0, 0, _EPERM)]
    code += [
        (_EQUAL, 0, 3, clone),
        (_LOAD, 0, 0, _FIRST_ARGUMENT),
        (_ANY_BIT, 1, 0, _CLONE_THREAD),
        (_RETURN, 0, 0, _EPERM),
        (_RETURN, 0, 0, _ALLOW),
    ]
    program = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *step) for step in code))
    header = struct.pack("HxxxxxxP", len(code), ctypes.addressof(program))
    _checked("seccomp", _libc.prctl(_SECCOMP, _FILTER, header, 0, 0))


def _checked(wall: str, result: int) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{wall} is missing: {os.strerror(number)}")
    return result


if __name__ == "__main__":
    main()
