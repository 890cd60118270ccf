"""Functions whose best value is known are what they claim to be."""

import numpy as np
import pytest
from luthier.evals.synthetic import NAMES, load_task
from luthier.evals.task import Task


def sampled(task: Task, points: int = 500) -> list[float]:
    """Return the noise-free values of allowed random configurations."""
    rng = np.random.default_rng(1)
    evaluations = [task.objective(task.space.sample(rng), 0) for _ in range(points)]
    return [e.noise_free for e in evaluations if e.violation is None or e.violation <= 0]


@pytest.mark.parametrize("name", NAMES)
def test_nothing_is_better_than_the_best_value(name: str) -> None:
    task = load_task(name)

    assert min(sampled(task)) >= task.f_star


@pytest.mark.parametrize("name", NAMES)
def test_half_of_the_space_is_better_than_the_median_value(name: str) -> None:
    task = load_task(name)

    assert np.mean([v < task.f_median for v in sampled(task)]) == pytest.approx(0.5, abs=0.08)


@pytest.mark.parametrize("name", NAMES)
def test_the_best_value_can_be_reached(name: str) -> None:
    from scipy.optimize import minimize

    task = load_task(name)
    names = list(task.space.parameters)
    penalty = task.f_median - task.f_star

    def value(point: np.ndarray) -> float:
        evaluation = task.objective(task.space.decode(list(np.clip(point, 0, 1))), 0)
        return evaluation.noise_free + penalty * 1e3 * max(0.0, evaluation.violation or 0.0)

    starts = np.random.default_rng(2).random((400, len(names)))
    starts = sorted(starts, key=value)[:12]
    best = min(
        minimize(value, x, method="Nelder-Mead", options={"maxfev": 2000}).fun for x in starts
    )

    rugged = name == "bbob-rastrigin"
    assert task.regret(best) < (0.25 if rugged else 0.01)


def test_the_noise_is_what_the_task_says() -> None:
    task = load_task("noisy-sphere")
    configuration = task.space.decode([0.5] * 5)
    shown = [task.objective(configuration, seed).value for seed in range(500)]

    assert np.std(shown) / (task.f_median - task.f_star) == pytest.approx(task.noise, rel=0.1)


def test_the_branches_of_the_conditional_task_have_parameters_of_their_own() -> None:
    task = load_task("conditional")
    rng = np.random.default_rng(0)
    seen = {frozenset(task.space.sample(rng)) for _ in range(50)}

    assert seen == {
        frozenset({"model", "a_rate", "a_share"}),
        frozenset({"model", "b_size", "b_depth"}),
        frozenset({"model", "c_share"}),
    }
