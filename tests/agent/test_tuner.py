"""The loop of a study, with real trials, a real ledger and real processes."""

import contextlib
import json
import math
import os
import signal
import sqlite3
import time
from pathlib import Path
from typing import Any, Protocol

import pytest
from luthier.agent import worker
from luthier.agent.limits import Policy
from luthier.tools import database
from luthier.tools.analysis import best_trials
from luthier.tools.executors.processes import start_ticks
from luthier.tools.ledger import open_ledger
from luthier.tools.outcomes import Outcome
from luthier.tools.records import Decision, TrialRecord
from luthier.tools.study import Study

EXACT = Policy(patience_share=math.inf, patience_seconds=math.inf, poll_seconds=0.05)


class Lab(Protocol):
    """The fixture `lab`."""

    def __getattr__(self, name: str) -> Any: ...


def states(study: Study) -> list[str]:
    return [str(trial.state) for trial in study.trials()]


def kinds(study: Study) -> list[str]:
    return [event.kind for event in study.events()]


# Budgets


def test_runs_as_many_trials_as_the_budget_holds(lab: Lab) -> None:
    study = lab.create("report(1, loss=2 * x); report(2, loss=x)", budget={"trials": 5})
    assert lab.run(study) == ("finished", "all 5 trials are used")
    trials = study.trials()
    assert [trial.number for trial in trials] == [0, 1, 2, 3, 4]
    assert {trial.state for trial in trials} == {Outcome.COMPLETE}
    for trial in trials:
        x = trial.configuration["x"]
        assert trial.metrics == {"loss": x}
        assert trial.curves == {"loss": {1: 2 * float(x), 2: x}}
    assert (study.state, study.owner) == ("finished", None)


def test_ends_when_every_configuration_of_a_finite_space_is_tried(lab: Lab) -> None:
    space = {"x": {"type": "categorical", "choices": [1, 2, 3]}}
    study = lab.create(space=space, budget={"trials": 20}, sampler={"kind": "auto"})
    assert lab.run(study, EXACT) == ("finished", "all 3 configurations of the space are tried")
    assert sorted(trial.configuration["x"] for trial in study.trials()) == [1, 2, 3]


def test_tells_every_trial_that_ended_once(lab: Lab) -> None:
    told: list[int] = []
    study = lab.create(executor={"device": "cpu", "slots": 2}, budget={"trials": 6})
    lab.run(study, on_trial=lambda trial: told.append(trial.number))
    assert sorted(told) == [0, 1, 2, 3, 4, 5]


def test_runs_as_many_trials_at_a_time_as_there_are_slots(lab: Lab) -> None:
    for number in range(4):
        lab.gate(f"gate{number}")
    study = lab.create(
        "gate(f'gate{trial}'); report(loss=x)",
        executor={"device": "cpu", "slots": 3},
        budget={"trials": 4},
    )
    running = lab.start(study)
    lab.wait_for(study, "started", 3)
    trials = study.trials()
    assert {trial.attempts[-1].slot for trial in trials} == {"cpu:0", "cpu:1", "cpu:2"}
    lab.open_gate("gate1")
    lab.wait_for(study, "started", trial=3)
    assert study.trials()[3].attempts[-1].slot == trials[1].attempts[-1].slot
    for number in (0, 2, 3):
        lab.open_gate(f"gate{number}")
    assert running.ending().state == "finished"
    assert states(study) == ["complete"] * 4


def test_wall_time_that_is_used_ends_the_running_trials(lab: Lab) -> None:
    lab.gate()
    study = lab.create("report(1, loss=x); gate()", budget={"trials": None, "wall_seconds": 1})
    ending = lab.run(study)
    assert ending == ("finished", "the wall time of 1 s is used")
    (trial,) = study.trials()
    assert (trial.state, trial.reason) == (
        Outcome.KILLED,
        "the budget of 1 wall seconds is used",
    )
    assert trial.metrics.keys() == {"loss"}
    assert study.record.wall_seconds >= 1


