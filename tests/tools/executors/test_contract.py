"""What the loop may rely on, whichever executor runs its trials."""

import json
import time
from pathlib import Path

import pytest
from luthier.tools.clock import VirtualClock
from luthier.tools.executors.lab import Training
from luthier.tools.executors.local import LocalExecutor
from luthier.tools.executors.simulated import SimulatedExecutor
from luthier.tools.leases import Lease
from luthier.tools.objective import build_request, pickle_callable
from luthier.tools.outcomes import Outcome, StopReason, classify
from luthier.tools.spec import parse_spec

SECONDS = 60.0
HANGING = 1
"""The trial that reports one step of two and never comes back."""


class Place:
    """A study's folder, where an executor runs its trials 0 and 1."""

    def __init__(self, folder, executor, objective):
        self.folder = folder
        self.study = folder / "study"
        self.study.mkdir()
        self.spec = parse_spec(
            {
                "name": "s",
                "objective": objective,
                "space": {"x": {"type": "float", "low": 0, "high": 1}},
                "metrics": {"loss": {"direction": "minimize"}},
                "executor": executor,
            }
        )
        self.executor = None

    def prepare(self, trial):
        folder = self.study / str(trial) / "1"
        folder.mkdir(parents=True)
        (folder / "config.json").write_text(json.dumps({"x": 0.5}))
        (device,) = ("lab:0",) if self.spec.executor.lab else ("cpu",)
        return build_request(
            self.spec,
            study_folder=self.study,
            attempt_folder=folder,
            working_directory=self.folder,
            configuration={"x": 0.5},
            trial=trial,
            attempt=1,
            lease=Lease(device, (device,), {}),
            limit_seconds=None,
        )

    def submit(self, trial=0):
        return self.executor.submit(self.prepare(trial))

    def read(self, handle, count):
        """Wait for so many reports, and return them as pairs of step and loss."""
        reports = []
        deadline = time.monotonic() + SECONDS
        while len(reports) < count:
            assert time.monotonic() < deadline
            reports += self.executor.reports(handle)
            if len(reports) < count:
                self.executor.wait(0.05)
        return [(report.step, report.metrics["loss"]) for report in reports]

    def end(self, handle):
        deadline = time.monotonic() + SECONDS
        while (evidence := self.executor.ended(handle)) is None:
            assert time.monotonic() < deadline
            self.executor.wait(0.05)
            self.executor.reports(handle)
        return evidence


class Local(Place):
    def __init__(self, folder):
        super().__init__(
            folder,
            {"device": "cpu", "grace_seconds": 5},
            {"kind": "script", "command": ["python", "-I", "-S", "train.py"]},
        )
        (folder / "train.py").write_text(
            "import json, os, signal\n"
            "for step in (1, 2):\n"
            "    print(json.dumps({'step': step, 'loss': 1.0 / step}), flush=True)\n"
            f"    if os.environ['LUTHIER_TRIAL'] == '{HANGING}': signal.pause()\n"
        )
        self.open()

    def open(self):
        self.executor = LocalExecutor(self.study, [])

    def now(self):
        return time.monotonic()


def _train(_):
    return Training([{"loss": 1.0}, {"loss": 0.5}], step_seconds=10.0)


class Simulated(Place):
    def __init__(self, folder):
        lab = {"devices": [{}], "rate": 0, "hanging_trials": [HANGING]}
        objective = {"kind": "callable", "reference": "__main__:_train"}
        super().__init__(folder, {"kind": "simulated", "lab": lab}, objective)
        (self.study / "objective.pkl").write_bytes(pickle_callable(_train))
        self.clock = VirtualClock(1000.0, 0.0)
        self.open()

    def open(self):
        self.executor = SimulatedExecutor(self.spec.executor, self.clock, 1000.0)

    def now(self):
        return self.clock.monotonic()


@pytest.fixture(params=[Local, Simulated])
def place(request, tmp_path):
    made = request.param(tmp_path)
    yield made
    made.executor.close()


def test_every_report_is_told_once_and_then_the_end(place):
    handle = place.submit()
    assert place.read(handle, 2) == [(1, 1.0), (2, 0.5)]
    evidence = place.end(handle)
    assert classify(evidence, {"loss": 0.5}, ["loss"]).outcome is Outcome.COMPLETE
    assert evidence.seconds > 0
    assert place.executor.reports(handle) == []


def test_an_attempt_has_no_end_until_it_is_stopped(place):
    handle = place.submit(HANGING)
    place.read(handle, 1)
    assert place.executor.ended(handle) is None
    place.executor.stop(handle, StopReason.SILENCE)
    assert handle.stop_asked is StopReason.SILENCE
    evidence = place.end(handle)
    assert evidence.stop_reason is StopReason.SILENCE
    assert classify(evidence, {}, ["loss"]).outcome is Outcome.TIMED_OUT


def test_the_first_reason_to_stop_stands(place):
    handle = place.submit(HANGING)
    place.read(handle, 1)
    place.executor.stop(handle, StopReason.PRUNE)
    place.executor.stop(handle, StopReason.STOP)
    place.executor.stop(handle, StopReason.STOP, at_once=True)
    assert handle.stop_asked is StopReason.PRUNE
    assert place.end(handle).stop_reason is StopReason.PRUNE


def test_a_stop_after_the_end_changes_nothing(place):
    handle = place.submit()
    before = place.end(handle)
    place.executor.stop(handle, StopReason.STOP)
    assert classify(before, {"loss": 0.5}, ["loss"]).outcome is Outcome.COMPLETE
    assert place.end(handle).stop_reason is None


def test_another_executor_takes_over_in_the_middle(place):
    handle = place.submit(HANGING)
    place.read(handle, 1)
    place.executor.close()
    place.open()
    adopted = place.executor.adopt(handle.folder)
    assert place.read(adopted, 1) == [(1, 1.0)]  # from the first report on
    assert place.executor.ended(adopted) is None
    place.executor.stop(adopted, StopReason.STOP)
    evidence = place.end(adopted)
    assert classify(evidence, {}, ["loss"]).outcome is Outcome.KILLED


def test_another_executor_takes_over_what_has_ended(place):
    handle = place.submit()
    before = place.end(handle)
    place.executor.close()
    place.open()
    adopted = place.executor.adopt(handle.folder)
    assert place.executor.ended(adopted) == before
    assert place.read(adopted, 2) == [(1, 1.0), (2, 0.5)]


def test_what_never_started_is_told_so_and_takes_no_time(place):
    adopted = place.executor.adopt(Path(place.prepare(0).folder))
    evidence = place.end(adopted)
    assert (evidence.started, evidence.seconds) == (False, 0.0)
    assert place.executor.reports(adopted) == []


def test_how_long_an_attempt_is_silent_does_not_depend_on_who_listens(place):
    begun = place.now()
    handle = place.submit(HANGING)
    place.read(handle, 1)
    reported = place.now()
    assert begun <= handle.heard_at <= reported + 0.1
    place.executor.close()
    place.open()
    adopted = place.executor.adopt(handle.folder)
    place.read(adopted, 1)
    assert adopted.heard_at == pytest.approx(handle.heard_at, abs=0.1)


def test_wake_ends_a_wait(place):
    place.submit(HANGING)
    place.executor.wake()
    begun = time.monotonic()
    place.executor.wait(SECONDS, thinking=True)
    assert time.monotonic() - begun < SECONDS / 2
