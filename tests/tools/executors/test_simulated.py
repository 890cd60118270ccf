"""Attempts in a pretend lab; what is true of every executor is in `test_contract.py`."""

import json
import math
import threading
import time
from pathlib import Path

import pytest
from luthier.tools.clock import VirtualClock
from luthier.tools.executors.lab import Training
from luthier.tools.executors.simulated import SimulatedExecutor
from luthier.tools.leases import Lease
from luthier.tools.objective import build_request, pickle_callable
from luthier.tools.outcomes import StopReason
from luthier.tools.spec import parse_spec

BEGUN = 1000.0
SECONDS = 30.0


def train(configuration):
    """Return a training of as many steps of 10 s as are asked for."""
    steps = range(1, configuration["steps"] + 1)
    return Training([{"loss": 1.0 / step} for step in steps], step_seconds=10.0)


class Place:
    """A study's folder and a lab."""

    def __init__(self, folder, **lab):
        self.folder = folder
        self.spec = parse_spec(
            {
                "name": "s",
                "objective": {"kind": "callable", "reference": "__main__:train"},
                "space": {"steps": {"type": "int", "low": 0, "high": 9}},
                "metrics": {"loss": {"direction": "minimize"}},
                "executor": {
                    "kind": "simulated",
                    "lab": {"devices": [{}, {"speed": 2}], "rate": 0, **lab},
                },
            }
        )
        (folder / "study").mkdir()
        (folder / "study" / "objective.pkl").write_bytes(pickle_callable(train))
        self.executor = self.open(BEGUN)

    def open(self, now):
        self.clock = VirtualClock(now, self.spec.executor.lab.rate)
        return SimulatedExecutor(self.spec.executor, self.clock, BEGUN)

    def prepare(self, trial=0, steps=3, limit=None, device="lab:0"):
        folder = self.folder / "study" / str(trial) / "1"
        folder.mkdir(parents=True)
        configuration = {"steps": steps}
        (folder / "config.json").write_text(json.dumps(configuration))
        return build_request(
            self.spec,
            study_folder=self.folder / "study",
            attempt_folder=folder,
            working_directory=self.folder,
            configuration=configuration,
            trial=trial,
            attempt=1,
            lease=Lease(device, (device,), {}),
            limit_seconds=limit,
        )

    def submit(self, *args, **rest):
        return self.executor.submit(self.prepare(*args, **rest))

    def passed(self):
        return self.clock.time() - BEGUN


@pytest.fixture
def place(tmp_path):
    return Place(tmp_path)


def steps(reports):
    return [report.step for report in reports]


def test_the_clock_jumps_to_each_report_and_to_the_end(place):
    handle = place.submit()
    moments = []
    while place.executor.ended(handle) is None:
        place.executor.wait(SECONDS)
        moments.append((place.passed(), steps(place.executor.reports(handle))))
    assert moments == [(10.0, [1]), (20.0, [2]), (30.0, [3])]
    assert place.executor.ended(handle).seconds == 30.0


def test_the_clock_jumps_to_whatever_comes_first(place):
    slow, quick = place.submit(0), place.submit(1, device="lab:1")
    place.executor.wait(SECONDS)
    assert place.passed() == 5.0
    assert (steps(place.executor.reports(slow)), steps(place.executor.reports(quick))) == ([], [1])


def test_the_clock_does_not_jump_over_the_deadline_of_the_loop(place):
    place.submit()
    place.executor.wait(SECONDS, 4.0)
    assert place.passed() == 4.0


def test_the_clock_does_not_jump_over_what_has_not_been_read(place):
    handle = place.submit()
    place.executor.wait(SECONDS)
    place.executor.wait(SECONDS)
    assert place.passed() == 10.0
    place.executor.reports(handle)
    place.executor.wait(SECONDS)
    assert place.passed() == 20.0


