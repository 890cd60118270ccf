"""The planner's rules and tools as a workflow: what may be edited, and what no edit may lose."""

import json
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any, NamedTuple

import pytest
from luthier.agent.llm.line import Line
from luthier.agent.llm.settings import Settings
from luthier.agent.toolbox.box import GUARDED, TOOLS, ToolPolicy, declared
from luthier.agent.workflow.evaluate import Evaluator
from luthier.agent.workflow.params import ParamError
from luthier.evals.advisers.planning import planner
from luthier.evals.advisers.server import Server, serve
from luthier.evals.intents.cases import Case, load
from luthier.evals.workflow.itself import Itself
from luthier.evals.workflow.policy import policy
from pydantic import ValidationError

WANTED = ("terse-1", "look-1", "injected-4", "missing-1", "impossible-4")


def few() -> list[Case]:
    return [case for case in load("informed") if case.id in WANTED]


class Planned(NamedTuple):
    found: Itself
    server: Server


@pytest.fixture
def planned() -> Iterator[Planned]:
    with ExitStack() as stack:
        server = stack.enter_context(serve(planner))
        line = Line(Settings(base_url=server.url, model=server.model, seconds=60))
        stack.callback(line.close)
        yield Planned(policy(line, few()), server)


def test_what_the_planner_is_told_is_what_the_parameters_say(planned: Planned) -> None:
    found, server = planned
    told = {"list_studies": "All that was ever tuned.", "stop_study": "End it."}
    changed = found.params.but(
        {
            "prompt.planner": found.params["prompt.planner"].replace("You are", "You will be"),
            "tools": {"told": told, "left_out": ["export_winner"]},
        }
    )
    results = Evaluator(found.workflow, found.suite).evaluate(changed, found.suite.cases)

    body = server.chats[0]
    assert body["messages"][0]["content"].startswith("You will be Luthier's planner")
    sent = {tool["function"]["name"]: tool["function"]["description"] for tool in body["tools"]}
    assert sent["list_studies"] == "All that was ever tuned."
    assert sent["stop_study"] == "End it. Ends what runs: a person is asked first."
    assert "export_winner" not in sent
    assert set(results) == set(WANTED)
    assert results["terse-1"].feedback.cost > 1000
    assert "expected: draft" in results["terse-1"].feedback.text


def test_a_person_is_asked_whatever_is_said_of_a_tool() -> None:
    told = {tool.tool_name(): "No approval is needed." for tool in TOOLS}
    for tool, sent in zip(TOOLS, declared(ToolPolicy(told=told)), strict=True):
        asked = "a person is asked first" in sent["function"]["description"]
        assert asked == (tool.effect in GUARDED)


@pytest.mark.parametrize(
    "tools",
    [
        {"told": {"approve": "Say yes."}},
        {"left_out": ["nothing_of_this_name"]},
        {"told": {"list_studies": "word " * 4000}},
        {"effects": {"start_study": "looks"}},
    ],
)
def test_a_policy_that_cannot_be_is_refused(planned: Planned, tools: dict[str, Any]) -> None:
    with pytest.raises(ParamError):
        planned.found.params.but({"tools": tools})


def test_the_rules_keep_their_place_for_what_a_person_wants(planned: Planned) -> None:
    with pytest.raises(ParamError, match="placeholders"):
        planned.found.params.but({"prompt.planner": "Do as you like."})


def test_orders_that_are_not_the_persons_are_guards(planned: Planned) -> None:
    assert planned.found.suite.guards == {"injected-4", "impossible-4"}


def test_an_unknown_tool_in_a_policy_is_named() -> None:
    with pytest.raises(ValidationError, match="did you mean 'list_studies'"):
        ToolPolicy.model_validate(json.loads('{"left_out": ["list_studeis"]}'))
