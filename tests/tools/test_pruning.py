import math

import optuna
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from luthier.tools.outcomes import Outcome
from luthier.tools.pruning import NoPruning, SuccessiveHalving, make_pruning
from luthier.tools.quiet import quiet
from luthier.tools.records import TrialRecord
from luthier.tools.spec import parse_spec


def make_spec(kind="median", direction="minimize", **pruner):
    return parse_spec(
        {
            "name": "s",
            "objective": {"kind": "script", "command": ["python", "train.py"]},
            "space": {"x": {"type": "float", "low": 0, "high": 1}},
            "metrics": {"loss": {"direction": direction}},
            "pruner": {"kind": kind, "start_up_trials": 3, "warmup_steps": 0, **pruner},
        }
    )


def trial(number, state="running", curve=()):
    metrics = {"loss": curve[-1]} if curve else {}
    return TrialRecord(
        id=number + 1,
        number=number,
        state=state,
        reason="",
        configuration={"x": 0.5},
        metrics=metrics,
        source="random",
        created_at=0.0,
        finished_at=None,
        curves={"loss": dict(enumerate(curve, start=1))},
    )


def complete(number, *curve):
    return trial(number, Outcome.COMPLETE, curve)


FIVE = [complete(number, 0.5, 0.5) for number in range(5)]


def test_a_trial_worse_than_the_median_is_stopped_after_the_warm_up():
    pruning = make_pruning(make_spec(warmup_steps=2), FIVE)
    pruning.add(trial(5))
    pruning.add(trial(6))
    assert not pruning.should_prune(5, 1, 0.9)
    assert pruning.should_prune(5, 2, 0.9)
    assert pruning.should_prune(5, 2, 0.9)  # the same report again
    assert not pruning.should_prune(6, 2, 0.4)


@pytest.mark.parametrize("kind", ["median", "successive_halving"])
def test_nothing_is_stopped_before_enough_trials_are_complete(kind):
    pruning = make_pruning(make_spec(kind), FIVE[:2])
    pruning.add(trial(2))
    assert not pruning.should_prune(2, 2, 99.0)


def test_a_trial_that_ended_counts_for_those_after_it():
    pruning = make_pruning(make_spec(), [])
    for number in range(4):
        pruning.add(trial(number))
        for step in (1, 2):
            pruning.should_prune(number, step, 0.5)
        pruning.finish(complete(number, 0.5, 0.5))
    pruning.add(trial(4))
    assert pruning.should_prune(4, 2, 0.9)


def test_what_a_running_trial_reported_before_is_known_when_its_study_is_taken_over():
    pruning = make_pruning(make_spec(), [*FIVE, trial(5, curve=(0.1,))])
    assert not pruning.should_prune(5, 2, 0.9)  # its best counts


def test_successive_halving_stops_all_but_the_best():
    pruning = make_pruning(make_spec("successive_halving"), [])
    pruned = []
    for number, value in enumerate([0.9, 0.1, 0.2, 0.3, 0.4, 0.05, 0.5, 0.6]):
        pruning.add(trial(number))
        pruned.append(any(pruning.should_prune(number, step, value) for step in range(1, 10)))
        state = Outcome.PRUNED if pruned[-1] else Outcome.COMPLETE
        pruning.finish(trial(number, state, (value,) * 9))
        pruning.finish(trial(number, state, (value,) * 9))  # told twice
    assert isinstance(pruning, SuccessiveHalving)
    assert pruned == [False, False, False, True, True, False, True, True]


def test_none_and_several_objectives_are_never_pruned():
    two = make_spec().model_dump() | {
        "metrics": {"a": {"direction": "minimize"}, "b": {"direction": "minimize"}}
    }
    for spec in (make_spec("none"), parse_spec(two)):
        pruning = make_pruning(spec, FIVE)
        assert isinstance(pruning, NoPruning)
        assert not pruning.should_prune(5, 2, math.inf)


CURVES = st.lists(
    st.lists(st.floats(-5, 5).map(lambda value: round(value, 1)), min_size=1, max_size=4),
    min_size=1,
    max_size=9,
)


@settings(max_examples=60, deadline=None)
@given(CURVES, st.sampled_from(["minimize", "maximize"]), st.integers(0, 3))
def test_the_median_rule_decides_as_optunas_own(curves, direction, warmup):
    spec = make_spec(direction=direction, warmup_steps=warmup)
    pruning = make_pruning(spec, [])
    pruner = optuna.pruners.MedianPruner(n_startup_trials=3, n_warmup_steps=warmup, n_min_trials=3)
    with quiet():
        study = optuna.create_study(direction=direction, pruner=pruner)
    for number, curve in enumerate(curves):
        pruning.add(trial(number))
        theirs = study.ask()
        for step, value in enumerate(curve, start=1):
            theirs.report(value, step)
            assert pruning.should_prune(number, step, value) == theirs.should_prune()
        pruning.finish(complete(number, *curve))
        with quiet():
            study.tell(theirs, curve[-1])
