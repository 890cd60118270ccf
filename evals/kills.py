"""A study on this machine whose worker is killed again and again, and what must hold in the end."""

from __future__ import annotations

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
from collections.abc import Iterator, Mapping
from pathlib import Path

import psutil
import yaml

from ..tools.outcomes import Outcome
from ..tools.records import AttemptRecord, TrialRecord
from ..tools.study import Study, open_study

_NAME = "survivor"
_DEADLINE = 300.0
"""Seconds after which something that ought to happen has not; generous, for a loaded machine."""

_TRAIN = """\
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


class Survivor:
    """A study of small scripts, run by `luthier tune` in a folder of its own.

    Its trials write down themselves what they reported, so that the ledger can be compared with it.
    """

    def __init__(self, folder: Path, trials: int) -> None:
        """Write the script and its spec.

        Args:
            folder: An empty folder.
            trials: The budget.
        """
        self._folder = folder
        self._trials = trials
        self._home = folder / "home"
        self._runtime = folder / "runtime"  # so that it waits for no other study's devices
        for place in (folder / "reported", self._runtime):
            place.mkdir()
        (folder / "train.py").write_text(_TRAIN, encoding="utf-8")
        spec = {
            "name": _NAME,
            # Without `site` an interpreter starts in half the time.
            "objective": {"kind": "script", "command": ["python", "-I", "-S", "train.py"]},
            "space": {"x": {"type": "float", "low": 0.5, "high": 2.0}},
            "metrics": {"loss": {"direction": "minimize"}},
            "budget": {"trials": trials},
            "executor": {"device": "cpu", "slots": 2},
            "sampler": {"kind": "random"},
            "pruner": {"kind": "none"},
        }
        (folder / "spec.yaml").write_text(yaml.safe_dump(spec), encoding="utf-8")

    @contextlib.contextmanager
    def worker(self) -> Iterator[subprocess.Popen[str]]:
        """Run the study in a process of its own, which is over in the end."""
        with subprocess.Popen(
            [sys.executable, "-m", "luthier.app", "tune", "spec.yaml"],
            cwd=self._folder,
            env={
                **os.environ,
                "LUTHIER_HOME": str(self._home),
                "XDG_RUNTIME_DIR": str(self._runtime),
            },
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        ) as process:
            try:
                yield process
            finally:
                process.kill()

    def kill_worker(self, rng: random.Random) -> bool:
        """Start a worker and kill it at a random moment; tell whether it was still running.

        Some die while they start, others when they have written something.
        """
        with self.worker() as process:
            self.wait_for_events(process, more=rng.choice([0, 1, 1, 2, 3, 5]))
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(rng.uniform(0.0, 0.5))
            return process.poll() is None

    def wait_for_events(self, process: subprocess.Popen[str], more: int) -> None:
        """Wait until the ledger has so many more events than now, or the process has ended.

        Raises:
            TimeoutError: If it takes minutes.
        """
        wanted = self._count_events() + more
        deadline = time.monotonic() + _DEADLINE
        while more and process.poll() is None and self._count_events() < wanted:
            if time.monotonic() > deadline:
                raise TimeoutError(f"waited in vain for event {wanted} of {self._home}")
            time.sleep(0.01)

    def _count_events(self) -> int:
        path = self._home / "ledger.db"
        try:  # without a hand in making it
            with contextlib.closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as db:
                return int(db.execute("SELECT count(*) FROM events").fetchone()[0])
        except sqlite3.OperationalError:  # it is not there yet
            return 0

    def finish(self) -> list[str]:
        """Let the study come to its end, and return what is wrong with it."""
        with self.worker() as process:
            output = process.communicate(timeout=_DEADLINE)[0]
        if process.returncode != 0:
            return [f"the last worker ended with {process.returncode}: {output}"]
        study = open_study(_NAME, self._home)
        with contextlib.closing(study.ledger):
            return [*self._problems(study), *self._processes_left()]

    def _problems(self, study: Study) -> Iterator[str]:
        trials = study.trials()
        if (study.state, study.owner) != ("finished", None):
            yield f"the study is {study.state}, and {study.owner} owns it"
        if [trial.number for trial in trials] != list(range(self._trials)):
            yield f"there are trials {[trial.number for trial in trials]} of {self._trials}"
        told = Counter(event.trial for event in study.events() if event.kind == "ended")
        reported = {}
        for trial in trials:
            complete = _complete_attempt(trial)
            if complete is None:
                ends = [str(attempt.outcome) for attempt in trial.attempts]
                yield f"trial {trial.number} is {trial.state} after {ends}"
                continue
            if told[trial.number] != len(trial.attempts):
                yield f"{len(trial.attempts)} ends of trial {trial.number}: {told[trial.number]}"
            reported[trial.number] = self._reported(trial, complete)
            steps = reported[trial.number]
            if trial.curves != {"loss": steps} or trial.metrics != {"loss": steps[max(steps)]}:
                yield f"trial {trial.number} reported {steps}, but has {trial.curves}"
        yield from _money_problems(study, trials)
        yield from _best_problems(study, reported)

    def _reported(self, trial: TrialRecord, attempt: AttemptRecord) -> dict[int, float]:
        """Return what an attempt has written down itself: step to loss."""
        record = self._folder / "reported" / f"{trial.number}-{attempt.number}"
        lines = map(json.loads, record.read_text(encoding="utf-8").splitlines())
        return {line["step"]: line["loss"] for line in lines}

    def _processes_left(self) -> list[str]:
        """Return the processes that stay; one that is just leaving may take its time."""
        deadline = time.monotonic() + _DEADLINE
        while (left := self.processes()) and time.monotonic() < deadline:
            time.sleep(0.01)
        return [f"process {pid} is left" for pid in left]

    def processes(self) -> list[int]:
        """Return the processes of the study, whoever started them."""
        found = []
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):  # it may have ended meanwhile
                if process.environ().get("LUTHIER_HOME") == str(self._home):
                    found.append(process.pid)
        return found

    def kill_all(self) -> None:
        """Kill every process of the study, as a power cut would."""
        while left := self.processes():
            for pid in left:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)


def _complete_attempt(trial: TrialRecord) -> AttemptRecord | None:
    """Return the one attempt that is complete; None if the trial has not just that outcome."""
    complete = [a for a in trial.attempts if a.outcome is Outcome.COMPLETE]
    others = {attempt.outcome for attempt in trial.attempts} - {Outcome.COMPLETE}
    # An attempt may have died with its launcher, or before it had one.
    if trial.state is not Outcome.COMPLETE or not others <= {Outcome.INFRASTRUCTURE}:
        return None
    return complete[0] if len(complete) == 1 else None


def _money_problems(study: Study, trials: list[TrialRecord]) -> Iterator[str]:
    spent, reserved = study.ledger.spending(study.record, "device_seconds")
    used = sum(trial.seconds for trial in trials)
    if abs(spent - used) > 1e-6 * used or reserved != 0.0:
        yield f"{spent} s are spent and {reserved} s reserved, but attempts took {used} s"


def _best_problems(study: Study, reported: Mapping[int, Mapping[int, float]]) -> Iterator[str]:
    best = study.best()
    found = None if best is None else best.metrics["loss"]
    least = min((steps[max(steps)] for steps in reported.values()), default=None)
    if found != least:
        yield f"the best value is {found}, but the least that a trial reported is {least}"