def test_device_seconds_are_summed_over_the_trials(lab: Lab) -> None:
    lab.gate()
    study = lab.create(
        "gate()",
        executor={"device": "cpu", "slots": 2},
        budget={"trials": None, "device_seconds": 2},
    )
    assert lab.run(study).state == "finished"
    trials = study.trials()
    assert {(trial.state, trial.reason) for trial in trials} == {
        (Outcome.KILLED, "the budget of 2 device seconds is used")
    }
    attempts = [trial.attempts[0] for trial in trials]
    assert sum((a.finished_at or 0.0) - a.started_at for a in attempts) >= 2
    spent, reserved = lab.ledger.spending(study.record, "device_seconds")
    assert spent == pytest.approx(sum(trial.seconds for trial in trials))
    assert reserved == 0


def test_a_trial_that_takes_too_long_has_timed_out(lab: Lab) -> None:
    lab.gate()
    study = lab.create(
        "if trial == 0: gate()\nreport(loss=x)", budget={"trials": 2, "trial_seconds": 2}
    )
    assert lab.run(study).state == "finished"
    assert states(study) == ["timed_out", "complete"]


# What ends a trial


def test_a_metric_that_is_not_a_number_ends_the_trial_at_once(lab: Lab) -> None:
    lab.gate()
    study = lab.create(
        """
report(1, loss=x)
report(2, loss=float("nan" if trial == 0 else "inf"))
gate()
""",
        budget={"trials": 2},
    )
    assert lab.run(study).state == "finished"
    assert states(study) == ["diverged", "diverged"]
    first, second = (trial.curves["loss"][2] for trial in study.trials() if trial.curves)
    assert math.isnan(first)
    assert math.isinf(second)


def test_a_watched_metric_may_be_anything(lab: Lab) -> None:
    study = lab.create(
        'report(1, noise=float("nan"), loss=x)',
        metrics={"loss": {"direction": "minimize"}, "noise": {"direction": "watch"}},
        budget={"trials": 1},
    )
    lab.run(study)
    assert states(study) == ["complete"]


def test_a_trial_that_is_worse_than_the_median_is_stopped_early(lab: Lab) -> None:
    lab.gate()
    study = lab.create(
        """
report(1, loss=trial); report(2, loss=trial)
if trial == 3: gate()
""",
        budget={"trials": 4},
        pruner={"kind": "median", "audit": 0, "start_up_trials": 3, "warmup_steps": 1},
    )
    lab.run(study)
    trial = study.trials()[3]
    assert states(study) == ["complete"] * 3 + ["pruned"]
    assert trial.reason == "stopped early by the pruner"
    assert trial.metrics == {"loss": 3}


def test_an_audited_trial_runs_to_its_end_and_the_study_tells_what_that_says(lab: Lab) -> None:
    study = lab.create(
        "for step in (1, 2, 3): report(step, loss=trial)",
        budget={"trials": 5},
        pruner={"kind": "median", "start_up_trials": 3, "warmup_steps": 1, "audit": 1},
    )
    lab.run(study)
    assert states(study) == ["complete"] * 5
    told = [(event.trial, event.data) for event in study.events() if event.kind == "audited"]
    assert told == [(3, {"step": 1}), (4, {"step": 1})]
    audit = study.audit()
    assert audit is not None
    assert (audit.saved, audit.stopped, audit.spared, audit.best) == (0.0, 0, 2, 0)


def test_a_rule_of_the_spec_stops_any_trial_audited_or_not(lab: Lab) -> None:
    lab.gate()
    study = lab.create(
        """
report(1, loss=9, size=50)
report(2, loss=9, size=50 + 50 * trial)
if trial: gate()
""",
        metrics={"loss": {"direction": "minimize"}, "size": {"direction": "watch"}},
        budget={"trials": 2},
        pruner={
            "kind": "none",
            "audit": 1,
            "stop_if": ["size >= 100", "loss > 8 after step 3"],
        },
    )
    lab.run(study)
    assert states(study) == ["complete", "pruned"]
    assert study.trials()[1].reason == "stopped early by a rule of pruner.stop_if"


