"""Spaces and histories as text: the same each time, exact enough, and readable again."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from luthier.agent.llambo.context import History, Observation, Problem, TaskCard
from luthier.agent.llambo.data_card import DataCard
from luthier.agent.llambo.geometry import distance
from luthier.agent.llambo.serialisation import (
    candidates_table,
    describe_space,
    describe_task,
    failures_table,
    history_table,
    number,
    row,
    running_table,
    select,
)
from luthier.evals.advisers.reading import read_space
from luthier.tools.space import Categorical, Float, Int, SearchSpace

examples = settings(derandomize=True, deadline=None, max_examples=60, database=None)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0123456, "0.01235"),
        (1e-5, "1e-05"),
        (123456.7, "1.235e+05"),
        (0.5, "0.5"),
        (256, "256"),
        (123456, "123456"),
    ],
)
def test_numbers_have_four_significant_digits_and_whole_ones_all(value, text):
    assert number(value) == text


def test_the_digits_of_a_value_do_not_depend_on_the_decimals_of_a_bound():
    space = SearchSpace(parameters={"decrease": Float(low=0.0, high=0.5)})

    assert row(space, {"decrease": 0.001234}) == "[0.001234]"


def test_values_that_lie_close_together_are_told_apart():
    problem = Problem(SearchSpace(parameters={"x": Float(low=0, high=1)}), "maximize")
    trials = [Observation({"x": 0.5}, value) for value in (0.987651, 0.987652, 0.987654)]

    lines = history_table(problem, trials).splitlines()
    assert len(set(lines)) == 3
    assert lines[0] == "[0.5,0.987651]"


def test_a_space_is_a_table_of_what_there_is_to_say(space):
    assert describe_space(space) == (
        "name | type | range | default | unit | active if | meaning\n"
        "lr | float log | 1e-05..0.1 | 0.001 |  |  | learning rate\n"
        "units | int log | 8..256\n"
        "dropout | float | 0..0.9 step 0.1 |  | share\n"
        'optimizer | choice | ["sgd","adamw"] | "adamw"\n'
        'momentum | float | 0..0.99 |  |  | optimizer in ["sgd"]\n'
        "warm | int | 0..20\n"
        "total | int | 1..50\n"
        "constraints: warm < total"
    )


def test_a_space_can_be_read_again_from_its_table(space):
    assert read_space(describe_space(space)) == space


@examples
@given(
    name=st.text(min_size=1, max_size=12),
    choices=st.lists(st.text(max_size=8), min_size=1, max_size=4, unique=True),
    low=st.floats(-1e6, 1e6),
    width=st.floats(1.0, 1e6),
)
def test_any_name_and_choice_can_be_read_again(name, choices, low, width):
    space = SearchSpace(
        parameters={
            name: Categorical(choices=choices),
            f"{name}'": Float(low=low, high=low + width),
        }
    )
    table = describe_space(space)

    assert table == describe_space(space)
    if not any(line != line.strip() or "\n" in line for line in (name, *choices)):
        assert read_space(table).parameters[name].choices == choices
        assert list(read_space(table).parameters) == [name, f"{name}'"]


def test_a_long_meaning_is_one_short_line():
    parameter = Int(low=0, high=3, meaning="first\nsecond | third" * 20)
    cell = describe_space(SearchSpace(parameters={"n": parameter})).splitlines()[1]

    assert len(cell) < 110
    assert cell.count("|") == 3


@pytest.mark.parametrize(
    ("level", "told", "hidden"),
    [
        ("none", ["minimize the value"], ["A small network", "loss", "rows"]),
        ("partial", ["loss", "A small network", "150 rows", "0.5, 0.5"], ["skewed"]),
        ("full", ["loss", "A small network", "150 rows", "3 numeric features skewed"], []),
    ],
)
def test_a_task_is_told_at_its_level(space, level, told, hidden):
    data = DataCard(150, 4, class_shares=(0.5, 0.5), skewed=3)
    text = describe_task(
        Problem(space, "minimize", TaskCard("A small network.", "loss", data, level))
    )

    assert all(part in text for part in told)
    assert not any(part in text for part in hidden)


def test_a_history_is_one_row_a_trial_and_null_for_what_is_not_active(problem, history):
    line = history_table(problem, history.complete[:1])

    assert line.startswith("[")
    assert line.count(",") == len(problem.space.parameters)
    assert "null" in line or '"sgd"' in line


def test_failures_and_running_trials_have_tables_of_their_own(problem, history):
    assert failures_table(problem, history).count('"out_of_memory"]') == 2
    assert len(running_table(problem, history).splitlines()) == 1


def test_candidates_are_counted_from_one(problem, history):
    configurations = [o.configuration for o in history.complete[:3]]

    starts = [
        line.split()[0] for line in candidates_table(problem.space, configurations).split("\n")
    ]
    assert starts == ["1", "2", "3"]


def test_of_a_long_history_the_best_are_shown_and_some_far_from_them(space):
    rng = np.random.default_rng(0)
    problem = Problem(space, "maximize")
    history = History(tuple(Observation(space.sample(rng), float(i)) for i in range(100)))

    shown = select(problem, history, 4, 4)

    assert {o.value for o in shown} >= {96.0, 97.0, 98.0, 99.0}
    assert len(shown) == 8
    assert list(shown) == sorted(shown, key=lambda o: o.value or 0)
    others = [o.configuration for o in shown[:4]]
    assert min(distance(space, a, b) for a in others for b in others if a is not b) > 0.3
