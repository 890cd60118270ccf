"""How long a device stands idle between two trials, beside what a bare fork server takes."""

from __future__ import annotations

import itertools
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from ..agent.limits import Policy
from ..agent.worker import run_study
from ..tools.executors.server import ENVIRONMENT
from ..tools.ledger import open_ledger
from ..tools.objective import preloads
from ..tools.records import TrialRecord
from ..tools.spec import StudySpec, parse_spec
from ..tools.study import open_or_create
from ..tools.workspace import Workspace

_SLOTS = 4
_TRIALS = 200
_STARTS = 100

_BARE_SERVER = """\
import gc, importlib, os, signal, sys, time
signal.signal(signal.SIGCHLD, signal.SIG_IGN)
for name in sys.argv[1:]:
    importlib.import_module(name)
gc.collect()
gc.freeze()
os.write(1, b"ready\\n")
while sys.stdin.buffer.readline():
    if os.fork() == 0:
        os.write(1, b"%r\\n" % time.time())
        os._exit(0)
"""


class IdleGap(NamedTuple):
    """How long devices stood idle, in seconds."""

    median: float
    high: float
    """The 95th percentile."""
    bare: float
    """What the start of a process by a bare fork server takes, median."""


def idle_gap(trials: int = _TRIALS) -> IdleGap:
    """Measure from a trial's last line to the next one's first on the same slot.

    Everything in between counts: the end of the process, the loop, the lease, the ledger, the start
    of the next one. The bare fork server holds the same modules and does nothing but fork.
    """
    import torch  # noqa: F401  what this process has imported, the trials' fork server holds

    spec = _spec(trials)
    with tempfile.TemporaryDirectory() as folder:
        workspace = Workspace(Path(folder))
        ledger = open_ledger(workspace.ledger_path)
        record = open_or_create(ledger, spec, Path.cwd())
        run_study(ledger, record, workspace, policy=Policy(patience_share=0.0))
        found = list(gaps(ledger.trials(record)))
        ledger.close()
    cuts = statistics.quantiles(found, n=20)
    return IdleGap(statistics.median(found), cuts[-1], bare_start(preloads(spec)))


def _spec(trials: int) -> StudySpec:
    return parse_spec(
        {
            "name": "naps",
            "objective": {"kind": "callable", "reference": "luthier.evals.trainings:nap"},
            "space": {"x": {"type": "float", "low": 0.0, "high": 1.0}},
            "metrics": {"value": {"direction": "minimize"}},
            "budget": {"trials": trials},
            "executor": {"device": "cpu", "slots": _SLOTS},
            "sampler": {"kind": "random"},
        }
    )


def gaps(trials: Iterable[TrialRecord]) -> Iterable[float]:
    """Yield how long each slot stood idle between two trials, in seconds."""
    by_slot: dict[str, list[TrialRecord]] = {}
    for trial in sorted(trials, key=lambda trial: trial.metrics["began"]):
        by_slot.setdefault(trial.attempts[-1].slot, []).append(trial)
    for row in by_slot.values():
        for before, after in itertools.pairwise(row):
            yield after.metrics["began"] - before.metrics["returned"]


def bare_start(modules: list[str]) -> float:
    """Return the time from a request to the child's first line, median, in seconds."""
    with subprocess.Popen(
        [sys.executable, "-c", _BARE_SERVER, *modules],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, **ENVIRONMENT},
    ) as server:
        assert server.stdin is not None
        assert server.stdout is not None
        server.stdout.readline()
        seconds = []
        for _ in range(_STARTS):
            asked = time.time()
            server.stdin.write(b"\n")
            server.stdin.flush()
            seconds.append(float(server.stdout.readline()) - asked)
        server.stdin.close()
    return statistics.median(seconds)
