"""Whole studies in a pretend lab: what is promised when devices and trainings go wrong."""

import itertools
import math
from collections import Counter
from pathlib import Path
from typing import Any, Protocol

import pytest
from luthier.agent.tuner import Policy
from luthier.agent.worker import open_clock, run_study
from luthier.evals.lab import SPACE
from luthier.tools.devices import plan_devices
from luthier.tools.executor_spec import Lab as Devices
from luthier.tools.executors.lab import Training
from luthier.tools.leases import Leases
from luthier.tools.objective import pickle_callable
from luthier.tools.outcomes import Outcome
from luthier.tools.records import TrialRecord
from luthier.tools.study import Study

EXACT = Policy(patience_share=math.inf, patience_seconds=math.inf)
WELL = {Outcome.COMPLETE, Outcome.PRUNED}


class Lab(Protocol):
    """The fixture `lab`: a workspace."""

    def __getattr__(self, name: str) -> Any: ...


def create(
    lab: Lab, *devices: dict[str, Any], trials: int = 12, each: float = 1.0, **changes: Any
) -> Study:
    """Store a study of the pretend network on these devices."""
    budget = {"trials": trials, **changes.pop("budget", {})}
    rest = {name: changes.pop(name) for name in Devices.model_fields if name in changes}
    executor = {
        "kind": "simulated",
        "lab": {"devices": list(devices), "rate": 0, **rest},
        "devices_per_trial": each,
    }
    data = {
        "objective": {"kind": "callable", "reference": "luthier.evals.lab:network"},
        "space": SPACE,
        "metrics": {"val_acc": {"direction": "maximize"}},
        "budget": budget,
        "executor": executor,
    }
    study: Study = lab.create(**data | changes)
    return study


def events(study: Study, kind: str) -> list[dict[str, Any]]:
    return [event.data for event in study.events() if event.kind == kind]


def outcomes(trial: TrialRecord) -> list[Outcome | None]:
    return [attempt.outcome for attempt in trial.attempts]


def slots(trial: TrialRecord) -> list[str]:
    return [attempt.slot for attempt in trial.attempts]


def ended(study: Study) -> Counter[str]:
    return Counter(str(trial.state) for trial in study.trials(curves=False))


# What a training does


def test_out_of_memory_is_an_outcome_and_the_study_goes_on(lab: Lab) -> None:
    study = create(lab, {"memory_gib": 4})
    assert lab.run(study) == ("finished", "all 12 trials are used")
    memories = [_memory(trial) for trial in study.trials()]
    states = [trial.state for trial in study.trials()]
    assert states == [Outcome.OUT_OF_MEMORY if m > 4 else Outcome.COMPLETE for m in memories]
    assert 0 < states.count(Outcome.OUT_OF_MEMORY) < 12
    assert {len(trial.attempts) for trial in study.trials()} == {1}


def _memory(trial: TrialRecord) -> float:
    width, batch = (float(trial.configuration[name] or 0) for name in ("width", "batch_size"))
    return 2.0 + 20.0 * (width / 2048) * (batch / 1024)


def test_a_hang_ends_after_the_silence_that_the_budget_allows(lab: Lab) -> None:
    study = create(lab, {}, trials=3, hanging_trials=[0], budget={"silence_seconds": 300})
    assert lab.run(study).state == "finished"
    first, *rest = study.trials()
    assert (first.state, first.reason) == (Outcome.TIMED_OUT, "reported nothing for too long")
    assert {trial.state for trial in rest} == {Outcome.COMPLETE}
    step = _step_seconds(first)
    assert first.seconds == pytest.approx(5 * step + 300, abs=0.01)
    assert rest[0].attempts[0].started_at - first.created_at == pytest.approx(first.seconds)


def _step_seconds(trial: TrialRecord) -> float:
    return 20.0 + 40.0 * math.sqrt(float(trial.configuration["width"] or 0) / 2048)


def test_a_hang_is_told_from_the_trials_before_where_the_budget_says_nothing(lab: Lab) -> None:
    study = create(lab, {}, trials=4, hanging_trials=[2])
    assert lab.run(study).state == "finished"
    trials = study.trials()
    assert [trial.state for trial in trials] == [
        Outcome.COMPLETE,
        Outcome.COMPLETE,
        Outcome.TIMED_OUT,
        Outcome.COMPLETE,
    ]
    silence = max(600.0, 5 * max(trial.seconds for trial in trials[:2]))
    assert trials[2].seconds == pytest.approx(5 * _step_seconds(trials[2]) + silence, abs=0.01)


