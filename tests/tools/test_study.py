"""Studies: made, branched, read and handed on."""

import csv
import json
import math
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from luthier.agent.classical import propose
from luthier.tools.ledger import Ledger, StudyNotFoundError, open_ledger
from luthier.tools.metrics import Report
from luthier.tools.outcomes import Outcome, Verdict
from luthier.tools.records import Decision
from luthier.tools.spec import SpecError, StudySpec, parse_spec
from luthier.tools.study import (
    Study,
    StudyConflictError,
    branch,
    export_study,
    open_or_create,
    open_study,
    with_budget,
    with_name,
)
from luthier.tools.workspace import Workspace

LOSS = {"loss": {"direction": "minimize"}}


def spec(**changes: Any) -> StudySpec:
    data: dict[str, Any] = {
        "name": "parent",
        "objective": {"kind": "callable", "reference": "training:train"},
        "space": {"x": {"type": "float", "low": 0.0, "high": 10.0}},
        "metrics": {**LOSS, "size": {"direction": "watch"}},
        "budget": {"trials": 9},
        "sampler": {"kind": "tpe", "start_up_trials": 1},
    }
    return parse_spec(data | changes)


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    ledger = open_ledger(tmp_path / "home" / "ledger.db")
    yield ledger
    ledger.close()


@pytest.fixture
def parent(ledger: Ledger, tmp_path: Path) -> Study:
    """A study with a trial of every kind."""
    record = ledger.create_study(spec(), tmp_path)
    writer = ledger.acquire(record)
    ends = [
        (1.0, Outcome.COMPLETE, {"loss": 4.0, "size": 1.0}),
        (2.0, Outcome.COMPLETE, {"loss": 3.0, "size": math.nan}),
        (3.0, Outcome.COMPLETE, {"loss": 2.0}),
        (4.0, Outcome.PRUNED, {"loss": 9.0}),
        (5.0, Outcome.CRASHED, {}),
        (6.0, Outcome.KILLED, {"loss": 1.0}),
        (7.0, Outcome.INFRASTRUCTURE, {}),
        (8.0, None, {}),
    ]
    for number, (x, outcome, metrics) in enumerate(ends):
        decision = Decision(source="sobol", reason="spread out", seen_ended=number)
        trial = writer.add_trial(number, {"x": x}, decision, "cpu:0", 0.0)
        reports = [Report(step, {"loss": value}) for step, value in ((1, 2 * x), (2, x))]
        writer.record_reports(trial, reports)
        if outcome is not None:
            writer.finish_attempt(
                trial,
                Verdict(outcome, "because"),
                metrics=metrics,
                seconds=1.5,
                peak_bytes=1000,
                error_tail="last words",
                again=False,
            )
    writer.set_state("running")
    writer.release()
    return Study(ledger, Workspace(tmp_path / "home"), "parent")


# One by name


def test_the_same_spec_is_the_same_study(ledger: Ledger, parent: Study, tmp_path: Path) -> None:
    assert open_or_create(ledger, spec(), tmp_path).id == parent.record.id
    assert len(ledger.studies()) == 1


def test_another_spec_under_the_same_name_is_a_conflict(
    ledger: Ledger, parent: Study, tmp_path: Path
) -> None:
    with pytest.raises(StudyConflictError, match=r"seed: 0 -> 7.*`luthier branch parent"):
        open_or_create(ledger, spec(seed=7), tmp_path)


def test_a_conflict_about_the_budget_alone_points_to_resume(
    ledger: Ledger, parent: Study, tmp_path: Path
) -> None:
    with pytest.raises(StudyConflictError, match=r"`luthier resume parent --trials N`"):
        open_or_create(ledger, spec(budget={"trials": 99}), tmp_path)


def test_a_study_that_does_not_exist_is_told_with_the_nearest_name(
    parent: Study, tmp_path: Path
) -> None:
    with pytest.raises(StudyNotFoundError, match="no study 'parnt'; did you mean 'parent'"):
        open_study("parnt", tmp_path / "home")


