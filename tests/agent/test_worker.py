"""The process that runs one study: its lease, its signals, its mirror."""

import contextlib
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol

import optuna
import pytest
from luthier.agent.worker import WorkerError, run_study, start_detached
from luthier.tools.ledger import LeaseHeldError
from luthier.tools.outcomes import Outcome
from luthier.tools.spec import SpecError
from luthier.tools.study import Study
from luthier.tools.writer import LeaseLostError


class Lab(Protocol):
    """The fixture `lab`."""

    def __getattr__(self, name: str) -> Any: ...


DEADLINE = 90.0
WAITS = "report(1, loss=x); gate(); report(2, loss=x)"
DEAF = "signal.signal(signal.SIGTERM, signal.SIG_IGN); report(1, loss=x); signal.pause()"


# The lease


def test_a_second_worker_is_refused_with_the_owner_s_name(lab: Lab) -> None:
    lab.gate()
    study = lab.create(WAITS)
    process = lab.start_worker(study)
    with pytest.raises(LeaseHeldError) as refusal:
        run_study(lab.ledger, study.record, lab.workspace)
    owner = study.owner
    assert owner is not None
    assert owner.pid == process.pid
    assert f"(pid {process.pid})" in str(refusal.value)
    assert socket.gethostname() in str(refusal.value)
    assert "luthier stop small" in str(refusal.value)


def test_a_second_worker_process_says_so_and_leaves_the_first_alone(lab: Lab) -> None:
    lab.gate()
    study = lab.create(WAITS, budget={"trials": 1})
    first = lab.start_worker(study)
    second = lab.start_worker(study)
    _, errors = second.communicate(timeout=DEADLINE)
    assert second.returncode == 1
    assert f"(pid {first.pid})" in errors
    assert "Traceback" not in errors
    lab.wait_for_report(study)
    lab.open_gate()
    assert first.wait(DEADLINE) == 0
    assert study.state == "finished"


def test_a_dead_owner_is_replaced_at_once(lab: Lab) -> None:
    lab.gate()
    study = lab.create(WAITS, budget={"trials": 1})
    process = lab.start_worker(study)
    process.kill()
    process.wait(DEADLINE)
    assert study.owner is None
    running = lab.start(study)
    lab.wait_for_report(study)
    lab.open_gate()
    assert running.ending().state == "finished"


def test_a_worker_whose_lease_went_to_another_writes_nothing_more(lab: Lab) -> None:
    study = lab.create()
    writer = lab.ledger.acquire(study.record)
    with sqlite3.connect(lab.workspace.ledger_path) as db:
        db.execute("UPDATE leases SET expires_at = 0")  # as if the machine had slept
    lab.ledger.acquire(study.record)
    before = study.record
    with pytest.raises(LeaseLostError):
        writer.set_state("halted", "it should not say so")
    with pytest.raises(LeaseLostError):
        writer.heartbeat(1e6)
    assert study.record == before


def test_a_worker_that_lost_its_lease_leaves_its_trials_to_the_new_one(lab: Lab) -> None:
    lab.gate()
    study = lab.create(WAITS, budget={"trials": 1})
    process = lab.start_worker(study)
    lab.wait_for_report(study)
    os.kill(process.pid, signal.SIGSTOP)  # the machine sleeps
    with sqlite3.connect(lab.workspace.ledger_path) as db:
        db.execute("UPDATE leases SET expires_at = 0")
    running = lab.start(study)
    lab.wait_for(study, "adopted")
    os.kill(process.pid, signal.SIGCONT)
    _, errors = process.communicate(timeout=DEADLINE)
    assert process.returncode == 1
    assert "the lease of study 'small' went to another worker" in errors
    lab.open_gate()
    assert running.ending().state == "finished"
    (trial,) = study.trials()
    assert (trial.state, len(trial.attempts)) == (Outcome.COMPLETE, 1)


def test_the_lease_is_given_back_when_the_run_fails(lab: Lab) -> None:
    study = lab.create()

    def broken(_: object) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        run_study(lab.ledger, study.record, lab.workspace, on_trial=broken)
    assert study.owner is None
    assert run_study(lab.ledger, study.record, lab.workspace).state == "finished"
    assert [trial.state for trial in study.trials()] == [Outcome.COMPLETE] * 3


