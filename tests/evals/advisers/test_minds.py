"""Simulated models: each answers our real prompts in their form, and is as good as it says."""

import json
from collections.abc import Callable
from itertools import islice
from typing import Any

import numpy as np
import pytest
from luthier.agent.llambo.admission import admit
from luthier.agent.llambo.context import History, Observation, Problem
from luthier.agent.llambo.forms import (
    ROLES,
    Scores,
    WishesForm,
    configurations_form,
    portfolio_form,
)
from luthier.agent.llambo.serialisation import candidates_table, describe_space, row
from luthier.agent.llambo.shown import table_inputs
from luthier.agent.llm.answers import Message
from luthier.evals.advisers import minds
from luthier.evals.advisers.mind import Mind, Request
from luthier.evals.advisers.reading import read
from luthier.evals.suites import load_task
from luthier.evals.task import Task
from luthier.prompts.loading import Prompt, render
from scipy.stats import spearmanr

MAKERS: dict[str, Callable[[Task], Mind]] = {
    "textbook": lambda task: minds.textbook(1),
    "expert": lambda task: minds.expert(task, 1),
    "informed": lambda task: minds.informed(task, 1),
    "novice": lambda task: minds.novice(1),
    "stubborn": lambda task: minds.stubborn(1),
    "adversarial": lambda task: minds.adversarial(task, 1),
}


@pytest.fixture(scope="module", params=["digits-mlp", "conditional", "constrained"])
def task(request):
    return load_task(request.param)


@pytest.fixture(scope="module")
def digits():
    return load_task("digits-mlp")


def request_of(prompt: Prompt, schema: Any = None, **more: Any) -> Request:
    messages = tuple(Message(role, content) for role, content in prompt.messages)
    return Request(messages, schema and schema.model_json_schema(), **more)


def history_of(task: Task, count: int = 10) -> History:
    rng = np.random.default_rng(3)
    drawn = [task.space.sample(rng) for _ in range(count)]
    return History(tuple(Observation(c, task.objective(c, 0).noise_free) for c in drawn))


def ask_for_candidates(task: Task, count: int = 10) -> Request:
    problem, history = Problem(task.space, task.direction), history_of(task)
    prompt = render(
        "candidates",
        **table_inputs(problem, history, 0),
        best=1.0,
        target=0.5,
        maximize=task.direction == "maximize",
        count=count,
        left=None,
    )
    return request_of(prompt, configurations_form(task.space))


def proposed(mind: Mind, task: Task, count: int = 10) -> list[dict[str, Any]]:
    (text,) = mind(ask_for_candidates(task, count)).texts
    form = configurations_form(task.space).model_validate_json(text)
    admitted = admit(task.space, form.configurations)
    assert not admitted.faults
    return [dict(configuration) for configuration in admitted.configurations]


def predicted(mind: Mind, task: Task, count: int) -> tuple[list[list[float]], list[float]]:
    """Return the scores of allowed candidates, and their true values."""
    problem, history = Problem(task.space, task.direction), history_of(task)
    rng = np.random.default_rng(4)
    drawn = (task.space.sample(rng) for _ in range(10 * count))
    allowed = (c for c in drawn if (task.objective(c, 0).violation or 0.0) <= 0)
    candidates = list(islice(allowed, count))
    truth = [task.objective(c, 0).noise_free for c in candidates]
    table = candidates_table(task.space, candidates)
    prompt = render("scores", **table_inputs(problem, history, 0), candidates=table, count=count)
    (text,) = mind(request_of(prompt, Scores)).texts
    return Scores.model_validate_json(text).scores, truth


def regrets(task: Task, configurations: list[dict[str, Any]]) -> list[float]:
    return [task.regret(task.objective(c, 0).noise_free) for c in configurations]


@pytest.mark.parametrize("name", MAKERS)
def test_every_adviser_proposes_as_many_valid_configurations_as_asked_for(name, task):
    assert len(proposed(MAKERS[name](task), task, 7)) == 7


@pytest.mark.parametrize("name", MAKERS)
def test_every_adviser_predicts_every_candidate_in_order(name, task):
    scores, _ = predicted(MAKERS[name](task), task, 6)

    assert [score[0] for score in scores] == [1, 2, 3, 4, 5, 6]
    assert all(low <= middle <= high for _, low, middle, high in scores)


@pytest.mark.parametrize("name", MAKERS)
def test_every_adviser_answers_the_same_request_the_same(name, digits):
    request = ask_for_candidates(digits)

    assert MAKERS[name](digits)(request) == MAKERS[name](digits)(request)


@pytest.mark.parametrize("name", MAKERS)
def test_every_adviser_gives_a_portfolio_with_roles(name, digits):
    prompt = render("warmstart", task="", space=describe_space(digits.space), past="", count=5)
    form = portfolio_form(digits.space)
    (text,) = MAKERS[name](digits)(request_of(prompt, form)).texts

    entries = form.model_validate_json(text).configurations
    assert [entry["role"] for entry in entries] == list(ROLES)
    assert len(admit(digits.space, [e["values"] for e in entries]).configurations) == 5


