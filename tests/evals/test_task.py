"""Normalised regret, by its one definition."""

import math
from dataclasses import replace

import pytest
from luthier.evals.task import Evaluation, Task
from luthier.tools.space import Float, SearchSpace


@pytest.fixture
def task() -> Task:
    return Task(
        name="t",
        family="f",
        space=SearchSpace(parameters={"x": Float(low=0, high=1)}),
        objective=lambda configuration, seed: Evaluation(0.0, 0.0),
        direction="minimize",
        card="",
        budget=50,
        f_star=2.0,
        f_median=4.0,
        noise=0.0,
        source="",
        licence="",
        starts="t",
    )


@pytest.mark.parametrize(
    ("noise_free", "regret"),
    [(2.0, 0.0), (4.0, 1.0), (3.0, 0.5), (1.0, 0.0), (9.0, 1.5), (math.inf, 1.5), (math.nan, 1.5)],
)
def test_regret_is_0_at_the_best_1_at_the_median_and_clipped(
    task: Task, noise_free: float, regret: float
) -> None:
    assert task.regret(noise_free) == regret


def test_regret_of_what_is_maximized_turns_round(task: Task) -> None:
    accuracy = replace(task, direction="maximize", f_star=0.9, f_median=0.5)

    assert accuracy.regret(0.7) == pytest.approx(0.5)


def test_a_best_value_that_is_worse_than_the_median_is_refused(task: Task) -> None:
    with pytest.raises(ValueError, match="f_star must be better than f_median"):
        replace(task, direction="maximize")


def test_the_fingerprint_changes_with_what_a_result_depends_on(task: Task) -> None:
    wider = SearchSpace(parameters={"x": Float(low=0, high=2)})

    assert replace(task).fingerprint() == task.fingerprint()
    assert replace(task, f_star=1.0).fingerprint() != task.fingerprint()
    assert replace(task, space=wider).fingerprint() != task.fingerprint()
