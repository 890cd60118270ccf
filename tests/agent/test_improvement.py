"""The sampler of the highest expected improvement, on studies of Optuna's own."""

import numpy as np
import optuna
import pytest
from luthier.agent.improvement import ImprovementSampler, log_improvement
from luthier.tools.space import SearchSpace
from luthier.tools.textbook import prior_of
from optuna.trial import TrialState, create_trial
from scipy.integrate import quad
from scipy.stats import norm


def space(**parameters):
    return SearchSpace.model_validate({"parameters": parameters})


UNIT = {"type": "float", "low": 0, "high": 1}
SQUARE = space(x=UNIT, y=UNIT)


def study_of(searched, trials, direction="minimize"):
    study = optuna.create_study(direction=direction)
    for params, outcome in trials:
        state = outcome if isinstance(outcome, TrialState) else TrialState.COMPLETE
        study.add_trial(
            create_trial(
                state=state,
                params=params,
                distributions={name: searched.to_optuna()[name] for name in params},
                value=outcome if state is TrialState.COMPLETE else None,
            )
        )
    return study


def asked(searched, study, **options):
    sampler = ImprovementSampler(searched, seed=5, **options)
    frozen = study.get_trials()[-1]
    return sampler.sample_relative(study, frozen, searched.to_optuna())


def grid(number=4):
    steps = np.linspace(0.05, 0.95, number)
    return [{"x": float(x), "y": float(y)} for x in steps for y in steps]


def bowl(c):
    return (c["x"] - 0.35) ** 2 + (c["y"] - 0.55) ** 2


@pytest.mark.parametrize("direction", ["minimize", "maximize"])
def test_it_goes_where_the_best_is(direction):
    sign = 1 if direction == "minimize" else -1
    study = study_of(SQUARE, [(c, sign * bowl(c)) for c in grid()], direction)
    assert bowl(asked(SQUARE, study)) < 0.02


def test_in_a_conditional_space_it_goes_to_the_best_of_the_best_branch():
    branches = space(
        kind={"type": "categorical", "choices": ["near", "far"]},
        x={**UNIT, "when": {"kind": ["near"]}},
        y={**UNIT, "when": {"kind": ["far"]}},
    )
    steps = [float(step) for step in np.linspace(0.05, 0.95, 6)]
    near = [({"kind": "near", "x": x}, (x - 0.3) ** 2) for x in steps]
    far = [({"kind": "far", "y": y}, 1 + (y - 0.8) ** 2) for y in steps]
    chosen = asked(branches, study_of(branches, near + far))
    assert chosen == {"kind": "near", "x": pytest.approx(0.3, abs=0.1)}


@pytest.mark.parametrize("value", [float("inf"), float("-inf")])
def test_an_infinite_value_is_no_trouble(value):
    study = study_of(SQUARE, [*((c, bowl(c)) for c in grid()), ({"x": 0.9, "y": 0.5}, value)])
    SQUARE.validate_configuration(asked(SQUARE, study))


def test_where_trials_fail_it_does_not_go():
    # The loss draws it to x = 1, and beyond 0.6 nothing runs.
    trials = [(c, TrialState.FAIL if c["x"] > 0.6 else -c["x"]) for c in grid(5)]
    assert asked(SQUARE, study_of(SQUARE, trials))["x"] < 0.75


def test_with_nothing_but_failures_it_leaves_them():
    failed = [({"x": x, "y": 0.5}, TrialState.FAIL) for x in (0.05, 0.1, 0.15, 0.2)]
    assert asked(SQUARE, study_of(SQUARE, failed))["x"] > 0.3


def test_a_running_trial_is_kept_clear_of():
    told = [(c, bowl(c)) for c in grid()]
    first = asked(SQUARE, study_of(SQUARE, told))
    second = asked(SQUARE, study_of(SQUARE, [*told, (first, TrialState.RUNNING)]))
    assert max(abs(first[name] - second[name]) for name in first) > 0.01


def test_nothing_is_tried_again_while_there_is_something_else():
    searched = space(
        n={"type": "int", "low": 1, "high": 4}, kind={"type": "categorical", "choices": ["a", "b"]}
    )
    everything = [{"n": n, "kind": kind} for n in range(1, 5) for kind in "ab"]
    left = everything.pop(5)
    study = study_of(searched, [(c, float(c["n"])) for c in everything])
    assert asked(searched, study) == left


def test_trials_of_other_parameters_and_choices_are_passed_over():
    study = study_of(SQUARE, [(c, bowl(c)) for c in grid()])
    study.add_trial(
        create_trial(
            params={"x": "low"},
            distributions={"x": optuna.distributions.CategoricalDistribution(["low"])},
            value=-5.0,
        )
    )
    assert bowl(asked(SQUARE, study)) < 0.02


def test_the_prior_decides_where_trials_tell_little_and_fades():
    rate = {"type": "float", "low": 1e-8, "high": 1.0, "log": True}
    searched = space(lr=rate, x=UNIT)
    flat = [({"lr": 10.0**-power, "x": power / 8}, 1.0) for power in range(1, 8, 2)]
    prior = prior_of(searched)
    known = [asked(searched, study_of(searched, flat), prior=p)["lr"] for p in (prior, None)]
    density = [prior.log_density({"lr": lr}) for lr in known]
    assert density[0] > density[1]
    # A loss that leads far away from what is sensible is followed.
    steep = [({"lr": 10.0**-p, "x": x}, -p) for p in (1, 2, 3, 4, 5, 6, 6.5) for x in (0.2, 0.6)]
    assert asked(searched, study_of(searched, steep), prior=prior)["lr"] < 1e-6


@pytest.mark.parametrize("z", [3.0, 0.0, -0.9, -1.1, -4.0])
def test_the_expected_improvement_is_the_integral(z):
    expected, _ = quad(lambda u: (z + u) * norm.pdf(u), -z, 40)
    assert np.exp(log_improvement(np.array([z])))[0] == pytest.approx(expected, rel=1e-6)


def test_the_expected_improvement_keeps_its_order_far_below():
    logs = log_improvement(-np.logspace(0, 8, 60))
    assert np.isfinite(logs).all()
    assert (np.diff(logs) < 0).all()