def test_a_trial_that_is_asked_to_stop_many_times_at_once_ends_once(lab: Lab) -> None:
    lab.gate()
    study = lab.create("report(1, loss=x); gate()", budget={"trials": 1})
    running = lab.start(study)
    lab.wait_for_report(study)
    folder = study.attempt_folder(study.trials()[0])
    launcher = json.loads((folder / "process.json").read_text(encoding="utf-8"))
    for _ in range(1000):  # as a trial that reports NaN again and again makes it
        with contextlib.suppress(ProcessLookupError):
            os.kill(launcher["pid"], signal.SIGTERM)
    lab.wait_for(study, "ended")
    lab.ledger.wish(study.record, "stop")
    assert running.ending().state == "stopped"
    assert states(study) == ["waiting"]


def test_a_trial_whose_launcher_dies_is_run_again(lab: Lab) -> None:
    study = lab.create(
        """
if attempt < 3: os.kill(os.getppid(), signal.SIGKILL); signal.pause()
report(loss=x)
""",
        budget={"trials": 1},
    )
    assert lab.run(study).state == "finished"
    (trial,) = study.trials()
    assert trial.state == "complete"
    outcomes = [attempt.outcome for attempt in trial.attempts]
    assert outcomes == [Outcome.INFRASTRUCTURE, Outcome.INFRASTRUCTURE, Outcome.COMPLETE]


def test_a_machine_that_fails_three_times_counts_against_the_trial(lab: Lab) -> None:
    study = lab.create(
        "os.kill(os.getppid(), signal.SIGKILL); signal.pause()", budget={"trials": 2}
    )
    assert lab.run(study).state == "finished"
    assert states(study) == ["infrastructure", "infrastructure"]
    assert [len(trial.attempts) for trial in study.trials()] == [3, 3]


def test_a_study_whose_machine_fails_every_trial_is_halted(lab: Lab) -> None:
    study = lab.create(
        "os.kill(os.getppid(), signal.SIGKILL); signal.pause()", budget={"trials": 9}
    )
    policy = Policy(most_attempts=1, hopeless=3, poll_seconds=0.05)
    ending = lab.run(study, policy)
    assert ending.state == "halted"
    assert states(study) == ["infrastructure"] * 3


def test_a_trial_that_is_killed_from_outside_is_not_run_again(lab: Lab) -> None:
    study = lab.create("os.kill(os.getpid(), signal.SIGKILL)", budget={"trials": 1})
    lab.run(study)
    (trial,) = study.trials()
    assert (trial.state, trial.reason) == (Outcome.KILLED, "ended from outside by SIGKILL")
    assert len(trial.attempts) == 1


def test_several_objectives_make_a_front(lab: Lab) -> None:
    study = lab.create(
        "report(1, loss=x, size=-x); report(2, loss=x, size=5 - x)",
        metrics={"loss": {"direction": "minimize"}, "size": {"direction": "minimize"}},
        pruner={"kind": "median", "audit": 0, "start_up_trials": 1, "warmup_steps": 0},
        budget={"trials": 4},
    )
    lab.run(study)
    trials = study.trials()
    assert states(study) == ["complete"] * 4
    assert best_trials(study.spec, trials) == trials


def test_a_smaller_machine_still_adopts_every_living_trial(lab: Lab) -> None:
    for number in range(3):
        lab.gate(f"gate{number}")
    body = "report(1, loss=x); gate(f'gate{trial}')"
    study = lab.create(body, executor={"device": "cpu", "slots": 2})
    process = lab.start_worker(study)
    for number in range(2):
        lab.wait_for_report(study, number)
    process.kill()
    process.wait(90)
    running = lab.start(study, slots=1)
    lab.wait_for(study, "adopted", 2)
    lab.open_gate("gate1")  # it had the slot that is gone
    lab.wait_for(study, "ended", trial=1)
    assert states(study) == ["running", "complete"]
    for number in (0, 2):
        lab.open_gate(f"gate{number}")
    assert running.ending().state == "finished"
    assert [trial.attempts[-1].slot for trial in study.trials()] == ["cpu:0", "cpu:1", "cpu:0"]


