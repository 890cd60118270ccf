"""The commands of a conversation: what follows each, and which call of a tool it is."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..tools.errors import LuthierError
from ..tools.space import did_you_mean
from .toolbox.declaring import visible

_TUNING = (
    "tune a script; slots=2, trial_time=5m, device_time=2h, only=lr,width, fixed=width and "
    "lr=0.001..0.1 limit it"
)
_DURATION = re.compile(r"\d+(?:\.\d+)?[smhd]")
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


def help_text() -> str:
    """Return what there is to say without a language model."""
    rows = [
        ("/tune SCRIPT [METRIC] [maximize|minimize] [20 trials] [30m] [NAME=VALUE ...]", _TUNING),
        ("/tune DATA TARGET [20 trials] [30m]", "train a network on a .csv, .parquet or .npz file"),
    ]
    rows += [(command.usage, command.help) for command in COMMANDS.values()]
    rows += [
        ("/remember WORDS", "a lasting preference, such as: at most 30 minutes"),
        ("/undo", "take back what you said last; what was started goes on"),
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
    """Read `train.py val_acc maximize 20 trials 30m slots=2`.

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
        elif "=" in word:
            name, _, value = word.partition("=")
            found.setdefault("conditions", {})[name] = value
        elif "metric" not in found:
            found["metric"] = word
        else:
            raise UsageError(f"I do not know what {visible(word)!r} means here; see /help")
    return found


_CONDITIONS = {
    "slots": "executor.slots",
    "trial_time": "budget.trial_seconds",
    "device_time": "budget.device_seconds",
}


def changes_of(said: Mapping[str, str], space: Sequence[str]) -> Arguments:
    """Return what conditions change in a draft.

    Args:
        said: `slots`, `trial_time`, `device_time`, `only` and `fixed` (names with commas between
            them), or a parameter's range such as `0.001..0.1`.
        space: The names of the parameters that the draft tunes.

    Raises:
        UsageError: If a name is no parameter, or is to be tuned and fixed.
    """
    only, fixed = (
        [_parameter(name, space) for name in said.get(key, "").split(",") if name]
        for key in ("only", "fixed")
    )
    if both := set(only) & set(fixed):
        raise UsageError(f"shall {', '.join(sorted(both))} be tuned or stay fixed? Say which")
    changes: Arguments = {
        f"space.{name}": None for name in space if name in fixed or (only and name not in only)
    }
    for name, value in said.items():
        if name in _CONDITIONS:
            changes[_CONDITIONS[name]] = int(value) if value.isdecimal() else value
        elif name not in ("only", "fixed"):
            parameter, bounds = _parameter(name, space), value.split("..")
            try:
                low, high = map(float, bounds)
            except ValueError:
                raise UsageError(
                    f"write a range as {visible(name)}=0.001..0.1, but got {visible(value)!r}"
                ) from None
            changes |= {f"space.{parameter}.low": low, f"space.{parameter}.high": high}
    return changes


def _parameter(name: str, space: Sequence[str]) -> str:
    found = [known for known in space if _plain(known) == _plain(name)]
    if not found:
        raise UsageError(
            f"there is no parameter {visible(name)!r} to tune{did_you_mean(name, space)}"
        )
    return found[0]


def _plain(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())


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
    "reviews": Command(
        "/reviews [STUDY]",
        "what a language model made of it, and how right it was",
        "study_reviews",
        _study,
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
