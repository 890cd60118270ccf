"""The conversation without a language model: commands, and plain words for the commonest wishes.

It calls the same tools behind the same approvals as the planner, and says what it did not
understand.
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from typing import Any

from ..tools.errors import LuthierError
from ..tools.metric_words import direction_of, words_of
from ..tools.space import did_you_mean
from .approvals import Approval
from .events import ApprovalNeeded, Event, Text, ToolAnswered, ToolCalled
from .phrases import left_out, understand, usual_budget
from .toolbox.box import Result, Toolbox
from .toolbox.declaring import visible
from .wording import worded

_HINT = "/help says what I can do without a language model."
_DURATION = re.compile(r"\d+(?:\.\d+)?[smhd]")
_REMEMBER = re.compile(r"/remember\s+(.+)", re.S)
Arguments = dict[str, Any]


class UsageError(LuthierError, ValueError):
    """Words that do not fit a command."""


@dataclass(frozen=True)
class Command:
    """A command that is one call of one tool."""

    usage: str
    help: str
    tool: str
    read: Callable[[list[str]], Arguments]
    """Makes arguments of the words that follow it."""
    consents: bool = False
    """Whether typing it says all that it will do, so that nobody need be asked again."""


class Offline:
    """Answers a person without a language model."""

    def __init__(self, toolbox: Toolbox) -> None:
        """Take up the tools."""
        self._toolbox = toolbox

    def answer(self, text: str, name: str) -> Iterator[Event]:
        """Answer what a person typed: a command, or plain words.

        Args:
            text: What they typed.
            name: Names this turn; the calls of its tools are named after it.
        """
        text = text.strip()
        typed = text.startswith("/")
        command = text if typed else understand(text)
        if command is None:
            yield _say(
                f"I did not understand {visible(text, 120)!r}, or am not sure of it. {_HINT}"
            )
            return
        if not typed:
            yield _say(f"I take that for: {command}")
            if command.startswith("/tune ") and (words := left_out(text)):
                quoted = ", ".join(f"“{visible(word, 40)}”" for word in words[:6])
                yield _say(
                    f"I do not understand {quoted} here, and have left it out: look the plan over "
                    "and change it, or say it as a command (/help)."
                )
        try:
            yield from self._command(command, f"offline/{name}", typed)
        except LuthierError as error:
            yield _say(f"{visible(error, 1000)}.")

    def _command(self, text: str, call: str, typed: bool) -> Iterator[Event]:
        if found := _REMEMBER.fullmatch(text):  # apostrophes of plain words are no quotation marks
            yield from self._do("preferences", {"remember": found[1]}, call, consents=False)
            return
        try:
            name, *words = shlex.split(text[1:]) or [""]
        except ValueError:
            raise UsageError("there is a quotation mark too few or too many") from None
        if name == "help":
            yield _say(help_text())
        elif name == "tune":
            yield from self._tune(words, call)
        elif (command := COMMANDS.get(name)) is not None:
            arguments = command.read(words)
            yield from self._do(command.tool, arguments, call, consents=command.consents and typed)
        else:
            known = ["help", "tune", "remember", *COMMANDS]
            yield _say(f"There is no /{visible(name)}{did_you_mean(name, known)}. {_HINT}")

    def decided(self, approval: Approval) -> Iterator[Event]:
        """Go on with a call that the person has decided about."""
        if approval.state == "rejected":
            reason = f": {visible(approval.reason, 200)}" if approval.reason else ""
            yield _say(f"{approval.tool} was not done{reason}. Nothing has changed.")
        else:
            yield from self._run(approval.tool, approval.arguments, approval.call)

    def _tune(self, words: list[str], call: str) -> Iterator[Event]:
        """Draft a study of a script, then ask whether to start it."""
        asked = read_tune(words)
        if "metric" not in asked:
            asked |= self._only_metric(asked["script"])
        if "direction" not in asked:
            direction = direction_of(words_of(asked["metric"]))
            if direction is None:
                raise UsageError(
                    f"should {visible(asked['metric'])!r} be large or small? Say "
                    f"/tune {asked['script']} {asked['metric']} maximize (or minimize)"
                )
            asked["direction"] = direction
        if not asked.keys() & {"trials", "wall_time"}:
            asked |= yield from self._usual_budget(asked["script"])
        drafted = yield from self._run("draft_from_script", asked, f"{call}/draft")
        if not drafted.failed:
            arguments = {"draft": drafted.answer["draft"]}
            yield from self._do("start_study", arguments, call, consents=False)

    def _usual_budget(self, script: str) -> Generator[Event, None, Arguments]:
        """Return how much a study may take whose person did not say it now."""
        desk = self._toolbox.desk
        for preference in desk.conversations.preferences(desk.person):
            if words := usual_budget(preference.words):
                yield _say(f"You said no budget; I go by your preference: “{preference.words}”.")
                return read_tune([script, *" ".join(words).split()])
        return {"trials": 50}

    def _only_metric(self, script: str) -> Arguments:
        """Return the metric of a script that prints just one to optimise."""
        looked = self._toolbox.call("look_at_script", {"script": script})
        if looked.failed:
            raise UsageError(looked.answer["error"])
        known = [m for m in looked.answer["metrics"] if m["direction"] != "unknown"]
        names = ", ".join(m["name"] for m in looked.answer["metrics"]) or "none that could be read"
        if len(known) != 1:
            raise UsageError(
                f"which metric decides? {visible(script)} prints {names}; say "
                f"/tune {script} METRIC maximize (or minimize)"
            )
        return {"metric": known[0]["name"], "direction": known[0]["direction"]}

    def _do(self, tool: str, arguments: Arguments, call: str, *, consents: bool) -> Iterator[Event]:
        """Call a tool, after asking the person if it needs that."""
        approval = self._toolbox.consent(tool, arguments, call)
        if approval is not None and approval.state == "pending":
            if not consents:
                yield ApprovalNeeded(approval)
                return
            approvals = self._toolbox.approvals
            approvals.approve(approval.id, approval.digest, approvals.person)
        yield from self._run(tool, arguments, call)

    def _run(self, tool: str, arguments: Arguments, call: str) -> Generator[Event, None, Result]:
        yield ToolCalled(call, tool, arguments)
        result = self._toolbox.call(tool, arguments)
        yield ToolAnswered(call, tool, result.text, result.failed)
        yield _say(worded(tool, result))
        return result


def help_text() -> str:
    """Return what there is to say without a language model."""
    rows = [("/tune SCRIPT [METRIC] [maximize|minimize] [20 trials] [30m]", "tune a script")]
    rows += [(command.usage, command.help) for command in COMMANDS.values()]
    rows += [
        ("/remember WORDS", "a lasting preference, such as: at most 30 minutes"),
        ("/approve [ID]", "say yes to what I ask"),
        ("/edit [ID] trials=10 ...", "say yes to other values"),
        ("/reject [ID] REASON", "say no"),
    ]
    lines = "\n".join(f"  {usage}: {text}" for usage, text in rows)
    return (
        f"Without a language model I know these commands:\n{lines}\nPlain words do for the "
        "commonest wishes, such as: tune train.py for val_acc within 30 minutes; how is it going; "
        "what is the best; why trial 12; stop."
    )


def read_tune(words: list[str]) -> Arguments:
    """Read `train.py val_acc maximize 20 trials 30m`.

    Raises:
        UsageError: If there is no script, or a word that fits nothing.
    """
    if not words:
        raise UsageError("say which script: /tune train.py val_acc maximize 20 trials")
    found: Arguments = {"script": words[0]}
    rest = [word for word in words[1:] if word.lower() not in ("trials", "trial", "for")]
    for word in rest:
        if word.lower() in ("maximize", "minimize", "maximise", "minimise"):
            found["direction"] = word.lower().replace("ise", "ize")
        elif word.isdecimal():
            found["trials"] = int(word)
        elif _DURATION.fullmatch(word):
            found["wall_time"] = word
        elif "metric" not in found:
            found["metric"] = word
        else:
            raise UsageError(f"I do not know what {visible(word)!r} means here; see /help")
    return found


def _say(text: str) -> Text:
    return Text(text, "offline")


def _study(words: list[str]) -> Arguments:
    if len(words) > 1:
        raise UsageError("name one study, or none for the newest")
    return {"study": words[0]} if words else {}


def _trial(words: list[str]) -> Arguments:
    if not words or not words[0].isdecimal():
        raise UsageError("say which trial, by its number")
    return {"trial": int(words[0])} | _study(words[1:])


def _several(words: list[str]) -> Arguments:
    numbers = [int(word) for word in words if word.isdecimal()]
    names = [word for word in words if not word.isdecimal()]
    return {"trials": numbers} | _study(names)


def _resume(words: list[str]) -> Arguments:
    found: Arguments = {}
    names = []
    for word in words:
        if word.isdecimal():
            found["trials"] = int(word)
        elif _DURATION.fullmatch(word):
            found["wall_time"] = word
        elif word not in ("trials", "trial"):
            names.append(word)
    return found | _study(names)


def named_values(text: str) -> dict[str, Any]:
    """Read `trials=10 wall_time=30m`.

    Raises:
        UsageError: If there is none, or a word is no such pair.
    """
    found: dict[str, Any] = {}
    for word in text.split():
        name, equals, value = word.partition("=")
        if not (name and equals):
            raise UsageError(f"write NAME=VALUE, but got {word!r}")
        try:
            found[name] = json.loads(value)
        except ValueError:
            found[name] = value
    if not found:
        raise UsageError("write NAME=VALUE, such as trials=60")
    return found


def _try(words: list[str]) -> Arguments:
    """Read `lr=0.01 width=64 like 12 STUDY`."""
    pairs = [word for word in words if "=" in word]
    rest = [word for word in words if "=" not in word]
    found: Arguments = {"values": named_values(" ".join(pairs)) if pairs else {}}
    if rest[:1] == ["like"] and rest[1:2] and rest[1].isdecimal():
        found["like"] = int(rest[1])
        rest = rest[2:]
    if not pairs and "like" not in found:
        raise UsageError("say what to try, such as lr=0.01, or like and a trial's number")
    return found | _study(rest)


def _retry(words: list[str]) -> Arguments:
    if not words:
        raise UsageError("say how the trials ended that are to run again, such as crashed")
    return {"outcomes": words[:1]} | _study(words[1:])


def _forget(words: list[str]) -> Arguments:
    if len(words) != 1 or not words[0].isdecimal():
        raise UsageError("say which one, by its number; /preferences shows them")
    return {"forget": int(words[0])}


def _one(name: str) -> Callable[[list[str]], Arguments]:
    def read(words: list[str]) -> Arguments:
        if len(words) != 1:
            raise UsageError(f"give one {name}")
        return {name: words[0]}

    return read


def _nothing(words: list[str]) -> Arguments:
    if words:
        raise UsageError(f"nothing may follow it, but got {visible(words[0])!r}")
    return {}


COMMANDS = {
    "status": Command("/status [STUDY]", "how it stands", "study_status", _study),
    "best": Command("/best [STUDY]", "the best so far", "best_trials", _study),
    "why": Command("/why TRIAL [STUDY]", "a trial, and why it was chosen", "show_trial", _trial),
    "curve": Command("/curve TRIAL [STUDY]", "its learning curve", "read_curve", _trial),
    "compare": Command("/compare TRIAL TRIAL", "what differs", "compare_trials", _several),
    "importance": Command(
        "/importance [STUDY]", "which parameters matter", "parameter_importance", _study
    ),
    "confirm": Command(
        "/confirm [STUDY]", "repeat the best, to tell what is chance", "confirm_best", _study
    ),
    "pause": Command("/pause [STUDY]", "start no new trial", "pause_study", _study),
    "resume": Command(
        "/resume [STUDY] [100 trials] [2h]", "go on", "resume_study", _resume, consents=True
    ),
    "stop": Command("/stop [STUDY]", "end running trials", "stop_study", _study, consents=True),
    "stop-trial": Command(
        "/stop-trial TRIAL", "end one running trial", "stop_trial", _trial, consents=True
    ),
    "next": Command("/next [STUDY]", "what would be tried next", "propose_trials", _study),
    "try": Command(
        "/try NAME=VALUE ... [like TRIAL]", "a configuration of your own", "enqueue_trial", _try
    ),
    "retry": Command("/retry OUTCOME", "run trials again that ended so", "retry_trials", _retry),
    "report": Command("/report [STUDY]", "write the report", "write_report", _study),
    "export": Command("/export [STUDY]", "the best as files", "export_winner", _study),
    "studies": Command("/studies", "all studies", "list_studies", _nothing),
    "devices": Command("/devices", "GPUs and cores", "look_at_machine", _nothing),
    "script": Command("/script FILE", "what a script declares", "look_at_script", _one("script")),
    "data": Command("/data FILE", "what a data file holds", "look_at_data", _one("data")),
    "draft": Command("/draft DRAFT", "a draft, or a study's spec", "show_draft", _one("draft")),
    "preferences": Command("/preferences", "what I remember of you", "preferences", _nothing),
    "forget": Command("/forget NUMBER", "forget a preference", "preferences", _forget),
    "start": Command("/start DRAFT", "start a draft", "start_study", _one("draft")),
}