# What halts a study


def test_a_metric_that_is_never_reported_halts_the_study_after_one_trial(lab: Lab) -> None:
    study = lab.create("print('accuracy: 0.93')", budget={"trials": 9})
    ending = lab.run(study)
    assert ending.state == "halted"
    assert "trial 0 ended without reporting loss" in ending.reason
    assert "accuracy: 0.93" in ending.reason
    assert (study.state, study.record.reason) == ending
    assert states(study) == ["crashed"]


def test_a_metric_that_is_missing_once_does_not_halt_a_study_that_works(lab: Lab) -> None:
    study = lab.create("if trial != 1: report(loss=x)")
    assert lab.run(study).state == "finished"
    assert states(study) == ["complete", "crashed", "complete"]


def test_five_first_trials_that_fail_alike_halt_the_study(lab: Lab) -> None:
    study = lab.create("sys.exit('no such file: data.csv')", budget={"trials": 20})
    ending = lab.run(study)
    assert ending.state == "halted"
    assert "the first 5 trials all ended as crashed (exit code 1)" in ending.reason
    assert "`luthier show small 4`" in ending.reason
    assert states(study) == ["crashed"] * 5
    assert "no such file: data.csv" in study.trials()[0].attempts[0].error_tail


def test_failures_of_several_kinds_do_not_halt_a_study(lab: Lab) -> None:
    study = lab.create(
        "report(1, loss=float('nan')) if trial % 2 else sys.exit(1)", budget={"trials": 6}
    )
    assert lab.run(study).state == "finished"


def test_failures_after_a_success_do_not_halt_a_study(lab: Lab) -> None:
    study = lab.create("report(loss=x) if trial == 0 else sys.exit(1)", budget={"trials": 7})
    assert lab.run(study).state == "finished"


def test_a_halted_study_goes_on_once_its_script_is_mended(lab: Lab) -> None:
    study = lab.create("print('nothing')", budget={"trials": 3})
    assert lab.run(study).state == "halted"
    script = lab.folder / "small.py"
    script.write_text(script.read_text() + "\nreport(loss=x)", encoding="utf-8")
    assert lab.run(study).state == "finished"
    assert states(study) == ["crashed", "complete", "complete"]


# Workers come and go


def test_a_living_trial_is_adopted_from_a_dead_worker(lab: Lab) -> None:
    lab.gate()
    study = lab.create(
        "for step in range(1, 4):\n    report(step, loss=step)\n    gate()", budget={"trials": 1}
    )
    process = lab.start_worker(study)
    lab.wait_for_report(study, step=1)
    process.kill()
    process.wait(90)
    lab.open_gate()  # it goes on while nobody watches
    assert study.state == "interrupted"
    told: list[TrialRecord] = []
    running = lab.start(study)
    lab.wait_for_report(study, step=2)
    lab.open_gate()
    lab.wait_for_report(study, step=3)
    lab.open_gate()
    assert running.ending().state == "finished"
    (trial,) = study.trials()
    assert (trial.state, len(trial.attempts)) == (Outcome.COMPLETE, 1)
    assert trial.curves == {"loss": {1: 1.0, 2: 2.0, 3: 3.0}}
    assert [kind for kind in kinds(study) if kind in ("started", "adopted", "ended")] == [
        "started",
        "adopted",
        "ended",
    ]
    lab.run(study, on_trial=told.append)
    assert told == []


