"""Models that are really trained."""

from pathlib import Path

import pytest
from luthier.evals import live
from luthier.evals.live import NAMES, load_task
from luthier.evals.task import EvalError


@pytest.mark.parametrize("name", ["svm-diabetes", "tree-digits"])
def test_the_default_configuration_is_scored_between_best_and_median(name: str) -> None:
    task = load_task(name)
    default = task.space.default()
    assert default is not None

    evaluation = task.objective(default, 0)

    assert evaluation.value == evaluation.noise_free
    assert 0 <= task.regret(evaluation.noise_free) < 1


def test_a_configuration_always_gets_the_same_score() -> None:
    task = load_task("forest-diabetes")
    default = task.space.default()
    assert default is not None

    assert task.objective(default, 0) == task.objective(default, 1)


@pytest.mark.parametrize("name", NAMES)
def test_every_task_has_its_best_and_median_values_and_a_card(name: str) -> None:
    task = load_task(name)

    assert name.split("-")[1] in task.card
    assert abs(task.f_median - task.f_star) > 0.01


def test_missing_values_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "_FILE", tmp_path / "live.json")

    with pytest.raises(EvalError, match="best and median values of task 'svm-digits'"):
        load_task("svm-digits")
