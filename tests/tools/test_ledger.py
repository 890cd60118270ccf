import inspect
import json
import math
import os
import sqlite3
import subprocess
import sys
import threading

import pytest
import sqlalchemy as sa
from luthier.tools.ledger import (
    LeaseHeldError,
    LedgerError,
    StudyNotFoundError,
    open_ledger,
)
from luthier.tools.metrics import Report
from luthier.tools.outcomes import Outcome, StopReason, Verdict
from luthier.tools.records import AdviceRecord, Decision
from luthier.tools.repeats import Repeat
from luthier.tools.spec import parse_spec
from luthier.tools.workspace import Workspace, find_workspace
from luthier.tools.writer import LeaseLostError, Writer

COMPLETE = Verdict(Outcome.COMPLETE, "ended by itself")
DECISION = Decision("sobol", "spread over the space", 1, 2, 0.5, deadline_missed=True)


def spec(name="digits", **changes):
    return parse_spec(
        {
            "name": name,
            "objective": {"kind": "callable", "reference": "m:f"},
            "space": {"x": {"type": "float", "low": 0, "high": 1}},
            "metrics": {"loss": {"direction": "minimize"}},
            **changes,
        }
    )


@pytest.fixture
def ledger(tmp_path):
    opened = open_ledger(tmp_path / "ledger.db")
    yield opened
    opened.close()


@pytest.fixture
def study(ledger, tmp_path):
    return ledger.create_study(spec(), tmp_path)


def sql(ledger, statement, *values):
    """Do what another machine, or time, might have done to the database."""
    with sqlite3.connect(ledger.path) as connection:
        rows = connection.execute(statement, values).fetchall()
    connection.close()
    return rows


def add(writer, number=0, x=0.5):
    return writer.add_trial(number, {"x": x}, DECISION, "cpu:0", 10.0)


def finish(writer, trial, verdict=COMPLETE, *, loss=0.25, again=False):
    return writer.finish_attempt(
        trial,
        verdict,
        metrics={"loss": loss},
        seconds=2.0,
        peak_bytes=100,
        error_tail="last words",
        again=again,
    )


# --- studies --------------------------------------------------------------------------------


def test_a_study_is_read_back_as_it_was_written(ledger, tmp_path):
    made = ledger.create_study(spec(seed=3), tmp_path)
    assert made.spec == spec(seed=3)
    assert made.working_directory == tmp_path
    assert (made.state, made.parent) == ("created", None)
    assert ledger.studies() == [made]


def test_a_name_is_taken_once(ledger, study, tmp_path):
    with pytest.raises(LedgerError, match="there is a study named 'digits' already"):
        ledger.create_study(spec(seed=1), tmp_path)
    assert ledger.study("digits").spec.seed == 0


def test_an_unknown_study_names_the_nearest(ledger, study):
    with pytest.raises(StudyNotFoundError, match="no study 'digit'; did you mean 'digits'?"):
        ledger.study("digit")


def test_an_empty_workspace_says_so(ledger):
    with pytest.raises(StudyNotFoundError, match="there are none in this workspace"):
        ledger.study("digits")


def test_the_ledger_outlives_its_process(tmp_path, ledger, study):
    add(ledger.acquire(study))
    ledger.close()
    again = open_ledger(tmp_path / "ledger.db")
    assert again.trials(again.study("digits"))[0].configuration == {"x": 0.5}
    again.close()


# --- trials ---------------------------------------------------------------------------------


def test_a_trial_is_returned_as_it_will_be_read(ledger, study):
    writer = ledger.acquire(study)
    assert ledger.trials(study) == []
    running = add(writer)
    assert ledger.trials(study, curves=True) == [running]
    assert (running.state, running.is_finished, len(running.attempts)) == ("running", False, 1)
    assert ledger.decisions(study) == {0: DECISION}


def test_a_finished_trial_is_returned_as_it_will_be_read(ledger, study):
    writer = ledger.acquire(study)
    ended = finish(writer, add(writer))
    assert ledger.trials(study, curves=True) == [ended]
    assert (ended.state, ended.metrics, ended.seconds) == (Outcome.COMPLETE, {"loss": 0.25}, 2.0)
    assert ended.attempts[0].error_tail == "last words"
    assert ended.finished_at is not None


def test_telling_an_end_twice_changes_nothing(ledger, study):
    writer = ledger.acquire(study)
    running = add(writer)
    finish(writer, running)
    told, events = ledger.trials(study), len(ledger.events(study))
    finish(writer, running, Verdict(Outcome.CRASHED, "exit code 1"), loss=99.0)
    assert ledger.trials(study) == told
    assert len(ledger.events(study)) == events
    assert ledger.spending(study, "device_seconds") == (2.0, 0.0)