def test_to_look_for_a_study_makes_no_workspace(tmp_path: Path) -> None:
    with pytest.raises(StudyNotFoundError, match="holds none"):
        open_study("parent", tmp_path / "nothing")
    assert not (tmp_path / "nothing").exists()


# States


def test_a_study_that_ought_to_run_without_a_worker_is_interrupted(parent: Study) -> None:
    assert parent.record.state == "running"
    assert parent.owner is None
    assert parent.state == "interrupted"


def test_a_study_that_a_worker_runs_is_running(ledger: Ledger, parent: Study) -> None:
    writer = ledger.acquire(parent.record)
    assert parent.owner is not None
    assert parent.state == "running"
    writer.release()
    assert parent.state == "interrupted"


def test_a_worker_that_died_on_this_machine_owns_nothing(ledger: Ledger, parent: Study) -> None:
    ledger.acquire(parent.record)
    with sqlite3.connect(ledger.path) as db:
        db.execute("UPDATE leases SET pid_start = 1")  # another process has its number now
    assert parent.state == "interrupted"


def test_a_worker_of_another_machine_owns_the_study_until_its_lease_runs_out(
    ledger: Ledger, parent: Study
) -> None:
    ledger.acquire(parent.record)
    with sqlite3.connect(ledger.path) as db:
        db.execute("UPDATE leases SET pid_start = 1, host = 'elsewhere'")
    assert parent.state == "running"
    with sqlite3.connect(ledger.path) as db:
        db.execute("UPDATE leases SET expires_at = 1")
    assert parent.state == "interrupted"


@pytest.mark.parametrize("state", ["paused", "stopped", "finished", "halted"])
def test_a_study_that_rests_says_how(ledger: Ledger, parent: Study, state: Any) -> None:
    writer = ledger.acquire(parent.record)
    writer.set_state(state, "for a reason")
    writer.release()
    assert (parent.state, parent.record.reason) == (state, "for a reason")


# Branches


def taken(study: Study, ledger: Ledger, tmp_path: Path, **changes: Any) -> list[float]:
    """Return the `x` of the trials that a branch takes over."""
    record, count = branch(ledger, study.record, spec(name="child", **changes), tmp_path)
    trials = ledger.trials(record)
    assert count == len(trials)
    assert [trial.number for trial in trials] == list(range(count))
    return [float(trial.configuration["x"]) for trial in trials]


def test_a_branch_takes_over_what_has_a_lesson(
    ledger: Ledger, parent: Study, tmp_path: Path
) -> None:
    assert taken(parent, ledger, tmp_path, budget={"trials": 20}) == [1, 2, 3, 4, 5]


def test_a_branch_leaves_behind_what_lies_outside_its_space(
    ledger: Ledger, parent: Study, tmp_path: Path
) -> None:
    space = {"x": {"type": "float", "low": 2.5, "high": 50.0}}
    assert taken(parent, ledger, tmp_path, space=space) == [3, 4, 5]


def test_a_branch_with_another_parameter_takes_over_nothing(
    ledger: Ledger, parent: Study, tmp_path: Path
) -> None:
    space = {
        "x": {"type": "float", "low": 0, "high": 10},
        "y": {"type": "int", "low": 1, "high": 2},
    }
    assert taken(parent, ledger, tmp_path, space=space) == []


def test_a_branch_with_another_metric_needs_trials_that_reported_it(
    ledger: Ledger, parent: Study, tmp_path: Path
) -> None:
    metrics = {"loss": {"direction": "watch"}, "size": {"direction": "minimize"}}
    # Trial 1 reported no number, trial 2 nothing.
    assert taken(parent, ledger, tmp_path, metrics=metrics) == [1, 4, 5]


def test_a_branch_with_a_limit_needs_trials_that_reported_it(
    ledger: Ledger, parent: Study, tmp_path: Path
) -> None:
    assert taken(parent, ledger, tmp_path, limits=["size <= 2"]) == [1, 2, 4, 5]


