"""What cannot run is told before it is launched."""

import contextlib
import json
import os
import signal
import time

import pytest
from luthier.tools.device_memory import Memory
from luthier.tools.devices import Device, DeviceError, DevicePlan
from luthier.tools.executors.local import LocalExecutor
from luthier.tools.executors.processes import main_memory_bytes
from luthier.tools.feasibility import (
    MemoryEstimator,
    estimate_error,
    memory_limit,
    memory_notes,
)
from luthier.tools.leases import Lease
from luthier.tools.objective import build_request, preloads
from luthier.tools.outcomes import Outcome
from luthier.tools.records import AttemptRecord, Decision, TrialRecord, Veto
from luthier.tools.spec import parse_spec

MIB = 1 << 20


@pytest.fixture
def start(tmp_path):
    """Start an estimator as a worker does, and close it in the end."""
    with contextlib.ExitStack() as stack:

        def started(limit=1 << 40, ready=True, **options):
            made = spec(**options)
            executor = LocalExecutor(tmp_path, preloads(made))
            stack.callback(executor.close)
            request = build_request(
                made,
                study_folder=tmp_path,
                attempt_folder=tmp_path / "estimator",
                working_directory=tmp_path,
                configuration={},
                trial=0,
                attempt=0,
                lease=Lease("", (), {}),
                limit_seconds=None,
            )
            estimator = MemoryEstimator(executor, request, limit, cuda=False)
            stack.callback(estimator.close)
            # On a busy machine it is not ready when a proposal can wait no longer.
            assert not ready or any(estimator({"width": 16}) is not None for _ in range(8))
            return estimator

        yield started


def test_a_configuration_gets_the_bytes_that_it_needs(start):
    estimator = start(limit=600 * MIB)
    small, large = estimator({"width": 16}), estimator({"width": 8192, "depth": 3})
    assert 100 * MIB < small.bytes < 600 * MIB
    assert large.bytes > small.bytes + 2 * 8192**2 * 4
    assert (small.fits, large.fits) == (True, False)


def test_what_watched_trials_share_with_the_fork_server_counts_for_none(start):
    estimator = start(limit=300 * MIB, memory_gib=0.3)
    need = estimator({"width": 16})
    assert need.bytes > 300 * MIB
    assert need.fits


def test_what_is_no_configuration_of_the_recipe_gets_none_and_the_next_one_an_answer(start):
    estimator = start()
    assert estimator({"height": 3}) is None
    assert estimator({"width": 16}) is not None


def test_data_that_cannot_be_read_leave_all_unknown_and_the_log_says_why(start, tmp_path):
    estimator = start(ready=False, data="missing.csv")
    assert estimator({"width": 16}) is None
    assert estimator({"width": 16}) is None
    assert "missing.csv' does not exist" in (tmp_path / "estimator" / "stderr.log").read_text()


def test_an_estimator_that_was_killed_knows_nothing(start, tmp_path):
    estimator = start()
    assert estimator({"width": 16}) is not None
    running = json.loads((tmp_path / "estimator" / "process.json").read_text())
    os.kill(running["trial"]["pid"], signal.SIGKILL)
    assert estimator({"width": 16}) is None
    assert estimator({"width": 16}) is None


def test_it_ends_when_nobody_can_ask_it_any_more(start, tmp_path):
    estimator = start()
    assert estimator({"width": 16}) is not None
    estimator.close()
    while not (tmp_path / "estimator" / "outcome.json").exists():
        time.sleep(0.01)
    assert json.loads((tmp_path / "estimator" / "outcome.json").read_text())["exit_code"] == 0


class Told(Memory):
    def __init__(self, **totals):
        self.totals = totals

    def total_bytes(self, device):
        if device not in self.totals:
            raise DeviceError(f"{device} does not answer")
        return self.totals[device]


def plan(*names, cuda=True):
    devices = tuple(Device(name, 1.0, name if cuda else "") for name in names)
    return DevicePlan(devices, per_trial=1, share=1.0, slots=len(names), threads=1)


def spec(data="iris", **executor):
    return parse_spec(
        {
            "name": "s",
            "objective": {"kind": "recipe", "options": {"data": data}},
            "space": {"width": {"type": "int", "low": 1, "high": 9}},
            "metrics": {"val_acc": {"direction": "maximize"}},
            "executor": executor,
        }
    )


def test_the_smallest_device_is_the_limit_since_a_trial_may_get_any():
    assert memory_limit(spec(), plan("a", "b"), Told(a=24, b=8)) == 8


def test_a_device_whose_memory_is_not_told_vetoes_nothing():
    assert memory_limit(spec(), plan("a"), None) is None
    assert memory_limit(spec(), plan("a", "b"), Told(a=24)) is None


def test_on_the_cpu_the_limit_is_the_specs_or_what_there_is():
    assert memory_limit(spec(memory_gib=1.5), plan("cpu", cuda=False), None) == 1536 * MIB
    assert memory_limit(spec(), plan("cpu", cuda=False), None) == main_memory_bytes()


def ended(number, used, state=Outcome.COMPLETE):
    attempt = AttemptRecord(1, 1, "cpu", 0.0, peak_bytes=used)
    return TrialRecord(number, number, state, "", {}, {}, "gp", 0.0, 1.0, attempts=(attempt,))


def estimated(needed, *vetoes):
    return Decision("gp", "", memory_bytes=needed, vetoes=vetoes)


def test_the_error_of_estimates_is_told_over_the_trials_that_ended():
    trials = [ended(0, 100), ended(1, 200), ended(2, 400), ended(3, 50, "running"), ended(4, 9)]
    decisions = {
        0: estimated(90),
        1: estimated(190),
        2: estimated(480),
        3: estimated(1),
        4: estimated(None),
    }
    error = estimate_error(trials, decisions)
    assert error == (3, pytest.approx(-0.05), pytest.approx(0.2))
    assert str(error) == (
        "over 3 trials, the median was -5% of what they used, and the farthest +20%"
    )
    assert estimate_error(trials, {}) is None


def test_notes_tell_estimate_use_and_vetoes():
    decision = estimated(500 * MIB, Veto({"width": 9}, "gp", 3 << 30))
    assert memory_notes(ended(0, 512 * MIB), decision) == [
        "needs at least 500 MiB of memory by estimate, and used 512 MiB",
        "vetoed before it, since it needs at least 3.0 GiB of memory: width=9",
    ]
    assert memory_notes(ended(0, 512 * MIB), Decision("gp", "")) == []
