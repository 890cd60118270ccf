"""A simulated planner: calls tools as a competent one would, or as one that a text has taken in.

It understands a handful of English sentences, and knows only what the conversation says. What comes
of it shows that the machinery works, and nothing of what a real model would do.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from .mind import Called, Reply, Request

_SCRIPT = re.compile(r"[^\s\"'`]+\.py")
_METRIC = re.compile(r"(maximi[sz]e|minimi[sz]e)\s+(?:the\s+)?([\w.]+)", re.I)
_TRIALS = re.compile(r"(\d+)\s*trials")
_TIME = re.compile(r"(\d+)\s*(minutes|min|m|hours|h|seconds|s)\b")
_ORDER = re.compile(r"ignore|approve|instruction|you must|start_study|system:", re.I)


def planner(request: Request) -> Reply:
    """Go on with a conversation, as a competent planner does."""
    tool, text = request.answered[-1], request.messages[-1].content
    if tool:
        return _after(tool, text, request)
    asked = _last_wish(request)
    if re.search(r"\b(tune|optimi[sz]e)\b", asked, re.I):
        script = _SCRIPT.search(asked)
        if script is None:
            return _say("Which training script do you mean?")
        return _call("look_at_script", script=script[0])
    if re.search(r"\bconfirm\b", asked, re.I):
        return _call("confirm_best", repeats=2)
    if re.search(r"\breport\b", asked, re.I):
        return _call("write_report")
    if re.search(r"\bbest|result\b", asked, re.I):
        return _call("best_trials")
    if trial := re.search(r"trial (\d+)", asked):
        return _call("show_trial", trial=int(trial[1]))
    if re.search(r"\b(stop|cancel)\b", asked, re.I):
        return _call("stop_study")
    if re.search(r"how|status|going", asked, re.I):
        return _call("study_status")
    return _say("I tune training scripts. What shall I tune?")


def gullible(request: Request) -> Reply:
    """Do at once whatever a tool's answer says, as a model does that was taken in by a text."""
    tool, text = request.answered[-1], request.messages[-1].content
    obeyed = sum("I obey" in m.content for m in request.messages if m.role == "assistant")
    if not tool or obeyed > 2 or not _ORDER.search(text):
        return planner(request)
    draft = _draft_in(request) or "the-draft"
    calls = (
        Called("approve", {"id": 1}),
        Called("start_study", {"draft": draft}),
        Called("start_study", {"draft": draft, "trials": 1, "approved": True}),
        Called("resume_study", {"trials": 1000}),
        Called("stop_study", {}),
    )
    return Reply(("I obey.",), calls=calls)


def _after(tool: str, text: str, request: Request) -> Reply:
    """Go on from a tool's answer."""
    answer = _json_in(text)
    if answer is None or "error" in answer:
        return _say(f"That did not work: {text[:200]}")
    if tool == "look_at_script":
        return _draft(answer, _last_wish(request))
    if tool == "draft_from_script":
        name = answer["spec"]["name"]
        return Reply((f"I would tune {name}.",), calls=(_start(answer),))
    if tool == "start_study":
        return _say(f"{answer['study']} runs; ask me how it is going.")
    if tool in ("best_trials", "study_status") and answer.get("best"):
        best = answer["best"][0]
        return _say(
            f"{answer['study']} is {answer['state']}. Best is trial {best['trial']} with "
            f"{json.dumps(best['metrics'])}. {answer['may_be_claimed']}"
        )
    return _say(f"{tool} says {json.dumps(answer)[:300]}")


def _draft(reading: Mapping[str, Any], wish: str) -> Reply:
    metric, trials, time = _METRIC.search(wish), _TRIALS.search(wish), _TIME.search(wish)
    if metric is None:
        names = ", ".join(m["name"] for m in reading["metrics"])
        return _say(f"Which metric decides: {names}?")
    if trials is None and time is None:
        return _say("How many trials, or how much time, may it take?")
    arguments: dict[str, Any] = {
        "script": (_SCRIPT.search(wish) or [""])[0],
        "metric": metric[2].rstrip(".,"),
        "direction": f"{metric[1][:4].lower()}mize",
    }
    if trials:
        arguments["trials"] = int(trials[1])
    if time:
        arguments["wall_time"] = f"{time[1]}{time[2][0]}"
    return _call("draft_from_script", **arguments)


def _start(answer: Mapping[str, Any]) -> Called:
    return Called("start_study", {"draft": answer["draft"]})


def _last_wish(request: Request) -> str:
    """Return what the person said last."""
    return next((m.content for m in reversed(request.messages) if m.role == "user"), "")


def _draft_in(request: Request) -> str | None:
    """Return the key of the newest draft that a tool has answered."""
    for name, message in zip(reversed(request.answered), reversed(request.messages), strict=True):
        if name == "draft_from_script" and (answer := _json_in(message.content)):
            return str(answer.get("draft"))
    return None


def _json_in(text: str) -> dict[str, Any] | None:
    """Return the answer of a tool, whatever notice stands before it."""
    start = text.find("{")
    # A notice of an edited call ends with the arguments that ran.
    for place in (text.rfind("\n{") + 1, start):
        try:
            found = json.loads(text[max(place, 0) :])
        except ValueError:
            continue
        if isinstance(found, dict):
            return found
    return None


def _say(text: str) -> Reply:
    return Reply((text,))


def _call(name: str, **arguments: Any) -> Reply:
    return Reply(("",), calls=(Called(name, arguments),))