def test_what_has_ended_keeps_the_clock_no_more(place):
    first, second = place.submit(0, steps=1), place.submit(1, steps=2)
    place.executor.wait(SECONDS)
    for handle in (first, second):
        place.executor.reports(handle)
    assert place.executor.ended(first) is not None
    place.executor.wait(SECONDS)
    assert place.passed() == 20.0


def test_the_clock_stands_while_somebody_thinks_of_a_proposal(place):
    place.submit()
    timer = threading.Timer(0.0, place.executor.wake)
    timer.start()
    place.executor.wait(SECONDS, thinking=True)
    timer.join()
    assert place.passed() == 0.0


def test_a_proposal_that_came_before_the_wait_keeps_the_clock_too(place):
    place.submit()
    place.executor.wake()
    place.executor.wait(SECONDS)
    assert place.passed() == 0.0
    place.executor.wait(SECONDS)
    assert place.passed() == 10.0


def test_the_clock_stands_while_nothing_is_going_to_happen(place):
    handle = place.submit(trial=0, steps=0)
    assert place.executor.ended(handle) is not None
    place.executor.wake()
    place.executor.wait(SECONDS)
    assert place.passed() == 0.0


def test_a_clock_that_does_not_jump_runs_there_at_its_rate(tmp_path):
    begun = time.monotonic()
    place = Place(tmp_path, rate=1000.0, jumps=False)
    handle = place.submit()
    while place.executor.ended(handle) is None:
        place.executor.wait(SECONDS)
        assert place.passed() <= 1000.0 * (time.monotonic() - begun)
    assert time.monotonic() - begun >= 0.03


def test_a_time_limit_is_kept_in_the_lab(place):
    handle = place.submit(limit=15.0)
    assert place.executor.reports(handle) == []
    place.clock.advance(BEGUN + 60.0)
    evidence = place.executor.ended(handle)
    assert (evidence.seconds, evidence.stop_reason) == (15.0, StopReason.DEADLINE)
    assert steps(place.executor.reports(handle)) == [1]


def test_who_stops_an_attempt_ends_it_at_that_moment(place):
    handle = place.submit()
    place.clock.advance(BEGUN + 15.0)
    place.executor.stop(handle, StopReason.PRUNE)
    place.clock.advance(BEGUN + 60.0)
    evidence = place.executor.ended(handle)
    assert (evidence.seconds, evidence.stop_reason) == (15.0, StopReason.PRUNE)
    assert steps(place.executor.reports(handle)) == [1]


def test_an_attempt_goes_on_while_no_worker_looks(place):
    handle = place.submit()
    place.executor.close()
    place.executor = place.open(BEGUN + 25.0)
    adopted = place.executor.adopt(handle.folder)
    assert steps(place.executor.reports(adopted)) == [1, 2]
    assert adopted.heard_at == BEGUN + 20.0
    assert place.executor.ended(adopted) is None
    place.executor.wait(SECONDS)
    assert steps(place.executor.reports(adopted)) == [3]
    assert place.executor.ended(adopted).seconds == 30.0


def test_the_clock_does_not_run_for_an_attempt_that_never_was(place):
    request = place.prepare()
    adopted = place.executor.adopt(Path(request.folder))
    place.executor.wait(SECONDS)
    assert place.passed() == 0.0
    evidence = place.executor.ended(adopted)
    assert (evidence.started, evidence.seconds) == (False, 0.0)


def test_a_hung_attempt_was_heard_when_it_last_reported(tmp_path):
    place = Place(tmp_path, hanging_trials=[7])
    handle = place.submit(7, steps=4)
    assert handle.heard_at == BEGUN
    place.clock.advance(BEGUN + 500.0)
    assert steps(place.executor.reports(handle)) == [1, 2]
    assert handle.heard_at == BEGUN + 20.0
    place.executor.reports(handle)
    assert handle.heard_at == BEGUN + 20.0
    assert place.executor._running[handle.folder].due() == math.inf
