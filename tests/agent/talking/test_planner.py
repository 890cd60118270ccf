"""The planner over the real client and a simulated model: approvals, losses, loops, long talks."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from luthier.agent.conversations import MOST_PREFERENCES, Preference
from luthier.agent.dialogue import Dialogue
from luthier.agent.events import Done, Interrupted, ToolAnswered
from luthier.agent.llm.line import Line
from luthier.agent.llm.metering import Caps
from luthier.agent.llm.settings import Settings
from luthier.agent.planner import MOST_CALLS, MOST_TOOLS, Planner
from luthier.agent.recall import system_prompt
from luthier.agent.toolbox.box import declared
from luthier.agent.toolbox.desk import Desk
from luthier.evals.advisers import faults
from luthier.evals.advisers.mind import Called, Reply, Request
from luthier.evals.advisers.planning import planner
from luthier.evals.advisers.server import serve
from luthier.prompts.loading import load, render, tokens_of
from luthier.tools.study import with_budget

from ..conftest import until
from .conftest import TUNE, Talk, asked, tools, words


def test_from_a_sentence_to_the_best_result(talk: Talk, desk: Desk) -> None:
    dialogue = talk(planner)
    first = list(dialogue.send(TUNE))
    assert tools(first) == ["look_at_script", "draft_from_script"]
    assert asked(first).shown["space"].keys() == {"lr", "width"}
    assert asked(first).shown["budget"] == {"trials": 20}

    refused = list(dialogue.reject(asked(first).id, "only a few trials today"))
    assert "only a few trials today" in words(refused)
    assert desk.ledger.studies() == []

    second = asked(list(dialogue.send(TUNE)))
    started = list(dialogue.edit(second.id, {"trials": 3}))
    assert "project runs" in words(started)
    study = desk.study("project")
    assert study.spec.budget.trials == 3
    until(lambda: study.owner is None, lambda: "the end of the study")

    assert "Study project is finished" in words(list(dialogue.news()))
    assert list(dialogue.news()) == []
    best = words(list(dialogue.send("what is the best?")))
    found = study.best()
    assert found is not None
    assert f"Best is trial {found.number}" in best
    assert str(found.metrics["val_acc"]) in best
    states = ["rejected", "replaced", "used"]
    assert [a.state for a in dialogue.approvals.all()] == states

    repeats = asked(list(dialogue.send("please confirm it")))
    assert repeats.tool == "confirm_best"
    list(dialogue.approve(repeats.id, repeats.digest))
    until(
        lambda: study.owner is None and study.state == "finished" and study.trials()[4:],
        lambda: "the repeats",
    )
    confirmed = words(list(dialogue.send("what is the best?")))
    assert "single run" not in confirmed
    assert tools(list(dialogue.send("write the report"))) == ["write_report"]
    assert "of 3" in (desk.workspace.reports / "project.md").read_text(encoding="utf-8")
    assert [a.state for a in dialogue.approvals.all()] == [*states, "used"]


def test_a_planner_that_is_killed_has_a_successor_and_its_study_goes_on(
    desk: Desk, tmp_path: Path
) -> None:
    conversation = desk.conversations.begin(desk.person)
    code = """
import os, signal, sys
from pathlib import Path
from luthier.agent.conversations import MOST_PREFERENCES, Preference
from luthier.agent.dialogue import Dialogue
from luthier.agent.events import ApprovalNeeded, ToolAnswered
from luthier.agent.llm.line import Line
from luthier.agent.llm.settings import Settings
from luthier.agent.toolbox.desk import find_desk
url, model, project, home, conversation, text = sys.argv[1:]
desk = find_desk(Path(project), Path(home))
dialogue = Dialogue(desk, line=Line(Settings(base_url=url, model=model)), conversation=conversation)
list(dialogue.send(text))
(approval,) = dialogue.pending()
for event in dialogue.edit(approval.id, {"trials": 2}):
    if isinstance(event, ToolAnswered):
        os.kill(os.getpid(), signal.SIGKILL)
