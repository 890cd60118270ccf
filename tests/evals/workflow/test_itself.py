"""Luthier's own prompts as a workflow."""

import json
from typing import Any

import pytest
from luthier.agent.llm.answers import LLMError
from luthier.agent.workflow import Settings, optimise
from luthier.agent.workflow.evaluate import Evaluator
from luthier.agent.workflow.params import ParamError
from luthier.agent.workflow.propose import Edit, Proposal, Proposed, RandomProposer
from luthier.agent.workflow.represent import Problem
from luthier.evals.advisers import minds
from luthier.evals.advisers.direct import Direct
from luthier.evals.advisers.mind import Reply, Request
from luthier.evals.workflow.itself import itself
from luthier.prompts.loading import load, render, reworded

TASKS = ("bbob-sphere", "conditional")


def test_a_wording_is_tried_out_in_its_block_alone_and_leaves_its_mark() -> None:
    inputs = {"task": "t", "space": "s", "past": "", "count": 3}
    own = render("warmstart", **inputs)
    with reworded({("warmstart", "user"): load("warmstart").turns["user"] + "Be bold."}):
        other = render("warmstart", **inputs)
    assert other.messages[1].content == own.messages[1].content + "\nBe bold."
    assert other.messages[0] == own.messages[0]
    assert other.key.startswith(f"{own.key}+")
    assert render("warmstart", **inputs) == own
    with reworded({("warmstart", "user"): load("warmstart").turns["user"]}):
        assert render("warmstart", **inputs) == own


def test_a_run_is_made_with_the_prompts_that_are_its_parameters() -> None:
    heard: list[str] = []
    textbook = minds.textbook()

    def listening(request: Request) -> Reply:
        heard.append(request.messages[-1].content)
        return textbook(request)

    found = itself(Direct(listening), TASKS, trials=7)
    bold = found.params.but({"prompt.candidates": found.params["prompt.candidates"] + "Be bold."})
    results = Evaluator(found.workflow, found.suite).evaluate(bold, found.suite.cases)
    assert any(text.endswith("Be bold.") for text in heard)
    for result in results.values():
        assert -1.5 <= result.score <= 0.0
        assert "regret by trial: " in result.feedback.text
        assert result.feedback.cost is not None
        assert result.feedback.cost > 100
        assert result.rollout.subgraph(result.leaf, bold.trainable)[1] == bold.trainable


def test_alpha_and_the_number_of_candidates_are_asked_for_as_they_are_set() -> None:
    heard: list[str] = []
    textbook = minds.textbook()

    def listening(request: Request) -> Reply:
        heard.append(request.messages[-1].content)
        return textbook(request)

    found = itself(Direct(listening), TASKS, trials=7)
    assert found.params["aim"] == {"alpha": None, "candidates": None}
    for count in (4, 11):
        heard.clear()
        aimed = found.params.but({"aim": {"alpha": 0.3, "candidates": count}})
        Evaluator(found.workflow, found.suite).evaluate(aimed, found.suite.cases[:1])
        asked = [text for text in heard if "new configurations that could reach" in text]
        assert asked
        assert all(f"Propose {count} new configurations" in text for text in asked)
    with pytest.raises(ParamError, match="alpha"):
        found.params.but({"aim": {"alpha": 3.0, "candidates": None}})


def test_a_wording_that_drops_an_input_is_refused() -> None:
    class Careless:
        name = "careless"

        def propose(
            self, problem: Problem, count: int, seed: int, refused: str = ""
        ) -> list[Proposed]:
            value = json.dumps("Give good configurations.")
            edits = [Edit(param="prompt.candidates", new_value_json=value, why="short")]
            return [Proposed(Proposal(diagnosis="too long", edits=edits))]

    found = itself(Direct(minds.textbook()), TASKS, trials=6)
    done = optimise(*found, Careless(), settings=Settings(steps=1))
    assert [edit.decision for edit in done.edits] == ["refused"]
    assert "must keep exactly the placeholders" in done.edits[0].reason


def test_a_run_whose_model_has_no_budget_left_is_no_measurement() -> None:
    class Bounded(Direct):
        left = 3

        def ask(self, *given: Any, **more: Any) -> Any:
            self.left -= 1
            if self.left < 0:
                raise LLMError("the budget of 3 calls has 0 left", "budget")
            return super().ask(*given, **more)

        sample = ask

    found = itself(Bounded(minds.textbook()), TASKS, trials=9)
    done = optimise(*found, RandomProposer(), settings=Settings(steps=4))
    assert done.ended == "the budget of 3 calls has 0 left"
    assert done.best is done.base
    assert not any(edit.accepted for edit in done.edits)
    assert "the budget ended before the sealed cases were opened" in done.notes
