"""A study whose worker dies at any of its writes comes to the end that it would have come to.

Two things may differ, and nothing else: an attempt that was lost before it could start is made
anew, at the same moment and on the same device; and every worker that takes over says so.
"""

import json
import random
import shutil
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from luthier.evals.lab import SPACE
from luthier.tools.lease_file import LeaseFile
from luthier.tools.ledger import open_ledger
from luthier.tools.outcomes import Outcome
from luthier.tools.spec import StudySpec, parse_spec
from luthier.tools.study import Study, open_or_create, open_study

LABS = {
    "fragile": {
        "devices": [{"memory_gib": 4}, {"preempted_at": [500], "speed": 1.3}],
        "hanging_trials": [2],
    },
    "poisoned": {"devices": [{}, {"poisoned_at": 400}, {"speed": 0.8}]},
}
"""What goes wrong in the studies."""
SAMPLED = 10


def spec(name: str) -> StudySpec:
    """Return the spec of a study that is as exact as evals are."""
    return parse_spec(
        {
            "name": name,
            "objective": {"kind": "callable", "reference": "luthier.evals.lab:network"},
            "space": SPACE,
            "metrics": {"val_acc": {"direction": "maximize"}},
            "budget": {"trials": 10, "silence_seconds": 400},
            "sampler": {"kind": "tpe", "start_up_trials": 3},
            "pruner": {"kind": "median", "start_up_trials": 3, "warmup_steps": 2},
            "executor": {"kind": "simulated", "lab": {"rate": 0, **LABS[name]}},
        }
    )


def summary(study: Study) -> dict[str, Any]:
    """Return all that must be the same, whatever died on the way."""
    record = study.record
    return {
        "state": (record.state, record.reason),
        "trials": [
            {
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
        ],
        "spending": study.ledger.spending(record, "device_seconds"),
    }


def check_books(study: Study) -> None:
    """Check that every attempt's end was told once, and that nothing is held any more."""
    ends = Counter(event.trial for event in study.events() if event.kind == "ended")
    attempts = {trial.number: len(trial.attempts) for trial in study.trials()}
    assert ends == attempts
    assert study.owner is None
    with LeaseFile(study.workspace.study_folder(study.name) / "devices").open() as register:
        assert (register.holders, register.tickets) == ([], [])


@dataclass(frozen=True)
class Crashes:
    """A study that has not begun, and the process that forks its workers."""

    folder: Path
    parent: "subprocess.Popen[str]"
    name: str

    def copy(self, name: str) -> Path:
        """Return a workspace of its own in which the study has not begun."""
        home = self.folder / name
        shutil.copytree(self.folder / "home", home)
        return home

    def run(self, home: Path, die_at: int | None = None) -> dict[str, int]:
        """Run the study, to its end or to a write point; return what became of the worker."""
        assert self.parent.stdin is not None
        assert self.parent.stdout is not None
        order = {"home": str(home), "name": self.name, "die_at": die_at}
        print(json.dumps(order), file=self.parent.stdin, flush=True)
        told: dict[str, int] = json.loads(self.parent.stdout.readline())
        return told


@pytest.fixture(scope="module")
def parent() -> "Iterator[subprocess.Popen[str]]":
    """Start the process that forks workers."""
    command = [sys.executable, str(Path(__file__).with_name("crashing.py"))]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as parent:
        yield parent
        assert parent.stdin is not None
        parent.stdin.close()


@pytest.fixture(scope="module", params=LABS)
def crashes(
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
    parent: "subprocess.Popen[str]",
) -> Crashes:
    """Store a study."""
    folder = tmp_path_factory.mktemp("crashes")
    ledger = open_ledger(folder / "home" / "ledger.db")
    open_or_create(ledger, spec(request.param), folder)
    ledger.close()
    return Crashes(folder, parent, request.param)


@dataclass(frozen=True)
class Whole:
    """What becomes of the study if nothing dies."""

    summary: dict[str, Any]
    points: int
    """Write points that its worker passes."""


@pytest.fixture(scope="module")
def whole(crashes: Crashes) -> Whole:
    """Run the study without a crash."""
    home = crashes.copy("whole")
    points = crashes.run(home)["passed"]
    study = open_study(crashes.name, home)
    check_books(study)
    found = summary(study)
    study.ledger.close()
    return Whole(found, points)


def check_crashes(crashes: Crashes, whole: Whole, *points: int) -> None:
    """Let the worker die at these points, one worker after the other, and compare the end."""
    home = crashes.copy("-".join(["died", *map(str, points)]))
    for point in points:
        ended = crashes.run(home, point)
        # After a first crash there may be fewer points left.
        assert ended == {"signal": -signal.SIGKILL} or (point != points[0] and "passed" in ended)
    assert "passed" in crashes.run(home), f"the study cannot go on after {points=}"
    study = open_study(crashes.name, home)
    check_books(study)
    found = summary(study)
    for one, other in zip(found["trials"], whole.summary["trials"], strict=True):
        assert one == other, f"{points=}"
    assert found == whole.summary, f"{points=}"
    study.ledger.close()
    shutil.rmtree(home)


def test_what_ought_to_go_wrong_does(crashes: Crashes, whole: Whole) -> None:
    trials = whole.summary["trials"]
    ends = {trial["end"][0] for trial in trials}
    lost = {end for trial in trials for _, end, *_ in trial["attempts"]} - ends
    assert {trial["source"] for trial in trials} == {"sobol", "tpe"}
    well = {Outcome.COMPLETE, Outcome.PRUNED}
    if crashes.name == "fragile":
        assert ends == well | {Outcome.OUT_OF_MEMORY, Outcome.TIMED_OUT}
        assert lost == {Outcome.INFRASTRUCTURE}
    else:
        assert ends == well
        assert lost == {Outcome.CRASHED}


def test_a_run_without_a_crash_can_be_repeated(crashes: Crashes, whole: Whole) -> None:
    check_crashes(crashes, whole)


def test_a_worker_may_die_at_some_of_its_writes(crashes: Crashes, whole: Whole) -> None:
    for point in sorted(random.Random(0).sample(range(whole.points), SAMPLED)):
        check_crashes(crashes, whole, point)


@pytest.mark.slow
def test_a_worker_may_die_at_each_of_its_writes(crashes: Crashes, whole: Whole) -> None:
    for point in range(whole.points):
        check_crashes(crashes, whole, point)


@pytest.mark.parametrize("seed", range(3))
def test_who_takes_over_may_die_too(crashes: Crashes, whole: Whole, seed: int) -> None:
    rng = random.Random(seed)
    check_crashes(crashes, whole, rng.randrange(whole.points), rng.randrange(60))
