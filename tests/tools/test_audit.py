from dataclasses import replace

import pytest
from luthier.tools.audit import Audit, audit_of, is_audited, spared_in
from luthier.tools.outcomes import Outcome
from luthier.tools.records import EventRecord, TrialRecord
from luthier.tools.spec import parse_spec


def make_spec(*, direction="minimize", metrics=None, seed=0, **pruner):
    return parse_spec(
        {
            "name": "s",
            "objective": {"kind": "script", "command": ["python", "train.py"]},
            "space": {"x": {"type": "float", "low": 0, "high": 1}},
            "metrics": metrics or {"loss": {"direction": direction}},
            "pruner": pruner,
            "seed": seed,
        }
    )


def trial(number, state, *curve):
    return TrialRecord(
        id=number + 1,
        number=number,
        state=state,
        reason="",
        configuration={"x": 0.5},
        metrics={"loss": curve[-1]},
        source="random",
        created_at=0.0,
        finished_at=float(number),
        curves={"loss": dict(enumerate(curve, start=1))},
    )


TRIALS = [
    trial(0, Outcome.COMPLETE, 0.9, 0.8, 0.7, 0.6),
    trial(1, Outcome.PRUNED, 0.9),
    trial(2, Outcome.COMPLETE, 0.9, 0.9, 0.9, 0.9),
    trial(3, Outcome.COMPLETE, 0.9, 0.7, 0.4, 0.2),
    trial(4, Outcome.PRUNED, 0.9),
]


def test_one_trial_in_five_is_audited_and_seed_and_number_alone_decide():
    spec = make_spec()
    audited = [number for number in range(2000) if is_audited(spec, number)]
    assert 350 < len(audited) < 450
    assert audited == [number for number in range(2000) if is_audited(make_spec(), number)]
    assert audited != [n for n in range(2000) if is_audited(make_spec(seed=1), n)]


def test_the_share_of_audited_trials_can_be_set():
    assert not any(is_audited(make_spec(audit=0), number) for number in range(100))
    assert all(is_audited(make_spec(audit=1), number) for number in range(100))


def test_what_stopped_trials_did_not_run_is_saved():
    audit = audit_of(make_spec(), TRIALS, {})
    assert audit is not None
    assert audit.saved == pytest.approx(6 / 20)
    assert str(audit) == (
        "30% of the steps saved in 2 stopped trials; no audited trial has told yet what that costs"
    )


def test_audited_trials_tell_how_many_of_those_stopped_would_have_become_the_best():
    audit = audit_of(make_spec(), TRIALS, {2: 1, 3: 1})
    assert audit == Audit(saved=pytest.approx(0.3), stopped=2, spared=2, best=1)
    assert audit.expected == 1.0
    assert audit.at_most == 1


def test_a_trial_becomes_the_best_among_those_that_had_ended_before_it():
    worse = [replace(trial(3, Outcome.COMPLETE, 0.9, 0.2), finished_at=-1.0), *TRIALS[:3]]
    ended_later = audit_of(make_spec(), worse, {0: 1})
    assert ended_later is not None
    assert ended_later.best == 0


def test_the_bound_is_wide_where_few_trials_tell():
    few = Audit(saved=0.3, stopped=20, spared=6, best=0)
    many = Audit(saved=0.3, stopped=20, spared=60, best=0)
    assert (few.expected, few.at_most, many.at_most) == (0.0, 7, 0)
    assert str(few) == (
        "30% of the steps saved in 20 stopped trials; of 6 audited trials that would have been "
        "stopped, 0 became the best: an estimated 0 (95%: at most 7) of those stopped would have"
    )


def test_of_a_metric_to_maximize_the_largest_is_the_best():
    audit = audit_of(make_spec(direction="maximize"), TRIALS, {2: 1, 3: 1})
    assert audit is not None
    assert audit.best == 1


def test_there_is_nothing_to_tell_where_nothing_was_to_be_stopped():
    assert audit_of(make_spec(), [TRIALS[0], TRIALS[2]], {}) is None
    two = {"loss": {"direction": "minimize"}, "size": {"direction": "minimize"}}
    assert audit_of(make_spec(metrics=two), TRIALS, {}) is None
    imported = [replace(trial, imported=True) for trial in TRIALS]
    assert audit_of(make_spec(), imported, {}) is None


def test_the_first_event_of_a_trial_counts():
    events = [
        EventRecord(1, 0.0, "audited", 3, {"step": 2}),
        EventRecord(2, 0.0, "started", 4, {"slot": "cpu:0"}),
        EventRecord(3, 0.0, "audited", 3, {"step": 5}),
    ]
    assert spared_in(events) == {3: 2}