def test_a_branch_may_want_the_opposite(ledger: Ledger, parent: Study, tmp_path: Path) -> None:
    metrics = {"loss": {"direction": "maximize"}, "size": {"direction": "watch"}}
    assert taken(parent, ledger, tmp_path, metrics=metrics) == [1, 2, 3, 4, 5]


@pytest.mark.parametrize(
    "change",
    [{"objective": {"kind": "callable", "reference": "training:other"}}, {"seed": 1}],
    ids=["objective", "seed"],
)
def test_a_branch_that_runs_something_else_takes_over_nothing(
    ledger: Ledger, parent: Study, tmp_path: Path, change: dict[str, Any]
) -> None:
    assert taken(parent, ledger, tmp_path, **change) == []


@pytest.mark.parametrize(
    "metrics",
    [
        {**LOSS, "size": {"direction": "watch"}},
        {"loss": {"direction": "watch"}, "size": {"direction": "minimize"}},
        {**LOSS, "size": {"direction": "minimize"}},
    ],
    ids=["same", "other", "two"],
)
def test_a_branch_can_be_gone_on_with(
    ledger: Ledger, parent: Study, tmp_path: Path, metrics: dict[str, Any]
) -> None:
    child, _ = branch(ledger, parent.record, spec(name="child", metrics=metrics), tmp_path)
    trials = ledger.trials(child, curves=True)
    assert propose(child.spec, trials).configuration.keys() == {"x"}
    study = Study(ledger, parent.workspace, "child")
    assert len(study.to_optuna().trials) == len(trials)


def test_a_branch_knows_where_it_and_its_trials_come_from(
    ledger: Ledger, parent: Study, tmp_path: Path
) -> None:
    child, _ = branch(ledger, parent.record, spec(name="child"), tmp_path)
    assert child.parent == "parent"
    assert (child.state, child.wall_seconds) == ("created", 0)
    (created,) = ledger.events(child)
    assert (created.kind, created.data) == ("created", {"parent": "parent"})
    originals = parent.trials()
    for copy in ledger.trials(child, curves=True):
        original = originals[copy.number]
        assert (copy.imported, copy.source) == (True, "import")
        assert copy.metrics == pytest.approx(original.metrics, nan_ok=True)
        assert (copy.state, copy.configuration, copy.curves) == (
            original.state,
            original.configuration,
            original.curves,
        )
        with sqlite3.connect(ledger.path) as db:
            query = "SELECT imported_from FROM trials WHERE id = ?"
            assert db.execute(query, [copy.id]).fetchone() == (original.id,)


def test_a_branch_has_spent_nothing(ledger: Ledger, parent: Study, tmp_path: Path) -> None:
    child, _ = branch(ledger, parent.record, spec(name="child"), tmp_path)
    assert ledger.spending(child, "device_seconds") == (0, 0)


def test_a_branch_of_a_branch_takes_over_the_imported_ones_too(
    ledger: Ledger, parent: Study, tmp_path: Path
) -> None:
    child, _ = branch(ledger, parent.record, spec(name="child"), tmp_path)
    grandchild, count = branch(ledger, child, spec(name="grandchild"), tmp_path)
    assert (grandchild.parent, count) == ("child", 5)


def test_a_branch_under_a_name_that_is_taken_changes_nothing(
    ledger: Ledger, parent: Study, tmp_path: Path
) -> None:
    before = parent.trials(curves=False)
    with pytest.raises(RuntimeError, match="a study named 'parent' already"):
        branch(ledger, parent.record, spec(), tmp_path)
    assert str(parent.trials(curves=False)) == str(before)


# Specs


def test_caps_of_a_budget_can_be_changed_one_by_one() -> None:
    changed = with_budget(spec(), {"wall_seconds": "2m"})
    assert (changed.budget.trials, changed.budget.wall_seconds) == (9, 120)
    with pytest.raises(SpecError, match=r"budget.*trials"):
        with_budget(spec(), {"trials": 0})
    with pytest.raises(SpecError, match="epochs"):
        with_budget(spec(), {"epochs": 3})