def test_a_trial_waits_and_is_tried_again(ledger, study):
    writer = ledger.acquire(study)
    lost = Verdict(Outcome.INFRASTRUCTURE, "its launcher was lost")
    waiting = finish(writer, add(writer), lost, again=True)
    assert (waiting.state, waiting.finished_at) == ("waiting", None)
    assert ledger.trials(study, curves=True) == [waiting]
    second = writer.add_attempt(waiting, "cpu:1", 5.0)
    assert [attempt.slot for attempt in second.attempts] == ["cpu:0", "cpu:1"]
    ended = finish(writer, second)
    assert [a.outcome for a in ended.attempts] == [Outcome.INFRASTRUCTURE, Outcome.COMPLETE]
    assert ended.seconds == 4.0
    assert ledger.trials(study, curves=True) == [ended]


def test_a_trial_that_waits_in_vain_is_ended(ledger, study):
    writer = ledger.acquire(study)
    waiting = finish(writer, add(writer), again=True)
    ended = writer.end_waiting(waiting, Verdict(Outcome.KILLED, "the budget is used"))
    assert ledger.trials(study, curves=True) == [ended]
    assert ended.is_finished


def test_device_seconds_are_reserved_and_settled(ledger, study):
    writer = ledger.acquire(study)
    first, _ = add(writer, 0), add(writer, 1)
    assert ledger.spending(study, "device_seconds") == (0.0, 20.0)
    finish(writer, first)
    assert ledger.spending(study, "device_seconds") == (2.0, 10.0)


def test_an_attempt_that_begins_anew_begins_its_curves_anew(ledger, study):
    writer = ledger.acquire(study)
    first = add(writer)
    writer.record_reports(first, [Report(1, {"loss": 9.0})])
    second = writer.add_attempt(finish(writer, first, again=True), "cpu:0", 0.0)
    reports = [Report(2, {"loss": math.nan}), Report(1, {"loss": 0.5, "acc": math.inf})]
    writer.record_reports(second, reports)
    (trial,) = ledger.trials(study, curves=True)
    assert trial.curves is not None
    assert trial.curves["acc"] == {1: math.inf}
    assert list(trial.curves["loss"]) == [1, 2]
    assert trial.curves["loss"][1] == 0.5
    assert math.isnan(trial.curves["loss"][2])
    assert ledger.trials(study)[0].curves is None


def test_an_attempt_that_goes_on_continues_the_curves(ledger, study):
    writer = ledger.acquire(study)
    trial = add(writer)
    for steps in ([1, 2, 3], [], [3, 4]):
        reports = [Report(step, {"loss": float(len(steps))}) for step in steps]
        writer.record_reports(trial, reports)
        trial = writer.add_attempt(finish(writer, trial, again=True), "cpu:0", 0.0)
    (trial,) = ledger.trials(study, curves=True)
    assert trial.curves == {"loss": {1: 3.0, 2: 3.0, 3: 2.0, 4: 2.0}}


def test_every_attempt_keeps_the_configuration_that_it_ran_with(ledger, study):
    writer = ledger.acquire(study)
    trial = add(writer, x=0.5)
    writer.record_reports(trial, [Report(1, {"loss": 1.0})])
    for x in (0.25, 0.25, 0.5):
        trial = writer.reopen(finish(writer, trial), {"x": x})
        assert ledger.trials(study, curves=True) == [trial]
        trial = writer.add_attempt(trial, "cpu:0", 0.0)
    assert [attempt.configuration["x"] for attempt in trial.attempts] == [0.5, 0.25, 0.25, 0.5]
    (stored,) = ledger.trials(study, curves=True)
    assert stored.attempts == trial.attempts
    assert stored.configurations == [{"x": 0.5}, {"x": 0.25}, {"x": 0.25}]
    assert stored.curves == {}  # those of the first attempt ended with its configuration


def test_a_reopened_trial_waits_and_its_reopening_is_an_event(ledger, study):
    writer = ledger.acquire(study)
    ended = finish(writer, add(writer))
    reopened = writer.reopen(ended, {"x": 0.75})
    assert (reopened.state, reopened.finished_at, reopened.metrics) == (
        "waiting",
        None,
        {"loss": 0.25},
    )
    event = ledger.events(study)[-1]
    assert (event.kind, event.trial) == ("reopened", 0)
    assert event.data == {"outcome": "complete", "configuration": {"x": 0.75}}


