"""What a model answers becomes configurations of the space, or is counted with its cause."""

import math
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from luthier.agent.llambo.admission import admit, admit_value, number_in, object_in
from luthier.tools.space import Categorical, Float, Int, SearchSpace

examples = settings(derandomize=True, deadline=None, max_examples=100, database=None)

SPACE = SearchSpace.model_validate(
    {
        "parameters": {
            "lr": Float(low=1e-5, high=0.1, log=True),
            "batch_size": Int(low=16, high=256, step=16, unit="rows"),
            "optimizer": Categorical(choices=["sgd", "adamw", None, 3, True]),
            "momentum": Float(low=0.0, high=0.99, when={"optimizer": ["sgd"]}, default=0.9),
            "warm": Int(low=0, high=20, default=0),
        },
        "constraints": ["warm < batch_size"],
    }
)
GOOD = {"lr": 0.01, "batch_size": 32, "optimizer": "adamw", "warm": 3}


def admitted(**changes):
    return admit(SPACE, [GOOD | changes])


def test_a_valid_configuration_is_taken_as_it_is():
    answer = admitted()

    assert answer.configurations == (GOOD,)
    assert answer.faults == Counter()


@pytest.mark.parametrize(
    ("changes", "value", "fault"),
    [
        ({"lr": "0.003"}, 0.003, "number as text"),
        ({"lr": " 3e-3 "}, 0.003, "number as text"),
        ({"lr": "1e-3 (log)"}, 0.001, "unit in a number"),
        ({"batch_size": "64 rows"}, 64, "unit in a number"),
        ({"batch_size": "64rows"}, 64, "unit in a number"),
        ({"lr": 7.0}, 0.1, "out of range"),
        ({"lr": -1}, 1e-5, "out of range"),
        ({"lr": 10**400}, 0.1, "out of range"),
        ({"batch_size": 31.7}, 32, "not whole"),
        ({"optimizer": "AdamW"}, "adamw", "choice as text"),
        ({"optimizer": "3"}, 3, "choice as text"),
        ({"optimizer": "true"}, True, "choice as text"),
        ({"LR": 0.02, "lr": 0.01}, 0.02, None),
    ],
)
def test_what_is_clearly_meant_is_mended_and_counted(changes, value, fault):
    answer = admitted(**changes)
    name = next(iter(changes)).lower()

    assert SPACE.contains(answer.configurations[0])
    if fault is not None:
        assert answer.configurations[0][name] == pytest.approx(value)
        assert type(answer.configurations[0][name]) is type(value)
        assert answer.faults == Counter({fault: 1})


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"lr": math.nan}, "not finite"),
        ({"lr": "-Infinity"}, "not finite"),
        ({"lr": "1e999"}, "not finite"),
        ({"lr": "10k"}, "not a number"),
        ({"lr": "1/3"}, "not a number"),
        ({"lr": "10^-3"}, "not a number"),
        ({"lr": "5%"}, "not a number"),
        ({"lr": "1e-3 to 1e-2"}, "not a number"),
        ({"lr": "small"}, "not a number"),
        ({"lr": "9" * 100}, "not a number"),
        ({"lr": True}, "not a number"),
        ({"lr": [0.01]}, "not a number"),
        ({"lr": None}, "missing parameter"),
        ({"optimizer": "lion"}, "unknown choice"),
        ({"optimizer": {"name": "sgd"}}, "unknown choice"),
        ({"warm": 20, "batch_size": 16}, "constraint"),
    ],
)
def test_what_cannot_be_known_costs_the_configuration(changes, fault):
    answer = admitted(**changes)

    assert answer.configurations == ()
    assert answer.faults[fault] == 1


def test_a_missing_parameter_takes_its_default():
    answer = admit(SPACE, [{k: v for k, v in GOOD.items() if k != "warm"}])

    assert answer.configurations[0]["warm"] == 0
    assert answer.faults == Counter({"missing parameter": 1})


def test_none_is_a_value_where_it_is_a_choice():
    assert admitted(optimizer=None).configurations[0]["optimizer"] is None


def test_an_inactive_parameter_is_dropped_and_a_null_for_it_is_no_fault():
    assert admitted(momentum=0.5).faults == Counter({"inactive parameter": 1})
    assert admitted(momentum=None).faults == Counter()
    assert "momentum" not in admitted(momentum=0.5).configurations[0]


def test_an_unknown_parameter_is_dropped_and_counted():
    answer = admitted(lerning_rate=1, __class__="os")

    assert answer.configurations == (GOOD,)
    assert answer.faults == Counter({"unknown parameter": 2})


def test_more_answers_than_asked_for_are_not_looked_at():
    answer = admit(SPACE, [GOOD] * 1000, most=3)

    assert len(answer.configurations) == 3
    assert answer.faults == Counter({"more than asked for": 997})


def test_positions_say_where_a_configuration_stood():
    assert admit(SPACE, [None, GOOD, 7, GOOD]).positions == (1, 3)


json_like = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.sampled_from(["sgd", "adamw", "1e-3", "NaN", "0x10", "1e-3 (log)"])
    | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=4,
)


@examples
@given(
    answers=st.lists(
        json_like | st.dictionaries(st.sampled_from([*SPACE.parameters, "x"]), json_like),
        max_size=3,
    )
)
def test_whatever_comes_in_only_configurations_of_the_space_come_out(answers):
    answer = admit(SPACE, answers)

    assert all(SPACE.contains(configuration) for configuration in answer.configurations)
    dropped = len(answers) - len(answer.configurations)
    assert sum(answer.faults.values()) >= dropped


@examples
@given(raw=json_like)
def test_a_value_is_of_the_parameter_or_a_counted_fault(raw):
    for parameter in SPACE.parameters.values():
        faults = Counter()
        try:
            parameter.check(admit_value(parameter, raw, faults))
        except ValueError:
            assert sum(faults.values()) == 1


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ('{"lr": 0.1}', {"lr": 0.1}),
        ('Sure! ```json\n{"lr": 0.1}\n``` Good luck.', {"lr": 0.1}),
        ("{'lr': 0.1}", None),
        ("", None),
        ("{" * 100_000, None),
    ],
)
def test_an_object_is_found_in_free_text(text, found):
    assert object_in(text) == found


@pytest.mark.parametrize(
    ("text", "found"),
    [("0.93", 0.93), ("about -1.5e-3, I think", -1.5e-3), ("1e999", None), ("none", None)],
)
def test_a_number_is_found_in_free_text(text, found):
    assert number_in(text) == found
