"""The trial's own process, from the fork to the user's first line, and how its end is written down.

It is forked ahead, while nobody waits, and sleeps until its launcher hands it a request.
"""

from __future__ import annotations

import contextlib
import functools
import os
import signal
import sys
import traceback
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NoReturn

from .folder import write_atomically
from .processes import die_with_parent, volunteer_as_victim
from .request import REHEARSAL, Request, decode, encode

_NUMERIC = {"numpy", "scipy", "sklearn", "torch"}


class Trial:
    """A trial's process as its launcher holds it."""

    status = 0
    """How it ended, as `os.wait4` tells it."""
    usage: Any = None
    """What it used, once it has ended and is collected."""

    def __init__(self) -> None:
        """Fork it; it runs nothing before it gets its request."""
        receive, send = os.pipe()
        self.stdout, stdout = os.pipe()
        self.stderr, stderr = os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            with exit_always():
                for number, descriptor in enumerate((receive, stdout, stderr)):
                    os.dup2(descriptor, number)
                os.closerange(3, 256)
                _sleep_and_run()
        for descriptor in (receive, stdout, stderr):
            os.close(descriptor)
        self._pipe = os.fdopen(send, "wb", buffering=0)

    def hand(self, line: bytes) -> None:
        """Hand it its request, for which it gets ready."""
        self._send(line)

    def go(self) -> None:
        """Let it run."""
        self._send(b"\n")
        self._pipe.close()

    def _send(self, line: bytes) -> None:
        with contextlib.suppress(BrokenPipeError):  # it was killed, which is told by its status
            self._pipe.write(line)

    def ended(self) -> bool:
        """Tell whether it has ended, and collect it and every orphan that was left to us."""
        with contextlib.suppress(ChildProcessError):
            while True:
                pid, status, usage = os.wait4(-1, os.WNOHANG)
                if pid == 0:
                    break
                if pid == self.pid:
                    self.status, self.usage = status, usage
        return self.usage is not None


@contextlib.contextmanager
def exit_always() -> Iterator[None]:
    """Never come back from a forked process; what went wrong is printed."""
    code = 1
    try:
        yield
        code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(code)


def _sleep_and_run() -> None:
    signal.set_wakeup_fd(-1)
    for number in (signal.SIGCHLD, signal.SIGTERM):
        signal.signal(number, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.setsid()
    die_with_parent()
    volunteer_as_victim()
    _rehearse()
    with open(0, "rb", closefd=False) as file:
        line = file.readline()
        if not line:  # its launcher has no use for it
            return
        request = decode(line)
        if request.command is None:
            _settle_in(request)
        if not file.readline():  # the attempt is somebody else's
            return
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.close(null)
    if request.command is not None:
        _become(request, request.command)
    _run_python(request)


def _rehearse() -> None:
    """Do once what is going to be done, for nothing.

    A page that a fork shares is copied when it is first written to, and Python writes to all that
    it uses. Copied now, while nobody waits, it is not copied between the request and the trial.
    """
    from .entry import run_entry

    decode(encode(REHEARSAL))
    limit_threads({"OMP_NUM_THREADS": "1"})
    run_entry({"reference": f"{__name__}:rehearsed"})


def rehearsed(configuration: Mapping[str, Any]) -> None:
    """Train nothing."""


def _become(request: Request, command: list[str]) -> NoReturn:
    """Become the script; where it cannot start, standard error says why."""
    for number in (signal.SIGPIPE, signal.SIGXFSZ):  # which Python ignores
        signal.signal(number, signal.SIG_DFL)
    try:
        os.chdir(request.working_directory)
        os.execvpe(command[0], command, request.environment)
    except OSError as error:
        os.write(2, f"{command[0]}: {error}\n".encode())
        os._exit(127)


def _settle_in(request: Request) -> None:
    """Make this process what a Python trial shall find."""
    os.environ.clear()
    os.environ.update(request.environment)
    os.chdir(request.working_directory)
    sys.path[:] = request.import_path
    sys.stdout = open(1, "w", buffering=1, encoding="utf-8", closefd=False)
    sys.stderr = open(2, "w", buffering=1, encoding="utf-8", closefd=False)
    limit_threads(request.environment)


def _run_python(request: Request) -> NoReturn:
    sys.stdin = open(0, encoding="utf-8", closefd=False)
    code = 0
    try:
        from .entry import run_entry

        assert request.entry is not None
        run_entry(request.entry)
    except SystemExit as exit_request:
        code = exit_request.code if isinstance(exit_request.code, int) else 1
        if exit_request.code is None:
            code = 0
        elif not isinstance(exit_request.code, int):
            print(exit_request.code, file=sys.stderr)
    except BaseException as error:
        code = _tell(error, Path(request.folder))
    finally:
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(OSError, ValueError):  # the trial closed it
                stream.flush()
        os._exit(code)


def _tell(error: BaseException, folder: Path) -> int:
    """Write down what ended a Python trial, and return its exit code."""
    kind = f"{type(error).__module__}.{type(error).__qualname__}".removeprefix("builtins.")
    pruned = kind.endswith(".TrialPruned")
    if not pruned:
        with contextlib.suppress(OSError, ValueError):
            traceback.print_exc()
    # It asks for the message without trusting it to be there.
    message = str(traceback.TracebackException.from_exception(error))
    with contextlib.suppress(OSError):  # on a full disk, say; the traceback tells it as well
        write_atomically(folder / "exception.json", {"type": kind, "message": message[:2000]})
    return 0 if pruned else 1


@functools.cache
def thread_pools() -> Any:
    """Return the thread pools of the numeric libraries that are loaded, None if none is.

    Looking them up is slow, so the server does it once for all trials.
    """
    if not _NUMERIC & sys.modules.keys():
        return None
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController()


def limit_threads(environment: Mapping[str, str]) -> None:
    """Give the libraries that are loaded already the threads that a trial may use.

    Those that it imports itself read `OMP_NUM_THREADS` and the like, which come too late for these.
    """
    first = environment.get("OMP_NUM_THREADS", "").partition(",")[0]
    given = int(first) if first.isdecimal() else 0
    threads = given or len(os.sched_getaffinity(0))
    torch = sys.modules.get("torch")
    if torch is not None and torch.get_num_threads() != threads:
        torch.set_num_threads(threads)
    pools = thread_pools()
    if pools is not None:
        pools.limit(limits=threads)
