"""The fork server: holds the modules that trials need, so that no trial pays for importing them.

It forks a launcher a request, some of them ahead: a copy of a large process takes tens of
milliseconds, in which a free device would wait. Only the standard library is imported before the
fork, besides the modules asked for. CUDA is never touched, and no thread is started.

python -m luthier.tools.executors.server MODULE...     reads requests, one a line, until they end
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import os
import select
import signal
import sys
from collections import deque
from typing import NoReturn

from .launcher import launch
from .trial import exit_always, thread_pools

SPARES = 4
"""Launchers that wait for a request; several trials often end at the same time."""
_QUIET_SECONDS = 0.01
"""How long nobody must have asked before another is made, which slows a trial that just begins."""
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
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    spares: deque[int] = deque()
    received = b""
    while True:
        # Who has asked already is not kept waiting for those who may ask later.
        while len(spares) < SPARES and not (spares and _is_asked(_QUIET_SECONDS)):
            spares.append(_fork_launcher())
        block = os.read(0, 1 << 16)
        if not block:
            os._exit(0)
        *lines, received = (received + block).split(b"\n")
        for line in lines:
            while not _hand_over(line, spares.popleft() if spares else _fork_launcher()):
                pass  # somebody killed it in its sleep


def _is_asked(seconds: float) -> bool:
    """Wait for a request, and tell whether one came in time."""
    return bool(select.select([0], [], [], seconds)[0])


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
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(receive, 0)
        os.dup2(null, 1)
        # The server's pipes tell of its end by their closing, so nobody else holds them.
        os.closerange(3, 256)
        with exit_always():
            launch()
    os.close(receive)
    return send


def _hand_over(line: bytes, send: int) -> bool:
    """Give a launcher its request; tell whether it was alive to take it."""
    try:
        with open(send, "wb") as file:
            file.write(line + b"\n")
    except BrokenPipeError:
        return False
    return True


if __name__ == "__main__":
    serve(sys.argv[1:])
