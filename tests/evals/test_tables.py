"""A table's task is exactly its grid."""

import itertools
import math
from dataclasses import replace

import numpy as np
import pytest
from luthier.evals.tables import Table, task_of
from luthier.tools.space import Categorical, Float, Int


def test_the_space_holds_the_grid_and_nothing_else(table: Table) -> None:
    values = [list(p.values() or ()) for p in table.space.parameters.values()]
    configurations = [
        dict(zip(table.axes, point, strict=True)) for point in itertools.product(*values)
    ]

    places = {table.place(configuration) for configuration in configurations}

    assert places == set(np.ndindex(8, 3, 2))


def test_numbers_that_are_not_spread_evenly_stand_as_logarithms(table: Table) -> None:
    parameters = table.space.parameters

    assert parameters["learning_rate"] == Float(low=-4.5, high=-1.0, step=0.5, unit="log10")
    assert parameters["width"] == Int(low=4, high=6, unit="log2")
    assert parameters["optimizer"] == Categorical(choices=["sgd", "adam"])


def test_the_best_and_median_values_are_the_tables(table: Table) -> None:
    task = task_of(table)

    assert task.f_star == table.values.mean(-1).min()
    assert task.f_median == np.median(table.values.mean(-1))
    assert task.noise == pytest.approx(0.01 / (task.f_median - task.f_star), rel=0.3)


def test_the_best_of_what_is_maximized_is_the_largest(table: Table) -> None:
    turned = replace(table, direction="maximize", values=-table.values)

    assert task_of(turned).f_star == pytest.approx(-task_of(table).f_star)


def test_a_trial_shows_one_repetition_and_is_scored_on_their_mean(table: Table) -> None:
    task = task_of(table)
    configuration = {"learning_rate": -2.0, "width": 6, "optimizer": "adam"}

    shown = [task.objective(configuration, seed) for seed in range(30)]

    assert {evaluation.value for evaluation in shown} == set(table.values[5, 2, 1])
    assert {task.regret(evaluation.noise_free) for evaluation in shown} == {0.0}
    assert task.objective(configuration, 7) == task.objective(configuration, 7)


def test_repetitions_that_were_not_measured_are_not_drawn(table: Table) -> None:
    values = table.values.copy()
    values[5, 2, 1, 2] = math.nan
    place = (5, 2, 1)
    ragged = replace(table, values=values)

    drawn = {ragged.draw(place, seed) for seed in range(30)}

    assert drawn == set(values[place][:2])
    assert ragged.means[place] == values[place][:2].mean()


def test_a_training_that_diverged_fails_and_has_the_worst_regret(table: Table) -> None:
    values = table.values.copy()
    values[7, 2, 1] = math.inf
    task = task_of(replace(table, values=values))

    evaluation = task.objective({"learning_rate": -1.0, "width": 6, "optimizer": "adam"}, 0)

    assert math.isnan(evaluation.value)
    assert task.regret(evaluation.noise_free) == 1.5