"""
    with serve(planner) as server:
        arguments = [server.url, server.model, str(desk.project), str(desk.workspace.folder)]
        command = [sys.executable, "-c", code, *arguments, conversation, TUNE]
        run = subprocess.run(command, stderr=subprocess.PIPE, text=True)
        assert run.returncode == -signal.SIGKILL, run.stderr

        study = desk.study("project")
        line = Line(Settings(base_url=server.url, model=server.model, seconds=60))
        successor = Dialogue(desk, line=line, conversation=conversation)
        until(lambda: study.owner is None, lambda: "the end of the study")
        said = words(list(successor.send("how is it going?")))
        successor.close()
        line.close()
    assert "project is finished" in said
    assert len(study.trials()) == 2


def test_a_call_that_was_cut_off_is_answered_before_the_talk_goes_on(
    talk: Talk, desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = talk(planner)

    def ctrl_c(name: str, arguments: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(first.toolbox, "call", ctrl_c)
    with pytest.raises(KeyboardInterrupt):
        list(first.send(TUNE))
    first.close()
    seen: list[Request] = []

    def mind(request: Request) -> Reply:
        seen.append(request)
        return planner(request)

    assert asked(list(talk(mind, conversation=first.id).send(TUNE))).tool == "start_study"
    assert "nobody knows whether it was done" in "".join(m.content for m in seen[0].messages)


def test_a_question_outlives_its_process(talk: Talk, desk: Desk) -> None:
    first = talk(planner)
    approval = asked(list(first.send(TUNE)))
    first.close()
    second = talk(planner, conversation=first.id)

    assert second.pending() == [approval]
    events = list(second.edit(approval.id, {"trials": 1}))
    assert tools(events) == ["start_study"]
    assert desk.study("project").spec.budget.trials == 1


def test_what_the_person_says_instead_is_a_no_with_its_reason(talk: Talk, desk: Desk) -> None:
    dialogue = talk(planner)
    list(dialogue.send(TUNE))
    said = words(list(dialogue.send("use another metric first")))

    assert "the person said something else instead: use another metric first" in said
    assert dialogue.pending() == []
    assert desk.ledger.studies() == []


def test_losing_the_model_drops_to_commands_and_it_comes_back(talk: Talk) -> None:
    seen: list[Request] = []

    def mind(request: Request) -> Reply:
        seen.append(request)
        return planner(request)

    def second_fails(number: int, digest: str) -> faults.Fault | None:
        return faults.Status(401) if number == 1 else None

    dialogue = talk(mind, second_fails)
    lost = list(dialogue.send(TUNE))
    assert [e.reason for e in lost if isinstance(e, Interrupted)][0].startswith(
        "the language model is lost: the key is refused"
    )
    assert asked(lost).tool == "start_study"
    assert isinstance(lost[-1], Done)

    list(dialogue.send("/reject too much"))
    assert "Which training script" in words(list(dialogue.send("please tune something")))
    told = [message.content for message in seen[-1].messages]
    assert told.count(TUNE) == 1
    assert any("start_study was not done: too much" in text for text in told)
    assert told[-1] == "please tune something"


def test_a_model_without_money_left_is_lost_as_well(desk: Desk) -> None:
    with serve(planner) as server:
        settings = Settings(base_url=server.url, model=server.model)
        dialogue = Dialogue(desk, line=Line(settings, caps=Caps(tokens=10)))
        events = list(dialogue.send("/help")) + list(dialogue.send("how is it going"))
        dialogue.close()

    reasons = [event.reason for event in events if isinstance(event, Interrupted)]
    assert "budget of 10 tokens" in reasons[0]
    assert server.received == []


def test_what_is_said_about_a_study_counts_against_its_budget(talk: Talk, desk: Desk) -> None:
    dialogue = talk(planner)
    start = asked(list(dialogue.send(TUNE)))
    draft = dialogue.toolbox.desk.conversations.draft(start.arguments["draft"])
    assert draft is not None
    list(dialogue.edit(start.id, {"trials": 2}))
    study = desk.study("project")
    until(lambda: study.owner is None, lambda: "the end of the study")
    writer = desk.ledger.acquire(study.record)
    writer.change_budget(with_budget(study.spec, {"tokens": 30_000}))
    writer.release()

    lost = []
    while not lost:
        events = list(dialogue.send("how is it going?"))
        lost = [event.reason for event in events if isinstance(event, Interrupted)]
    assert "the budget of 30000 tokens" in lost[0]
    spent = [data for kind, data in dialogue.history() if kind == "spent"]
    assert 20_000 < sum(data["tokens"] for data in spent if data["study"]) <= 30_000

    again = talk(planner, conversation=dialogue.id)
    events = list(again.send("how is it going?"))
    assert any(isinstance(event, Interrupted) for event in events)


def repeating(name: str, **arguments: Any) -> Any:
    def mind(request: Request) -> Reply:
        given = {key: value(request) for key, value in arguments.items()}
        return Reply(("",), calls=(Called(name, given),))

    return mind


def test_the_same_call_with_the_same_answer_is_a_loop(talk: Talk) -> None:
    events = list(talk(repeating("list_studies")).send("how is it going"))

    assert tools(events) == ["list_studies"] * 3
    assert "got the same answer each time" in words(events)


def test_a_turn_has_a_largest_number_of_calls(talk: Talk) -> None:
    other = repeating("list_studies", most=lambda request: len(request.messages) % 49 + 1)
    events = list(talk(other).send("how is it going"))

    assert len(tools(events)) == MOST_CALLS
    assert "limit" in words(events)


def test_so_many_tools_at_once_are_not_called(talk: Talk) -> None:
    def mind(request: Request) -> Reply:
        return Reply(("",), calls=(Called("list_studies", {}),) * (MOST_TOOLS + 1))

    events = list(talk(mind).send("how is it going"))

    assert tools(events) == []
    assert "limit of one turn" in words(events)


def test_an_unknown_tool_or_value_is_answered_with_the_valid_ones(talk: Talk) -> None:
    def mind(request: Request) -> Reply:
        if request.answered[-1]:
            return Reply(("I see.",))
        calls = Called("study_statos", {}), Called("show_trial", {"trial": -1, "depth": 3})
        return Reply(("",), calls=calls)

    events = list(talk(mind).send("hello"))
    # They are called side by side, and answer in any order.
    answers = {event.tool: event.answer for event in events if isinstance(event, ToolAnswered)}
    unknown, wrong = answers["study_statos"], answers["show_trial"]
    assert "study_status" in unknown
    assert "its arguments are trial, study" in wrong
    assert words(events) == "I see."


def test_a_long_talk_is_shortened_without_its_spec_its_questions_and_its_numbers(
    talk: Talk, desk: Desk
) -> None:
    dialogue = talk(planner)
    approval = asked(list(dialogue.send(TUNE)))
    list(dialogue.reject(approval.id, "rather tomorrow"))
    with serve(planner) as server:
        line = Line(Settings(base_url=server.url, model=server.model, seconds=60))
        dialogue.use_model(line)
        opened = Planner(dialogue.toolbox, line, dialogue.id)
        said = [
            spoken
            for turn in range(200)
            for spoken in (("person", f"question {turn} " * 12), ("text", f"answer {turn} " * 24))
        ]
        list(opened.send("are you there?", said))
        opened.close()
        list(dialogue.send("how is it going?"))
        dialogue.close()
        line.close()
    bodies = [json.dumps(body, ensure_ascii=False) for body in server.chats]
    assert all(tokens_of(body) < 24_000 for body in bodies)
    for kept in (TUNE, approval.arguments["draft"], "rather tomorrow", "0.0003..0.3 log"):
        assert kept in bodies[-1], kept
    assert "question 10 " not in bodies[-1]


def test_what_is_always_sent_is_short() -> None:
    kept = [Preference(100 + number, "\u20ac" * 120) for number in range(MOST_PREFERENCES)]
    assert tokens_of(system_prompt(kept)) + tokens_of(json.dumps(declared())) <= 6000


def test_the_reminder_has_a_largest_size_whatever_was_said() -> None:
    header = load("planner").header
    for text in ("word " * 20_000, "\n" * 50_000, "\u20ac" * 50_000):
        prompt = render("planner", **dict.fromkeys(header.inputs, text))
        assert sum(tokens_of(turn.content) for turn in prompt.messages) <= header.most_tokens


@pytest.fixture(autouse=True)
def no_model_is_set_up(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith(("LUTHIER_LLM_", "OPENAI_", "LANGSMITH", "LANGCHAIN")):
            monkeypatch.delenv(name)