def test_trials_that_all_fail_by_their_own_fault_end_the_study(lab: Lab) -> None:
    study = create(lab, {}, {}, trials=40)
    _train_by(lab, study, _nothing)
    ending = lab.run(study)
    assert ending.state == "halted"
    assert "ended without reporting val_acc" in ending.reason
    assert len(study.trials()) <= 4


def test_devices_that_are_all_poisoned_from_the_start_end_the_study(lab: Lab) -> None:
    study = create(lab, {"poisoned_at": 0}, {"poisoned_at": 0}, trials=40)
    ending = lab.run(study)
    assert ending.state == "halted"
    assert "all ended as crashed (raised RuntimeError)" in ending.reason
    assert set(ended(study)) <= {"crashed", "waiting"}
    assert len(study.trials()) <= 8
    assert sum(len(trial.attempts) for trial in study.trials()) <= 16


def test_trials_that_suddenly_all_fail_alike_halt_the_study(lab: Lab) -> None:
    study = create(lab, {"poisoned_at": 3000}, {"poisoned_at": 3000}, trials=60)
    ending = lab.run(study)
    assert ending.state == "halted"
    assert "the last 10 trials all ended as crashed" in ending.reason
    assert "which others did not" in ending.reason
    assert ended(study)["complete"] >= 5
    assert events(study, "out_of_service") == []


def test_failures_in_a_single_device_do_not_make_the_study_wait_for_another(lab: Lab) -> None:
    study = create(lab, {"poisoned_at": 0}, trials=3)
    assert lab.run(study) == ("finished", "all 3 trials are used")
    assert ended(study) == {"crashed": 3}


def _nothing(_: object) -> Training:
    return Training([], step_seconds=1.0)


def _train_by(lab: Lab, study: Study, function: Any) -> None:
    folder: Path = lab.workspace.study_folder(study.name)
    folder.mkdir(parents=True)
    (folder / "objective.pkl").write_bytes(pickle_callable(function))


# What a device does


def test_a_trial_that_is_pre_empted_runs_again_elsewhere(lab: Lab) -> None:
    study = create(lab, {}, {"preempted_at": [100]}, trials=4)
    assert lab.run(study).state == "finished"
    assert ended(study) == {"complete": 4}
    (again,) = [trial for trial in study.trials() if len(trial.attempts) > 1]
    assert outcomes(again) == [Outcome.INFRASTRUCTURE, Outcome.COMPLETE]
    assert slots(again) == ["lab:1", "lab:0"]
    assert again.attempts[0].seconds == pytest.approx(100)
    assert events(study, "out_of_service") == []


def test_a_device_that_dies_loses_no_trial_and_is_taken_out_of_service(lab: Lab) -> None:
    study = create(lab, {}, {"dies_at": 1000}, {}, trials=30)
    assert lab.run(study) == ("finished", "all 30 trials are used")
    assert ended(study) == {"complete": 30}
    (event,) = events(study, "out_of_service")
    assert event["device"] == "lab:1"
    assert "failed" in event["reason"] or "lost" in event["reason"]
    begun = study.record.created_at
    lost = [a for t in study.trials() for a in t.attempts if a.outcome is Outcome.INFRASTRUCTURE]
    assert {attempt.slot for attempt in lost} == {"lab:1"}
    assert len(lost) <= 6
    assert all(attempt.started_at - begun < 3000 for attempt in lost)


def test_a_poisoned_device_costs_next_to_nothing(lab: Lab) -> None:
    devices: list[dict[str, Any]] = [{}, {}, {"poisoned_at": 2000}, {}]
    study = create(lab, *devices, trials=200, pruner={"kind": "median", "audit": 0})
    assert lab.run(study) == ("finished", "all 200 trials are used")
    trials = study.trials(curves=False)
    victims = [trial for trial in trials if Outcome.CRASHED in outcomes(trial)]
    assert {slots(trial)[0] for trial in victims} == {"lab:2"}
    assert [event["device"] for event in events(study, "out_of_service")] == ["lab:2"]
    assert sum(trial.state is Outcome.CRASHED for trial in trials) <= 3
    again = [trial for trial in victims if len(trial.attempts) > 1]
    assert len(again) >= 2
    assert "lab:2" not in {slots(trial)[-1] for trial in again}
    assert {trial.state for trial in again} <= WELL | {Outcome.OUT_OF_MEMORY}