def test_a_trial_that_ended_while_nobody_watched_is_told_how(lab: Lab) -> None:
    lab.gate()
    study = lab.create("report(1, loss=9); gate(); report(2, loss=7)", budget={"trials": 1})
    process = lab.start_worker(study)
    lab.wait_for_report(study)
    process.kill()
    process.wait(90)
    lab.open_gate()
    told: list[TrialRecord] = []
    assert lab.run(study, on_trial=told.append).state == "finished"
    (trial,) = study.trials()
    assert (trial.state, trial.metrics, len(trial.attempts)) == (
        Outcome.COMPLETE,
        {"loss": 7.0},
        1,
    )
    assert [trial.number for trial in told] == [0]


def test_a_trial_that_was_never_started_is_run_by_the_next_worker(lab: Lab) -> None:
    study = lab.create(budget={"trials": 1})
    writer = lab.ledger.acquire(study.record)
    writer.add_trial(0, {"x": 1.0}, _decision(), "cpu:0", 0.0)
    writer.release()
    assert lab.run(study).state == "finished"
    (trial,) = study.trials()
    assert (trial.state, trial.configuration) == (Outcome.COMPLETE, {"x": 1.0})
    outcomes = [attempt.outcome for attempt in trial.attempts]
    assert outcomes == [Outcome.INFRASTRUCTURE, Outcome.COMPLETE]


def test_the_time_that_a_lost_trial_lay_dead_is_not_spent(lab: Lab) -> None:
    study = lab.create(budget={"trials": 2, "device_seconds": 3600})
    writer = lab.ledger.acquire(study.record)
    writer.add_trial(0, {"x": 1.0}, _decision(), "cpu:0", 0.0)
    writer.release()
    yesterday = time.time() - 86400
    with sqlite3.connect(lab.workspace.ledger_path) as db:
        db.execute("UPDATE attempts SET started_at = ?", [yesterday])
    assert lab.run(study) == ("finished", "all 2 trials are used")
    assert states(study) == ["complete", "complete"]
    assert lab.ledger.spending(study.record, "device_seconds")[0] < 3600


def test_stopped_trials_go_on_from_their_checkpoint(lab: Lab) -> None:
    lab.gate()
    study = lab.create(
        """
path = os.path.join(os.environ["LUTHIER_CHECKPOINT"], "step")
begin = int(open(path).read()) + 1 if os.path.exists(path) else 1
for step in range(begin, 4):
    open(path, "w").write(str(step))
    report(step, loss=step)
    if attempt == 1 and step == 2: gate()
""",
        budget={"trials": 1},
    )
    running = lab.start(study)
    lab.wait_for_report(study, step=2)
    lab.ledger.wish(study.record, "stop")
    ending = running.ending()
    assert ending.state == "stopped"
    assert ending.reason.startswith("stopped by ")
    (trial,) = study.trials()
    assert (trial.state, trial.attempts[0].outcome) == ("waiting", Outcome.KILLED)
    assert lab.run(study).state == "finished"
    (trial,) = study.trials()
    assert (trial.state, len(trial.attempts)) == (Outcome.COMPLETE, 2)
    assert trial.curves == {"loss": {1: 1.0, 2: 2.0, 3: 3.0}}


def test_a_waiting_trial_goes_before_new_ones(lab: Lab) -> None:
    lab.gate()
    study = lab.create("if trial == 0 and attempt == 1: gate()\nreport(loss=x)")
    running = lab.start(study)
    lab.wait_for(study, "started")
    lab.ledger.wish(study.record, "stop")
    running.ending()
    lab.run(study)
    started = [event.trial for event in study.events() if event.kind == "started"]
    assert started == [0, 0, 1, 2]


def test_trials_that_wait_when_the_budget_is_used_are_ended_and_told(lab: Lab) -> None:
    lab.gate()
    study = lab.create("gate()", budget={"trials": 1, "wall_seconds": 3600})
    running = lab.start(study)
    lab.wait_for(study, "started")
    lab.ledger.wish(study.record, "stop")
    running.ending()
    lab.ledger.wish(study.record, "resume", budget={"wall_seconds": 0.001})
    told: list[TrialRecord] = []
    assert lab.run(study, on_trial=told.append).state == "finished"
    (trial,) = study.trials()
    assert trial.state == Outcome.KILLED
    assert "wall" in trial.reason
    assert [trial.state for trial in told] == [Outcome.KILLED]


