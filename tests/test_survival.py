"""A study that is killed again and again, at whatever moment, comes to the same end."""

import contextlib
import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from luthier.tools.outcomes import Outcome
from luthier.tools.study import Study, open_study

TRIALS = 14
DEADLINE = 120.0

TRAIN = """\
import json, os, sys, time
x = float(sys.argv[sys.argv.index("--x") + 1])
who = os.environ["LUTHIER_TRIAL"] + "-" + os.environ["LUTHIER_ATTEMPT"]
with open(os.path.join("reported", who), "a") as record:
    for step in range(1, 6):
        time.sleep(0.08)  # the training
        line = json.dumps({"step": step, "loss": x / step})
        print(line, file=record, flush=True)
        print(line, flush=True)
"""

SPEC = {
    "name": "survivor",
    "objective": {"kind": "script", "command": ["python", "-I", "-S", "train.py"]},
    "space": {"x": {"type": "float", "low": 0.5, "high": 2.0}},
    "metrics": {"loss": {"direction": "minimize"}},
    "budget": {"trials": TRIALS},
    "executor": {"device": "cpu", "slots": 2},
    "sampler": {"kind": "random"},
    "pruner": {"kind": "none"},
}


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """A folder with the script, its spec and a place for what the script says it reported."""
    (tmp_path / "reported").mkdir()
    (tmp_path / "train.py").write_text(TRAIN, encoding="utf-8")
    (tmp_path / "spec.yaml").write_text(yaml.safe_dump(SPEC), encoding="utf-8")
    yield tmp_path
    for pid in _processes_of(tmp_path):
        _kill(pid)


@pytest.mark.parametrize(
    ("kills", "seed"),
    [(3, 0), *(pytest.param(10, seed, marks=pytest.mark.slow) for seed in (1, 2, 3))],
)
def test_a_study_survives_kills_at_random_moments(folder: Path, kills: int, seed: int) -> None:
    rng = random.Random(seed)
    for _ in range(kills):
        with _tune(folder) as process:
            # Some die while they start, others when they have written something.
            _wait_for_events(folder, process, more=rng.choice([0, 1, 1, 2, 3, 5]))
            with pytest.raises(subprocess.TimeoutExpired):
                process.wait(rng.uniform(0.0, 0.5))
            process.kill()
    _finish(folder)


def test_a_study_survives_power_cuts(folder: Path) -> None:
    rng = random.Random(0)
    for _ in range(2):  # a trial that is lost a third time counts as failed
        with _tune(folder) as process:
            _wait_for_events(folder, process, more=6)
            with pytest.raises(subprocess.TimeoutExpired):
                process.wait(rng.uniform(0.0, 0.3))
            while left := _processes_of(folder):
                for pid in left:
                    _kill(pid)
    _finish(folder)


def _finish(folder: Path) -> None:
    """Let the study come to its end, and check that nothing is wrong with it."""
    with _tune(folder) as process:
        output = process.communicate(timeout=DEADLINE)[0]
    assert process.returncode == 0, output
    study = open_study("survivor", folder / "home")
    assert (study.state, study.owner) == ("finished", None)
    assert [trial.number for trial in study.trials()] == list(range(TRIALS))
    _check_outcomes(study)
    _check_metrics(study, folder / "reported")
    _check_that_nothing_runs(folder)
    study.ledger.close()


def _tune(folder: Path) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-m", "luthier.app", "tune", "spec.yaml"],
        cwd=folder,
        env={**os.environ, "LUTHIER_HOME": str(folder / "home")},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def _wait_for_events(folder: Path, process: "subprocess.Popen[str]", more: int) -> None:
    """Wait until the ledger has so many more events than now, or the process has ended."""
    if more == 0:
        return
    before = _count_events(folder)
    deadline = time.monotonic() + DEADLINE
    while process.poll() is None and _count_events(folder) < before + more:
        assert time.monotonic() < deadline
        time.sleep(0.01)


def _count_events(folder: Path) -> int:
    try:  # without a hand in making it
        with contextlib.closing(
            sqlite3.connect(f"file:{folder}/home/ledger.db?mode=ro", uri=True)
        ) as db:
            return int(db.execute("SELECT count(*) FROM events").fetchone()[0])
    except sqlite3.OperationalError:  # it is not there yet
        return 0


def _check_outcomes(study: Study) -> None:
    events = study.events()
    for trial in study.trials():
        outcomes = Counter(attempt.outcome for attempt in trial.attempts)
        assert trial.state is Outcome.COMPLETE
        assert outcomes.pop(Outcome.COMPLETE) == 1
        assert outcomes.keys() <= {
            Outcome.INFRASTRUCTURE
        }  # it died with its launcher, or before it had one
        ended = [event for event in events if event.kind == "ended" and event.trial == trial.number]
        assert len(ended) == len(trial.attempts)
    spent, reserved = study.ledger.spending(study.record, "device_seconds")
    assert spent == pytest.approx(sum(trial.seconds for trial in study.trials()))
    assert reserved == 0


def _check_metrics(study: Study, reported: Path) -> None:
    for trial in study.trials():
        (attempt,) = (a for a in trial.attempts if a.outcome is Outcome.COMPLETE)
        record = (reported / f"{trial.number}-{attempt.number}").read_text(encoding="utf-8")
        lines = [json.loads(line) for line in record.splitlines()]
        assert trial.curves == {"loss": {line["step"]: line["loss"] for line in lines}}
        assert trial.metrics == {"loss": lines[-1]["loss"]}


def _check_that_nothing_runs(folder: Path) -> None:
    """Check that no process of the study is left; one that is just leaving may take its time."""
    deadline = time.monotonic() + DEADLINE
    while left := _processes_of(folder):
        assert time.monotonic() < deadline, f"left running: {left}"
        time.sleep(0.01)


def _processes_of(folder: Path) -> list[int]:
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):  # it may have ended meanwhile
            if f"LUTHIER_HOME={folder}/home".encode() in (process / "environ").read_bytes():
                found.append(int(process.name))
    return found


def _kill(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
