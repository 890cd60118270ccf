import json
import math

import numpy as np
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from luthier.tools.space import (
    Categorical,
    Comparison,
    ConfigurationError,
    Float,
    Int,
    SearchSpace,
)
from pydantic import ValidationError

examples = settings(derandomize=True, deadline=None, max_examples=80, database=None)

NESTED = SearchSpace(
    parameters={
        "momentum": Float(low=0, high=0.99, when={"optimizer": ["sgd"]}),
        "depth": Int(low=1, high=4),
        "optimizer": Categorical(choices=["sgd", "adam"]),
        "nesterov": Categorical(choices=[True, False], when={"momentum_on": [True]}),
        "momentum_on": Categorical(choices=[True, False], when={"optimizer": "sgd"}),
        "skip": Int(low=1, high=3, when={"depth": [3, 4], "nesterov": [True]}),
    }
)


def space(constraints=(), **parameters):
    return SearchSpace.model_validate({"parameters": parameters, "constraints": list(constraints)})


def message_of(error):
    """Return the rule that was broken, without pydantic's frame around it."""
    return str(error.value.errors()[0]["ctx"]["error"])


# --- strategies -----------------------------------------------------------------------------

_round = st.integers(-10_000, 10_000).map(lambda i: i / 100)


@st.composite
def floats(draw):
    low = draw(_round)
    width = draw(st.integers(1, 10_000)) / 100
    match draw(st.sampled_from(["linear", "log", "grid"])):
        case "log":
            low = abs(low) + 1e-6
            return Float(low=low, high=low + width * 100, log=True)
        case "grid":
            step = draw(st.integers(1, 50)) / 100
            return Float(low=low, high=low + max(step * 1.001, width / 10), step=step)
        case _:
            return Float(low=low, high=low + width)


@st.composite
def ints(draw):
    low = draw(st.integers(-1000, 1000))
    width = draw(st.integers(1, 5000))
    if draw(st.booleans()):
        low = abs(low) + 1
        return Int(low=low, high=low + width, log=True)
    return Int(low=low, high=low + width, step=draw(st.integers(1, width)))


scalars = st.one_of(
    st.none(), st.booleans(), st.integers(-9, 9), st.text(max_size=4), st.sampled_from([0.5, 1e-3])
)
categoricals = st.lists(
    scalars, min_size=1, max_size=5, unique_by=lambda v: (isinstance(v, bool), v)
).map(lambda choices: Categorical(choices=choices))


@st.composite
def spaces(draw):
    """Draw a space of up to five parameters in which later ones may depend on earlier ones."""
    parameters = {}
    for i in range(draw(st.integers(1, 5))):
        parameter = draw(st.one_of(floats(), ints(), categoricals))
        parents = [n for n, p in parameters.items() if isinstance(p, Categorical)]
        if parents and draw(st.booleans()):
            parent = draw(st.sampled_from(parents))
            value = draw(st.sampled_from(parameters[parent].choices))
            parameter = parameter.model_copy(update={"when": {parent: [value]}})
        parameters[f"p{i}"] = parameter
    names = list(parameters)
    draw(st.randoms(use_true_random=False)).shuffle(names)
    numbers = [
        n for n in sorted(names) if isinstance(parameters[n], Int) and parameters[n].low >= 0
    ]
    constraints = [f"{n} < {parameters[n].high}" for n in numbers[:1]]
    return SearchSpace(
        parameters={name: parameters[name] for name in names}, constraints=constraints
    )


# --- what is refused ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "fields", "message"),
    [
        (Float, {"low": 1, "high": 0.1}, "`low < high` must hold, but got low=1.0, high=0.1"),
        (Int, {"low": 3, "high": 3}, "`low < high` must hold, but got low=3, high=3"),
        (
            Float,
            {"low": 0, "high": 1, "log": True},
            "`low > 0` must hold with `log: true`, but got low=0.0",
        ),
        (
            Int,
            {"low": -2, "high": 8, "log": True},
            "`low > 0` must hold with `log: true`, but got low=-2",
        ),
        (
            Float,
            {"low": 1, "high": 2, "log": True, "step": 0.5},
            "`step` cannot be set with `log: true`, but got step=0.5",
        ),
        (
            Int,
            {"low": 1, "high": 3, "step": 5},
            "`step <= high - low` must hold, but got step=5",
        ),
        (
            Float,
            {"low": 0, "high": 1, "default": 2},
            "`0.0 <= value <= 1.0` must hold, but got 2.0",
        ),
        (
            Float,
            {"low": 0, "high": 1, "step": 0.25, "default": 0.3},
            "must be 0.0 plus a multiple of 0.25, got 0.3",
        ),
        (
            Int,
            {"low": 0, "high": 9, "step": 3, "default": 4},
            "must be 0 plus a multiple of 3, got 4",
        ),
        (
            Categorical,
            {"choices": ["adam", "sgd"], "default": "adm"},
            "must be one of ['adam', 'sgd'], but got 'adm'; did you mean 'adam'?",
        ),
        (
            Categorical,
            {"choices": ["a", "b", "a"]},
            "`choices` must differ, but got 'a' twice",
        ),
    ],
)
def test_a_wrong_range_is_refused_with_the_rule_and_the_value(kind, fields, message):
    with pytest.raises(ValidationError) as error:
        kind(**fields)
    assert message_of(error) == message


