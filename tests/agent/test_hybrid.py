"""The hybrid sampler in plain Optuna."""

from collections.abc import Callable, Iterator
from typing import Any

import optuna
import pytest
import torch
from luthier.agent.advice import MODEL_SOURCES
from luthier.agent.classical import ClassicalSampler
from luthier.agent.hybrid import HybridSampler, is_models_strict_turn
from luthier.agent.llambo.context import ATTRIBUTE
from luthier.agent.llm.answers import LanguageModel, LLMError
from luthier.evals.advisers import minds
from luthier.evals.advisers.direct import Direct
from luthier.evals.suites import load_task
from luthier.evals.task import Task
from luthier.tools.quiet import quiet
from optuna.testing.pytest_samplers import (
    BasicSamplerTestCase,
    MultiObjectiveSamplerTestCase,
    RelativeSamplerTestCase,
)

TRIALS = 16


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Compute as the proposals' own thread does."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


# Optuna's contract


class OurSamplers:
    @pytest.fixture(params=["shared", "strict", "no model"])
    def sampler(self, request: pytest.FixtureRequest) -> Callable[[], HybridSampler]:
        if request.param == "no model":
            return lambda: HybridSampler(seed=0, start_up=20)
        llm = Direct(minds.novice())
        return lambda: HybridSampler(llm=llm, seed=0, start_up=20, mode=request.param)


class TestBasicHybrid(OurSamplers, BasicSamplerTestCase):
    pass


class TestRelativeHybrid(OurSamplers, RelativeSamplerTestCase):
    pass


class TestMultiObjectiveHybrid(OurSamplers, MultiObjectiveSamplerTestCase):
    pass


# a study


class Mute(Direct):
    """A model that never answers."""

    def __init__(self) -> None:
        super().__init__(minds.novice())
        self.asked = 0

    def ask(self, *_: Any, **__: Any) -> Any:
        self.asked += 1
        raise LLMError("no answer within 30 s; try later", "timeout")


def adviser(name: str, task: Task, seed: int) -> LanguageModel:
    match name:
        case "expert" | "informed" | "adversarial":
            return Direct(getattr(minds, name)(task, seed))
        case "mute":
            return Mute()
        case _:
            return Direct(getattr(minds, name)(seed))


def run(task: Task, sampler: optuna.samplers.BaseSampler, trials: int = TRIALS) -> optuna.Study:
    with quiet():
        study = optuna.create_study(direction=task.direction, sampler=sampler)
        for _ in range(trials):
            trial = study.ask(task.space.to_optuna())
            study.tell(trial, task.objective(task.space.clip(trial.params), 0).noise_free)
    return study


def told(study: optuna.Study) -> list[dict[str, Any]]:
    return [trial.user_attrs.get(ATTRIBUTE, {}) for trial in study.trials]


def by_model(study: optuna.Study) -> list[bool]:
    return [each.get("proposed_by") in MODEL_SOURCES for each in told(study)]


def losses(study: optuna.Study, task: Task) -> list[float]:
    sign = 1 if task.direction == "minimize" else -1
    return [sign * float(trial.value or 0.0) for trial in study.trials]


def hybrid(task: Task, name: str, seed: int = 0, **more: Any) -> HybridSampler:
    return HybridSampler(task.space, llm=adviser(name, task, seed), seed=seed, **more)


@pytest.fixture(scope="module")
def sphere() -> Task:
    return load_task("bbob-rosenbrock")


# strict: never behind the classical optimiser


@pytest.mark.parametrize("name", ["adversarial", "expert", "stubborn"])
@pytest.mark.parametrize("task_name", ["digits-mlp", "conditional"])
def test_strict_is_never_behind_the_classical_optimiser_with_the_trials_that_are_its_own(
    task_name: str, name: str
) -> None:
    task = load_task(task_name)
    alone = losses(run(task, ClassicalSampler(task.space, seed=3)), task)
    study = run(task, hybrid(task, name, seed=3, mode="strict"))
    reached, models = losses(study, task), by_model(study)
    for t in range(1, TRIALS + 1):
        own = t - sum(models[:t])
        assert min(reached[:t]) <= min(alone[:own], default=float("inf"))


