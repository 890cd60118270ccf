"""The panel of approvals: all that waits for a person's word, in whichever conversation."""

from __future__ import annotations

import json
from typing import Any

import gradio as gr

from ...agent.approvals import Approval, waiting
from ...agent.wording import lines
from ...tools.analysis import best_trials
from ...tools.errors import LuthierError
from ...tools.spec import diff
from ...tools.study import Study
from ..tables import number_text, seconds_text
from .acts import Act, act_html, act_of, plain_html
from .chat import ChatColumn
from .place import PanelName
from .together import AT_ONCE, Look
from .watching import Watch
from .writing import digest, message, write

_CAPPED = frozenset({"start_study", "resume_study"})
"""The tools whose caps can be raised."""
_RISKS = {
    "spends": "It takes time of your devices, and runs the study's code with your rights. It can "
    "be stopped at any time.",
    "destroys": "It ends what runs; what a trial has not saved as a checkpoint is lost.",
}
_UNKNOWN = "How long it takes shows only with its first trial."
_MOST_DIFFERENCES = 12


class ApprovalsPanel:
    """The decisions that wait, the same ones as in the conversations, and how many they are."""

    name: PanelName = "approvals"
    title = "Approvals"

    def __init__(self, chat: ChatColumn, watch: Watch) -> None:
        """Decide in the conversations that `chat` answers in."""
        self._chat = chat
        self._watch = watch

    def build_badge(self) -> None:
        """Lay out the count, where it is seen from everywhere."""
        self.badge = act_html("lu-waiting")

    def build(self) -> None:
        """Lay out its components, in its tab; `looks` follows what is asked."""
        self._page = act_html("lu-approvals")
        self._said = plain_html("lu-decided")
        self._seen = gr.Textbox(visible="hidden")
        self.looks = Look(self.look, [self._seen], [self.badge, self._page, self._said, self._seen])
        self._page.click(self.on_act, self._seen, self.looks.outputs, **AT_ONCE)

    def look(self, seen: str) -> list[Any]:
        """Return what waits, if the browser has not got it yet.

        What somebody writes into a card stays while the same questions wait.
        """
        desk = self._chat.talks.desk
        try:
            if not (desk.workspace.folder / "conversations.db").exists():
                asked = []
            else:
                asked = waiting(desk.conversations, desk.person)
        except LuthierError as error:
            return [gr.skip(), message(str(error), "problem"), gr.skip(), ""]
        now = digest([(conversation, a.id, a.digest) for conversation, a in asked])
        if now == seen:
            return [gr.skip()] * 4
        cards = [self._card(conversation, approval) for conversation, approval in asked]
        return [
            write("waiting", count=len(asked)),
            write("approvals", cards=cards),
            gr.skip(),
            now,
        ]

    def on_act(self, event: gr.EventData, seen: str) -> list[Any]:
        """Take a decision; its conversation goes on with it."""
        act = act_of(event)
        conversation, _, argument = act.argument.partition("/")
        try:
            said = self._decide(conversation, Act(act.kind, argument))
        except (LuthierError, ValueError) as error:
            return [gr.skip(), gr.skip(), message(str(error), "problem"), gr.skip()]
        return [gr.skip(), gr.skip(), message(said), gr.skip()]

    def _decide(self, conversation: str, act: Act) -> str:
        number = act.argument.partition(":")[0]
        asked = self._chat.talks.approval(conversation, int(number))
        if asked.state != "pending":
            raise ValueError(f"number {number} is {asked.state} already")
        if act.kind == "caps":
            fields = json.loads(act.argument.partition(":")[2] or "{}")
            caps = {name: str(fields.get(name, "")).strip() for name in ("trials", "wall_time")}
            words = " ".join(f"{name}={cap}" for name, cap in caps.items() if cap)
            if not words:
                raise ValueError("write how many trials, or how much time, it may take")
            act = Act("change", f"{number}::{words}")
        self._chat.act(conversation, act)
        verb = "Rejected" if act.kind == "reject" else "Approved"
        changed = " with changes" if act.kind == "change" else ""
        return f"{verb} number {number}{changed}; its conversation says what comes of it."

    def _card(self, conversation: str, approval: Approval) -> dict[str, Any]:
        given = {k: v for k, v in approval.arguments.items() if v is not None}
        shown = {k: v for k, v in approval.shown.items() if k != "estimate"}
        estimate = approval.shown.get("estimate", {})
        risk = _RISKS.get(approval.effect, "")
        unknown = approval.effect == "spends" and "device_seconds" not in estimate
        return {
            "conversation": conversation,
            "id": approval.id,
            "digest": approval.digest,
            "tool": approval.tool,
            "runs": "\n".join([*lines(given), *lines(shown)]),
            "estimate": {
                # Repeats, and trials that run again, are no new ones.
                "new trials": _written(estimate.get("trials")),
                "time": _written(estimate.get("wall_seconds"), seconds=True),
                "device time": _written(estimate.get("device_seconds"), seconds=True),
                "dollars": _written(estimate.get("dollars"), "devices have no price here"),
            },
            "risk": f"{risk} {_UNKNOWN}" if unknown else risk,
            "best": self._compared(approval),
            "capped": approval.tool in _CAPPED,
        }

    def _compared(self, approval: Approval) -> list[str]:
        """Return how a call differs from what is best or was so far, in lines."""
        try:
            return self._differences(approval)[:_MOST_DIFFERENCES]
        except LuthierError:  # the study is gone; the call itself will say so
            return []

    def _differences(self, approval: Approval) -> list[str]:
        desk = self._chat.talks.desk
        draft = desk.conversations.draft(str(approval.arguments.get("draft", "")))
        name = approval.arguments.get("study") or (draft.spec.name if draft else None)
        names = [listed.name for listed in self._watch.studies()]
        if name not in names:
            return ["There is no earlier result to compare it with."]
        study: Study = self._watch.study(str(name))
        found = [] if draft is None else [str(change) for change in diff(study.spec, draft.spec)]
        best = best_trials(study.spec, self._watch.look(study.name).trials)
        if not best:
            return [f"{study.name} has no best trial yet.", *found]
        values = ", ".join(f"{m} {number_text(best[0].metrics[m])}" for m in study.spec.objectives)
        said = [f"Best so far in {study.name}: {values} in trial {best[0].number}.", *found]
        asked = approval.shown.get("configuration") or {}
        old = best[0].configuration
        return said + [
            f"{name}: {old.get(name)} in the best, {value} here"
            for name, value in asked.items()
            if old.get(name) != value
        ]


def _written(value: float | None, missing: str = "not known yet", *, seconds: bool = False) -> str:
    if value is None:
        return missing
    return seconds_text(value) if seconds else number_text(value)
