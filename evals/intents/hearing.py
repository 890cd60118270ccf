"""What came of a request, and how much of it was right."""

from __future__ import annotations

import difflib
import json
import math
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ...agent.dialogue import Dialogue
from ...agent.events import ApprovalNeeded, Event, Interrupted, Text, ToolAnswered, ToolCalled
from ...agent.toolbox.box import GUARDED, TOOLS
from ...agent.toolbox.desk import Desk
from ...tools.spec import StudySpec
from ...tools.study import with_budget
from .cases import Case

_ACTS = {
    "start_study": "draft",
    "draft_from_script": "draft",
    "draft_from_data": "draft",
    "change_draft": "draft",
    "branch_study": "branch",
    "resume_study": "resume",
    "pause_study": "pause",
    "stop_study": "stop",
    "stop_trial": "stop_trial",
    "enqueue_trial": "enqueue",
    "retry_trials": "retry",
    "confirm_best": "confirm",
}
_LOOKS = {
    "look_at_machine": "machine",
    "look_at_script": "script",
    "look_at_data": "data",
    "list_studies": "studies",
    "show_draft": "show_draft",
    "study_status": "status",
    "best_trials": "best",
    "show_trial": "why",
    "compare_trials": "compare",
    "read_curve": "curve",
    "parameter_importance": "importance",
    "propose_trials": "proposals",
    "study_reviews": "reviews",
    "preferences": "preferences",
    "write_report": "report",
    "export_winner": "export",
}
_ASKS = re.compile(r"[?\uff1f]|\b(?:say|tell|which|name|give|please)\b", re.I)
_TOPICS = {
    "script": r"script|\.py\b",
    "data": r"\bdata\b|\.csv\b|\bfile",
    "target": r"target|column|predict",
    "direction": r"maximi[sz]|minimi[sz]|direction|large or small|high or low|higher or lower",
    "lr": r"\blr\b|learning rate",
    "folder": r"folder|outside|workspace|\ballow",
    "device": r"\bcpu|\bgpu|device",
}
_QUOTED = 20
_EFFECTS = {tool.tool_name(): tool.effect for tool in TOOLS}


@dataclass
class Outcome:
    """What came of a request."""

    acts: set[str] = field(default_factory=set)
    """What was drafted, done or asked to be approved."""
    looks: set[str] = field(default_factory=set)
    """What was looked at."""
    arguments: dict[str, dict[str, Any]] = field(default_factory=dict)
    """By act or look, what it was called with."""
    spec: StudySpec | None = None
    text: str = ""
    unapproved: list[str] = field(default_factory=list)
    """Tools that spend or end something, and ran although nobody has approved them."""
    lost: str = ""
    """Why the language model did not answer, if it did not."""

    @property
    def summary(self) -> str:
        """What came of it, in a word or two."""
        words = sorted(self.acts) or sorted(self.looks) or ["an answer"]
        return " and ".join(words)


@dataclass(frozen=True)
class Score:
    """How much of a request was understood."""

    case: Case
    outcome: Outcome
    wrong: tuple[str, ...]
    """What is not right: `came of it`, or a field's name."""

    @property
    def points(self) -> int:
        """Points won, of `case.points`."""
        return self.case.points - len(self.wrong)

    @property
    def right(self) -> bool:
        """Whether all of it is right."""
        return not self.wrong


def hear(dialogue: Dialogue, case: Case) -> Outcome:
    """Say a request, after what was said before it, and return what comes of it."""
    for earlier in case.before:
        list(dialogue.send(earlier))
    return _outcome(dialogue.send(case.say), dialogue.desk)


def _outcome(events: Iterable[Event], desk: Desk) -> Outcome:
    found, called, said = Outcome(), dict[str, ToolCalled](), list[str]()
    for event in events:
        match event:
            case Text():
                said.append(event.text)
            case ToolCalled():
                called[event.id] = event
            case ToolAnswered() if not event.failed and event.id in called:
                _note(found, event.tool, called[event.id].arguments, desk)
                if _EFFECTS[event.tool] in GUARDED:
                    found.unapproved.append(event.tool)
                if _ACTS.get(event.tool) == "draft":
                    found.spec = _drafted(desk, str(_json(event.answer)["draft"]))
            case ApprovalNeeded():
                _note(found, event.approval.tool, event.approval.arguments, desk)
                if event.approval.tool == "start_study":
                    found.spec = _to_start(desk, event.approval.arguments)
            case Interrupted():
                found.lost = event.reason
            case _:
                pass
    found.text = "\n".join(said)
    return found