def test_strict_gives_the_model_a_quarter_of_the_trials_whatever_comes_out() -> None:
    assert sum(map(is_models_strict_turn, range(40))) == 10


@pytest.mark.parametrize("name", ["garbage", "mute"])
@pytest.mark.parametrize("mode", ["strict", "shared"])
def test_a_model_that_is_of_no_use_leaves_exactly_the_classical_run(name: str, mode: str) -> None:
    task = load_task("digits-mlp")
    alone = run(task, ClassicalSampler(task.space, seed=1))
    study = run(task, hybrid(task, name, seed=1, mode=mode))
    assert [t.params for t in study.trials] == [t.params for t in alone.trials]
    assert "malformed" in {e.get("fallback") for e in told(study)} or name == "mute"


# shared


def test_an_expert_soon_proposes_most_trials(sphere: Task) -> None:
    models = by_model(run(sphere, hybrid(sphere, "expert")))
    assert sum(models) > TRIALS / 3


def test_a_model_that_fails_is_asked_less_and_less_often(sphere: Task) -> None:
    mute = Mute()
    study = run(sphere, HybridSampler(sphere.space, llm=mute, seed=0), 30)
    assert 2 <= mute.asked <= 6
    causes = [each["fallback"] for each in told(study) if "fallback" in each]
    assert causes == ["timeout"] * mute.asked


def test_each_trial_says_who_proposed_it_and_what_was_expected(sphere: Task) -> None:
    study = run(sphere, hybrid(sphere, "expert"))
    llambo = [each for each in told(study) if each["proposed_by"] == "llambo"]
    assert llambo
    for each in llambo:
        assert each["predicted"]["low"] <= each["predicted"]["mean"] <= each["predicted"]["high"]
        assert each["prompts"]
        assert each["reason"]
    assert sum(each["tokens"] for each in llambo) > 0
    assert all(each["proposed_by"] for each in told(study))


def test_ideas_that_are_fresh_serve_several_trials_and_are_paid_once(sphere: Task) -> None:
    tokens = [each.get("tokens") for each in told(run(sphere, hybrid(sphere, "expert"), 24))]
    free = [t for t in tokens if t == 0]
    paid = [t for t in tokens if t]
    assert free
    assert paid


@pytest.mark.parametrize("name", ["expert", "novice", "stubborn", "garbage"])
def test_all_that_the_model_costs_is_told_the_exam_too(sphere: Task, name: str) -> None:
    llm = Direct(getattr(minds, name)(*([sphere, 0] if name == "expert" else [0])))
    study = run(sphere, HybridSampler(sphere.space, llm=llm, seed=0))
    assert sum(each.get("tokens", 0) for each in told(study)) == llm.usage.tokens > 0
    assert sum(each.get("calls", 0) for each in told(study)) == llm.usage.calls


def test_the_same_seed_gives_the_same_study(sphere: Task) -> None:
    first, second = (run(sphere, hybrid(sphere, "informed", seed=4)) for _ in range(2))
    assert [t.params for t in first.trials] == [t.params for t in second.trials]


def test_without_a_space_it_is_learned_from_the_first_trial(sphere: Task) -> None:
    llm = adviser("expert", sphere, 0)
    study = run(sphere, HybridSampler(llm=llm, task="a function", seed=0))
    assert any(by_model(study))


def test_without_a_model_it_is_the_classical_optimiser(sphere: Task) -> None:
    alone = run(sphere, ClassicalSampler(sphere.space, seed=2))
    study = run(sphere, HybridSampler(sphere.space, seed=2))
    assert [t.params for t in study.trials] == [t.params for t in alone.trials]