def test_a_wish_to_retry_outlives_its_worker_and_a_wish_to_stop_does_not(ledger, study):
    for kind in ("stop", "retry", "pause", "resume"):
        ledger.wish(study, kind)
    assert [wish.kind for wish in ledger.acquire(study).wishes()] == ["retry", "resume"]


@pytest.mark.parametrize(
    "calls",
    [
        pytest.param(1, id="in one call"),
        pytest.param(2, id="in two calls"),
    ],
)
def test_the_first_value_of_a_metric_at_a_step_stays(ledger, study, calls):
    writer = ledger.acquire(study)
    trial = add(writer)
    reports = [Report(1, {"loss": 0.5}), Report(1, {"loss": 0.9}), Report(None, {"loss": 0.1})]
    for part in [reports] if calls == 1 else [reports[:1], reports[1:]]:
        writer.record_reports(trial, part)
    assert ledger.trials(study, curves=True)[0].curves == {"loss": {1: 0.5}}


def test_imported_trials_keep_their_metrics_and_curves(ledger, study, tmp_path):
    writer = ledger.acquire(study)
    running = add(writer)
    writer.record_reports(running, [Report(1, {"loss": 0.5}), Report(2, {"a": 1})])
    finish(writer, running)
    taken_over = ledger.trials(study, curves=True)
    child = ledger.create_study(spec("child"), tmp_path, parent=study, imported=taken_over)
    assert child.parent == "digits"
    (trial,) = ledger.trials(child, curves=True)
    assert trial.imported
    assert trial.source == "import"
    assert (trial.state, trial.configuration, trial.metrics) == (
        Outcome.COMPLETE,
        {"x": 0.5},
        {"loss": 0.25},
    )
    assert trial.curves == {"loss": {1: 0.5}, "a": {2: 1.0}}
    assert ledger.spending(child, "device_seconds") == (0.0, 0.0)


def test_text_of_any_kind_comes_back(ledger, tmp_path):
    choices = ["', DROP TABLE trials; --", "é\n\U0001f600", ""]
    space = {"x": {"type": "categorical", "choices": choices}}
    study = ledger.create_study(spec("text", space=space), tmp_path)
    writer = ledger.acquire(study)
    for number, choice in enumerate(choices):
        writer.add_trial(number, {"x": choice}, DECISION, "cpu:0", 0.0)
    assert [t.configuration["x"] for t in ledger.trials(study)] == choices


# --- the lease ------------------------------------------------------------------------------


def test_a_second_worker_is_refused_with_the_name_of_the_first(ledger, study):
    ledger.acquire(study)
    owner = ledger.owner(study)
    assert owner is not None
    assert f"(pid {os.getpid()})" in owner.name
    with pytest.raises(LeaseHeldError) as error:
        ledger.acquire(study)
    assert str(error.value) == (
        f"study 'digits' is being run by {owner.name}; "
        "watch it with `luthier watch digits`, or stop it with `luthier stop digits`"
    )


def test_a_lease_that_was_given_back_is_free(ledger, study):
    ledger.acquire(study).release()
    assert ledger.owner(study) is None
    ledger.acquire(study)