# Wishes


def test_a_pause_starts_nothing_new_and_stops_the_clock(lab: Lab) -> None:
    lab.gate()
    study = lab.create("gate(); report(loss=x)", budget={"trials": 2})
    running = lab.start(study)
    lab.wait_for(study, "started")
    lab.ledger.wish(study.record, "pause")
    lab.wait_for(study, "paused")
    tuner = lab.tuner
    clock = tuner.wall_seconds()
    lab.open_gate()
    lab.wait_for(study, "ended")
    assert study.state == "paused"
    assert states(study) == ["complete"]
    assert tuner.wall_seconds() == clock
    lab.ledger.wish(study.record, "resume")
    lab.wait_for(study, "started", 2)
    lab.open_gate()
    assert running.ending().state == "finished"
    assert kinds(study).count("running") == 2
    assert tuner.wall_seconds() > clock


def test_a_paused_study_can_be_stopped(lab: Lab) -> None:
    lab.gate()
    study = lab.create("gate()")
    running = lab.start(study)
    lab.wait_for(study, "started")
    lab.ledger.wish(study.record, "pause")
    lab.wait_for(study, "paused")
    lab.ledger.wish(study.record, "stop")
    assert running.ending().state == "stopped"
    assert states(study) == ["waiting"]


def test_a_finished_study_goes_on_with_a_larger_budget(lab: Lab) -> None:
    study = lab.create(sampler={"kind": "sobol"}, budget={"trials": 2})
    lab.run(study)
    lab.ledger.wish(study.record, "resume", budget={"trials": 4})
    assert lab.run(study) == ("finished", "all 4 trials are used")
    assert states(study) == ["complete"] * 4
    assert study.spec.budget.trials == 4
    assert "budget_changed" in kinds(study)


def test_a_larger_budget_gets_the_sampler_s_own_proposals_at_once(lab: Lab) -> None:
    study = lab.create(sampler={"kind": "sobol"}, budget={"trials": 2})
    lab.run(study)
    lab.ledger.wish(study.record, "resume", budget={"trials": 4})
    begun = time.monotonic()
    lab.run(study)
    assert time.monotonic() - begun < 15
    assert [decision.source for decision in study.decisions().values()] == ["sobol"] * 4


def test_a_larger_budget_fills_the_free_slots_while_the_last_trial_runs(lab: Lab) -> None:
    lab.gate()
    study = lab.create(
        "if trial == 1: gate()\nreport(loss=x)",
        sampler={"kind": "sobol"},
        budget={"trials": 2},
        executor={"device": "cpu", "slots": 2},
    )
    running = lab.start(study)
    lab.wait_for(study, "ended", trial=0)
    lab.wait_for(study, "started", trial=1)
    lab.ledger.wish(study.record, "resume", budget={"trials": 3})
    lab.wait_for(study, "ended", trial=2)
    lab.open_gate()
    assert running.ending().reason == "all 3 trials are used"
    assert study.decisions()[2].source == "sobol"


def test_a_budget_that_makes_no_sense_is_refused_and_costs_the_study_nothing(lab: Lab) -> None:
    study = lab.create()
    lab.ledger.wish(study.record, "resume", budget={"trials": None})
    lab.ledger.wish(study.record, "resume", budget={"epochs": 3})
    assert lab.run(study) == ("finished", "all 3 trials are used")
    refused = [event.data["reason"] for event in study.events() if event.kind == "refused"]
    assert len(refused) == 2
    assert "without an end" in refused[0]
    assert "epochs" in refused[1]


