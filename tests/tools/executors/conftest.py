"""A study's folder where real trials run under real launchers."""

import json
import time

import pytest
from luthier.tools.executors.local import LocalExecutor
from luthier.tools.executors.processes import start_ticks
from luthier.tools.leases import Lease
from luthier.tools.objective import build_request
from luthier.tools.outcomes import classify
from luthier.tools.spec import parse_spec

SECONDS = 60.0
"""How long a test waits at most for anything."""

NOTES = """\
import os, signal, subprocess, sys, time

def note(name, text=""):
    with open(name + ".tmp", "w") as file:
        file.write(str(text))
    os.replace(name + ".tmp", name)

def wait_for(name):
    while not os.path.exists(name):
        time.sleep(0.01)

def wait_for_ever():
    while True:
        signal.pause()
"""
"""A module for trials, in their working directory."""


class Lab:
    """A study's folder with an executor, and a working directory for scripts and modules."""

    def __init__(self, folder, preload=("cloudpickle",)):
        self.work = folder / "work"
        self.study = folder / "study"
        self.work.mkdir()
        self.study.mkdir()
        self.write("notes.py", NOTES)
        self.executor = LocalExecutor(self.study, preload)
        self.attempts = 0

    def write(self, name, code):
        path = self.work / name
        path.write_text(code)
        return path

    def request(self, objective, configuration=None, *, slot=None, limit=None, **spec):
        self.attempts += 1
        folder = self.study / str(self.attempts) / "1"
        folder.mkdir(parents=True)
        configuration = {"lr": 0.5} if configuration is None else configuration
        (folder / "config.json").write_text(json.dumps(configuration))
        made = parse_spec(
            {
                "name": "s",
                "objective": objective,
                "space": {"lr": {"type": "float", "low": 0, "high": 1}},
                "metrics": {"loss": {"direction": "minimize"}},
                "executor": {"grace_seconds": 0.3},
                **spec,
            }
        )
        return build_request(
            made,
            study_folder=self.study,
            attempt_folder=folder,
            working_directory=self.work,
            configuration=configuration,
            trial=self.attempts,
            attempt=1,
            lease=Lease("cpu:0", ("cpu",), slot or {}),
            limit_seconds=limit,
        )

    def submit_script(self, code, *arguments, configuration=None, **rest):
        self.write("train.py", code)
        objective = {"kind": "script", "command": ["python", "train.py", *arguments]}
        return self.executor.submit(self.request(objective, configuration or {}, **rest))

    def submit_function(self, code, **rest):
        self.write("training.py", code)
        objective = {"kind": "callable", "reference": "training:main"}
        return self.executor.submit(self.request(objective, **rest))

    def until(self, condition, seconds=SECONDS):
        """Return what `condition` returns once it is true; each event wakes it."""
        deadline = time.monotonic() + seconds
        while not (result := condition()):
            assert time.monotonic() < deadline, (self.study / "executor.log").read_text()
            self.executor.wait(0.05)
        return result

    def end(self, handle):
        """Wait for an attempt's end; return its evidence, metrics by name, and verdict."""
        evidence = self.until(lambda: self.executor.ended(handle))
        metrics = {}
        while reports := self.executor.reports(handle):
            for report in reports:
                metrics.update(report.metrics)
        return evidence, metrics, classify(evidence, metrics, ["loss"])

    def note(self, name):
        """Wait until a trial has written the whole note `name`; return it."""
        path = self.work / name
        self.until(path.exists)
        return path.read_text()

    @staticmethod
    def is_gone(pid):
        """Tell whether no process of this number runs."""
        return start_ticks(int(pid)) is None


@pytest.fixture
def lab(tmp_path):
    made = Lab(tmp_path)
    yield made
    made.executor.close()


@pytest.fixture
def lab_with(tmp_path):
    """Make a lab whose server holds these modules."""
    made = []

    def make(*preload):
        made.append(Lab(tmp_path, preload))
        return made[-1]

    yield make
    for each in made:
        each.executor.close()