def test_of_workers_that_race_for_a_study_one_wins(ledger, study):
    won, start = [], threading.Barrier(6)

    def race():
        start.wait()
        try:
            won.append(ledger.acquire(study).token)
        except LeaseHeldError:
            pass

    threads = [threading.Thread(target=race) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert won == [1]


def test_a_worker_that_died_on_this_machine_is_replaced_at_once(ledger, study):
    code = (
        "import os, sys; from pathlib import Path; from luthier.tools.ledger import open_ledger\n"
        "ledger = open_ledger(Path(sys.argv[1])); ledger.acquire(ledger.study('digits'))\n"
        "os._exit(0)"
    )
    subprocess.run([sys.executable, "-c", code, str(ledger.path)], check=True)
    ((expires,),) = sql(ledger, "SELECT expires_at > unixepoch() FROM leases")
    assert expires
    assert ledger.owner(study) is None
    assert ledger.acquire(study).token == 2


def test_a_worker_of_another_machine_is_replaced_once_its_lease_ran_out(ledger, study):
    ledger.acquire(study)
    sql(ledger, "UPDATE leases SET host = 'elsewhere', pid = 1, owner = 'ann@elsewhere'")
    with pytest.raises(LeaseHeldError, match="is being run by ann@elsewhere"):
        ledger.acquire(study)
    sql(ledger, "UPDATE leases SET expires_at = unixepoch() - 1")
    assert ledger.acquire(study).token == 2


def test_a_heartbeat_keeps_the_lease(ledger, study):
    writer = ledger.acquire(study)
    sql(ledger, "UPDATE leases SET expires_at = 0")
    writer.heartbeat(12.5)
    assert ledger.owner(study) is not None
    assert ledger.study("digits").wall_seconds == 12.5


def calls(writer, trial, wish):
    """Return a call of every method of a writer."""
    return {
        "heartbeat": lambda: writer.heartbeat(1.0),
        "release": lambda: writer.release(),
        "set_state": lambda: writer.set_state("finished"),
        "change_budget": lambda: writer.change_budget(spec(budget={"trials": 7})),
        "note": lambda: writer.note("hello"),
        "add_trial": lambda: add(writer, 1),
        "record_advice": lambda: writer.record_advice(AdviceRecord(tokens=7, dollars=0.1, calls=1)),
        "add_repeats": lambda: writer.add_repeats(2, [Repeat(trial, seed=1, index=1)]),
        "add_wanted": lambda: writer.add_wanted(9, {"x": 0.25}, wish),
        "add_attempt": lambda: writer.add_attempt(trial, "cpu:0", 0.0),
        "record_reports": lambda: writer.record_reports(trial, [Report(1, {"loss": 1.0})]),
        "note_stop": lambda: writer.note_stop(trial, StopReason.STOP, None),
        "finish_attempt": lambda: finish(writer, trial),
        "reopen": lambda: writer.reopen(trial, {"x": 0.75}),
        "end_waiting": lambda: writer.end_waiting(trial, COMPLETE),
        "handled": lambda: writer.handled(wish),
        "wishes": lambda: writer.wishes(),
    }


def everything(ledger):
    with sqlite3.connect(ledger.path) as connection:
        dump = list(connection.iterdump())
    connection.close()
    return dump


def test_a_worker_that_lost_its_lease_can_write_nothing(ledger, study):
    late = ledger.acquire(study)
    trial = add(late)
    ledger.wish(study, "stop")
    (wish,) = late.wishes()
    sql(ledger, "UPDATE leases SET expires_at = 0")
    ledger.acquire(study)
    before = everything(ledger)
    tried = calls(late, trial, wish)
    methods = {name for name, _ in inspect.getmembers(Writer, inspect.isfunction)}
    assert tried.keys() == {name for name in methods if name[0] != "_"}
    for name, call in tried.items():
        with pytest.raises(LeaseLostError, match="the lease of study 'digits' went to another"):
            call()
        assert everything(ledger) == before, name


@pytest.mark.parametrize(
    "name",
    [
        "set_state",
        "change_budget",
        "note",
        "add_trial",
        "record_advice",
        "record_reports",
        "finish_attempt",
        "reopen",
    ],
)
def test_a_write_happens_whole_or_not_at_all(ledger, study, monkeypatch, name):
    writer = ledger.acquire(study)
    call = calls(writer, add(writer), None)[name]
    before = everything(ledger)
    left = 0

    def break_off(*_):
        nonlocal left
        left -= 1
        if left == 0:
            raise KeyboardInterrupt

    engine = writer._database._engine
    sa.event.listen(engine, "after_cursor_execute", break_off)
    # Broken off after its second statement (the first begins), its third, ... until none is left.
    broken_off = 0
    for left in range(2, 20):  # noqa: B007  (`break_off` counts it down)
        try:
            call()
        except KeyboardInterrupt:
            broken_off += 1
            assert everything(ledger) == before
        else:
            break
    sa.event.remove(engine, "after_cursor_execute", break_off)
    assert broken_off >= 2
    assert everything(ledger) != before


# --- front ends -----------------------------------------------------------------------------


def test_wishes_are_handled_once_in_their_order(ledger, study):
    writer = ledger.acquire(study)
    ledger.wish(study, "pause")
    ledger.wish(study, "stop", at_once=True)
    first, second = writer.wishes()
    assert (first.kind, second.kind, second.data) == ("pause", "stop", {"at_once": True})
    assert f"(pid {os.getpid()})" in first.author
    writer.handled(first)
    assert writer.wishes() == [second]


def test_the_version_grows_with_every_write(ledger, study):
    writer = ledger.acquire(study)
    trial = add(writer)
    ledger.wish(study, "pause")
    tried = calls(writer, trial, writer.wishes()[0])
    # These are about the worker, not the study.
    del tried["heartbeat"], tried["release"], tried["wishes"]
    for name, call in tried.items():
        before = ledger.version(study)
        call()
        assert ledger.version(study) > before, name
    assert ledger.study("digits").version == ledger.version(study)


def test_events_are_kept_in_order_and_read_on(ledger, study):
    writer = ledger.acquire(study)
    writer.note("hello", 3, text="ö")
    created, hello = ledger.events(study)
    assert (created.kind, hello.kind, hello.trial, hello.data) == (
        "created",
        "hello",
        3,
        {"text": "ö"},
    )
    assert ledger.events(study, after=created.id) == [hello]


def test_a_changed_budget_is_stored_and_recorded(ledger, study):
    writer = ledger.acquire(study)
    writer.change_budget(spec(budget={"trials": 7}))
    assert ledger.study("digits").spec.budget.trials == 7
    assert ledger.events(study)[-1].data["before"]["trials"] == 50


def test_readers_neither_wait_for_the_worker_nor_see_half_of_what_it_writes(ledger, study):
    writer = ledger.acquire(study)
    inside, go_on = threading.Event(), threading.Event()

    def write():
        with writer._database.write() as db:
            db.exec_driver_sql("UPDATE studies SET state = 'running'")
            inside.set()
            go_on.wait()

    thread = threading.Thread(target=write)
    thread.start()
    inside.wait()
    assert ledger.study("digits").state == "created"
    assert ledger.trials(study) == []
    go_on.set()
    thread.join()
    assert ledger.study("digits").state == "running"


def test_two_processes_write_without_losing_anything(ledger, tmp_path):
    code = (
        "import sys; from pathlib import Path; from luthier.tools.ledger import open_ledger\n"
        "ledger = open_ledger(Path(sys.argv[1])); study = ledger.study(sys.argv[2])\n"
        "writer = ledger.acquire(study)\n"
        "for i in range(50): writer.note('n', i)\n"
    )
    studies = [ledger.create_study(spec(name), tmp_path) for name in ("a", "b")]
    workers = [
        subprocess.Popen([sys.executable, "-c", code, str(ledger.path), study.name])
        for study in studies
    ]
    assert [worker.wait(timeout=60) for worker in workers] == [0, 0]
    for study in studies:
        assert [e.trial for e in ledger.events(study) if e.kind == "n"] == list(range(50))


# --- opening --------------------------------------------------------------------------------


def test_a_file_that_is_no_database_is_refused(tmp_path):
    path = tmp_path / "ledger.db"
    path.write_text("these are my notes, " * 100)
    with pytest.raises(LedgerError, match="ledger.db' is not a Luthier database"):
        open_ledger(path)
    assert path.read_text().startswith("these are my notes")


def test_a_newer_schema_is_refused_and_left_alone(ledger):
    sql(ledger, "UPDATE alembic_version SET version_num = '9999'")
    ledger.close()
    with pytest.raises(LedgerError, match=r"newer Luthier \(schema 9999.*upgrade Luthier, or"):
        open_ledger(ledger.path)
    assert sql(ledger, "SELECT version_num FROM alembic_version") == [("9999",)]


def test_a_folder_that_cannot_be_made_is_refused(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(LedgerError, match="cannot create the workspace .*file/inside'"):
        open_ledger(tmp_path / "file" / "inside" / "ledger.db")


def test_a_folder_that_cannot_be_written_is_refused_with_the_way_out(tmp_path, monkeypatch):
    if os.geteuid() == 0:  # to whom every folder is open
        monkeypatch.setattr(os, "access", lambda *_: False)
    tmp_path.chmod(0o555)
    with pytest.raises(LedgerError, match="cannot be written; choose another with LUTHIER_HOME"):
        open_ledger(tmp_path / "ledger.db")
    tmp_path.chmod(0o755)


def test_the_workspace_is_beside_the_user_or_where_the_environment_says(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert find_workspace({}).folder == tmp_path / ".luthier"
    assert find_workspace({"LUTHIER_HOME": "~/x"}).folder.name == "x"
    workspace = Workspace(tmp_path)
    assert workspace.attempt_folder("s", 3, 1) == tmp_path / "trials" / "s" / "3" / "1"
    assert workspace.ledger_path.parent == workspace.mirror_path.parent == tmp_path


def test_what_is_stored_is_json_that_others_can_read(ledger, study):
    add(ledger.acquire(study))
    ((configuration, stored),) = sql(
        ledger, "SELECT configuration, spec FROM trials JOIN studies ON studies.id = study_id"
    )
    assert json.loads(configuration) == {"x": 0.5}
    assert json.loads(stored)["name"] == "digits"
