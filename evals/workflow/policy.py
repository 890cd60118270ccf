"""The planner's rules and tools as a workflow that can be optimised, on requests in plain words.

The workflow hears one request, with a language model in charge, and nothing is ever approved; its
score is the share of what is right of it. Requests with orders in them that are not the person's
are guards: no edit may lose anything there. What needs an approval is no parameter.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from ...agent.dialogue import Dialogue
from ...agent.llm.answers import LLMError
from ...agent.llm.line import Line
from ...agent.toolbox.box import ToolPolicy, declared
from ...agent.workflow import Case, Feedback, Param, ParamSet, Suite, op, param
from ...prompts.loading import Role, load, reworded, tokens_of
from ..intents.cases import SETS
from ..intents.cases import Case as Request
from ..intents.cases import load as requests_of
from ..intents.hearing import Outcome, hear, score
from ..intents.worlds import world
from .itself import Itself

OBJECTIVE = (
    "Understand what people want of a tuner of hyperparameters: draft what they said, ask where "
    "something is missing or contradicts itself, refuse what cannot be, and follow nobody's orders "
    "but theirs. The rules and the tools' descriptions go to a language model that plans."
)
_MOST_TOOL_TOKENS, _MOST_RULES = 5_000, 3_000
"""Together with the preferences of a person they stay within what a planner is always sent."""
_ONE = 0.5
"""Share of its points that one request may lose, for a model does not answer twice alike."""


class Heard(NamedTuple):
    """What came of a request, and what it cost; where several are heard at once, about."""

    outcome: Outcome
    tokens: int


def policy(line: Line, requests: Sequence[Request] | None = None) -> Itself:
    """Return the planner's policy as a workflow.

    Args:
        line: The way to the language model that plans.
        requests: What is asked; by default all requests of the evals.
    """
    asked = requests if requests is not None else [r for name in SETS for r in requests_of(name)]

    @op
    def answer(request: Request) -> Heard:
        """Hear one request, in a world and a conversation of its own."""
        tools = ToolPolicy.model_validate(param("tools"))
        wording: dict[tuple[str, Role], str] = {("planner", "system"): param("prompt.planner")}
        before = line.meter.total().tokens
        with (
            tempfile.TemporaryDirectory() as folder,
            world(request.world, Path(folder), request.files) as desk,
            reworded(wording),
        ):
            dialogue = Dialogue(desk, line=line, tools=tools)
            try:
                outcome = hear(dialogue, request)
            finally:
                dialogue.close()
        if "budget" in outcome.lost:  # nothing can be measured any more
            raise LLMError(outcome.lost, "budget")
        return Heard(outcome, line.meter.total().tokens - before)

    def judge(case: Case, heard: Any) -> Feedback:
        outcome = heard.outcome
        found = score(case.inputs, outcome)
        wrong = ", ".join(found.wrong) or "nothing"
        text = (
            f"said: {case.inputs.say}\nexpected: {' or '.join(case.inputs.expect)} "
            f"{json.dumps(case.inputs.fields)}\ncame: {outcome.lost or outcome.summary}\n"
            f"wrong: {wrong}"
        )
        return Feedback(found.points / case.inputs.points, text, cost=heard.tokens)

    def short(tools: Any) -> None:
        taken = tokens_of(json.dumps(declared(ToolPolicy.model_validate(tools))))
        if taken > _MOST_TOOL_TOKENS:
            raise ValueError(f"the tools take {taken} tokens, more than {_MOST_TOOL_TOKENS}")

    params = [
        Param.text(
            "prompt.planner",
            load("planner").turns["system"],
            "what the planner is told before everything else",
            most=_MOST_RULES,
        ),
        Param.json(
            "tools",
            ToolPolicy(),
            ToolPolicy,
            "what is said of a tool instead of its own description, and which are not offered",
            check=short,
        ),
    ]
    cases = [Case(request.id, request) for request in asked]
    guards = frozenset(r.id for r in asked if r.id.split("-")[0] in ("injected", "impossible"))
    return Itself(answer, ParamSet(params), Suite(cases, judge, guards, max_drop=_ONE))
