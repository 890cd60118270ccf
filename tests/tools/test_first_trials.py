"""Values that a person wants tried before all others, as a spec has them."""

import pytest
from luthier.tools.spec import SpecError, parse_spec

SPACE = {
    "lr": {"type": "float", "low": 1e-5, "high": 1, "log": True},
    "units": {"type": "int", "low": 8, "high": 512, "log": True, "default": 64},
    "optimizer": {"type": "categorical", "choices": ["sgd", "adamw"]},
    "momentum": {"type": "float", "low": 0, "high": 0.99, "when": {"optimizer": ["sgd"]}},
}


def spec(*first, **changes):
    return parse_spec(
        {
            "name": "small",
            "objective": {"kind": "script", "command": ["python", "train.py"]},
            "space": SPACE,
            "metrics": {"loss": {"direction": "minimize"}},
            "sampler": {"first": list(first)},
            **changes,
        }
    )


def test_what_is_not_named_is_the_default_else_what_the_textbook_says():
    (whole,) = spec({"optimizer": "sgd"}).first_configurations
    assert whole["optimizer"] == "sgd"
    assert whole["units"] == 64
    assert 1e-4 < whole["lr"] < 0.5
    assert 0.5 < whole["momentum"] < 0.99


@pytest.mark.parametrize(
    ("first", "words"),
    [
        ({"lrr": 0.1}, r"first\[0\]` names an unknown parameter 'lrr'; did you mean 'lr'"),
        ({"lr": 2}, r"first\[0\]`: 'lr' .*2"),
        ({"optimizer": "adam"}, "adam"),
        ({"optimizer": "adamw", "momentum": 0.9}, "'momentum' is not active there"),
    ],
)
def test_values_that_no_trial_can_have_are_refused(first, words):
    with pytest.raises(SpecError, match=words):
        spec(first)


def test_a_trial_that_would_break_a_constraint_is_refused():
    with pytest.raises(SpecError, match="units <= 128"):
        spec({"units": 256}, constraints=["units <= 128"])