WIDTH = {"type": "int", "low": 1, "high": 8}
OPTIMIZER = {"type": "categorical", "choices": ["sgd", "adam"]}


@pytest.mark.parametrize(
    ("parameters", "constraints", "message"),
    [
        (
            {"optimizer": OPTIMIZER, "m": {**WIDTH, "when": {"optimiser": "sgd"}}},
            [],
            "parameter 'm' is conditional on an unknown parameter 'optimiser'; "
            "did you mean 'optimizer'?",
        ),
        (
            {"lr": {"type": "float", "low": 0, "high": 1}, "m": {**WIDTH, "when": {"lr": 0.5}}},
            [],
            "parameter 'm' is conditional on 'lr', which is a float; "
            "a condition needs an int or a categorical parent",
        ),
        (
            {"optimizer": OPTIMIZER, "m": {**WIDTH, "when": {"optimizer": "sdg"}}},
            [],
            "the condition of 'm' on 'optimizer' can never hold: 'optimizer' must be one of "
            "['sgd', 'adam'], but got 'sdg'; did you mean 'sgd'?",
        ),
        (
            {"optimizer": OPTIMIZER, "m": {**WIDTH, "when": {"optimizer": []}}},
            [],
            "the condition of 'm' on 'optimizer' lists no value",
        ),
        (
            {"a": {**WIDTH, "when": {"b": 1}}, "b": {**WIDTH, "when": {"a": 1}}, "c": WIDTH},
            [],
            "the conditions of ['a', 'b'] depend on each other",
        ),
        (
            {"width": WIDTH},
            ["witdh < 4"],
            "constraint 'witdh < 4' names an unknown parameter 'witdh'; did you mean 'width'?",
        ),
        (
            {"width": WIDTH, "optimizer": OPTIMIZER},
            ["width < optimizer"],
            "constraint 'width < optimizer' compares 'optimizer', which is categorical; "
            "only numbers can be compared",
        ),
        (
            {"width": WIDTH},
            ["width < 1"],
            "no configuration out of 10000 satisfied the constraints ['width < 1']; loosen them",
        ),
        (
            {"width": WIDTH},
            ["__import__('os').getpid() < 4"],
            "constraint '__import__('os').getpid() < 4' names an unknown parameter "
            "\"__import__('os').getpid()\"; known are 'width'",
        ),
        (
            {"width": WIDTH},
            ["__import__('os')"],
            "a constraint must read `parameter < parameter` or `parameter < number` "
            "(or <=, >, >=, ==, !=), but got \"__import__('os')\"",
        ),
        (
            {"width": WIDTH},
            ["width < 2 or True"],
            "a constraint must read `parameter < parameter` or `parameter < number` "
            "(or <=, >, >=, ==, !=), but got 'width < 2 or True'",
        ),
        (
            {"width": WIDTH},
            ["width < inf"],
            "a constraint must read `parameter < parameter` or `parameter < number` "
            "(or <=, >, >=, ==, !=), but got 'width < inf'",
        ),
    ],
)
def test_an_impossible_space_is_refused_with_the_place_and_the_way_out(
    parameters, constraints, message
):
    with pytest.raises(ValidationError) as error:
        space(constraints, **parameters)
    assert message_of(error) == message


def test_an_unknown_type_names_the_known_ones():
    with pytest.raises(ValidationError, match="must be one of 'float', 'int', 'categorical'"):
        space(x={"type": "flaot", "low": 0, "high": 1})


