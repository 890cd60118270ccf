"""One method on one task: the same starts, an honest incumbent, and a crash that counts."""

import math
from collections.abc import Callable
from dataclasses import replace

import optuna
import pytest
from luthier.evals.cells import STARTS, run_cell, starts
from luthier.evals.methods import METHODS, Method
from luthier.evals.synthetic import load_task
from luthier.evals.tables import Table, task_of
from luthier.evals.task import EvalError, Evaluation, Task
from luthier.tools.space import Configuration, SearchSpace


def recorded(task: Task, shown: list[Configuration]) -> Task:
    """Return a task that notes the configurations it is asked for."""

    def objective(configuration: Configuration, seed: int) -> Evaluation:
        shown.append(configuration)
        return task.objective(configuration, seed)

    return replace(task, objective=objective)


def told(task: Task, evaluations: list[Evaluation]) -> Task:
    """Return a task whose trials give these, one after the other."""
    left = iter(evaluations)
    return replace(task, objective=lambda configuration, seed: next(left))


class Failing(optuna.samplers.RandomSampler):
    """Raises once so many trials are there."""

    def __init__(self, after: int) -> None:
        super().__init__(seed=0)
        self.after = after

    def before_trial(self, study: optuna.Study, trial: optuna.trial.FrozenTrial) -> None:
        if trial.number == self.after:
            raise RuntimeError("no idea")


def failing(after: int) -> Method:
    return Method("failing", "raises", lambda task, seed: Failing(after))


@pytest.mark.parametrize("name", list(METHODS))
def test_all_methods_share_the_first_points_of_a_task_and_seed(name: str, table: Table) -> None:
    shown: list[Configuration] = []
    task = recorded(task_of(table), shown)

    run_cell(task, METHODS[name], seed=3, trials=STARTS + 1)

    assert shown[:STARTS] == starts(task, 3)


@pytest.mark.parametrize("first", [True, False])
def test_a_method_may_spend_the_next_trial_on_the_default(first: bool, table: Table) -> None:
    shown: list[Configuration] = []
    task = recorded(task_of(table), shown)
    parameters = {
        name: parameter.model_copy(update={"default": parameter.from_unit(0.6)})
        for name, parameter in task.space.parameters.items()
    }
    task = replace(task, space=SearchSpace(parameters=parameters))

    run_cell(task, replace(METHODS["random"], default_first=first), seed=3, trials=STARTS + 1)

    assert (shown[STARTS] == task.space.default()) is first


def test_another_seed_and_another_task_begin_elsewhere(table: Table) -> None:
    task = task_of(table)

    assert starts(task, 0) != starts(task, 1)
    assert starts(task, 0) != starts(replace(task, starts="other"), 0)


@pytest.mark.parametrize("name", list(METHODS))
@pytest.mark.parametrize("kind", ["table", "conditional", "constrained"])
def test_every_method_runs_on_every_kind_of_space_and_the_same_again(
    name: str, kind: str, table: Table
) -> None:
    task = task_of(table) if kind == "table" else load_task(kind)

    first, second = (run_cell(task, METHODS[name], seed=1, trials=7) for _ in range(2))

    assert first.crash is None
    assert first.regret == second.regret
    assert list(first.regret) == sorted(first.regret, reverse=True) or task.noise > 0


def test_the_incumbent_is_chosen_by_what_was_shown_and_scored_by_what_is_true(
    table: Table,
) -> None:
    task = replace(task_of(table), f_star=0.0, f_median=1.0)
    evaluations = [Evaluation(0.5, 0.4), Evaluation(0.3, 0.9), Evaluation(0.35, 0.1)]

    result = run_cell(told(task, evaluations), METHODS["random"], 0, trials=3)

    assert result.regret == (0.4, 0.9, 0.9)


def test_a_failed_trial_and_one_beyond_the_limit_are_no_incumbents(table: Table) -> None:
    task = replace(task_of(table), f_star=0.0, f_median=1.0)
    evaluations = [
        Evaluation(math.nan, 0.1),
        Evaluation(0.2, 0.2, violation=0.5),
        Evaluation(0.6, 0.6, violation=0.0),
    ]

    result = run_cell(told(task, evaluations), METHODS["random"], 0, trials=3)

    assert result.regret == (1.5, 1.5, 0.6)
    assert result.failed == 2


def test_a_method_that_raises_has_the_worst_regret_from_there_on(table: Table) -> None:
    result = run_cell(task_of(table), failing(after=7), seed=0, trials=10)

    assert result.crash is not None
    assert (result.crash.trial, result.crash.error) == (7, "RuntimeError: no idea")
    assert len(result.regret) == 10
    assert max(result.regret[1:7]) < 1.5
    assert result.regret[7:] == (1.5, 1.5, 1.5)


def test_a_method_that_cannot_be_made_has_the_worst_regret_throughout(table: Table) -> None:
    def make(task: Task, seed: int) -> optuna.samplers.BaseSampler:
        raise ValueError("not for this space")

    result = run_cell(task_of(table), Method("failing", "raises", make), seed=0, trials=3)

    assert result.crash is not None
    assert result.crash.trial == 0
    assert result.regret == (1.5, 1.5, 1.5)


def test_an_objective_that_raises_is_no_crash_of_the_method(table: Table) -> None:
    def objective(configuration: Configuration, seed: int) -> Evaluation:
        raise KeyError("broken task")

    with pytest.raises(EvalError, match="task 'small' raised KeyError: 'broken task' for"):
        run_cell(replace(task_of(table), objective=objective), METHODS["random"], 0, trials=3)


def test_the_noise_is_the_same_for_all_methods(table: Table) -> None:
    seeds: dict[str, list[int]] = {}

    def noting(name: str) -> Callable[[Configuration, int], Evaluation]:
        def objective(configuration: Configuration, seed: int) -> Evaluation:
            seeds.setdefault(name, []).append(seed)
            return Evaluation(0.0, 0.0)

        return objective

    for name in ("random", "tpe"):
        run_cell(replace(task_of(table), objective=noting(name)), METHODS[name], 0, trials=6)

    assert seeds["random"] == seeds["tpe"]
    assert len(set(seeds["random"])) == 6


class Watching(optuna.samplers.RandomSampler):
    """Notes how many trials run, and how many have ended, whenever it is asked for another."""

    def __init__(self, seen: list[tuple[int, int]]) -> None:
        super().__init__(seed=0)
        self.seen = seen

    def before_trial(self, study: optuna.Study, trial: optuna.trial.FrozenTrial) -> None:
        states = [t.state for t in study.get_trials(deepcopy=False)[: trial.number]]
        ended = states.count(optuna.trial.TrialState.COMPLETE)
        self.seen.append((len(states) - ended, ended))


def test_with_pending_trials_a_method_proposes_before_their_values_are_known(table: Table) -> None:
    seen: list[tuple[int, int]] = []
    method = Method("watching", "notes", lambda task, seed: Watching(seen), pending=2)
    result = run_cell(task_of(table), method, seed=0, trials=6)
    assert seen == [(0, 0), (1, 0), (2, 0), (2, 1), (2, 2), (2, 3)]
    alone = run_cell(task_of(table), replace(method, pending=0), seed=0, trials=6)
    assert result.regret == alone.regret