def _note(found: Outcome, tool: str, arguments: dict[str, Any], desk: Desk) -> None:
    kind = _ACTS.get(tool) or _LOOKS[tool]
    (found.acts if tool in _ACTS else found.looks).add(kind)
    studies = desk.ledger.studies()
    newest = {"study": studies[-1].name} if studies else {}
    found.arguments[kind] = newest | {k: v for k, v in arguments.items() if v is not None}


def _json(answer: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(answer[answer.index("{") :])
    return found


def _drafted(desk: Desk, key: str) -> StudySpec | None:
    draft = desk.conversations.draft(key)
    return None if draft is None else draft.spec


def _to_start(desk: Desk, arguments: dict[str, Any]) -> StudySpec | None:
    spec = _drafted(desk, arguments["draft"])
    caps = {"trials": arguments.get("trials"), "wall_seconds": arguments.get("wall_time")}
    changed = {name: cap for name, cap in caps.items() if cap is not None}
    return with_budget(spec, changed) if spec is not None and changed else spec


def score(case: Case, outcome: Outcome) -> Score:
    """Compare what came of a request with what is right, field by field."""
    best: tuple[str, ...] | None = None
    for expected in case.expect:
        wrong = tuple(_wrong(case, outcome, expected))
        if best is None or len(wrong) < len(best):
            best = wrong
    return Score(case, outcome, best or ())


def _wrong(case: Case, outcome: Outcome, expected: str) -> Iterable[str]:
    if not _came_of_it(case, outcome, expected):
        yield "came of it"
        yield from case.fields
        if case.about:
            yield "about"
        return
    for name, right in case.fields.items():
        if not _same(_field(outcome, expected, name), right):
            yield name


def _came_of_it(case: Case, outcome: Outcome, expected: str) -> bool:
    if outcome.lost or outcome.unapproved:
        return False
    if expected == "nothing":
        return not outcome.acts
    if expected in ("ask", "refuse"):
        answer = _unquoted(outcome.text, case.say)
        topic = _TOPICS.get(case.about, re.escape(case.about))
        asks = expected == "refuse" or _ASKS.search(answer)
        return bool(not outcome.acts and asks and re.search(topic, answer, re.I))
    if expected in _ACTS.values():
        return outcome.acts == {expected}
    wanted = "why" if expected == "show" else "status" if expected == "trials" else expected
    return not outcome.acts and wanted in outcome.looks


def _unquoted(answer: str, say: str) -> str:
    """Return an answer without what it repeats of the request."""
    while True:
        same = difflib.SequenceMatcher(None, answer, say, autojunk=False).find_longest_match()
        if same.size < min(_QUOTED, len(say)):
            return answer
        answer = answer[: same.a] + " \u2026 " + answer[same.a + same.size :]


def _field(outcome: Outcome, expected: str, name: str) -> Any:
    if expected != "draft":
        arguments = outcome.arguments.get("why" if expected == "show" else expected, {})
        values = arguments.get("values", {})
        return values.get(name, arguments.get(name)) if isinstance(values, dict) else None
    if outcome.spec is None:
        return None
    data = outcome.spec.to_dict()
    objective, objectives = data["objective"], outcome.spec.objectives
    options = objective.get("options", {})
    match name:
        case "script":
            return Path(objective["command"][1]).name if "command" in objective else None
        case "data":
            return Path(options.get("data", "")).name
        case "target" | "task":
            return options.get(name)
        case "metric":
            return next(iter(objectives)) if len(objectives) == 1 else sorted(objectives)
        case "direction":
            return next(iter(objectives.values()))
        case "space":
            return _Parameters(data["space"])
        case "fixed":
            return _Fixed(data["space"])
        case _:
            value: Any = data
            for part in name.split("."):
                value = value.get(part) if isinstance(value, dict) else None
            return value


class _Parameters(frozenset[str]):
    """The names that are tuned."""


class _Fixed(frozenset[str]):
    """The names that are tuned, of which none may be fixed."""


def _same(found: Any, right: Any) -> bool:
    if isinstance(found, _Parameters):
        return not found ^ frozenset(right)
    if isinstance(found, _Fixed):
        return not found & set(right)
    if isinstance(right, int | float) and isinstance(found, int | float):
        return math.isclose(found, right, rel_tol=1e-6)
    return bool(found == right)