def test_one_slow_device_does_not_stop_the_others(lab: Lab) -> None:
    study = create(lab, {}, {"slow_at": 0}, {}, trials=24)
    assert lab.run(study).state == "finished"
    assert ended(study) == {"complete": 24}
    done = Counter(slots(trial)[0] for trial in study.trials())
    assert done["lab:1"] < done["lab:0"]
    begun = study.record.created_at
    busy = [trial.attempts[0] for trial in study.trials() if slots(trial)[0] != "lab:1"]
    gaps = _gaps([a for a in busy if a.slot == "lab:0"]) + _gaps(
        [a for a in busy if a.slot == "lab:2"]
    )
    assert max(gaps) == pytest.approx(0.0, abs=0.01)
    assert min(attempt.started_at for attempt in busy) == begun


def _gaps(attempts: list[Any]) -> list[float]:
    ordered = sorted(attempts, key=lambda attempt: attempt.started_at)
    return [b.started_at - a.finished_at for a, b in itertools.pairwise(ordered)]


@pytest.mark.parametrize("deaths", [(2000, 2000), (1000, 3000), (2000,)], ids=str)
def test_a_lab_whose_devices_are_all_dead_halts_the_study(
    lab: Lab, deaths: tuple[float, ...]
) -> None:
    study = create(lab, *({"dies_at": moment} for moment in deaths), trials=60)
    ending = lab.run(study)
    assert ending.state == "halted"
    assert ending.reason.startswith("no device is in service: lab:0 is out of it since it lost")
    assert "`luthier devices --study small --reset lab:0`" in ending.reason
    assert "`luthier resume small`" in ending.reason
    assert set(ended(study)) == {"complete", "waiting"}  # no trial is lost
    out = [event["device"] for event in events(study, "out_of_service")]
    assert sorted(out) == [f"lab:{index}" for index in range(len(deaths))]


def test_a_device_that_was_put_back_in_service_is_used_again(lab: Lab) -> None:
    taken_back: list[float] = [moment for moment in range(1000, 1200, 20)]
    study = create(lab, {}, {"preempted_at": taken_back}, trials=30)
    assert lab.run(study).state == "finished"
    assert [event["device"] for event in events(study, "out_of_service")] == ["lab:1"]
    lab.ledger.wish(study.record, "resume", budget={"trials": 40})
    assert lab.run(study).state == "finished"
    assert {slots(trial)[0] for trial in study.trials()[30:]} == {"lab:0"}
    clock = open_clock(lab.ledger, study.record)
    folder = lab.workspace.study_folder(study.name) / "devices"
    plan = plan_devices(study.spec.executor)
    assert Leases(plan, study.name, folder=folder, clock=clock.time).reset("lab:1")
    lab.ledger.wish(study.record, "resume", budget={"trials": 50})
    assert lab.run(study).state == "finished"
    assert {slots(trial)[0] for trial in study.trials()[40:]} == {"lab:0", "lab:1"}
    assert len(events(study, "out_of_service")) == 1


def test_trials_of_two_devices_wait_for_no_device_that_is_out_of_service(lab: Lab) -> None:
    study = create(lab, {}, {"dies_at": 1500}, trials=30, each=2.0)
    ending = lab.run(study)
    assert ending.state == "halted"
    assert "in service" in ending.reason
    assert set(ended(study)) == {"complete", "waiting"}


# What a person does


def test_pause_resume_and_stop_work_on_the_lab_s_clock(lab: Lab) -> None:
    study = create(lab, {}, {}, trials=1000, rate=1000, jumps=False)
    running = lab.start(study)
    lab.wait_for(study, "ended")
    lab.ledger.wish(study.record, "pause")
    lab.wait_for(study, "paused")
    count = len(study.trials(curves=False))
    lab.wait_for(study, "ended", count)
    lab.ledger.wish(study.record, "resume")
    lab.wait_for(study, "ended", count + 1)
    lab.ledger.wish(study.record, "stop")
    assert running.ending().state == "stopped"
    trials = study.trials()
    assert set(ended(study)) == {"complete", "waiting"}
    (paused,) = (event.time for event in study.events() if event.kind == "paused")
    *_, resumed = (event.time for event in study.events() if event.kind == "running")
    assert paused < resumed
    assert not [trial for trial in trials if paused < trial.created_at < resumed]


