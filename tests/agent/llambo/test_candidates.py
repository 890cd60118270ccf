"""Candidates that could reach a target, and how far the target is."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from luthier.agent.llambo.asking import Conversation
from luthier.agent.llambo.candidates import (
    FIRST_ALPHA,
    LEAST_ALPHA,
    MOST_ALPHA,
    alpha_of,
    propose_candidates,
    require,
    sample_candidates,
    target_of,
)
from luthier.agent.llambo.context import History, Observation, Problem
from luthier.agent.llambo.geometry import NEAR, nearest
from luthier.agent.llm.answers import LLMError
from luthier.evals.advisers import minds
from luthier.tools.space import Float, SearchSpace

examples = settings(derandomize=True, deadline=None, max_examples=200, database=None)

LINE = Problem(SearchSpace(parameters={"x": Float(low=0, high=1)}), "minimize")
RISING = Problem(LINE.space, "maximize")


def told(*values, source=""):
    return tuple(Observation({"x": 0.5}, value, source=source) for value in values)


@pytest.mark.parametrize("mind", [minds.textbook(), minds.novice(), minds.injecting()])
def test_candidates_are_valid_new_and_many_from_one_request(problem, history, model, mind):
    llm = model(mind)

    candidates = propose_candidates(Conversation(llm), problem, history, 10, seed=0)

    assert len(llm.asked) == 1
    assert len(candidates.configurations) >= 5
    tried = [o.configuration for o in history.observations]
    for i, configuration in enumerate(candidates.configurations):
        assert problem.space.contains(configuration)
        others = [*tried, *candidates.configurations[:i]]
        assert nearest(problem.space, configuration, others) >= NEAR


def test_what_runs_is_shown_and_not_proposed_again(problem, history, says):
    (running,) = history.running
    answer = {"why": "", "configurations": [running.configuration]}
    llm = says(answer)
    conversation = Conversation(llm)

    candidates = propose_candidates(conversation, problem, history, 10, seed=0)

    assert "running trials:\n> [" in llm.asked[0][1][1].content
    assert candidates.configurations == ()
    assert conversation.faults["near another"] == 1


def test_the_reason_is_the_models_on_one_bounded_line(problem, history, says):
    llm = says({"why": "because\n\n" + "of it " * 100, "configurations": []})

    why = propose_candidates(Conversation(llm), problem, history, 3, seed=0).why

    assert why.startswith("because of it of it")
    assert len(why) == 160


def test_the_prompt_asks_for_the_target_and_says_what_is_left(problem, history, model):
    llm = model(minds.novice())

    candidates = propose_candidates(
        Conversation(llm), problem, history, 7, seed=0, alpha=0.5, left=12
    )

    text = llm.asked[0][1][1].content
    assert f"Propose 7 new configurations that could reach {candidates.target} or less" in text
    assert "Trials left: 12." in text


def test_the_paper_samples_one_configuration_an_answer(problem, history, model):
    llm = model(minds.textbook())

    candidates = sample_candidates(Conversation(llm), problem, history, 10, seed=0)

    assert [purpose for purpose, _ in llm.asked] == ["candidate", "candidate"]
    assert 3 <= len(candidates.configurations) <= 10
    assert all(problem.space.contains(c) for c in candidates.configurations)


@pytest.mark.parametrize(
    ("problem", "values", "alpha", "target"),
    [
        (LINE, (3.0, 1.0), 0.1, 0.8),
        (RISING, (30.0, 10.0), 0.1, 32.0),
        (LINE, (3.0, 1.0), -0.1, 1.2),
        (LINE, (-3.0, -1.0), 0.1, -3.2),
        (LINE, (2.0, 2.0), 0.5, 1.9),
        (LINE, (0.0, 0.0), 0.1, 0.0),
        (RISING, (0.99, 0.5), 0.1, 0.995),
        (RISING, (1.0, 0.5), 0.1, 1.0),
        (RISING, (1.2, 0.5), 0.1, 1.27),
        (LINE, (0.01, 5.0), 0.1, 0.005),
    ],
)
def test_the_target_lies_beyond_the_best_value(problem, values, alpha, target):
    assert target_of(problem, History(told(*values)), alpha) == pytest.approx(target)


@examples
@given(
    values=st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=8),
    alpha=st.floats(LEAST_ALPHA, MOST_ALPHA),
    problem=st.sampled_from([LINE, RISING]),
)
def test_a_target_is_never_worse_than_the_best_but_for_its_digits(values, alpha, problem):
    history = History(told(*values))
    best = history.best(problem)

    worse = problem.sign * (target_of(problem, history, alpha) - best)

    assert worse <= 1e-3 * max(abs(best), 1e-300)


def test_the_aim_widens_with_success_and_narrows_without_it():
    begin = told(5.0)

    assert alpha_of(LINE, History(begin)) == FIRST_ALPHA
    assert alpha_of(LINE, History(begin + told(4.0, source="llambo"))) == 2 * FIRST_ALPHA
    assert alpha_of(LINE, History(begin + told(6.0, source="llambo"))) == FIRST_ALPHA / 2
    assert alpha_of(LINE, History(begin + told(4.0, source="gp"))) == FIRST_ALPHA
    failed = Observation({"x": 0.1}, None, "crashed", "llambo")
    assert alpha_of(LINE, History((*begin, failed))) == FIRST_ALPHA / 2


def test_the_aim_has_limits():
    better = told(*(5.0 - i for i in range(20)), source="llambo")
    worse = told(0.0) + told(*range(1, 20), source="llambo")

    assert alpha_of(LINE, History(better)) == MOST_ALPHA
    assert alpha_of(LINE, History(worse)) == LEAST_ALPHA


def test_too_few_candidates_are_no_answer_and_the_commonest_fault_is_named(problem, history, says):
    conversation = Conversation(says({"configurations": [None, "x", {"lr": 1}]}))
    candidates = propose_candidates(conversation, problem, history, 10, seed=0)

    with pytest.raises(
        LLMError, match="only 0 usable candidates of at least 3 \\(not an object\\)"
    ):
        require(candidates.configurations, 3, conversation.faults)