def test_one_trial_can_be_stopped(lab: Lab) -> None:
    lab.gate()
    study = lab.create("if trial == 0: gate()\nreport(loss=x)", budget={"trials": 2})
    running = lab.start(study)
    lab.wait_for(study, "started")
    lab.ledger.wish(study.record, "stop_trial", trial=0)
    assert running.ending().state == "finished"
    first, second = study.trials()
    assert (first.state, second.state) == (Outcome.KILLED, Outcome.COMPLETE)
    assert first.reason.startswith("stopped by ")


def test_a_wish_for_a_trial_that_does_not_run_changes_nothing(lab: Lab) -> None:
    lab.gate()
    study = lab.create("gate(); report(loss=x)", budget={"trials": 1})
    running = lab.start(study)
    lab.wait_for(study, "started")
    lab.ledger.wish(study.record, "stop_trial", trial=7)
    lab.ledger.wish(study.record, "stop_trial")
    lab.wait_for(study, "wish", 2)
    lab.open_gate()
    assert running.ending().state == "finished"
    assert states(study) == ["complete"]


def test_a_wish_to_stop_that_a_dead_worker_never_heard_stops_no_other(lab: Lab) -> None:
    study = lab.create()
    lab.ledger.wish(study.record, "stop")
    lab.ledger.wish(study.record, "pause")
    assert lab.run(study).state == "finished"


def test_a_wish_to_stop_reaches_a_worker_that_is_starting_up(lab: Lab) -> None:
    study = lab.create()
    writer = lab.ledger.acquire(study.record)
    lab.ledger.wish(study.record, "stop")  # who looks sees an owner already
    assert lab.run(study, writer=writer).state == "stopped"
    assert study.trials() == []


def test_a_wish_to_go_on_takes_a_stop_back(lab: Lab) -> None:
    lab.gate("saved")
    study = lab.create(
        "if attempt == 1:\n"
        "    signal.signal(signal.SIGTERM, lambda *_: (gate('saved'), sys.exit(1)))\n"
        "    report(1, loss=x); signal.pause()\n"
        "report(2, loss=x)",
        budget={"trials": 1},
    )
    running = lab.start(study)
    lab.wait_for_report(study)
    lab.ledger.wish(study.record, "stop")
    lab.wait_for(study, "wish", 1)
    lab.ledger.wish(study.record, "resume")
    lab.wait_for(study, "wish", 2)
    lab.open_gate("saved")
    assert running.ending().state == "finished"
    assert states(study) == ["complete"]


def test_a_stop_at_once_kills_a_trial_that_will_not_listen(lab: Lab) -> None:
    study = lab.create(
        "signal.signal(signal.SIGTERM, signal.SIG_IGN); report(1, loss=x); signal.pause()",
        executor={"device": "cpu", "slots": 1, "grace_seconds": 3600},
    )
    running = lab.start(study)
    lab.wait_for_report(study)
    lab.ledger.wish(study.record, "stop", at_once=True)
    assert running.ending().state == "stopped"
    assert states(study) == ["waiting"]


# A machine that runs short


def test_a_disk_that_is_nearly_full_pauses_the_study(lab: Lab) -> None:
    study = lab.create()
    running = lab.start(study, Policy(free_bytes=1 << 60, poll_seconds=0.05))
    lab.wait_for(study, "paused")
    assert "MiB are free on the disk" in study.record.reason
    assert "luthier resume small" in study.record.reason
    assert study.trials() == []
    lab.ledger.wish(study.record, "stop")
    assert running.ending().state == "stopped"
    assert lab.run(study).state == "finished"


