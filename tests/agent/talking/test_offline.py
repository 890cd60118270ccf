"""The conversation without a language model."""

import json
from typing import Any

import pytest
from luthier.agent.commands import COMMANDS, UsageError, read_tune
from luthier.agent.dialogue import Dialogue
from luthier.agent.events import ApprovalNeeded, Done, ToolAnswered
from luthier.agent.phrases import understand
from luthier.agent.toolbox.desk import Desk

from ..conftest import until
from .conftest import Talk, asked, tools, words

PHRASES = [
    ("tune train.py for val_acc within 30 minutes", "/tune train.py val_acc 30m"),
    ("Tune train.py, maximise val_acc, 20 trials", "/tune train.py val_acc maximize 20 trials"),
    (
        "please optimize models/fit.py to minimize loss in 2 hours",
        "/tune models/fit.py loss minimize 2h",
    ),
    ("how is it going?", "/status"),
    ("is it finished yet", "/status"),
    ("what's the best so far", "/best"),
    ("show me the results", "/best"),
    ("why was trial 12 chosen?", "/why 12"),
    ("tell me about trial #3", "/why 3"),
    ("compare 3 and 17", "/compare 3 17"),
    ("which parameters matter most?", "/importance"),
    ("could that be luck?", "/confirm"),
    ("pause", "/pause"),
    ("please stop the study digits", "/stop digits"),
    ("kill trial 7", "/stop-trial 7"),
    ("carry on", "/resume"),
    ("which GPUs do we have", "/devices"),
    ("write a report", "/report"),
    ("export the best model", "/export"),
    ("list all studies", "/studies"),
    ("what can you do?", "/help"),
    ("don't stop", None),
    ("do not tune train.py", None),
    ("never resume that", None),
    ("make me a sandwich", None),
    ("", None),
]


@pytest.mark.parametrize(("text", "command"), PHRASES)
def test_plain_words_are_commands_or_not_understood(text: str, command: str | None) -> None:
    assert understand(text) == command


@pytest.mark.parametrize(
    ("text", "arguments"),
    [
        ("train.py", {"script": "train.py"}),
        (
            "a.py loss minimise 30m",
            {"script": "a.py", "metric": "loss", "direction": "minimize", "wall_time": "30m"},
        ),
        ("a.py val_acc 20 trials", {"script": "a.py", "metric": "val_acc", "trials": 20}),
    ],
)
def test_tune_takes_its_words_in_any_order(text: str, arguments: dict[str, Any]) -> None:
    assert read_tune(text.split()) == arguments


def test_tune_names_a_word_that_fits_nothing() -> None:
    with pytest.raises(UsageError, match="what 'quickly' means"):
        read_tune(["a.py", "val_acc", "quickly"])


def test_a_study_by_commands_alone(talk: Talk, desk: Desk) -> None:
    dialogue = talk()
    first = list(dialogue.send("/tune train.py val_acc maximize 20 trials"))
    assert asked(first).shown["budget"] == {"trials": 20}
    assert desk.ledger.studies() == []

    refused = list(dialogue.reject(asked(first).id, "that is too much"))
    assert "start_study was not done: that is too much" in words(refused)
    assert desk.ledger.studies() == []

    second = asked(list(dialogue.send("tune train.py for val_acc, 20 trials")))
    started = list(dialogue.edit(second.id, {"trials": 3}))
    assert tools(started) == ["start_study"]
    study = desk.study("project")
    assert study.spec.budget.trials == 3
    until(lambda: study.owner is None, lambda: "the end of the study")

    best = list(dialogue.send("what is the best?"))
    (answer,) = [json.loads(e.answer) for e in best if isinstance(e, ToolAnswered)]
    found = study.best()
    assert found is not None
    assert answer["best"][0]["trial"] == found.number
    assert f"trial {found.number}: val_acc={found.metrics['val_acc']}" in words(best)
    assert "A single run" in words(best)
    assert "proposed_by" in words(list(dialogue.send("/why 2")))

    repeats = asked(list(dialogue.send("/confirm")))
    list(dialogue.approve(repeats.id, repeats.digest))
    until(
        lambda: study.owner is None and study.state == "finished" and study.trials()[4:],
        lambda: "the repeats",
    )
    assert "A single run" not in words(list(dialogue.send("/best")))
    assert tools(list(dialogue.send("/report"))) == ["write_report"]
    assert (desk.workspace.reports / "project.html").exists()


