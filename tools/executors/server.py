"""The fork server: holds the modules that trials need, so that no trial pays for importing them.

It forks a launcher a request, always one ahead: a copy of a large process takes tens of
milliseconds, in which a free device would wait. Only the standard library is imported before the
fork, besides the modules asked for. CUDA is never touched, and no thread is started.

python -m luthier.tools.executors.server MODULE...     reads requests, one a line, until they end
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import os
import signal
import sys
from typing import NoReturn

from .launcher import launch
from .trial import exit_always, thread_pools

ENVIRONMENT = {
    # Numeric libraries must not start threads on their import, which a fork would lose.
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "NUMEXPR_NUM_THREADS": "1",
    "VECLIB_MAXIMUM_THREADS": "1",
    "BLIS_NUM_THREADS": "1",
    "JE_ARROW_MALLOC_CONF": "background_thread:false",
    # A heap of huge pages is forked, and given back, in half the time.
    "GLIBC_TUNABLES": "glibc.malloc.hugetlb=1",
}
"""Variables that the server is started with; a trial's own replace them."""


def serve(preload: list[str]) -> NoReturn:
    """Hand every request on standard input to a launcher of its own, until it closes."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _import(preload)
    requests = sys.stdin.buffer
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    spare = _fork_launcher()
    while line := requests.readline():
        while not _hand_over(line, spare):
            spare = _fork_launcher()
        spare = _fork_launcher()
    os._exit(0)


def _import(modules: list[str]) -> None:
    for module in modules:
        with contextlib.suppress(ImportError):  # the trial itself will say what is missing
            importlib.import_module(module)
    thread_pools()
    # Objects made so far are shared by every child: keep the collector from touching their pages.
    gc.collect()
    gc.freeze()


def _fork_launcher() -> int:
    """Fork a launcher, and return the pipe on which it waits for its request."""
    receive, send = os.pipe()
    if os.fork() == 0:
        # A launcher must not hold the pipes: by their closing it is told of the server's end.
        os.close(send)
        null = os.open(os.devnull, os.O_RDWR)
        os.dup2(null, 0)
        os.dup2(null, 1)
        with exit_always():
            launch(receive)
    os.close(receive)
    return send


def _hand_over(line: bytes, send: int) -> bool:
    """Give a launcher its request; tell whether it was alive to take it."""
    try:
        with open(send, "wb") as file:
            file.write(line)
    except BrokenPipeError:
        return False
    return True


if __name__ == "__main__":
    serve(sys.argv[1:])