@pytest.mark.parametrize(
    ("configuration", "message"),
    [
        (
            {"optimizer": "adam", "dept": 1},
            "unknown parameter 'dept'; did you mean 'depth'?",
        ),
        ({"optimizer": "adam"}, "parameter 'depth' is missing"),
        (
            {"optimizer": "adam", "depth": 9},
            "parameter 'depth' `1 <= value <= 4` must hold, but got 9",
        ),
        (
            {"optimizer": "adam", "depth": 2.0},
            "parameter 'depth' must be an integer, but got 2.0",
        ),
        (
            {"optimizer": "adam", "depth": True},
            "parameter 'depth' must be an integer, but got True",
        ),
        (
            {"optimizer": ["adam"], "depth": 1},
            "parameter 'optimizer' must be one of ['sgd', 'adam'], but got ['adam']",
        ),
        (
            {"optimizer": "adam", "depth": 1, "momentum": 0.5},
            "parameter 'momentum' is not active: it needs {'optimizer': ['sgd']}",
        ),
        (
            # `nesterov` would be active if `momentum_on` were.
            {"optimizer": "adam", "depth": 1, "momentum_on": True},
            "parameter 'momentum_on' is not active: it needs {'optimizer': ['sgd']}",
        ),
        (
            {"optimizer": "sgd", "depth": 1, "momentum": math.nan, "momentum_on": False},
            "parameter 'momentum' `0.0 <= value <= 0.99` must hold, but got nan",
        ),
    ],
)
def test_a_wrong_configuration_is_refused_by_name(configuration, message):
    with pytest.raises(ConfigurationError) as error:
        NESTED.validate_configuration(configuration)
    assert str(error.value).startswith(message)


def test_a_broken_constraint_is_named_with_its_values():
    searched = space(["warmup < steps"], warmup=WIDTH, steps=WIDTH)
    with pytest.raises(ConfigurationError) as error:
        searched.validate_configuration({"warmup": 5, "steps": 5})
    assert str(error.value) == "`warmup < steps` must hold, but got {'warmup': 5, 'steps': 5}"


@pytest.mark.parametrize("value", [math.inf, -math.inf, math.nan, 10**400, [1], "3", None])
@pytest.mark.parametrize("kind", ["float", "int"])
def test_what_is_no_number_cannot_be_clipped(kind, value):
    searched = space(x={"type": kind, "low": 1, "high": 8})
    if value in (10**400, math.inf, -math.inf):
        assert searched.clip({"x": value}) == {"x": 1 if value < 0 else 8}
    else:
        with pytest.raises(ConfigurationError, match="parameter 'x' must be a number, but got"):
            searched.clip({"x": value})


# --- what holds -----------------------------------------------------------------------------


def test_conditions_nest_to_any_depth():
    active = {
        "optimizer": "sgd",
        "momentum": 0.9,
        "momentum_on": True,
        "nesterov": True,
        "depth": 3,
        "skip": 2,
    }
    NESTED.validate_configuration(active)
    assert NESTED.clip({**active, "optimizer": "adam"}) == {"optimizer": "adam", "depth": 3}
    assert [name for name, _ in NESTED.walk({"optimizer": "sgd", "depth": 4})] == [
        "depth",
        "optimizer",
        "momentum",
        "momentum_on",
    ]


def test_a_condition_lists_values_or_gives_one():
    one = space(optimizer=OPTIMIZER, m={**WIDTH, "when": {"optimizer": "sgd"}})
    several = space(optimizer=OPTIMIZER, m={**WIDTH, "when": {"optimizer": ["sgd"]}})
    assert one == several


def test_true_is_not_one():
    flag = Categorical(choices=[True, "auto"])
    with pytest.raises(ValueError, match="must be one of"):
        flag.check(1)
    Categorical(choices=[1, True]).check(True)


def test_a_constraint_holds_where_one_of_its_parameters_is_inactive():
    conditional = {**WIDTH, "when": {"optimizer": "sgd"}}
    searched = space(["warmup > 100"], optimizer=OPTIMIZER, warmup=conditional)
    searched.validate_configuration({"optimizer": "adam"})
    assert not searched.contains({"optimizer": "sgd", "warmup": 8})


def test_the_default_is_complete_and_allowed_or_none():
    lr = {"type": "float", "low": 0, "high": 1}
    choice = {"type": "categorical", "choices": [None, "cosine"]}
    assert space(lr={**lr, "default": 0.5}, schedule=choice).default() == {
        "lr": 0.5,
        "schedule": None,
    }
    assert space(lr=lr).default() is None
    assert space(["lr < 0.5"], lr={**lr, "default": 0.5}).default() is None


