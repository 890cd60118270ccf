"""What a person takes back is forgotten in the talk; what was done stays done."""

from luthier.agent.toolbox.desk import Desk
from luthier.evals.advisers.mind import Reply, Request
from luthier.evals.advisers.planning import planner

from ..conftest import until
from .conftest import TUNE, Talk, asked, tools, words


def kinds(dialogue: object) -> list[str]:
    return [kind for kind, _ in dialogue.history()]  # type: ignore[attr-defined]


def test_the_planner_forgets_what_was_taken_back_and_its_question_is_closed(
    talk: Talk, desk: Desk
) -> None:
    seen: list[Request] = []

    def mind(request: Request) -> Reply:
        seen.append(request)
        return planner(request)

    dialogue = talk(mind)
    list(dialogue.send("What can you do?"))
    approval = asked(list(dialogue.send(TUNE)))
    said = words(list(dialogue.send("/undo")))

    assert f"Taken back: “{TUNE}”" in said
    assert dialogue.pending() == []
    assert dialogue.approvals.get(approval.id).state == "rejected"
    list(dialogue.send("how is it going?"))
    told = [message.content for message in seen[-2].messages]
    assert "What can you do?" in told
    assert TUNE not in told
    assert not any("look_at_script" in text for text in told[1:])


def test_several_are_taken_back_one_by_one(talk: Talk) -> None:
    dialogue = talk()
    for text in ("/help", "/devices", "/studies"):
        list(dialogue.send(text))
    assert "/studies" in words(list(dialogue.send("/undo")))
    assert "/devices" in words(list(dialogue.send("/undo")))
    assert kinds(dialogue) == ["person", "text", "undone"]
    list(dialogue.send("/preferences"))
    assert "/preferences" in words(list(dialogue.send("/undo")))
    assert "/help" in words(list(dialogue.send("/undo")))
    assert "nothing to take back" in words(list(dialogue.send("/undo")))


def test_what_was_started_goes_on_and_is_told_about(talk: Talk, desk: Desk) -> None:
    dialogue = talk()
    approval = asked(list(dialogue.send("/tune train.py val_acc 2 trials")))
    started = list(dialogue.approve(approval.id, approval.digest))
    assert tools(started) == ["start_study"]
    list(dialogue.send("/undo"))

    study = desk.study("project")
    until(lambda: study.owner is None, lambda: "the end of the study")
    assert len(study.trials()) == 2
    assert "Study project is finished" in words(list(dialogue.news()))


def test_another_process_does_not_remember_it_either(talk: Talk) -> None:
    first = talk(planner)
    list(first.send(TUNE))
    list(first.send("/undo"))
    first.close()
    seen: list[Request] = []

    def mind(request: Request) -> Reply:
        seen.append(request)
        return planner(request)

    list(talk(mind, conversation=first.id).send("What can you do?"))
    assert TUNE not in "".join(message.content for message in seen[0].messages)