def test_a_budget_that_was_changed_meanwhile_holds_for_who_opened_the_study_before(
    lab: Lab,
) -> None:
    study = lab.create(budget={"trials": 1})
    record = study.record
    run_study(lab.ledger, study.record, lab.workspace)
    lab.ledger.wish(study.record, "resume", budget={"trials": 2})
    run_study(lab.ledger, study.record, lab.workspace)
    lab.ledger.wish(study.record, "resume", budget={"wall_seconds": 600})
    run_study(lab.ledger, record, lab.workspace)
    budget = study.spec.budget
    assert (budget.trials, budget.wall_seconds) == (2, 600)
    assert study.record.wall_seconds > 0


def test_nothing_is_started_if_the_script_is_missing(lab: Lab) -> None:
    study = lab.create()
    (lab.folder / "small.py").unlink()
    with pytest.raises(SpecError, match="there is no script"):
        run_study(lab.ledger, study.record, lab.workspace)
    assert study.state == "created"
    assert study.owner is None


# Signals


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_stops_the_study_and_its_trials_wait(lab: Lab, number: signal.Signals) -> None:
    lab.gate()
    study = lab.create(WAITS, executor={"device": "cpu", "slots": 2})
    process = lab.start_worker(study)
    lab.wait_for_report(study, trial=0)
    lab.wait_for_report(study, trial=1)
    process.send_signal(number)
    output, errors = process.communicate(timeout=DEADLINE)
    assert (process.returncode, output.strip(), errors) == (0, "interrupted", "")
    assert (study.state, study.record.reason) == ("stopped", "interrupted")
    assert [trial.state for trial in study.trials()] == ["waiting", "waiting"]
    assert study.owner is None


def test_a_second_signal_kills_a_trial_that_will_not_listen(lab: Lab) -> None:
    study = lab.create(DEAF, executor={"device": "cpu", "slots": 1, "grace_seconds": 3600})
    process = lab.start_worker(study)
    lab.wait_for_report(study)
    process.send_signal(signal.SIGTERM)
    stop = lab.workspace.attempt_folder("small", 0, 1) / "stop"
    deadline = time.monotonic() + DEADLINE
    while not stop.exists():
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert process.poll() is None
    process.send_signal(signal.SIGTERM)
    assert process.wait(DEADLINE) == 0
    (trial,) = study.trials()
    assert (study.state, trial.state) == ("stopped", "waiting")


def test_a_trial_that_will_not_listen_is_killed_when_its_grace_is_over(lab: Lab) -> None:
    study = lab.create(DEAF, executor={"device": "cpu", "slots": 1, "grace_seconds": 0.1})
    process = lab.start_worker(study)
    lab.wait_for_report(study)
    process.send_signal(signal.SIGTERM)
    assert process.wait(DEADLINE) == 0
    assert study.trials()[0].state == "waiting"


def test_the_signals_are_as_before_once_a_run_has_ended(lab: Lab) -> None:
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    study = lab.create(budget={"trials": 1})
    run_study(lab.ledger, study.record, lab.workspace)
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before


# Detached


@contextlib.contextmanager
def _detached(study: Study) -> Iterator[None]:
    """Kill a detached worker if the test fails."""
    try:
        yield
    finally:
        owner = study.owner
        if owner is not None and owner.pid != os.getpid():
            os.kill(owner.pid, signal.SIGKILL)


def test_a_detached_worker_outlives_who_started_it(lab: Lab) -> None:
    lab.gate()
    study = lab.create(WAITS, budget={"trials": 1})
    starter = f"""
from pathlib import Path
from luthier.agent.worker import start_detached
from luthier.tools.study import open_study
study = open_study("small", Path({str(lab.workspace.folder)!r}))
start_detached(study.ledger, study.record, study.workspace)
print(study.owner.pid)
"""
    command = [sys.executable, "-c", starter]
    with _detached(study):
        output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        owner = study.owner
        assert owner is not None
        assert owner.pid == int(output)
        assert os.getsid(owner.pid) == owner.pid
        lab.wait_for_report(study)
        lab.open_gate()
        lab.wait_for(study, "finished")
    (trial,) = study.trials()
    assert trial.state is Outcome.COMPLETE


