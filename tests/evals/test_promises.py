"""The check of what samplers with a language model promise."""

import numpy as np
import pytest
from luthier.evals.promises import Run, broken_bounds, main


def strict(losses: list[float], by_model: list[bool]) -> Run:
    return Run(np.array(losses), np.array(by_model), [])


def test_a_run_that_has_what_the_classical_one_had_by_then_keeps_the_bound() -> None:
    alone = np.array([5.0, 3.0, 4.0, 1.0])
    assert broken_bounds(alone, strict([5.0, 9.0, 3.0, 4.0], [False, True, False, False])) == 0


def test_every_trial_after_which_it_is_behind_is_counted() -> None:
    alone = np.array([5.0, 3.0, 1.0])
    assert broken_bounds(alone, strict([5.0, 4.0, 2.0], [False, False, False])) == 2


def test_the_models_trials_before_the_first_of_the_classical_one_promise_nothing() -> None:
    assert broken_bounds(np.array([5.0]), strict([9.0], [True])) == 0


def test_the_small_run_keeps_all_promises(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--smoke"]) == 0
    printed = capsys.readouterr().out
    assert printed.count(" 0 broken") == 5
    assert "fast" in printed
