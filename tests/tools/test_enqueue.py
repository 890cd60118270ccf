"""A configuration that a person wants tried."""

import pytest
from luthier.tools.enqueue import EnqueueError, wanted
from luthier.tools.outcomes import Outcome
from luthier.tools.records import TrialRecord
from luthier.tools.spec import parse_spec

SPEC = parse_spec(
    {
        "name": "small",
        "objective": {"kind": "callable", "reference": "m:f"},
        "space": {
            "lr": {"type": "float", "low": 1e-5, "high": 1.0, "log": True, "default": 0.01},
            "optimizer": {"type": "categorical", "choices": ["adam", "sgd"], "default": "adam"},
            "momentum": {"type": "float", "low": 0, "high": 1, "when": {"optimizer": "sgd"}},
            "width": {"type": "int", "low": 16, "high": 512, "default": 64},
        },
        "metrics": {"loss": {"direction": "minimize"}},
    }
)
SGD = {"lr": 0.1, "optimizer": "sgd", "momentum": 0.9, "width": 32}
TRIALS = [TrialRecord(0, 0, Outcome.COMPLETE, "", SGD, {}, "sobol", 0.0, 1.0)]


def test_what_is_not_given_is_the_default() -> None:
    assert wanted(SPEC, [], {"lr": 0.3}) == {"lr": 0.3, "optimizer": "adam", "width": 64}


def test_a_trial_can_be_cloned_and_changed() -> None:
    assert wanted(SPEC, TRIALS, {"width": 128}, like=0) == SGD | {"width": 128}


def test_what_a_change_makes_inactive_is_left_out() -> None:
    changed = wanted(SPEC, TRIALS, {"optimizer": "adam"}, like=0)
    assert changed == {"lr": 0.1, "optimizer": "adam", "width": 32}


@pytest.mark.parametrize(
    ("values", "like", "why"),
    [
        ({"learning_rate": 0.1}, None, "unknown parameter 'learning_rate'"),
        ({"lr": 2.0}, None, "parameter 'lr' "),
        ({"width": 1.5}, None, "parameter 'width' "),
        ({"momentum": 0.9}, None, "parameter 'momentum' is not active here"),
        ({"optimizer": "sgd"}, None, "parameter 'momentum' has no default"),
        ({"lr": 0.1}, 7, "there is no trial 7; the last one is 0"),
    ],
)
def test_what_cannot_be_tried_is_one_sentence(
    values: dict[str, object], like: int | None, why: str
) -> None:
    with pytest.raises(EnqueueError, match=why):
        wanted(SPEC, TRIALS, values, like)
