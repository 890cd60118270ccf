"""The conversation without a language model: commands, and plain words for the commonest wishes.

It calls the same tools behind the same approvals as the planner, and says what it did not
understand.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Generator, Iterator, Mapping, Sequence

from ..tools.errors import LuthierError
from ..tools.metric_words import direction_of, words_of
from ..tools.space import did_you_mean
from .approvals import Approval
from .commands import COMMANDS, Arguments, UsageError, changes_of, help_text, read_tune
from .events import ApprovalNeeded, Event, Text, ToolAnswered, ToolCalled
from .phrases import LONGEST_WISH, doubt, left_out, understand, usual_budget
from .toolbox.box import Result, Toolbox
from .toolbox.declaring import visible
from .wording import worded

_HINT = "/help says what I can do without a language model."
_REMEMBER = re.compile(r"/remember\s+(.+)", re.S)


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
            reason = doubt(text) if len(text) <= LONGEST_WISH else None
            yield _say(
                f"I did not understand {visible(text, 120)!r}, or am not sure of it. "
                + (visible(reason, 400) + " " if reason else "")
                + _HINT
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
        from ..tools.recipes.data import SUFFIXES

        asked = read_tune(words)
        if asked["script"].endswith(SUFFIXES):
            drafted = yield from self._draft_of_data(asked, call)
        else:
            drafted = yield from self._draft_of_script(asked, call)
        if not drafted.failed and (said := asked.get("conditions")):
            changes = changes_of(said, list(drafted.answer["spec"]["space"]))
            arguments = {"draft": drafted.answer["draft"], "changes": changes}
            drafted = yield from self._run("change_draft", arguments, f"{call}/changed")
        if not drafted.failed:
            arguments = {"draft": drafted.answer["draft"]}
            yield from self._do("start_study", arguments, call, consents=False)

    def _draft_of_data(self, asked: Arguments, call: str) -> Generator[Event, None, Result]:
        data, target = asked["script"], asked.get("metric")
        given = {"data": data} | ({"target": target} if target else {})
        looked = self._toolbox.call("look_at_data", given)
        if looked.failed:
            raise UsageError(looked.answer["error"])
        if target is None:
            columns = ", ".join(looked.answer.get("described", {})) or "none that could be read"
            raise UsageError(
                f"which column is the target, to be predicted? {visible(data)} has {columns}; say "
                f"/tune {visible(data)} COLUMN"
            )
        kind = looked.answer["target"].get("kind", "classes")
        if kind == "text":
            raise UsageError(
                f"column {visible(target)!r} holds {looked.answer['target']['classes']} different "
                "texts: neither classes nor a number; name another column"
            )
        task = "classification" if kind == "classes" else "regression"
        budget = yield from self._budget(asked)
        return (
            yield from self._run(
                "draft_from_data", given | {"task": task} | budget, f"{call}/draft"
            )
        )

    def _draft_of_script(self, asked: Arguments, call: str) -> Generator[Event, None, Result]:
        if "metric" not in asked or "conditions" in asked:
            looked = self._toolbox.call("look_at_script", {"script": asked["script"]})
            if looked.failed:
                raise UsageError(looked.answer["error"])
            # What makes no sense is to leave no draft.
            changes_of(asked.get("conditions", {}), list(looked.answer["parameters"]))
            if "metric" not in asked:
                asked |= _only_metric(asked["script"], looked.answer["metrics"])
        if "direction" not in asked:
            direction = direction_of(words_of(asked["metric"]))
            if direction is None:
                raise UsageError(
                    f"should {visible(asked['metric'])!r} be large or small? Say "
                    f"/tune {asked['script']} {asked['metric']} maximize (or minimize)"
                )
            asked["direction"] = direction
        budget = yield from self._budget(asked)
        said = {name: asked[name] for name in ("script", "metric", "direction")}
        return (yield from self._run("draft_from_script", said | budget, f"{call}/draft"))

    def _budget(self, asked: Arguments) -> Generator[Event, None, Arguments]:
        """Return how much a study may take: as was said, as usual, or a common number."""
        said: Arguments = {n: asked[n] for n in ("trials", "wall_time") if n in asked}
        if said:
            return said
        desk = self._toolbox.desk
        for preference in desk.conversations.preferences(desk.person):
            if words := usual_budget(preference.words):
                yield _say(f"You said no budget; I go by your preference: “{preference.words}”.")
                usual = read_tune(["", *" ".join(words).split()])
                return {name: usual[name] for name in ("trials", "wall_time") if name in usual}
        return {"trials": 50}

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


def _only_metric(script: str, metrics: Sequence[Mapping[str, str]]) -> Arguments:
    """Return the metric of a script that prints just one to optimise."""
    known = [metric for metric in metrics if metric["direction"] != "unknown"]
    names = ", ".join(metric["name"] for metric in metrics) or "none that could be read"
    if len(known) != 1:
        raise UsageError(
            f"which metric decides? {visible(script)} prints {names}; say "
            f"/tune {script} METRIC maximize (or minimize)"
        )
    return {"metric": known[0]["name"], "direction": known[0]["direction"]}


def _say(text: str) -> Text:
    return Text(text, "offline")
