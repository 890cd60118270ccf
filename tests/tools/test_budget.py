import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from luthier.tools.budget import (
    Meter,
    Meters,
    expected_trial_seconds,
    forecast_seconds,
    read_meters,
)
from luthier.tools.outcomes import Outcome
from luthier.tools.records import AttemptRecord, TrialRecord
from luthier.tools.spec import parse_spec

examples = settings(derandomize=True, deadline=None, max_examples=80, database=None)


def meters(budget, **used):
    spec = parse_spec(
        {
            "name": "s",
            "objective": {"kind": "callable", "reference": "m:f"},
            "space": {"x": {"type": "float", "low": 0, "high": 1}},
            "metrics": {"y": {"direction": "minimize"}},
            "budget": {"trials": None, **budget},
        }
    )
    return read_meters(spec, **{"trials": 0, "wall_seconds": 0.0, "device_spent": 0.0, **used})


def trial(*seconds, state=Outcome.COMPLETE, imported=False):
    attempts = tuple(
        AttemptRecord(i, i, "cpu:0", 0.0, s, Outcome.COMPLETE, "", s, 0, "")
        for i, s in enumerate(seconds)
    )
    return TrialRecord(0, 0, state, "", {}, {}, "sobol", 0.0, 1.0, attempts, imported=imported)


def test_without_a_cap_everything_is_left():
    assert Meter("trials", None, 10**9).left == math.inf


@pytest.mark.parametrize(
    ("budget", "used", "expected", "refusal"),
    [
        ({"trials": 3}, {"trials": 2}, None, None),
        ({"trials": 3}, {"trials": 3}, None, "all 3 trials are used"),
        ({"wall_seconds": 60}, {"wall_seconds": 59.9}, 100.0, None),
        ({"wall_seconds": 60}, {"wall_seconds": 60}, None, "the wall time of 60 s is used"),
        ({"device_seconds": 100}, {"device_spent": 70}, 29.0, None),
        ({"device_seconds": 100}, {"device_spent": 70}, None, None),
        (
            {"device_seconds": 100},
            {"device_spent": 70},
            30.0,
            "of 100 device-seconds, 30 are left",
        ),
        (
            {"device_seconds": 100},
            {"device_spent": 40, "device_reserved": 50},
            20.0,
            "of 100 device-seconds, 10 are left",
        ),
        (
            {"device_seconds": 100},
            {"device_spent": 130},
            None,
            "of 100 device-seconds, 0 are left",
        ),
        (
            {"wall_seconds": 1_209_600},
            {"wall_seconds": 1_209_600},
            None,
            "the wall time of 1209600 s is used",
        ),
    ],
)
def test_a_trial_is_refused_before_it_starts(budget, used, expected, refusal):
    assert meters(budget, **used).refusal(expected) == refusal


@pytest.mark.parametrize(
    ("budget", "used", "refusal"),
    [
        ({"trials": 3}, {"trials": 3}, None),
        ({"trials": 3, "wall_seconds": 60}, {"trials": 3, "wall_seconds": 60}, "the wall time of"),
        ({"device_seconds": 100}, {"trials": 3, "device_spent": 80}, "of 100 device-seconds, 20"),
    ],
)
def test_another_attempt_at_a_trial_is_no_more_trial_but_takes_time(budget, used, refusal):
    answer = meters(budget, **used).refusal(30.0, new_trial=False)
    assert answer is None if refusal is None else (answer or "").startswith(refusal)


def test_what_runs_now_is_reserved_and_what_ended_is_settled():
    cap = {"device_seconds": 100}
    running = meters(cap, device_spent=0.0, device_reserved=60.0)
    assert running.device_seconds.left == 40
    assert running.refusal(50.0) is not None
    settled = meters(cap, device_spent=20.0)
    assert settled.refusal(50.0) is None


def test_running_trials_go_on_until_time_is_used_up():
    assert meters({"trials": 1}, trials=1).overrun() is None
    assert meters({"device_seconds": 10}, device_spent=9, device_reserved=9).overrun() is None
    assert meters({"device_seconds": 10}, device_spent=10).overrun() == (
        "the budget of 10 device seconds is used"
    )
    assert meters({"wall_seconds": 10}, wall_seconds=11).overrun() == (
        "the budget of 10 wall seconds is used"
    )


def test_the_expected_duration_is_the_median_of_what_was_run_here():
    finished = [trial(10.0), trial(20.0, 10.0), trial(50.0, state=Outcome.CRASHED)]
    others = [trial(999.0, imported=True), trial(), trial(1.0, state="running")]
    assert expected_trial_seconds(finished + others) == 30.0
    assert expected_trial_seconds(others) is None


@pytest.mark.parametrize(
    ("budget", "used", "expected", "slots", "forecast"),
    [
        ({"trials": 10}, {"trials": 4}, None, 1, None),
        ({"trials": 10}, {"trials": 4}, 30.0, 2, 90.0),
        ({"trials": 10, "wall_seconds": 60}, {}, 30.0, 2, 60.0),
        ({"device_seconds": 100}, {"device_spent": 20}, None, 4, 20.0),
        ({"trials": 10}, {"trials": 12}, 30.0, 1, 0.0),
    ],
)
def test_the_forecast_is_the_first_cap_to_be_reached(budget, used, expected, slots, forecast):
    assert forecast_seconds(meters(budget, **used), expected, slots) == forecast


@examples
@given(
    st.floats(1, 1e6),
    st.floats(0, 1e6),
    st.lists(st.floats(0.1, 1e4), max_size=20),
)
def test_admitted_reservations_never_exceed_the_cap(cap, spent, durations):
    reserved = 0.0
    for seconds in durations:
        now = Meters(
            Meter("trials", None, 0),
            Meter("wall_seconds", None, 0),
            Meter("device_seconds", cap, spent, reserved),
            Meter("tokens", None, 0),
            Meter("dollars", None, 0),
        )
        if now.refusal(seconds) is None:
            reserved += seconds
    assert reserved == 0 or spent + reserved <= cap * (1 + 1e-9)
