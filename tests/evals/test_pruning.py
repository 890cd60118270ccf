"""Replayed studies do what studies do; the full table is judged by its command, not here."""

from pathlib import Path

import numpy as np
import pytest
from luthier.evals.pruning import SMOKE, Plan, Results, Row, main, rows
from luthier.evals.replay import open_curves, replay
from luthier.evals.task import EvalError
from luthier.tools.stats import Interval

SMALL = Plan("random", ("digits-cnn",), ("median", "auto"), trials=12, seeds=2)


def row(saved: float, difference: Interval) -> Row:
    return Row("random", "digits-cnn", "auto", saved, difference, 10, 0, 0.0, 2, 2)


def test_without_pruning_every_epoch_is_run() -> None:
    run = replay(open_curves("digits-cnn"), {"kind": "none"}, "random", 0, trials=8, slots=2)
    assert (run.saved, run.stopped, run.audit) == (0.0, 0, None)


def test_the_epochs_that_stopped_trials_do_not_run_are_saved() -> None:
    run = replay(open_curves("digits-cnn"), {"kind": "auto"}, "random", 0, trials=20, slots=1)
    assert run.stopped > 0
    assert run.audit is not None
    assert run.saved == pytest.approx(run.audit.saved)


def test_a_study_that_audits_every_trial_saves_nothing_and_ends_as_one_without_pruning() -> None:
    curves = open_curves("digits-cnn")
    plain = replay(curves, {"kind": "none"}, "random", 1, trials=20, slots=1)
    audited = replay(curves, {"kind": "auto", "audit": 1}, "random", 1, trials=20, slots=1)
    assert (audited.saved, audited.regret) == (0.0, plain.regret)
    assert audited.audit is not None
    assert audited.audit.spared > 0


def test_a_late_twin_begins_and_ends_as_its_table_and_crosses_on_the_way() -> None:
    plain, late = open_curves("digits-cnn").values, open_curves("digits-cnn-late").values
    assert np.array_equal(plain[..., [0, -1]], late[..., [0, -1]])

    def crossings(curves: np.ndarray) -> float:
        middle, end = curves[..., 4].ravel(), curves[..., -1].ravel()
        return -float(
            np.corrcoef(np.argsort(np.argsort(middle)), np.argsort(np.argsort(end)))[0, 1]
        )

    assert crossings(late) > crossings(plain)


def test_what_was_replayed_before_is_taken_from_the_file(tmp_path: Path) -> None:
    path = tmp_path / "results.jsonl"
    first = list(rows(SMALL, Results(path)))
    lines = path.read_text(encoding="utf-8")
    path.write_text(lines[:-9], encoding="utf-8")  # as a killed run leaves it
    assert list(rows(SMALL, Results(path))) == first
    assert path.read_text(encoding="utf-8").count("\n") == lines.count("\n") + 1
    assert list(rows(SMALL, Results(path))) == first


def test_a_file_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    with pytest.raises(EvalError, match="cannot keep results in"):
        Results(tmp_path)


def test_a_row_is_ok_where_enough_is_saved_at_no_cost() -> None:
    assert row(0.45, Interval(0.0, -0.01, 0.01, 0.008)).verdict == "ok"
    assert row(0.35, Interval(0.0, -0.01, 0.01, 0.008)).verdict == "saves too little"
    assert row(0.45, Interval(0.05, 0.01, 0.09, 0.08)).verdict == "regret worse"


def test_the_smoke_run_prints_a_row_for_each_kind(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--smoke"]) in (0, 1)
    out = capsys.readouterr().out
    assert all(kind in out for kind in SMOKE[0].kinds)
