"""LLAMBO end to end: Optuna's own contract, what it costs, and who answers when it cannot."""

import math
import threading

import optuna
import pytest
import torch
from luthier.agent.classical import ClassicalSampler
from luthier.agent.llambo.context import ATTRIBUTE, TaskCard
from luthier.agent.llambo.geometry import NEAR, nearest
from luthier.agent.llambo.sampler import LLAMBOSampler
from luthier.evals.advisers import minds
from luthier.evals.suites import load_task
from luthier.tools.space import Float, SearchSpace
from optuna.testing.pytest_samplers import (
    BasicSamplerTestCase,
    MultiObjectiveSamplerTestCase,
    RelativeSamplerTestCase,
)

TRIALS = 30


@pytest.fixture(autouse=True)
def _one_thread():
    """Compute as the proposals' own thread does."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


# --- Optuna's contract ----------------------------------------------------------------------


class OurSamplers:
    @pytest.fixture(params=["a model", "no model"])
    def sampler(self, request, model):
        if request.param == "a model":
            return lambda: LLAMBOSampler(llm=model(minds.novice()), seed=0, start_up=3)
        # The models behind it pass these tests for the classical sampler.
        return lambda: LLAMBOSampler(seed=0, start_up=20)


class TestBasicLLAMBO(OurSamplers, BasicSamplerTestCase):
    pass


class TestRelativeLLAMBO(OurSamplers, RelativeSamplerTestCase):
    pass


class TestMultiObjectiveLLAMBO(OurSamplers, MultiObjectiveSamplerTestCase):
    pass


# --- a study --------------------------------------------------------------------------------


def optimise(task, sampler, trials=TRIALS):
    study = optuna.create_study(direction=task.direction, sampler=sampler)

    def objective(trial):
        configuration = {}
        for name, parameter in task.space.walk(configuration):
            configuration[name] = trial._suggest(name, parameter.to_optuna())
        configuration = task.space.clip(configuration)
        return task.objective(configuration, trial.number).value

    study.optimize(objective, n_trials=trials)
    return study


def told(trial):
    return trial.user_attrs.get(ATTRIBUTE, {})


@pytest.mark.parametrize("name", ["digits-mlp", "cifar10"])
def test_a_trial_takes_two_calls_and_less_than_1800_tokens(name, model):
    task = load_task(name)
    for mind in (minds.textbook(), minds.informed(task)):
        llm = model(mind)
        card = TaskCard(task.card, trials=TRIALS)
        study = optimise(task, LLAMBOSampler(task.space, llm=llm, task=card, seed=0))

        assert llm.usage.calls <= 2 * TRIALS
        assert llm.usage.tokens <= 1800 * TRIALS
        recorded = sum(told(trial).get("tokens", 0) for trial in study.trials)
        assert recorded == llm.usage.tokens


def test_the_papers_mode_takes_22_calls_a_trial_with_210_answers(model):
    task = load_task("digits-mlp")
    llm = model(minds.textbook())

    study = optimise(task, LLAMBOSampler(task.space, llm=llm, mode="paper", seed=0), trials=6)

    assert told(study.trials[4])["fallback"] == "start-up"
    assert told(study.trials[5])["proposed_by"] == "llambo"
    purposes = [purpose for purpose, _ in llm.asked]
    assert purposes.count("candidate") == 2
    assert purposes.count("score") <= 20
    assert purposes.count("score") % 2 == 0


def test_an_expert_finds_in_few_trials_what_a_novice_does_not(model):
    task = load_task("conditional")
    best = {}
    for name, mind in (("expert", minds.expert(task)), ("novice", minds.novice())):
        study = optimise(task, LLAMBOSampler(task.space, llm=model(mind), seed=0), trials=10)
        best[name] = task.regret(study.best_value)

    assert best["expert"] < 0.05 < best["novice"]


def test_a_trial_says_who_proposed_it_why_and_what_was_expected(model):
    task = load_task("digits-mlp")
    llm = model(minds.informed(task))
    study = optimise(task, LLAMBOSampler(task.space, llm=llm, seed=0), trials=14)

    first, last = told(study.trials[0]), told(study.trials[-1])
    assert first["proposed_by"] == "warm start"
    assert first["reason"] == "a safe configuration to begin with"
    assert first["prompts"] == ["warmstart@1"]
    assert last["proposed_by"] == "llambo"
    assert last["prompts"] == ["candidates@1", "scores@1"]
    assert last["predicted"]["low"] < last["predicted"]["mean"] < last["predicted"]["high"]
    assert last["calls"] == 2
    assert last["configuration"] == study.trials[-1].params
    assert last["calibration"]["pairs"] == 8
    assert "candidates for" in last["reason"]


def test_no_two_trials_of_the_model_are_the_same_again(model):
    task = load_task("conditional")
    llm = model(minds.textbook())
    study = optimise(task, LLAMBOSampler(task.space, llm=llm, seed=0), trials=20)

    tried = [trial.params for trial in study.trials]
    for i, trial in enumerate(study.trials):
        if "fallback" not in told(trial):
            assert nearest(task.space, tried[i], tried[:i]) >= NEAR


def test_the_same_seed_gives_the_same_trials(model):
    task = load_task("digits-mlp")
    first, second = (
        optimise(task, LLAMBOSampler(task.space, llm=model(minds.novice()), seed=3), trials=8)
        for _ in range(2)
    )

    assert [t.params for t in first.trials] == [t.params for t in second.trials]


# --- when the model cannot ------------------------------------------------------------------


@pytest.mark.parametrize("cause", ["timeout", "budget"])
def test_a_dead_model_gives_exactly_the_classical_study(cause, failing):
    task = load_task("digits-mlp")
    dead = optimise(task, LLAMBOSampler(task.space, llm=failing(cause), seed=0), trials=7)
    classical = optimise(task, ClassicalSampler(task.space, seed=0), trials=7)

    assert [t.params for t in dead.trials] == [t.params for t in classical.trials]
    assert {told(trial)["fallback"] for trial in dead.trials} == {cause}
    assert told(dead.trials[0])["proposed_by"] == "textbook"
    assert "no answer within 30 s" in told(dead.trials[0])["reason"]
    assert told(dead.trials[0])["tokens"] == 7


def test_without_a_model_it_is_the_classical_study_and_says_so():
    task = load_task("digits-mlp")
    without = optimise(task, LLAMBOSampler(task.space, seed=0), trials=7)
    classical = optimise(task, ClassicalSampler(task.space, seed=0), trials=7)

    assert [t.params for t in without.trials] == [t.params for t in classical.trials]
    assert {told(trial)["fallback"] for trial in without.trials} == {"no language model"}


def test_garbage_is_counted_and_the_study_goes_on(model):
    task = load_task("conditional")
    study = optimise(task, LLAMBOSampler(task.space, llm=model(minds.garbage()), seed=0), trials=8)

    assert all(math.isfinite(trial.value) for trial in study.trials)
    assert all("fallback" in told(trial) for trial in study.trials)
    assert "malformed" in {told(trial)["fallback"] for trial in study.trials}


def test_a_stubborn_model_is_left_after_its_first_word(model):
    task = load_task("conditional")
    study = optimise(task, LLAMBOSampler(task.space, llm=model(minds.stubborn()), seed=0), trials=8)

    assert "fallback" not in told(study.trials[0])
    assert all("fallback" in told(trial) for trial in study.trials[1:])


def test_orders_in_an_answer_change_nothing_but_the_count_of_faults(model):
    task = load_task("conditional")
    honest, injecting = (
        optimise(task, LLAMBOSampler(task.space, llm=model(mind), seed=0), trials=7)
        for mind in (minds.novice(), minds.injecting())
    )

    assert [t.params for t in injecting.trials] == [t.params for t in honest.trials]
    assert told(injecting.trials[-1])["faults"]["unknown parameter"] >= 2
    assert "\n" not in told(injecting.trials[-1])["reason"]


def test_with_several_objectives_the_classical_sampler_answers(model):
    llm = model(minds.novice())
    space = SearchSpace(parameters={"x": Float(low=0, high=1)})
    study = optuna.create_study(
        directions=["minimize", "maximize"], sampler=LLAMBOSampler(space, llm=llm, seed=0)
    )
    study.optimize(lambda t: (t.suggest_float("x", 0, 1),) * 2, n_trials=6)

    assert {told(trial)["fallback"] for trial in study.trials} == {"several objectives"}
    assert llm.asked == []


# --- in Optuna ------------------------------------------------------------------------------


def line(trial):
    return (trial.suggest_float("x", 0, 1) - 0.3) ** 2


def test_the_space_is_learned_from_the_first_trial(model):
    study = optuna.create_study(sampler=LLAMBOSampler(llm=model(minds.novice()), seed=0))
    study.optimize(line, n_trials=8)

    sources = [told(trial).get("proposed_by") for trial in study.trials]
    assert sources[0] is None
    assert sources[1:3] == ["warm start"] * 2
    assert "llambo" in sources[5:]


def test_an_enqueued_trial_costs_nothing(model):
    llm = model(minds.novice())
    space = SearchSpace(parameters={"x": Float(low=0, high=1)})
    study = optuna.create_study(sampler=LLAMBOSampler(space, llm=llm, seed=0))
    study.enqueue_trial({"x": 0.25})
    study.optimize(line, n_trials=1)

    assert study.trials[0].params == {"x": 0.25}
    assert llm.asked == []


def test_trials_that_run_are_told_and_not_proposed_again(model):
    task = load_task("conditional")
    llm = model(minds.novice())
    study = optuna.create_study(sampler=LLAMBOSampler(task.space, llm=llm, seed=0))
    asked = [study.ask(task.space.to_optuna()) for _ in range(5)]
    for trial in asked:
        study.tell(trial, 1.0 + trial.number)

    running = study.ask()
    study.sampler.infer_relative_search_space(study, study.trials[running.number])
    second = study.ask()
    study.sampler.infer_relative_search_space(study, study.trials[second.number])

    first = told(study.trials[running.number])["configuration"]
    other = told(study.trials[second.number])["configuration"]
    assert nearest(task.space, other, [first]) >= NEAR
    assert "running trials:\n> [" in llm.asked[-1][1][1].content


def test_threads_share_one_warm_start(model):
    space = SearchSpace(parameters={"x": Float(low=0, high=1), "y": Float(low=0, high=1)})
    begun, lock = [], threading.Lock()
    novice = minds.novice()

    def mind(request):
        with lock:
            begun.append("role" in str(request.schema))
        return novice(request)

    study = optuna.create_study(sampler=LLAMBOSampler(space, llm=model(mind), seed=0))
    study.optimize(
        lambda t: t.suggest_float("x", 0, 1) + t.suggest_float("y", 0, 1), n_trials=4, n_jobs=4
    )

    assert begun.count(True) == 1


@pytest.mark.parametrize("given", [{"alpha": 0.0}, {"alpha": float("nan")}, {"candidates": 2}])
def test_an_aim_that_cannot_be_is_refused_before_anything_starts(given: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=f"`{next(iter(given))}` must be"):
        LLAMBOSampler(**given)  # type: ignore[arg-type]