def test_a_new_name_must_be_one() -> None:
    assert with_name(spec(), "other").name == "other"
    with pytest.raises(SpecError, match="name"):
        with_name(spec(), "../other")


# Exports


def test_json_holds_everything(parent: Study, tmp_path: Path) -> None:
    path = tmp_path / "study.json"
    export_study(parent, path)

    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is no JSON")

    document = json.loads(path.read_text(encoding="utf-8"), parse_constant=refuse)
    assert document["name"] == "parent"
    assert document["state"] == "interrupted"
    assert parse_spec(document["spec"]) == parent.spec
    assert [trial["state"] for trial in document["trials"]] == [
        *["complete"] * 3,
        "pruned",
        "crashed",
        "killed",
        "infrastructure",
        "running",
    ]
    first, second = document["trials"][:2]
    assert first["configuration"] == {"x": 1.0}
    assert first["curves"] == {"loss": [[1, 2.0], [2, 1.0]]}
    assert first["decision"]["source"] == "sobol"
    assert first["attempts"][0]["error_tail"] == "last words"
    assert second["metrics"] == {"loss": 3.0, "size": "nan"}


def test_csv_is_a_table_of_the_trials(parent: Study, tmp_path: Path) -> None:
    path = tmp_path / "study.csv"
    export_study(parent, path)
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 8
    assert rows[0]["params.x"] == "1.0"
    assert (rows[0]["loss"], rows[0]["size"], rows[0]["state"]) == ("4.0", "1.0", "complete")
    assert rows[4]["loss"] == ""


def test_a_metric_named_like_a_column_of_ours_is_kept_apart(ledger: Ledger, tmp_path: Path) -> None:
    metrics = {"seconds": {"direction": "minimize"}}
    record = ledger.create_study(spec(name="timed", metrics=metrics), tmp_path)
    writer = ledger.acquire(record)
    trial = writer.add_trial(0, {"x": 1.0}, Decision("sobol", ""), "cpu:0", 0.0)
    writer.finish_attempt(
        trial,
        Verdict(Outcome.COMPLETE, ""),
        metrics={"seconds": 42.0},
        seconds=1.5,
        peak_bytes=0,
        error_tail="",
        again=False,
    )
    table = Study(ledger, Workspace(tmp_path / "home"), "timed").to_dataframe()
    assert table["metrics.seconds"].tolist() == [42.0]
    assert table["seconds"].tolist() == [1.5]


def test_an_empty_study_can_be_exported(ledger: Ledger, tmp_path: Path) -> None:
    ledger.create_study(spec(name="empty"), tmp_path)
    study = Study(ledger, Workspace(tmp_path / "home"), "empty")
    export_study(study, tmp_path / "empty.json")
    export_study(study, tmp_path / "empty.csv")
    header = (tmp_path / "empty.csv").read_text(encoding="utf-8").strip()
    assert header.startswith("number,state,")
    assert list(study.to_dataframe()) == header.split(",")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("study.txt", r"must end in \.json or \.csv, but got '\.txt'"),
        ("nowhere/study.json", "cannot write .*nowhere/study.json.*No such file or directory"),
    ],
)
def test_an_export_that_cannot_be_written_is_refused(
    parent: Study, tmp_path: Path, name: str, message: str
) -> None:
    with pytest.raises(SpecError, match=message):
        export_study(parent, tmp_path / name)


# Reading


def test_the_best_trial_is_one_of_the_complete(parent: Study) -> None:
    best = parent.best()
    assert best is not None
    assert best.number == 2


def test_reading_a_study_changes_nothing(parent: Study, ledger: Ledger) -> None:
    before = ledger.version(parent.record)
    parent.trials()
    parent.decisions()
    parent.events()
    parent.to_optuna()
    assert parent.to_dataframe().shape[0] == 8
    assert ledger.version(parent.record) == before


def test_optuna_gets_the_states_that_it_knows(parent: Study) -> None:
    states = [trial.state.name for trial in parent.to_optuna().trials]
    assert states == ["COMPLETE"] * 3 + ["PRUNED", "FAIL", "FAIL", "FAIL", "RUNNING"]