def test_a_command_that_ends_something_is_its_own_consent(talk: Talk, desk: Desk) -> None:
    dialogue = talk()
    slow = "import time\ntime.sleep(600)\n"
    script = desk.project / "train.py"
    script.write_text(script.read_text(encoding="utf-8") + slow, encoding="utf-8")
    start = asked(list(dialogue.send("/tune train.py val_acc maximize 5 trials")))
    list(dialogue.approve(start.id, start.digest))
    study = desk.study(None)
    until(lambda: study.trials(curves=False), lambda: "the first trial")

    guessed = list(dialogue.send("stop the study"))
    assert asked(guessed).tool == "stop_study"
    assert dialogue.pending() != []
    stopped = list(dialogue.send("/stop"))
    assert tools(stopped) == ["stop_study"]
    assert [a.state for a in dialogue.approvals.all()][-1] == "used"
    until(lambda: study.owner is None, lambda: "the end of the worker")
    assert study.state == "stopped"


def test_yes_and_no_decide_what_is_asked(talk: Talk, desk: Desk) -> None:
    dialogue = talk()
    list(dialogue.send("/tune train.py val_acc maximize 2 trials"))
    assert "was not done: not today" in words(list(dialogue.send("no, not today")))
    list(dialogue.send("/tune train.py val_acc maximize 2 trials"))
    assert tools(list(dialogue.send("yes"))) == ["start_study"]


def test_to_look_leaves_a_question_open_and_another_plan_takes_its_place(talk: Talk) -> None:
    dialogue = talk()
    list(dialogue.send("/tune train.py val_acc maximize 2 trials"))
    list(dialogue.send("/studies"))
    assert [approval.state for approval in dialogue.approvals.all()] == ["pending"]

    list(dialogue.send("/tune train.py val_acc maximize 3 trials"))
    assert [approval.state for approval in dialogue.approvals.all()] == ["rejected", "pending"]


def test_yes_means_nothing_where_nothing_is_asked(talk: Talk) -> None:
    assert "did not understand 'yes'" in words(list(talk().send("yes")))


def test_an_edit_that_makes_no_sense_leaves_the_question_open(talk: Talk) -> None:
    dialogue = talk()
    list(dialogue.send("/tune train.py val_acc maximize 2 trials"))
    said = words(list(dialogue.send("/edit trials=-5")))

    assert "greater than or equal to 1" in said
    assert [approval.state for approval in dialogue.approvals.all()] == ["pending"]


def test_a_metric_that_nobody_named_is_asked_for(talk: Talk) -> None:
    events = list(talk().send("/tune train.py"))

    assert "which metric decides? train.py prints val_acc, val_loss" in words(events)
    assert tools(events) == []


def test_every_command_says_what_is_wrong_with_its_words(talk: Talk) -> None:
    dialogue = talk()
    for name in COMMANDS:
        events = list(dialogue.send(f"/{name} one two three"))
        assert events[-1] == Done()
        assert words(events)
        assert not any(isinstance(event, ApprovalNeeded) for event in events), name


def test_it_goes_on_where_another_process_left_it(talk: Talk, desk: Desk) -> None:
    first = talk()
    list(first.send("/tune train.py val_acc maximize 2 trials"))
    second = Dialogue(desk, conversation=first.id)

    assert [kind for kind, _ in second.history()] == ["person", "tool", "text", "asked"]
    assert tools(list(second.send("/approve"))) == ["start_study"]


def test_what_is_left_out_of_a_plan_is_said_with_it(talk: Talk) -> None:
    events = list(talk().send("tune train.py for val_acc, a few trials"))
    assert "I do not understand “few” here, and have left it out" in words(events)
    assert asked(events).tool == "start_study"
