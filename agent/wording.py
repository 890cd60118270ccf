"""Answers of tools as a person reads them, where no language model words them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from .approvals import Approval
from .toolbox.box import Result
from .toolbox.declaring import Answer


def worded(tool: str, result: Result) -> str:
    """Return what a call came to, in a few lines."""
    if result.failed:
        return f"That cannot be done: {result.answer['error']}"
    say = _SAY.get(tool)
    return say(result.answer) if say is not None else "\n".join(lines(result.answer))


def asked(approval: Approval) -> str:
    """Return what a person is asked, with all that they have to see."""
    verb = {"spends": "Spend device time on", "destroys": "End what runs by"}[approval.effect]
    given = {name: value for name, value in approval.arguments.items() if value is not None}
    return "\n".join([f"{verb} {approval.tool}?", *lines(given), *lines(approval.shown)])


def lines(answer: Any, indent: str = "  ") -> Iterator[str]:
    """Yield an answer line by line; what is empty is left out."""
    for key, value in answer.items():
        if value is None or value in ("", [], {}) or value == {"quoted": ""}:
            continue
        if isinstance(value, Mapping) and value.keys() != {"quoted"}:
            yield f"{indent}{key}:"
            yield from lines(value, indent + "  ")
        elif isinstance(value, list) and any(isinstance(item, Mapping) for item in value):
            yield f"{indent}{key}:"
            yield from (f"{indent}  - {_short(item)}" for item in value)
        else:
            yield f"{indent}{key}: {_short(value)}"


def _short(value: Any) -> str:
    if isinstance(value, Mapping):
        if value.keys() == {"quoted"}:
            return str(value["quoted"])
        return ", ".join(f"{key} {_short(inner)}" for key, inner in value.items())
    if isinstance(value, list):
        return ", ".join(map(_short, value))
    return f"{value:g}" if isinstance(value, float) else str(value)


def _values(values: Mapping[str, Any]) -> str:
    return ", ".join(f"{name}={_short(value)}" for name, value in values.items())


def _best(answer: Answer) -> str:
    if not answer["best"]:
        return f"No trial of {answer['study']} is complete yet; it is {answer['state']}."
    rows = [
        f"trial {row['trial']}: {_values(row['metrics'])} with {_values(row['configuration'])}"
        for row in answer["best"]
    ]
    head = f"Best of {answer['study']} ({answer['state']}): "
    return head + "; ".join(rows) + f"\n{answer['may_be_claimed']}"


def _status(answer: Answer) -> str:
    used = ", ".join(
        f"{_short(meter['used'])} of {_short(meter['of'])} {name}"
        for name, meter in answer["budget"].items()
    )
    ends = ", ".join(f"{count} {state}" for state, count in answer["trials"].items()) or "no trials"
    reason = answer["reason"]["quoted"]
    text = (
        f"{answer['study']} is {answer['state']}{f' ({reason})' if reason else ''}: {ends}; {used}."
    )
    if answer.get("seconds_to_go") is not None:
        text += f" About {answer['seconds_to_go']:.0f} s to go."
    return text + (f"\n{_best(answer)}" if answer["best"] else "")


def _started(answer: Answer) -> str:
    return f"{answer['study']} runs in the background. /status, /best and /stop look after it."


def _drafted(answer: Answer) -> str:
    parameters = ", ".join(answer["spec"]["space"])
    return f"Drafted {answer['draft']}, which tunes {parameters}."


def _proposed(answer: Answer) -> str:
    rows = [
        f"{place}. {_values(row['values'])} ({row['source']}: {row['reason']})"
        for place, row in enumerate(answer["proposals"], start=1)
    ]
    return "\n".join([f"Next for {answer['study']}; /try runs one of your own:", *rows])


def _preferred(answer: Answer) -> str:
    kept = [f"{number}: {words}" for number, words in answer["preferences"].items()]
    return "\n".join(["I remember of you:", *kept]) if kept else "I remember nothing of you."


_SAY: dict[str, Callable[[Answer], str]] = {
    "best_trials": _best,
    "study_status": _status,
    "draft_from_script": _drafted,
    "start_study": _started,
    "propose_trials": _proposed,
    "preferences": _preferred,
}
