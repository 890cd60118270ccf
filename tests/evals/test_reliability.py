"""The suite finds what is broken; `make reliability` tries harder than there is time for here."""

import json
import sqlite3
from pathlib import Path

import pytest
from luthier.evals import reliability
from luthier.evals.kills import Survivor
from luthier.evals.reliability import Check, bad_device, kills, main, show


def test_a_worker_may_be_killed() -> None:
    check = kills(studies=1, kills=1, seed=0)
    assert (check.runs, check.problems) == (1, [])


def test_a_changed_record_is_found_out(tmp_path: Path) -> None:
    survivor = Survivor(tmp_path, trials=2)
    assert survivor.finish() == []
    with sqlite3.connect(tmp_path / "home" / "ledger.db") as db:
        db.execute("UPDATE trials SET metrics = ? WHERE number = 1", [json.dumps({"loss": 0.0})])
        db.execute("UPDATE spending SET spent = spent + 1")
        db.execute("INSERT INTO events SELECT NULL, study_id, time, kind, trial, data FROM events")
    problems = " ".join(survivor.finish())
    assert "trial 1 reported" in problems
    assert "the best value is 0.0" in problems
    assert "s are spent" in problems
    assert "1 ends of trial 0: 2" in problems


def test_a_device_that_fails_every_trial_costs_hardly_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(reliability, "_TRIALS", 20)
    check = bad_device("fails every trial", {"poisoned_at": 0.0}, seeds=[0])
    assert (check.runs, check.problems) == (1, [])


def test_trials_that_are_lost_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reliability, "_TRIALS", 5)
    monkeypatch.setattr(reliability, "_DEVICES", 2)
    monkeypatch.setattr(reliability, "_MOST_LOST", -1)
    check = bad_device("is well", {}, seeds=[0])
    assert check.problems == ["seed 0: 0 trials lost; all 5 trials are used"]


def test_what_is_broken_is_shown_and_ends_in_an_exit_code(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    found = [Check("one", 3, "as promised"), Check("other", 1, "not so", ["it broke"])]
    monkeypatch.setattr(reliability, "suite", lambda size, seed: found)
    assert main([]) == 1
    shown = capsys.readouterr().out
    assert "FAILED" in shown
    assert "other: it broke" in shown
    show(found[:1])
    assert "FAILED" not in capsys.readouterr().out
