import math
import time

import optuna
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from luthier.tools.outcomes import Outcome
from luthier.tools.pruning import NoPruning, make_pruning
from luthier.tools.quiet import quiet
from luthier.tools.records import TrialRecord
from luthier.tools.spec import parse_spec

KINDS = ("median", "successive_halving", "extrapolation", "wilcoxon", "auto")
DIRECTIONS = st.sampled_from(["minimize", "maximize"])


def make_spec(kind="median", direction="minimize", limits=(), **pruner):
    return parse_spec(
        {
            "name": "s",
            "objective": {"kind": "script", "command": ["python", "train.py"]},
            "space": {"x": {"type": "float", "low": 0, "high": 1}},
            "metrics": {"loss": {"direction": direction}},
            "limits": list(limits),
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


FIVE = [complete(number, *[0.5] * 9) for number in range(5)]


def run(pruning, number, curve):
    """Let a trial report its curve until it is stopped; return the step, None if it never is."""
    pruning.add(trial(number))
    for step, value in enumerate(curve, start=1):
        if pruning.should_prune(number, step, value):
            pruning.finish(trial(number, Outcome.PRUNED, curve[:step]))
            return step
    pruning.finish(complete(number, *curve))
    return None


def test_a_trial_worse_than_the_median_is_stopped_after_the_warm_up():
    pruning = make_pruning(make_spec(warmup_steps=2), FIVE)
    pruning.add(trial(5))
    pruning.add(trial(6))
    assert not pruning.should_prune(5, 1, 0.9)
    assert pruning.should_prune(5, 2, 0.9)
    assert pruning.should_prune(5, 2, 0.9)  # the same report again
    assert not pruning.should_prune(6, 2, 0.4)


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_is_stopped_before_enough_trials_are_complete(kind):
    pruning = make_pruning(make_spec(kind), FIVE[:2])
    assert run(pruning, 2, [99.0] * 8) is None


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_is_stopped_at_its_last_step(kind):
    pruning = make_pruning(make_spec(kind, warmup_steps=9), FIVE)
    assert run(pruning, 5, [99.0] * 9) is None


def test_a_trial_that_ended_counts_for_those_after_it():
    pruning = make_pruning(make_spec(), [])
    for number in range(4):
        assert run(pruning, number, [0.5, 0.5]) is None
    assert run(pruning, 4, [0.9, 0.9]) == 1


def test_what_a_running_trial_reported_before_is_known_when_its_study_is_taken_over():
    pruning = make_pruning(make_spec(), [*FIVE, trial(5, curve=(0.1,))])
    assert not pruning.should_prune(5, 2, 0.9)  # its best counts


def test_successive_halving_stops_all_but_the_best_third():
    pruning = make_pruning(make_spec("successive_halving"), [])
    values = [0.9, 0.1, 0.2, 0.3, 0.4, 0.05, 0.5, 0.6]
    stops = [run(pruning, number, [value] * 9) for number, value in enumerate(values)]
    assert stops == [None, None, None, 1, 1, None, 1, 1]


def test_successive_halving_compares_at_steps_that_triple():
    pruning = make_pruning(make_spec("successive_halving"), FIVE)
    assert run(pruning, 5, [0.4, 9.0, 0.9]) == 3
    assert run(pruning, 6, [0.4, 9.0, 0.4, *[9.0] * 5, 0.4]) is None


def test_successive_halving_takes_the_next_report_where_a_rung_has_none():
    pruning = make_pruning(make_spec("successive_halving"), [])
    for number in range(4):
        pruning.add(trial(number))
        for step in (100, 200, 300):
            pruning.should_prune(number, step, 0.5)
        ended = complete(number, 0.5)
        pruning.finish(ended.__class__(**vars(ended) | {"curves": {"loss": {300: 0.5}}}))
    pruning.add(trial(4))
    assert pruning.should_prune(4, 100, 0.9)


def test_a_trial_that_begins_anew_leaves_the_rungs_that_it_had_come_to():
    pruning = make_pruning(make_spec("successive_halving"), FIVE)
    pruning.add(trial(5))
    for step, value in enumerate([0.4, 0.4, 0.1], start=1):
        pruning.should_prune(5, step, value)
    pruning.should_prune(5, 1, 0.4)
    pruning.add(trial(6))
    assert not pruning.should_prune(6, 3, 0.3)  # the best of those at the third step now


def test_a_promoted_trial_counts_at_the_rungs_that_it_comes_to():
    pruning = make_pruning(make_spec("successive_halving"), FIVE[:3])
    assert run(pruning, 3, [0.6] * 9) == 1
    pruning.add(trial(3, curve=(0.6,)))
    for step in (2, 3):
        pruning.should_prune(3, step, 0.1)
    assert run(pruning, 4, [0.4, 0.4, 0.4]) == 3  # one of five is the best third


FALLING = [0.1 + 0.9 * 0.5**step for step in range(1, 21)]


def test_a_curve_that_levels_off_above_the_best_is_stopped_early():
    pruning = make_pruning(make_spec("extrapolation"), [complete(n, *FALLING) for n in range(3)])
    assert run(pruning, 3, [value + 0.5 for value in FALLING]) == 5


@pytest.mark.parametrize(
    "curve",
    [
        pytest.param([1.2 - 0.06 * step for step in range(1, 21)], id="it falls on"),
        pytest.param([1.0 - 0.0001 * step**3 for step in range(1, 21)], id="it gains speed"),
        pytest.param([0.9, 0.5, 0.8, 0.4, 0.9, 0.4, 0.7, 0.5] * 2, id="it is all noise"),
    ],
)
def test_a_curve_whose_end_is_open_is_not_stopped(curve):
    pruning = make_pruning(make_spec("extrapolation"), [complete(n, *FALLING) for n in range(3)])
    assert run(pruning, 3, curve) is None


def test_the_best_trial_is_one_that_keeps_the_limits():
    peers = [complete(n, *FALLING) for n in range(3)]
    curve = [value + 0.5 for value in FALLING]
    pruning = make_pruning(make_spec("extrapolation", limits=["loss >= 0.5"]), peers)
    assert run(pruning, 3, curve) is None  # so far there is nothing to beat


@pytest.mark.parametrize("steps", [20, 10_000])
def test_a_report_takes_less_than_five_milliseconds(steps):
    curve = [1 / step for step in range(1, steps + 1)]
    peers = [complete(n, *curve) for n in range(3)]
    half = [value + 0.1 for value in curve[: steps // 2]]
    pruning = make_pruning(make_spec("auto"), [*peers, trial(3, curve=half)])
    begun = time.process_time()
    for step in range(steps // 2 + 1, steps // 2 + 9):
        pruning.should_prune(3, step, 1 / step + 0.1)
    assert (time.process_time() - begun) / 8 < 0.005


def test_folds_that_are_all_worse_than_the_best_trials_end_a_trial():
    best = [0.1, 0.3, 0.2, 0.4, 0.1, 0.3, 0.2, 0.4]
    pruning = make_pruning(make_spec("wilcoxon"), [complete(number, *best) for number in range(3)])
    assert run(pruning, 3, [value + 0.05 for value in best]) == 4
    assert run(pruning, 4, [value + 0.05 * (-1) ** i for i, value in enumerate(best)]) is None


def test_none_and_several_objectives_are_never_pruned():
    two = make_spec().model_dump() | {
        "metrics": {"a": {"direction": "minimize"}, "b": {"direction": "minimize"}}
    }
    for spec in (make_spec("none"), parse_spec(two)):
        pruning = make_pruning(spec, FIVE)
        assert isinstance(pruning, NoPruning)
        assert not pruning.should_prune(5, 2, math.inf)


VALUES = st.floats(-5, 5).map(lambda value: round(value, 1))
CURVES = st.lists(st.lists(VALUES, min_size=1, max_size=4), min_size=1, max_size=9)


@settings(max_examples=40, deadline=None)
@given(CURVES, DIRECTIONS, st.integers(0, 3))
def test_the_median_rule_decides_as_optunas_own(curves, direction, warmup):
    spec = make_spec(direction=direction, warmup_steps=warmup)
    pruner = optuna.pruners.MedianPruner(n_startup_trials=3, n_warmup_steps=warmup, n_min_trials=3)
    assert_as_optunas(make_pruning(spec, []), pruner, direction, curves)


@settings(max_examples=10, deadline=None)
@given(st.lists(st.lists(VALUES, min_size=9, max_size=9), min_size=2, max_size=6), DIRECTIONS)
def test_the_signed_rank_rule_decides_as_optunas_own(curves, direction):
    spec = make_spec("wilcoxon", direction, start_up_trials=1)
    means = [[*curve, sum(curve) / len(curve)] for curve in curves]
    pruner = optuna.pruners.WilcoxonPruner()
    assert_as_optunas(make_pruning(spec, []), pruner, direction, means)


def assert_as_optunas(pruning, pruner, direction, curves):
    with quiet():
        study = optuna.create_study(direction=direction, pruner=pruner)
    longest = 0
    for number, curve in enumerate(curves):
        pruning.add(trial(number))
        theirs = study.ask()
        for step, value in enumerate(curve, start=1):
            theirs.report(value, step)
            prune = theirs.should_prune() and step < longest  # Optuna stops at the last one too
            assert pruning.should_prune(number, step, value) == prune
        pruning.finish(complete(number, *curve))
        longest = max(longest, len(curve))
        with quiet():
            study.tell(theirs, curve[-1])


GAPS = st.lists(st.floats(0.01, 1), min_size=4, max_size=9)
SHAPE = st.lists(st.floats(-1, 1), min_size=12, max_size=12)


@settings(max_examples=40, deadline=None)
@given(st.sampled_from(KINDS), DIRECTIONS, SHAPE, GAPS, st.randoms())
def test_the_best_trial_is_never_stopped_where_curves_do_not_cross(
    kind, direction, shape, gaps, random
):
    sign = 1 if direction == "minimize" else -1
    heights = [sum(gaps[: i + 1]) for i in range(len(gaps))]
    order = random.sample(range(len(heights)), len(heights))
    pruning = make_pruning(make_spec(kind, direction), [])
    for number, place in enumerate(order):
        stop = run(pruning, number, [sign * (value + heights[place]) for value in shape])
        assert place > 0 or stop is None


REPORTS = st.lists(st.lists(VALUES, min_size=9, max_size=9), min_size=5, max_size=7)


@settings(max_examples=40, deadline=None)
@given(st.sampled_from(KINDS), REPORTS, st.randoms())
def test_the_order_of_the_others_reports_within_a_step_changes_nothing(kind, curves, random):
    *others, own = curves

    def decide(shuffled):
        pruning = make_pruning(make_spec(kind), [complete(n, *c) for n, c in enumerate(others)])
        running = list(range(len(others), 2 * len(others)))
        answers = []
        for number in [*running, 99]:
            pruning.add(trial(number))
        for step in range(1, 10):
            if shuffled:
                random.shuffle(running)
            for number in running:
                pruning.should_prune(number, step, others[number - len(others)][step - 1])
            answers.append(pruning.should_prune(99, step, own[step - 1]))
        return answers

    assert decide(shuffled=False) == decide(shuffled=True)


@settings(max_examples=40, deadline=None)
@given(st.sampled_from(KINDS), DIRECTIONS, REPORTS, st.integers(0, 8))
def test_a_restarted_worker_decides_as_the_one_before(kind, direction, curves, at):
    spec = make_spec(kind, direction)
    pruning, ended = make_pruning(spec, []), []
    *earlier, own = curves
    for number, curve in enumerate(earlier):
        stop = run(pruning, number, curve)
        state = Outcome.COMPLETE if stop is None else Outcome.PRUNED
        ended.append(trial(number, state, curve[:stop]))
    number = len(ended)
    pruning.add(trial(number))
    for step in range(1, at + 1):
        pruning.should_prune(number, step, own[step - 1])
    restarted = make_pruning(spec, [*ended, trial(number, curve=own[:at])])
    for step in range(at + 1, 10):
        before = pruning.should_prune(number, step, own[step - 1])
        assert restarted.should_prune(number, step, own[step - 1]) == before


def test_a_value_that_is_no_number_disturbs_nothing():
    pruning = make_pruning(make_spec("auto"), [*FIVE, trial(5, Outcome.DIVERGED, (math.nan,) * 6)])
    assert run(pruning, 6, [math.nan] * 6) is None  # that it diverged is for others to say
    assert run(pruning, 7, [0.4] * 9) is None
