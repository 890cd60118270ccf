"""A person's own words, as limits that code enforces."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from luthier.agent.llambo.asking import Conversation
from luthier.agent.llambo.wishes import Limit, Wishes, read_wishes
from luthier.agent.llm.answers import LLMError
from luthier.evals.advisers import minds
from luthier.tools.space import Categorical, Float, Int, SearchSpace

examples = settings(derandomize=True, deadline=None, max_examples=60, database=None)

WORDS = "start near lr 3e-4, never above units 128 and optimizer only adamw"


def wish(parameter, low=None, high=None, choices=None):
    return {"parameter": parameter, "low": low, "high": high, "choices": choices}


def read(says, space, words, start=(), limits=(), unclear=()):
    answer = {"start": list(start), "limits": list(limits), "unclear": list(unclear)}
    return read_wishes(Conversation(says(answer)), space, words)


def test_a_sentence_becomes_values_and_limits(space, model):
    wishes = read_wishes(Conversation(model(minds.textbook())), space, WORDS)

    assert wishes.start == {"lr": 3e-4}
    assert wishes.limits == {"units": Limit(None, 128), "optimizer": Limit(choices=("adamw",))}
    assert wishes.unclear == ()


def test_a_narrowed_space_holds_what_keeps_to_the_limits_only(space, model):
    wishes = read_wishes(Conversation(model(minds.textbook())), space, WORDS)
    narrow = wishes.narrow(space)

    assert narrow.parameters["units"].high == 128
    assert narrow.parameters["optimizer"].choices == ["adamw"]
    assert "momentum" not in narrow.parameters  # it needs sgd
    assert narrow.constraints == space.constraints
    assert narrow.parameters["lr"] == space.parameters["lr"]


def test_configurations_with_the_wished_values_are_completed(space):
    wishes = Wishes({"lr": 3e-4, "units": 100}, {"units": Limit(high=64)})
    narrow = wishes.narrow(space)

    preferred = wishes.preferred(narrow, 3, seed=0)

    assert len(preferred) == 3
    assert all(narrow.contains(configuration) for configuration in preferred)
    assert all((c["lr"], c["units"]) == (3e-4, 64) for c in preferred)


def test_what_was_not_said_is_not_taken(says, space):
    wishes = read(
        says,
        space,
        "never above 128 units",
        start=[{"parameter": "lr", "value": 0.05}],
        limits=[wish("units", high=128), wish("lr", high=1e-4), wish("optimizer", choices=["sgd"])],
    )

    assert (wishes.start, wishes.limits) == ({}, {"units": Limit(None, 128)})
    assert wishes.unclear == (
        "Nobody asked for lr = 0.05.",
        "Nobody asked for the limit 0.0001 of lr.",
        "Nobody asked for the limit 'sgd' of optimizer.",
    )


@pytest.mark.parametrize(
    ("words", "limit", "expected"),
    [
        ("lr at most 1e-2", wish("lr", high=0.01), Limit(None, 0.01)),
        ("dropout at least 20%", wish("dropout", low=0.2), Limit(0.2, None)),
        ("units between 16 and 64", wish("units", 16, 64), Limit(16, 64)),
        ("units = 64", wish("units", 64, 64), Limit(64, 64)),
        ("units from 64 to 16", wish("units", 64, 16), None),
        ("units under 9 kings", wish("unlts", high=9), None),
        ("units under many", wish("units", high="many"), None),
        ("units free", wish("units"), None),
    ],
)
def test_a_limit_is_read_or_left_to_the_person(says, space, words, limit, expected):
    wishes = read(says, space, words, limits=[limit])

    assert list(wishes.limits.values()) == ([expected] if expected else [])


def test_a_number_on_a_logarithmic_axis_may_be_said_as_what_it_stands_for(says):
    space = SearchSpace(parameters={"lr": Float(low=-4, high=-1, unit="log10")})

    for value in (0.01, -2):
        wishes = read(says, space, "never above 0.01", limits=[wish("lr", high=value)])
        assert wishes.limits["lr"].high == pytest.approx(-2)


def test_one_value_that_is_left_is_a_choice_of_one(space):
    narrow = Wishes(limits={"units": Limit(64, 64)}).narrow(space)

    assert narrow.parameters["units"] == Categorical(choices=[64])


def test_a_limit_between_the_points_of_a_grid_keeps_to_the_grid(space):
    narrow = Wishes(limits={"dropout": Limit(0.15, 0.55)}).narrow(space)

    assert list(narrow.parameters["dropout"].values()) == [0.2, 0.3, 0.4, 0.5]


def test_an_answer_that_injects_limits_gives_none_that_nobody_had(space, model):
    wishes = read_wishes(Conversation(model(minds.injecting())), space, "units at most 128")

    assert list(wishes.limits) == ["units"]
    assert "Nobody asked for the limit 1e-09 of lr." in wishes.unclear


@pytest.mark.parametrize("answer", ["", "No.", {"limits": {"units": 128}}, {"start": 3}])
def test_a_malformed_answer_is_a_failure_with_its_cause(says, space, answer):
    with pytest.raises(LLMError) as raised:
        read_wishes(Conversation(says(answer)), space, "units at most 128")
    assert raised.value.cause == "malformed"


ends = st.none() | st.floats(-10, 300) | st.integers(-5, 300)


@examples
@given(low=ends, high=ends, seed=st.integers(0, 5))
def test_whatever_the_limits_every_configuration_keeps_to_them(low, high, seed):
    space = SearchSpace.model_validate(
        {
            "parameters": {
                "n": Int(low=2, high=200, step=3, default=5),
                "x": Float(low=0.1, high=100.0, log=True, default=1.0),
                "child": Float(low=0, high=1, when={"n": [2, 5]}),
            }
        }
    )
    wishes = Wishes(limits={name: Limit(low, high) for name in ("n", "x")})
    try:
        narrow = wishes.narrow(space)
    except ValueError:
        return
    configuration = narrow.sample(np.random.default_rng(seed))
    assert space.contains(configuration)
    for name in ("n", "x"):
        assert low is None or configuration[name] >= low
        assert high is None or configuration[name] <= high