@pytest.mark.parametrize("text", ["a <= 1234567", "a != 0.1234567890123", "a>-1e-09", "a < b"])
def test_a_comparison_reads_back_as_the_same(text):
    parsed = Comparison.model_validate(text)
    assert Comparison.model_validate(str(parsed)) == parsed


def test_every_point_of_a_grid_is_reached_and_written_as_people_write_it():
    grid = Float(low=0.1, high=0.8, step=0.1)
    units = [(i + 0.5) / 8 for i in range(8)]
    assert [grid.from_unit(u) for u in units] == [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8]


# --- properties -----------------------------------------------------------------------------


@examples
@given(spaces(), st.integers(0, 2**32))
def test_a_sample_is_in_its_space_and_survives_encoding(searched, seed):
    configuration = searched.sample(np.random.default_rng(seed))
    searched.validate_configuration(configuration)
    point = searched.encode(configuration)
    assert all(0 <= unit <= 1 for unit in point)
    decoded = searched.decode(point)
    assert decoded.keys() == configuration.keys()
    for name, value in configuration.items():
        if isinstance(searched.parameters[name], Float):
            assert decoded[name] == pytest.approx(value, rel=1e-9, abs=1e-9)
        else:
            assert (type(decoded[name]), decoded[name]) == (type(value), value)


@examples
@given(spaces(), st.data())
def test_any_point_of_the_cube_decodes_into_the_space(searched, data):
    unit = st.sampled_from([0.0, 1.0]) | st.floats(0, 1)
    n = len(searched.parameters)
    configuration = searched.decode(data.draw(st.lists(unit, min_size=n, max_size=n)))
    SearchSpace(parameters=searched.parameters).validate_configuration(configuration)


@examples
@given(st.one_of(floats(), ints()), st.floats(allow_nan=False) | st.integers())
def test_clip_is_inside_and_does_nothing_twice(parameter, value):
    clipped = parameter.clip(value)
    parameter.check(clipped)
    assert parameter.clip(clipped) == clipped


@examples
@given(st.one_of(floats(), ints()), st.integers(0, 2**32))
def test_clip_leaves_an_allowed_value_alone(parameter, seed):
    value = parameter.from_unit(float(np.random.default_rng(seed).random()))
    assert parameter.clip(value) == value


@examples
@given(spaces())
def test_json_and_yaml_read_back_as_the_same_space(searched):
    data = searched.model_dump(mode="json")
    assert SearchSpace.model_validate(json.loads(json.dumps(data))) == searched
    assert SearchSpace.model_validate(yaml.safe_load(yaml.safe_dump(data))) == searched


@examples
@given(spaces(), st.integers(0, 2**32))
def test_optuna_knows_every_value_of_the_space_and_gives_the_space_back(searched, seed):
    distributions = searched.to_optuna()
    for name, value in searched.sample(np.random.default_rng(seed)).items():
        distribution = distributions[name]
        assert distribution._contains(distribution.to_internal_repr(value))
    back = SearchSpace.from_optuna(distributions)
    assert back.to_optuna() == distributions


def test_a_flat_space_comes_back_from_optuna_unchanged():
    searched = space(
        lr={"type": "float", "low": 1e-5, "high": 0.1, "log": True},
        dropout={"type": "float", "low": 0.1, "high": 0.8, "step": 0.1},
        width={"type": "int", "low": 16, "high": 512, "log": True},
        depth={"type": "int", "low": 1, "high": 9, "step": 2},
        optimizer=OPTIMIZER,
    )
    assert SearchSpace.from_optuna(searched.to_optuna()) == searched


def test_an_unknown_distribution_is_refused_by_name():
    with pytest.raises(TypeError, match="parameter 'x': 'normal' is not supported"):
        SearchSpace.from_optuna({"x": "normal"})


# --- the number of configurations ------------------------------------------------------------


def test_the_size_counts_each_branch_and_leaves_out_what_breaks_a_constraint():
    space = SearchSpace(
        parameters={
            "kind": Categorical(choices=["a", "b"]),
            "depth": Int(low=1, high=3, when={"kind": "b"}),
            "rate": Float(low=0.0, high=0.4, step=0.2),
            "most": Int(low=1, high=2),
        },
        constraints=["most < 2"],
    )
    assert space.size() == (1 + 3) * 3


def test_a_space_without_end_has_no_size():
    assert SearchSpace(parameters={"x": Float(low=0, high=1)}).size() is None
    assert SearchSpace(parameters={"x": Int(low=1, high=100_000)}).size() is None
