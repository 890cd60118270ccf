"""Histories as they are read from Optuna and from the ledger, and cards of data sets."""

import optuna
import pandas as pd
import pytest
from luthier.agent.llambo.context import ATTRIBUTE, History
from luthier.agent.llambo.data_card import DataCard, data_card
from luthier.tools.outcomes import Outcome
from luthier.tools.records import TrialRecord
from luthier.tools.space import Float, SearchSpace
from optuna.distributions import FloatDistribution
from optuna.trial import TrialState, create_trial

SPACE = SearchSpace(parameters={"x": Float(low=0, high=1)})


def trial(state=TrialState.COMPLETE, value=None, x=0.5, **more):
    return create_trial(
        state=state,
        value=value,
        params={"x": x},
        distributions={"x": FloatDistribution(0, 1)},
        **more,
    )


def read(*trials):
    study = optuna.create_study()
    study.add_trials(trials)
    return History.of_study(study, SPACE)


def test_a_complete_trial_has_its_value():
    (observation,) = read(trial(value=2.0)).complete

    assert (observation.configuration, observation.value) == ({"x": 0.5}, 2.0)


@pytest.mark.parametrize(
    ("given", "outcome"),
    [
        (trial(TrialState.PRUNED), "pruned"),
        (trial(TrialState.FAIL), "failed"),
        (trial(TrialState.FAIL, user_attrs={"outcome": "out_of_memory"}), "out_of_memory"),
        (trial(value=float("inf")), "diverged"),
        (trial(value=-1e200), "diverged"),
        (trial(value=1.0, constraints={"latency": 2.0}), "infeasible"),
    ],
)
def test_a_trial_without_a_good_value_has_its_outcome(given, outcome):
    (observation,) = read(given).failed

    assert (observation.value, observation.outcome) == (None, outcome)


def test_a_running_trial_is_known_by_what_was_proposed_for_it():
    study = optuna.create_study()
    asked = study.ask()
    asked.set_user_attr(ATTRIBUTE, {"configuration": {"x": 0.25}, "proposed_by": "llambo"})
    other = study.ask()

    history = History.of_study(study, SPACE, without=other.number)
    assert [o.configuration for o in history.running] == [{"x": 0.25}]
    assert history.running[0].source == "llambo"


def test_a_trial_outside_of_the_space_is_left_out():
    assert read(trial(value=1.0, x=0.5), create_trial(value=1.0)).values == (1.0,)


def test_a_prediction_comes_back_with_its_trial():
    told = {ATTRIBUTE: {"proposed_by": "llambo", "raw": [0.3, 0.1]}}

    assert read(trial(value=1.0, user_attrs=told)).complete[0].predicted == (0.3, 0.1)


@pytest.mark.parametrize(
    ("state", "metrics", "expected"),
    [
        (Outcome.COMPLETE, {"loss": 1.0}, (1.0, "complete")),
        (Outcome.DIVERGED, {}, (None, "diverged")),
        (Outcome.PRUNED, {"loss": 3.0}, (None, "pruned")),
        ("running", {}, (None, "running")),
        ("waiting", {}, (None, "running")),
        (Outcome.KILLED, {}, None),
        (Outcome.INFRASTRUCTURE, {}, None),
    ],
)
def test_the_ledgers_trials_are_read_by_their_outcome(state, metrics, expected):
    record = TrialRecord(1, 0, state, "", {"x": 0.5}, metrics, "llambo", 0.0, None)
    history = History.of_records([record], "loss", {0: (0.9, 0.2)})

    assert [(o.value, o.outcome) for o in history.observations] == ([expected] if expected else [])
    assert all(o.source == "llambo" and o.predicted == (0.9, 0.2) for o in history.observations)


def test_a_data_set_is_described_in_a_few_numbers():
    a = list(range(40))
    frame = pd.DataFrame({"a": a, "b": [-x for x in a], "c": ["u", "v"] * 20, "d": [0] * 39 + [9]})
    frame.loc[0, "a"] = None

    card = data_card(frame, pd.Series([0] * 30 + [1] * 10))

    assert (card.rows, card.features, card.categorical) == (40, 4, 1)
    assert card.class_shares == (0.75, 0.25)
    assert card.missing == pytest.approx(1 / 160)
    assert (card.skewed, card.correlated, card.related) == (1, 1, 2)


def test_a_target_of_many_numbers_is_no_classes():
    target = pd.Series([x / 7 for x in range(30)])

    assert data_card(pd.DataFrame({"a": range(30)}), target).class_shares == ()
    assert "a numeric target" in DataCard(30, 1).describe("partial")
