"""A study in a pretend lab whose worker is killed at a chosen write, and what must come of it.

Two things may differ from a run without a crash, and nothing else: an attempt that was lost before
it could start is made anew, at the same moment and on the same device; and every worker that takes
over says so.

python -m luthier.evals.crash_points     forks a worker for each line of JSON that it reads
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from ..tools.database import open_database
from ..tools.lease_file import LeaseFile
from ..tools.spec import StudySpec
from ..tools.study import Study, open_study
from .lab_runs import create, lab_spec, run

LABS: dict[str, dict[str, Any]] = {
    "fragile": {
        "devices": [{"memory_gib": 4}, {"preempted_at": [500], "speed": 1.3}],
        "hanging": [2],
    },
    "poisoned": {"devices": [{}, {"poisoned_at": 400}, {"speed": 0.8}]},
}
"""What goes wrong in the studies, by their names."""


def fragile_spec(name: str) -> StudySpec:
    """Return the spec of one of the small studies."""
    return lab_spec(
        10,
        **LABS[name],
        name=name,
        budget={"trials": 10, "silence_seconds": 400},
        sampler={"kind": "tpe", "start_up_trials": 3, "prior": "none"},
        pruner={"kind": "median", "audit": 0, "start_up_trials": 3, "warmup_steps": 2},
    )


class Whole(NamedTuple):
    """What becomes of the study if nothing dies."""

    summary: dict[str, Any]
    points: int
    """Write points that its worker passes: before, within and after each transaction."""
    problems: list[str]


class CrashPoints:
    """A study that has not begun, and a process that forks its workers."""

    def __init__(self, name: str, folder: Path, parent: subprocess.Popen[str]) -> None:
        """Wrap them; use `crash_points`."""
        self.name = name
        self._folder = folder
        self._parent = parent

    def whole(self) -> Whole:
        """Run the study without a crash."""
        home = self._copy("whole")
        points = self._run(home)["passed"]
        with _opened(self.name, home) as study:
            return Whole(summary(study), points, book_problems(study))

    def problems(self, whole: Whole, *points: int) -> list[str]:
        """Let the worker die at these points, one after the other; return what is wrong then."""
        home = self._copy("-".join(["died", *map(str, points)]))
        for index, point in enumerate(points):
            ended = self._run(home, point)
            # After a first crash there may be fewer points left.
            if ended != {"signal": -signal.SIGKILL} and (index == 0 or "passed" not in ended):
                return [f"the worker that was to die at {point} {_told(ended)}"]
        ended = self._run(home)
        if "passed" not in ended:
            return [f"after a death at {points} the next worker {_told(ended)}"]
        with _opened(self.name, home) as study:
            found, problems = summary(study), book_problems(study)
        shutil.rmtree(home)
        for part in found:
            if found[part] != whole.summary.get(part):
                problems.append(f"{part}: {found[part]} instead of {whole.summary.get(part)}")
        return [f"after a death at {points}: {problem}" for problem in problems]

    def _copy(self, name: str) -> Path:
        """Return a workspace of its own in which the study has not begun."""
        home = self._folder / name
        shutil.copytree(self._folder / "home", home)
        return home

    def _run(self, home: Path, die_at: int | None = None) -> dict[str, int]:
        """Run the study, to its end or to a write point; return what became of the worker."""
        assert self._parent.stdin is not None
        assert self._parent.stdout is not None
        order = {"home": str(home), "name": self.name, "die_at": die_at}
        print(json.dumps(order), file=self._parent.stdin, flush=True)
        told: dict[str, int] = json.loads(self._parent.stdout.readline())
        return told


def _told(ended: dict[str, int]) -> str:
    if "passed" in ended:
        return f"came to the end, past {ended['passed']} points"
    return f"ended with {ended['signal']}"


@contextlib.contextmanager
def crash_points(name: str, folder: Path) -> Iterator[CrashPoints]:
    """Store one of the studies in an empty folder, and start the process that forks its workers.

    To start Python with torch takes seconds; there it is done once for all of them.
    """
    with contextlib.closing(open_database(folder / "home" / "ledger.db")) as database:
        create(database, fragile_spec(name))
    with subprocess.Popen(
        [sys.executable, "-m", "luthier.evals.crash_points"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as parent:
        yield CrashPoints(name, folder, parent)
        assert parent.stdin is not None
        parent.stdin.close()


@contextlib.contextmanager
def _opened(name: str, home: Path) -> Iterator[Study]:
    study = open_study(name, home)
    with contextlib.closing(study.ledger):
        yield study


def summary(study: Study) -> dict[str, Any]:
    """Return all that must be the same, whatever died on the way."""
    record = study.record
    trials = {
        f"trial {trial.number}": {
            "configuration": trial.configuration,
            "source": trial.source,
            "end": (trial.state, trial.reason),
            "metrics": trial.metrics,
            "curves": trial.curves,
            "seconds": trial.seconds,
            "times": (trial.created_at, trial.finished_at),
            "attempts": [
                (a.slot, a.outcome, a.reason, a.started_at, a.finished_at, a.seconds)
                for a in trial.attempts
                if not a.never_began
            ],
        }
        for trial in study.trials()
    }
    return {
        "state": (record.state, record.reason),
        "spending": study.ledger.spending(record, "device_seconds"),
        **trials,
    }


def book_problems(study: Study) -> list[str]:
    """Return where an attempt's end was not told once, and what is held still."""
    problems = []
    ends = Counter(event.trial for event in study.events() if event.kind == "ended")
    attempts = {trial.number: len(trial.attempts) for trial in study.trials()}
    if ends != attempts:
        problems.append(f"ends were told {dict(ends)} times of {attempts} attempts")
    if study.owner is not None:
        problems.append(f"{study.owner.name} owns the study still")
    with LeaseFile(study.workspace.study_folder(study.name) / "devices").open() as register:
        if register.holders or register.tickets:
            problems.append(f"leases are held or asked for: {register.holders, register.tickets}")
    return problems


def _work(home: Path, name: str, die_at: int | None) -> int:
    """Run the study to its end, or to a write point; return how many it passed."""
    passed = 0

    def count(_: object) -> None:
        nonlocal passed
        if passed == die_at:
            os.kill(os.getpid(), signal.SIGKILL)
        passed += 1

    with contextlib.closing(open_database(home / "ledger.db")) as database:
        database.fault_hook = count
        run(create(database, fragile_spec(name)))
    return passed


def main() -> None:
    """Fork a worker for each line."""
    import torch  # noqa: F401  imported once, for all workers

    for line in sys.stdin:
        order = json.loads(line)
        pid = os.fork()
        if pid == 0:
            told = {"passed": _work(Path(order["home"]), order["name"], order["die_at"])}
            print(json.dumps(told), flush=True)
            os._exit(0)
        _, status = os.waitpid(pid, 0)
        if status != 0:  # otherwise it has told itself
            print(json.dumps({"signal": os.waitstatus_to_exitcode(status)}), flush=True)


if __name__ == "__main__":
    main()