def test_a_study_that_was_stopped_goes_on_where_it_was(lab: Lab) -> None:
    study = create(lab, {}, {}, trials=8)

    def stop(trial: TrialRecord) -> None:
        if trial.number == 3:
            lab.tuner.interrupt()

    assert lab.run(study, on_trial=stop) == ("stopped", "interrupted")
    before = study.trials()
    assert Counter(str(trial.state) for trial in before)["waiting"] > 0
    assert lab.run(study).state == "finished"
    assert ended(study) == {"complete": 8}
    assert study.trials()[3] == before[3]


# Budgets


def test_wall_time_holds_on_the_lab_s_clock(lab: Lab) -> None:
    study = create(lab, {}, {}, trials=1000, budget={"wall_seconds": 2000})
    assert lab.run(study) == ("finished", "the wall time of 2000 s is used")
    assert study.record.wall_seconds == pytest.approx(2000, abs=0.01)
    last = max(trial.finished_at or 0.0 for trial in study.trials())
    assert last - study.record.created_at == pytest.approx(2000, abs=0.01)
    assert set(ended(study)) == {"complete", "killed"}


def test_device_time_holds_on_the_lab_s_clock(lab: Lab) -> None:
    study = create(lab, {}, {}, trials=1000, budget={"device_seconds": 3000})
    assert lab.run(study).state == "finished"
    spent, reserved = lab.ledger.spending(study.record, "device_seconds")
    assert reserved == 0.0
    assert 2400 < spent <= 3000.01
    assert spent == pytest.approx(sum(trial.seconds for trial in study.trials()))


def test_a_trial_s_time_limit_holds_on_the_lab_s_clock(lab: Lab) -> None:
    study = create(lab, {"slow_at": 500}, trials=4, budget={"trial_seconds": 900})
    assert lab.run(study).state == "finished"
    for trial in study.trials():
        assert (trial.state is Outcome.TIMED_OUT) == (trial.seconds == pytest.approx(900))
    assert set(ended(study)) == {"complete", "timed_out"}


# The same again

TROUBLED: list[dict[str, Any]] = [
    {"memory_gib": 8},
    {"poisoned_at": 600},
    {"speed": 1.5, "preempted_at": [700]},
]


def fingerprint(study: Study) -> list[Any]:
    """Return what must be the same in every run; times to the millisecond, as clocks are exact."""
    begun = study.record.created_at
    return [
        (
            trial.configuration,
            trial.state,
            trial.reason,
            trial.metrics,
            trial.curves,
            [
                (a.slot, a.outcome, round(a.started_at - begun, 3), round(a.seconds or 0.0, 3))
                for a in trial.attempts
            ],
        )
        for trial in study.trials()
    ]


@pytest.mark.parametrize("sampler", ["random", "tpe"])
def test_two_runs_of_the_same_seed_are_the_same(lab: Lab, sampler: str) -> None:
    policy = Policy() if sampler == "random" else EXACT
    found = []
    for name in ("one", "two"):
        study = create(
            lab,
            *TROUBLED,
            trials=25,
            name=name,
            hanging_trials=[1, 2, 3],
            sampler={"kind": sampler},
            pruner={"kind": "median", "audit": 0, "start_up_trials": 4, "warmup_steps": 2},
        )
        assert lab.run(study, policy).state == "finished"
        found.append(fingerprint(study))
    assert found[0] == found[1]
    ends = {str(attempt[1]) for trial in found[0] for attempt in trial[5]}
    assert ends >= {"complete", "pruned", "crashed", "infrastructure", "timed_out"}


def test_a_worker_runs_a_study_of_the_lab_as_any_other(lab: Lab) -> None:
    study = create(lab, {}, {"preempted_at": [100]}, trials=4)
    assert run_study(lab.ledger, study.record, lab.workspace).state == "finished"
    assert ended(study) == {"complete": 4}
    assert lab.workspace.mirror_path.exists()