def test_a_full_database_ends_the_worker_and_loses_nothing(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = lab.create(
        "for step in range(40): report(step, loss=x, **{f'm{i}': i for i in range(50)})",
        metrics={
            "loss": {"direction": "minimize"},
            **{f"m{i}": {"direction": "watch"} for i in range(50)},
        },
        budget={"trials": 10},
        executor={"device": "cpu", "slots": 2},
    )
    with sqlite3.connect(lab.workspace.ledger_path) as db:
        pages = db.execute("PRAGMA page_count").fetchone()[0] + 60
    configure = database._configure_sqlite

    def limited(connection: Any, record: object) -> None:
        configure(connection, record)
        connection.execute(f"PRAGMA max_page_count = {pages}")

    with monkeypatch.context() as patch:
        patch.setattr(database, "_configure_sqlite", limited)
        ledger = open_ledger(lab.workspace.ledger_path)
    with pytest.raises(worker.WorkerError, match="no space left .* `luthier resume small`"):
        worker.run_study(ledger, study.record, lab.workspace)
    ledger.close()
    before = study.trials()
    assert 0 < len(before) < 10
    assert worker.run_study(lab.ledger, study.record, lab.workspace).state == "finished"
    after = study.trials()
    assert [trial.state for trial in after] == [Outcome.COMPLETE] * 10
    assert [trial.configuration for trial in after][: len(before)] == [
        trial.configuration for trial in before
    ]
    assert {len(trial.attempts) for trial in after[: len(before) - 2]} == {1}
    assert all(len((trial.curves or {})["loss"]) == 40 for trial in after)


# The same again


def test_the_same_seed_proposes_the_same(lab: Lab) -> None:
    names = ("first", "second")
    studies = [lab.create(name=name, **_exact(8)) for name in names]
    for study in studies:
        lab.run(study, EXACT)
    first, second = ([t.configuration for t in study.trials()] for study in studies)
    assert first == second
    sources = {decision.source for decision in studies[0].decisions().values()}
    assert sources == {"sobol", "tpe"}


def test_an_interrupted_study_proposes_what_an_uninterrupted_one_would(lab: Lab) -> None:
    whole = lab.create(name="whole", **_exact(8))
    lab.run(whole, EXACT)
    lab.gate()
    body = "if trial == 5 and attempt == 1: gate()\nreport(loss=x)"
    parts = lab.create(body, name="parts", **_exact(8))
    running = lab.start(parts, EXACT)
    lab.wait_for(parts, "started", trial=5)
    lab.ledger.wish(parts.record, "stop")
    running.ending()
    lab.run(parts, EXACT)
    for one, other in zip(whole.trials(), parts.trials(), strict=True):
        assert one.configuration == other.configuration


def test_what_an_earlier_ledger_left_on_the_disk_is_not_taken_for_a_result(lab: Lab) -> None:
    study = lab.create("report(loss=x)", budget={"trials": 1})
    folder: Path = lab.workspace.attempt_folder("small", 0, 1)
    folder.mkdir(parents=True)
    (folder / "metrics.jsonl").write_text('{"step": 1, "metrics": {"loss": -5}}\n')
    (folder / "outcome.json").write_text('{"exit_code": 0}')
    (folder.parent / "checkpoint").mkdir()
    (folder.parent / "checkpoint" / "step").write_text("stale")
    assert lab.run(study).state == "finished"
    (trial,) = study.trials()
    assert trial.metrics["loss"] == trial.configuration["x"]
    assert not (folder.parent / "checkpoint" / "step").exists()


def _exact(trials: int) -> dict[str, Any]:
    return {
        "space": {
            "x": {"type": "float", "low": 0.5, "high": 2.0},
            "n": {"type": "int", "low": 1, "high": 9},
        },
        "budget": {"trials": trials},
        "sampler": {"kind": "tpe", "start_up_trials": 3},
    }


def _decision() -> Decision:
    return Decision(source="random", reason="")


def test_what_a_trial_leaves_behind_ends_with_it(lab: Lab) -> None:
    study = lab.create(
        """
child = os.fork()
if child == 0:
    os.setsid()
    signal.pause()
report(loss=x, child=child)
""",
        metrics={"loss": {"direction": "minimize"}, "child": {"direction": "watch"}},
        budget={"trials": 1},
    )
    lab.run(study)
    (trial,) = study.trials()
    assert start_ticks(int(trial.metrics["child"])) is None
