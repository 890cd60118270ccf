"""How long a device stands idle between two trials, beside what a bare fork server takes."""

from __future__ import annotations

import itertools
import json
import os
import statistics
import struct
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable
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
_SLOW_SECONDS = 30.0

_BARE_SERVER = """\
import gc, importlib, os, struct, sys, time
slots, children, nap = int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])
for name in sys.argv[4:]:
    importlib.import_module(name)
gc.collect()
gc.freeze()
free, running = [(slot, time.time()) for slot in range(slots)], {}
def collect(options):
    while running:
        pid = os.waitpid(-1, options)[0]
        if pid == 0:
            break
        free.append((running.pop(pid), time.time()))
        options = os.WNOHANG
while children or running:
    while free and children:
        children -= 1
        slot, since = free.pop(0)
        pid = os.fork()
        if pid == 0:
            began = time.time()
            time.sleep(nap)
            os.write(1, struct.pack("iddd", slot, since, began, time.time()))
            os._exit(0)
        running[pid] = slot
        collect(os.WNOHANG)
    collect(0)
"""
"""Forks children and nothing else: no ledger, no lease, no output, no limits. Each child writes
its slot, and when the slot was free, when it began and when it returned."""


class IdleGap(NamedTuple):
    """How long devices stood idle, in seconds, medians but for `high`."""

    median: float
    """From the end of a trial's process to the first line of the next one."""
    high: float
    """The 95th percentile of that."""
    bare_start: float
    """The same of a bare fork server, as it hears of the end."""
    whole: float
    """From a trial's last line to the first line of the next one: with the end of its process."""
    bare: float
    """The same of a bare fork server."""
    advised: float
    """`median` with a language model that takes 30 s for every answer."""


def idle_gap(trials: int = _TRIALS) -> IdleGap:
    """Measure how long a device is free until the next trial's first line.

    Everything in between counts: the loop, the lease, the ledger, the start of the next one. The
    bare fork server holds the same modules, has as many children at a time, and does nothing but
    fork.
    """
    import torch  # noqa: F401  what this process has imported, the trials' fork server holds

    found, whole = _gaps_of(_spec(trials, adviser="off"))
    advised, _ = _gaps_beside_a_slow_model(trials)
    bare, bare_start = bare_gap(preloads(_spec(trials)), trials // 2)
    return IdleGap(
        statistics.median(found),
        statistics.quantiles(found, n=20)[-1],
        bare_start,
        statistics.median(whole),
        bare,
        statistics.median(advised),
    )


def _gaps_of(spec: StudySpec) -> tuple[list[float], list[float]]:
    """Run a study in which no proposal is waited for.

    Returns:
        Its gaps from the end of a trial's process, and from a trial's last line.
    """
    with tempfile.TemporaryDirectory() as folder:
        workspace = Workspace(Path(folder))
        ledger = open_ledger(workspace.ledger_path)
        record = open_or_create(ledger, spec, Path.cwd())
        run_study(ledger, record, workspace, policy=Policy(patience_share=0.0))
        trials = ledger.trials(record)
        ledger.close()

        def process_ended(trial: TrialRecord) -> float:
            folder = workspace.attempt_folder(spec.name, trial.number, len(trial.attempts))
            outcome = json.loads((folder / "outcome.json").read_text(encoding="utf-8"))
            return float(outcome["ended"])

        return (
            list(gaps(trials, process_ended)),
            list(gaps(trials, lambda trial: trial.metrics["returned"])),
        )


def _gaps_beside_a_slow_model(trials: int) -> tuple[list[float], list[float]]:
    """Return the gaps of a study whose language model takes 30 s for every answer."""
    from .advisers import faults, minds
    from .advisers.server import serve

    names = ("LUTHIER_LLM_BASE_URL", "LUTHIER_LLM_MODEL", "LUTHIER_LLM_API_KEY")
    before = {name: os.environ.pop(name) for name in names if name in os.environ}
    with serve(minds.novice(), faults=faults.always(faults.Hang(_SLOW_SECONDS))) as server:
        os.environ |= dict(zip(names, (server.url, server.model), strict=False))
        try:
            return _gaps_of(_spec(trials))
        finally:
            server.release()
            for name in names:
                os.environ.pop(name, None)
            os.environ |= before


def _spec(trials: int, adviser: str = "shared") -> StudySpec:
    return parse_spec(
        {
            "name": "naps",
            "objective": {"kind": "callable", "reference": "luthier.evals.trainings:nap"},
            "space": {"x": {"type": "float", "low": 0.0, "high": 1.0}},
            "metrics": {"value": {"direction": "minimize"}},
            "budget": {"trials": trials},
            "executor": {"device": "cpu", "slots": _SLOTS},
            "sampler": {"kind": "random"},
            "adviser": {"mode": adviser},
        }
    )


def gaps(trials: Iterable[TrialRecord], free_at: Callable[[TrialRecord], float]) -> Iterable[float]:
    """Yield how long each slot stood idle between two trials, in seconds.

    Args:
        trials: The trials, with when each began as a metric.
        free_at: Tells when a trial's slot was free, in seconds since 1970.
    """
    by_slot: dict[str, list[TrialRecord]] = {}
    for trial in sorted(trials, key=lambda trial: trial.metrics["began"]):
        by_slot.setdefault(trial.attempts[-1].slot, []).append(trial)
    for row in by_slot.values():
        for before, after in itertools.pairwise(row):
            yield after.metrics["began"] - free_at(before)


def bare_gap(modules: list[str], children: int, nap: float = 0.5) -> tuple[float, float]:
    """Return the two gaps of a bare fork server, from the last line and from the end, in seconds.

    Both are medians. Who ends while another is started waits for its turn, as in ours.

    Args:
        modules: What it has imported.
        children: How many it forks.
        nap: How long each runs, in seconds.
    """
    done = subprocess.run(
        [sys.executable, "-c", _BARE_SERVER, str(_SLOTS), str(children), str(nap), *modules],
        stdout=subprocess.PIPE,
        env={**os.environ, **ENVIRONMENT},
        check=True,
    )
    by_slot: dict[int, list[tuple[float, float, float]]] = {}
    for slot, *times in sorted(struct.iter_unpack("iddd", done.stdout), key=lambda row: row[2]):
        by_slot.setdefault(slot, []).append((times[0], times[1], times[2]))
    gaps = [b[1] - a[2] for row in by_slot.values() for a, b in itertools.pairwise(row)]
    starts = [began - since for row in by_slot.values() for since, began, _ in row[1:]]
    return statistics.median(gaps), statistics.median(starts)
