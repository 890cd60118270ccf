"""The benchmark measures what it says; its figures are judged by `make overhead`, not here."""

import time

import pytest
from luthier.evals.idle_gap import bare_gap, gaps
from luthier.evals.lab_pace import pace
from luthier.evals.measured import Row, import_seconds
from luthier.evals.overhead import in_fresh_process
from luthier.tools.outcomes import Outcome
from luthier.tools.records import AttemptRecord, TrialRecord


def trial(number: int, slot: str, began: float, returned: float) -> TrialRecord:
    return TrialRecord(
        id=number,
        number=number,
        state=Outcome.COMPLETE,
        reason="",
        configuration={},
        metrics={"began": began, "returned": returned},
        source="random",
        created_at=began,
        finished_at=returned,
        attempts=(AttemptRecord(number, 1, slot, began),),
    )


def test_a_row_compares_with_its_reference() -> None:
    assert Row("a", 0.3, "b", 0.2, limit=2.0).ratio == pytest.approx(1.5)


def test_a_row_is_shown_in_its_unit() -> None:
    assert Row("a", 0.3, "b", 0.2, limit=2.0).cells()[1:5] == ["300.0", "b", "200.0", "ms"]
    row = Row("a", 9_000.0, "b", 3_000.0, limit=2.0, unit="KB")
    assert row.cells() == ["a", "9.0", "b", "3.0", "KB", "3.00", "2.00", "too much"]


def test_a_gap_lies_between_two_trials_of_one_slot() -> None:
    trials = [
        trial(0, "cpu:0", 0.0, 1.0),
        trial(1, "cpu:1", 0.0, 2.0),
        trial(2, "cpu:0", 1.25, 3.0),
        trial(3, "cpu:1", 2.5, 3.0),
    ]
    assert list(gaps(trials, lambda trial: trial.metrics["returned"])) == [0.25, 0.5]


def test_the_gap_of_a_bare_fork_server_holds_the_start_of_its_children() -> None:
    begun = time.perf_counter()
    gap, start = bare_gap(["json"], children=12, nap=0.01)
    assert 0.0 < start <= gap < time.perf_counter() - begun


def test_the_pace_of_a_study_in_the_lab_is_measured() -> None:
    assert all(seconds > 0.0 for seconds in pace(trials=150)[:2])


def test_an_import_that_takes_longer_measures_longer() -> None:
    assert import_seconds("import decimal") > import_seconds("import sys")


def test_the_loop_is_measured_in_a_process_of_its_own() -> None:
    assert 0.0 < in_fresh_process("loop")[0] < 60.0
