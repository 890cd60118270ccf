"""Tries to break what Luthier promises of trials: that nothing which fails costs a study.

python -m luthier.evals.reliability [--full] [--seed N]     small by default: about a minute
"""

from __future__ import annotations

import argparse
import contextlib
import random
import re
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from rich.console import Console
from rich.table import Table

from ..tools.database import open_database
from ..tools.outcomes import Outcome
from .crash_points import LABS, crash_points
from .kills import Survivor
from .lab_runs import create, lab_spec, run

_MISBEHAVING = Path(__file__).parents[1] / "tests/tools/executors/test_misbehaving.py"
_DEVICES = 4
_TRIALS = 200
_MOST_LOST = 3
_LATER = 3_000.0
"""When a device of the lab fails, if not from the beginning, in seconds: about a third through."""


@dataclass
class Check:
    """One promise that was put to the test."""

    what: str
    runs: int = 0
    """How often it was tried to break it."""
    result: str = ""
    problems: list[str] = field(default_factory=list)
    """Where it was broken."""


@dataclass(frozen=True)
class Size:
    """How much is tried."""

    studies: int
    """Studies whose worker is killed at random moments."""
    kills: int
    """Kills in each of them."""
    points: int | None
    """Write points of each study in the lab at which a worker is killed; None for all."""
    misbehaving: Literal["not slow", ""]
    """Marks of the misbehaving trials."""
    seeds: int
    """Seeds of each study in a lab with a bad device."""


SMALL = Size(studies=2, kills=10, points=5, misbehaving="not slow", seeds=1)
FULL = Size(studies=10, kills=20, points=None, misbehaving="", seeds=10)


def kills(studies: int, kills: int, seed: int) -> Check:
    """Kill the workers of studies on this machine at random moments, and let them finish.

    Every trial must have exactly one outcome, none be told twice, no process be left, the budget
    add up, and the best value be the one that trials reported.
    """
    check = Check("worker killed at random moments")
    trials = 4 * kills  # so that none is at its end too early
    for number in range(studies):
        rng = random.Random(f"{seed}/{number}")
        with tempfile.TemporaryDirectory() as folder:
            study = Survivor(Path(folder), trials)
            try:
                made = sum(study.kill_worker(rng) for _ in range(kills))
                found = study.finish()
            finally:
                study.kill_all()
        if made < kills:
            found.append(f"it was at its end after {made} kills of {kills}")
        check.runs += made
        check.problems += [f"study {number}: {problem}" for problem in found]
    check.result = f"{studies} studies of {trials} trials, each with one outcome"
    return check


def write_points(points: int | None, seed: int) -> Check:
    """Kill a worker at its writes, one worker a write: the next one must come to the same end.

    Args:
        points: At how many of each study's write points; None for all.
        seed: Which ones.
    """
    check = Check("worker killed at a write")
    passed = 0
    for name in LABS:
        with tempfile.TemporaryDirectory() as folder, crash_points(name, Path(folder)) as crashes:
            whole = crashes.whole()
            every = range(whole.points)
            chosen = random.Random(seed).sample(every, points or whole.points)
            found = [*whole.problems, *crashes.problems(whole)]
            for point in sorted(chosen):
                found += crashes.problems(whole, point)
        passed += whole.points
        check.runs += len(chosen)
        check.problems += [f"study {name!r}: {problem}" for problem in found]
    check.result = (
        f"of {passed} points before, within and after transactions of {len(LABS)} studies"
    )
    return check


def misbehaving(marks: str) -> Check:
    """Run the tests of trials that do what no trial should: each ends in the right outcome."""
    check = Check("trials that misbehave")
    if not _MISBEHAVING.exists():
        check.problems.append(f"there is no {str(_MISBEHAVING)!r}: run it in a clone of Luthier")
        return check
    command = [sys.executable, "-m", "pytest", "-q", "-m", marks, str(_MISBEHAVING)]
    done = subprocess.run(command, cwd=_MISBEHAVING.parents[3], capture_output=True, text=True)
    lines = done.stdout.splitlines() or [done.stderr]
    passed = re.search(r"(\d+) passed", lines[-1])
    check.runs = int(passed[1]) if passed is not None else 0
    check.result = lines[-1]
    if done.returncode != 0:
        check.problems += [line for line in lines if line.startswith(("FAILED", "ERROR"))]
        check.problems.append(f"pytest ended with {done.returncode}")
    return check


def bad_device(what: str, device: dict[str, Any], seeds: Sequence[int]) -> Check:
    """Run studies in a lab of four devices of which one is bad; hardly a trial may be lost.

    Args:
        what: What is wrong with it.
        device: It, as `executor.lab.devices` has it.
        seeds: Seeds of the studies.
    """
    check = Check(f"a device that {what}", runs=len(seeds))
    lost: list[int] = []
    more: list[int] = []
    roomy = {"memory_gib": 32}  # what is lost is lost for the device
    devices = [roomy, roomy | device, *[roomy] * (_DEVICES - 2)]
    for seed in seeds:
        with (
            tempfile.TemporaryDirectory() as folder,
            contextlib.closing(open_database(Path(folder) / "ledger.db")) as database,
        ):
            study = create(database, lab_spec(_TRIALS, devices, seed=seed))
            ending = run(study)
            trials = study.trials(curves=False)
        well = [t for t in trials if t.state in (Outcome.COMPLETE, Outcome.PRUNED)]
        lost.append(_TRIALS - len(well))
        more.append(sum(len(trial.attempts) for trial in trials) - len(trials))
        if lost[-1] > _MOST_LOST or ending.state != "finished":
            check.problems.append(f"seed {seed}: {lost[-1]} trials lost; {ending.reason}")
    check.result = (
        f"at most {max(lost)} of {_TRIALS} trials lost, {max(more)} further attempts "
        f"({_DEVICES} devices)"
    )
    return check


def suite(size: Size, seed: int) -> list[Check]:
    """Try everything."""
    seeds = range(seed, seed + size.seeds)
    return [
        kills(size.studies, size.kills, seed),
        write_points(size.points, seed),
        misbehaving(size.misbehaving),
        bad_device("fails every trial", {"poisoned_at": 0.0}, seeds),
        bad_device("begins to fail", {"poisoned_at": _LATER}, seeds),
        bad_device("dies", {"dies_at": _LATER}, seeds),
    ]


def show(checks: Sequence[Check]) -> None:
    """Print the table, and below it what is wrong."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in ("check", "runs", "result", ""):
        table.add_column(column, justify="right" if column == "runs" else "left")
    for check in checks:
        verdict = "FAILED" if check.problems else "ok"
        table.add_row(check.what, str(check.runs), check.result, verdict)
    console = Console(width=120, markup=False, highlight=False)
    console.print(table)
    for check in checks:
        for problem in check.problems:
            console.print(f"{check.what}: {problem}")


def main(arguments: list[str]) -> int:
    """Run the suite and print its table; the exit code is 1 if a promise was broken."""
    parser = argparse.ArgumentParser("luthier.evals.reliability", description=__doc__)
    parser.add_argument("--full", action="store_true", help="the figures of the README; an hour")
    parser.add_argument("--seed", type=int, default=0, help="of the random moments and studies")
    asked = parser.parse_args(arguments)
    checks = suite(FULL if asked.full else SMALL, asked.seed)
    show(checks)
    return int(any(check.problems for check in checks))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