def test_a_detached_worker_that_is_done_at_once_is_no_error(lab: Lab) -> None:
    study = lab.create(budget={"trials": 1})
    run_study(lab.ledger, study.record, lab.workspace)
    start_detached(lab.ledger, study.record, lab.workspace)
    lab.wait_for(study, "finished", 2)


def test_a_detached_worker_that_fails_at_once_says_why(lab: Lab) -> None:
    study = lab.create()
    (lab.folder / "small.py").unlink()
    with pytest.raises(WorkerError, match="there is no script .*small.py"):
        start_detached(lab.ledger, study.record, lab.workspace)


def test_a_second_detached_worker_is_refused_with_the_owner_s_name(lab: Lab) -> None:
    lab.gate()
    study = lab.create(WAITS)
    process = lab.start_worker(study)
    with pytest.raises(WorkerError, match=rf"is being run by .*\(pid {process.pid}\)"):
        start_detached(lab.ledger, study.record, lab.workspace)


# The mirror


def test_the_mirror_is_complete_when_the_worker_ends(lab: Lab) -> None:
    study = lab.create(
        "report(1, loss=2 * x)\nif trial == 2: sys.exit(1)\nreport(2, loss=x)",
        budget={"trials": 6},
        executor={"device": "cpu", "slots": 2},
    )
    run_study(lab.ledger, study.record, lab.workspace)
    mirror = _load_mirror(lab)
    assert len(mirror.trials) == 6
    for copy, trial in zip(mirror.trials, study.trials(), strict=True):
        assert copy.params == trial.configuration
        assert copy.intermediate_values == (trial.curves or {})["loss"]
        assert copy.user_attrs["outcome"] == str(trial.state)
        assert copy.value == trial.metrics.get("loss") or trial.number == 2
    best = study.best()
    assert best is not None
    assert mirror.best_trial.number == best.number
    assert mirror.metric_names == ["loss"]


def test_the_mirror_follows_trials_that_wait_and_run_again(lab: Lab) -> None:
    lab.gate()
    study = lab.create("report(1, loss=x)\nif attempt == 1 and trial == 1: gate()")
    process = lab.start_worker(study)
    lab.wait_for_report(study, trial=1)
    process.terminate()
    process.wait(DEADLINE)
    states = [trial.state.name for trial in _load_mirror(lab).trials]
    assert states == ["COMPLETE", "RUNNING"]
    run_study(lab.ledger, study.record, lab.workspace)
    assert [trial.state.name for trial in _load_mirror(lab).trials] == ["COMPLETE"] * 3


def test_a_mirror_that_cannot_be_read_costs_the_study_nothing(lab: Lab) -> None:
    study = lab.create()
    lab.workspace.mirror_path.write_bytes(b"this is no database " * 100)
    assert run_study(lab.ledger, study.record, lab.workspace).state == "finished"
    assert [trial.state for trial in study.trials()] == [Outcome.COMPLETE] * 3
    log = lab.workspace.study_folder("small") / "worker.log"
    assert "the Optuna mirror was not updated" in log.read_text(encoding="utf-8")


def test_a_mirror_that_was_deleted_is_made_anew(lab: Lab) -> None:
    study = lab.create()
    run_study(lab.ledger, study.record, lab.workspace)
    path: Path = lab.workspace.mirror_path
    path.unlink()
    lab.ledger.wish(study.record, "resume", budget={"trials": 4})
    run_study(lab.ledger, study.record, lab.workspace)
    assert len(_load_mirror(lab).trials) == 4


def _load_mirror(lab: Lab) -> optuna.Study:
    storage = f"sqlite:///{lab.workspace.mirror_path}"
    return optuna.load_study(study_name="small", storage=storage)


# Several at once


def test_workers_that_make_the_same_workspace_at_once_do_not_disturb_each_other(
    tmp_path: Path,
) -> None:
    code = f"""
from pathlib import Path
from luthier.tools.ledger import open_ledger
open(0).read()
open_ledger(Path({str(tmp_path / "home" / "ledger.db")!r})).studies()
"""
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", code],
            stdin=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(4)
    ]
    for process in processes:
        assert process.stdin is not None
        process.stdin.close()
        process.stdin = None
    errors = [process.communicate(timeout=DEADLINE)[1] for process in processes]
    assert errors == [""] * 4