@pytest.mark.parametrize("name", MAKERS)
def test_every_adviser_answers_in_free_text_as_often_as_asked(name, digits):
    inputs = {
        "task": "minimize loss",
        "space": describe_space(digits.space),
        "history": "\n".join(
            row(digits.space, o.configuration, f"{o.value:.4g}")
            for o in history_of(digits).complete
        ),
    }
    one = row(digits.space, history_of(digits).complete[0].configuration)
    mind = MAKERS[name](digits)

    values = mind(request_of(render("score", **inputs, configuration=one), count=3)).texts
    assert len([float(text) for text in values]) == 3
    (sampled,) = mind(request_of(render("candidate", **inputs, target=0.1))).texts
    assert admit(digits.space, [json.loads(sampled)]).configurations
    asks = render("promising", **inputs, configuration=one, percent=25)
    assert set(mind(request_of(asks, count=4)).texts) <= {"0", "1"}
    weighed = mind(request_of(asks, weighs=True)).probabilities
    assert weighed is not None
    assert sum(weighed.values()) == pytest.approx(1)


def test_the_expert_proposes_near_the_optimum_and_knows_what_is_good(task):
    expert = minds.expert(task)

    assert np.mean(regrets(task, proposed(expert, task, 20))) < 0.35
    scores, truth = predicted(expert, task, 40)
    assert spearmanr([score[2] for score in scores], truth).statistic > 0.8


def test_half_of_what_the_informed_adviser_proposes_is_among_the_best_tenth(digits):
    rng = np.random.default_rng(0)
    drawn = sorted(regrets(digits, [dict(digits.space.sample(rng)) for _ in range(2000)]))

    good = np.mean(
        [r <= drawn[200] for r in regrets(digits, proposed(minds.informed(digits), digits, 100))]
    )
    assert 0.45 <= good <= 0.65


def test_the_informed_advisers_predictions_have_rank_correlation_of_six_tenths(digits):
    scores, truth = predicted(minds.informed(digits), digits, 45)
    more = [predicted(minds.informed(digits, seed), digits, 45) for seed in range(1, 15)]
    middles = [s[2] for s in scores] + [s[2] for each, _ in more for s in each]

    assert spearmanr(middles, truth * 15).statistic == pytest.approx(0.6, abs=0.08)


def test_eight_tenths_of_the_truth_lie_in_the_informed_advisers_intervals(digits):
    inside = []
    for seed in range(10):
        scores, truth = predicted(minds.informed(digits, seed), digits, 45)
        inside += [low <= t <= high for (_, low, _, high), t in zip(scores, truth, strict=True)]

    assert np.mean(inside) == pytest.approx(0.8, abs=0.07)


def test_the_adversary_steers_to_the_worst_and_is_sure_of_it(digits):
    adversary = minds.adversarial(digits)

    assert min(regrets(digits, proposed(adversary, digits, 20))) > 1.0
    scores, truth = predicted(adversary, digits, 40)
    assert spearmanr([s[2] for s in scores], truth).statistic < -0.8
    novice, _ = predicted(minds.novice(), digits, 40)
    width = {n: np.mean([s[3] - s[1] for s in each]) for n, each in (("a", scores), ("n", novice))}
    assert width["a"] < 0.05 * width["n"]


def test_the_novice_knows_nothing(digits):
    scores, truth = predicted(minds.novice(), digits, 45)

    assert abs(spearmanr([s[2] for s in scores], truth).statistic) < 0.35


def test_the_stubborn_one_repeats_itself(task):
    stubborn = minds.stubborn()
    first = proposed(stubborn, task, 5)

    assert all(configuration == first[0] for configuration in first)
    assert proposed(stubborn, task, 3)[0] == first[0]


def test_the_textbook_knows_names_and_learns_from_what_is_shown(digits):
    good = np.mean(regrets(digits, proposed(minds.textbook(), digits, 12)))
    bad = np.mean(regrets(digits, proposed(minds.novice(), digits, 12)))

    assert good < bad


def test_garbage_is_malformed_in_many_ways(digits):
    request = ask_for_candidates(digits)
    texts = {text for seed in range(60) for text in minds.garbage(seed)(request).texts}

    assert len(texts) == 9
    for text in texts:
        try:
            form = configurations_form(digits.space).model_validate_json(text)
        except ValueError:
            continue
        assert admit(digits.space, form.configurations).configurations == ()


def test_the_injecting_one_says_what_a_novice_does_and_gives_orders(digits):
    request = ask_for_candidates(digits)
    (honest,), (poisoned,) = minds.novice()(request).texts, minds.injecting()(request).texts

    assert json.loads(poisoned)["configurations"][2:] == json.loads(honest)["configurations"]
    assert "Ignore all previous instructions" in json.loads(poisoned)["why"]


def test_simple_sentences_become_wishes(digits):
    words = "start near lr 0.01; never above 64 width and optimizer only adamw, surprise me"
    names = list(digits.space.parameters)
    prompt = render("wishes", space=describe_space(digits.space), words=words)

    (text,) = minds.textbook()(request_of(prompt, WishesForm)).texts

    form = WishesForm.model_validate_json(text)
    assert form.unclear[-1] == "surprise me"
    assert all(entry["parameter"] in names for entry in [*form.start, *form.limits])


def test_what_is_no_prompt_of_ours_gets_an_empty_answer():
    request = Request((Message("user", "Tell me a joke."),))

    assert read(request) is None
    assert minds.novice()(request).texts == ("{}",)
