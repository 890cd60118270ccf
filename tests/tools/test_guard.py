"""The guard before a hold-out set: what it tells, how often, and what that is good for."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from luthier.tools.guard import Guard, answer
from luthier.tools.spec import SpecError, parse_spec

GUARD = Guard(hold_out="test", training="val", tolerance=0.04, looks=5)

SPEC = {
    "name": "guarded",
    "objective": {"kind": "script", "command": ["python", "train.py"]},
    "space": {"lr": {"type": "float", "low": 0.1, "high": 1}},
    "metrics": {"val": {"direction": "watch"}, "test": {"direction": "maximize"}},
    "guard": {"hold_out": "test", "training": "val", "tolerance": 0.04},
}

metric = st.floats(0, 1)


def asked(val, test, *, number=0, looks=0, seed=0):
    return answer(GUARD, {"val": val, "test": test}, seed=seed, number=number, looks=looks)


@given(metric, metric, st.integers(0, 99))
def test_the_hold_out_s_own_value_is_never_told(val, test, number):
    assert asked(val, test, number=number) != test or val == test


def test_where_they_agree_it_mostly_tells_what_is_known_anyway():
    told = np.array([asked(0.80, 0.79, number=number) for number in range(200)])
    assert np.mean(told == 0.80) > 0.7


def test_where_they_differ_much_it_tells_the_hold_out_s_roughly():
    told = np.array([asked(0.95, 0.60, number=number) for number in range(200)])
    assert np.mean(told == 0.95) < 0.01
    assert told[told != 0.95] == pytest.approx(0.60, abs=0.1)
    assert 0.60 not in told


@given(metric, metric, st.integers(0, 99))
def test_with_no_looks_left_it_tells_nothing_of_the_hold_out(val, test, number):
    assert asked(val, test, number=number, looks=GUARD.looks) == val


@given(metric, metric, st.integers(0, 99), st.integers(0, 4))
def test_the_same_trial_is_answered_the_same(val, test, number, looks):
    assert asked(val, test, number=number, looks=looks) == asked(
        val, test, number=number, looks=looks
    )


def test_the_best_of_many_flukes_looks_less_good_than_without_it():
    """Coins that are thrown for 1,000 rows each: the truth is one half."""
    rows, trials = 1000, 500
    guard = Guard(hold_out="test", training="val", tolerance=4 / rows**0.5, looks=trials)
    bare, guarded = [], []
    for seed in range(10):
        rng = np.random.default_rng(seed)
        vals, tests = rng.binomial(rows, 0.5, (2, trials)) / rows
        told = [
            answer(guard, {"val": v, "test": t}, seed=seed, number=n, looks=0)
            for n, (v, t) in enumerate(zip(vals, tests, strict=True))
        ]
        # What a search by the hold-out picks, and what the guard tells of that trial.
        best = int(np.argmax(tests))
        bare.append(tests[best])
        guarded.append(told[best])
    assert np.mean(bare) > 0.54
    assert abs(np.mean(guarded) - 0.5) < 0.6 * (np.mean(bare) - 0.5)


@pytest.mark.parametrize(
    ("guard", "words"),
    [
        ({"hold_out": "tset"}, "did you mean 'test'"),
        ({"training": "train"}, "`guard.training` names an unknown metric 'train'"),
        ({"training": "test"}, "compares 'test' with itself"),
        ({"tolerance": 0}, "greater than 0"),
        ({"looks": 0}, "greater than 0"),
    ],
)
def test_a_guard_that_makes_no_sense_is_refused(guard, words):
    with pytest.raises(SpecError, match=words):
        parse_spec({**SPEC, "guard": {**SPEC["guard"], **guard}})


def test_a_rule_that_looks_past_the_guard_is_refused():
    with pytest.raises(SpecError, match="past its guard"):
        parse_spec({**SPEC, "pruner": {"stop_if": ["test < 0.3"]}})


def test_both_metrics_are_required_of_a_trial():
    assert parse_spec(SPEC).required == ["test", "val"]
