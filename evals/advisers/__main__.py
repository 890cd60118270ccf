"""Serves a simulated language model, to see what a study does with a good one or a bad one.

python -m luthier.evals.advisers textbook     until Ctrl-C
"""

from __future__ import annotations

import signal
import sys

from . import minds
from .server import serve

_MINDS = ("textbook", "novice", "stubborn", "garbage", "injecting")
"""Those that need no task whose truth they know."""


def main(arguments: list[str]) -> int:
    """Serve the mind that the first argument names, and say how to use it."""
    if len(arguments) != 1 or arguments[0] not in _MINDS:
        print(f"usage: python -m luthier.evals.advisers {{{','.join(_MINDS)}}}", file=sys.stderr)
        return 2
    with serve(getattr(minds, arguments[0])()) as server:
        print(f"export LUTHIER_LLM_BASE_URL={server.url}")
        print(f"export LUTHIER_LLM_MODEL={server.model}", flush=True)
        signal.sigwait({signal.SIGINT, signal.SIGTERM})
    return 0


if __name__ == "__main__":
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
    sys.exit(main(sys.argv[1:]))
