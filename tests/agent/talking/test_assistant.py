"""`luthier.Agent`: from Python, with or without a model."""

import asyncio
from collections.abc import Mapping
from typing import Any

import pytest
from luthier.agent.approvals import Approval
from luthier.agent.assistant import AgentError
from luthier.agent.events import Done
from luthier.agent.toolbox.desk import Desk
from luthier.evals.advisers.planning import planner
from luthier.evals.advisers.server import serve

import luthier

from .conftest import TUNE, words


def agent(desk: Desk, approve: Any = None, llm: Any = False) -> luthier.Agent:
    return luthier.Agent(llm, approve, project=desk.project, workspace=desk.workspace.folder)


def test_a_sentence_becomes_a_result(desk: Desk) -> None:
    seen: list[Approval] = []

    def approve(approval: Approval) -> Mapping[str, Any]:
        seen.append(approval)
        return {"trials": 2}

    with (
        serve(planner) as server,
        agent(desk, approve, {"base_url": server.url, "model": server.model}) as talker,
    ):
        result = asyncio.run(talker.arun(TUNE))

    assert [approval.tool for approval in seen] == ["start_study"]
    assert result.ending.state == "finished"
    assert len(result.trials) == 2
    assert result.best_value == max(trial.metrics["val_acc"] for trial in result.trials)


@pytest.mark.parametrize(
    ("approve", "reason"),
    [
        (None, "nobody is there to approve it"),
        (lambda approval: False, "was not done"),
        (lambda approval: "too dear", "was not done: too dear"),
    ],
)
def test_what_is_not_approved_is_not_done(desk: Desk, approve: Any, reason: str) -> None:
    with agent(desk, approve) as talker, pytest.raises(AgentError, match=reason):
        talker.run(TUNE)
    assert desk.ledger.studies() == []


def test_a_chat_is_a_stream_of_events(desk: Desk) -> None:
    async def talk(talker: luthier.Agent) -> list[Any]:
        return [event async for event in talker.achat("what can you do?")]

    with agent(desk) as talker:
        events = asyncio.run(talk(talker))

    assert "/tune SCRIPT" in words(events)
    assert events[-1] == Done()
