"""One conversation, with a language model or without: what a person says goes in, events come out.

All of it is recorded, so any process can take the conversation up again; what it started goes on
without it.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from ..tools.errors import LuthierError
from .approvals import Approval, Approvals, Policy, load_policy
from .commands import UsageError, named_values
from .events import ApprovalNeeded, Done, Event, Interrupted, Text, ToolAnswered, ToolCalled
from .happenings import happenings
from .llm.answers import LLMError, Usage
from .llm.metering import Caps
from .offline import Offline
from .toolbox.box import Toolbox, ToolPolicy
from .toolbox.desk import Desk

if TYPE_CHECKING:
    from .llm.line import Line
    from .planner import Planner

_STARTS = frozenset(
    {"start_study", "resume_study", "enqueue_trial", "retry_trials", "confirm_best"}
)
"""The tools after which a study runs; their answers name it first."""
_OTHER_PLANS = ("/tune", "/start")
"""Commands that take the place of what was asked before; others leave that open."""
_YES = re.compile(
    r"(?:/approve(?:\s+(?P<id>\d+))?|y|yes|ok|okay|approve|approved|go ahead|do it)[.!]?", re.I
)
_NO = re.compile(
    r"(?:/reject(?:\s+(?P<id>\d+))?|n|no|reject|don'?t)\b[.,:!]?\s*(?P<reason>.*)", re.I | re.S
)
_EDIT = re.compile(r"/edit(?:\s+(?P<id>\d+))?\s+(?P<changes>\S.*)", re.I | re.S)


class Dialogue:
    """A conversation of one person; use it from one thread at a time."""

    def __init__(
        self,
        desk: Desk,
        *,
        line: Line | None = None,
        policy: Policy | None = None,
        conversation: str | None = None,
        tools: ToolPolicy | None = None,
    ) -> None:
        """Begin a conversation, or take one up.

        Args:
            desk: Where it takes place, and who speaks.
            line: The way to a language model; None for commands alone.
            policy: When the person is asked; None for what they keep in the workspace.
            conversation: The id of the one to go on with.
            tools: Which tools a model is offered, and what it is told of them.

        Raises:
            ConversationError: If there is no such conversation, or it is another person's.
        """
        self._store = desk.conversations
        if conversation is None:
            conversation = self._store.begin(desk.person)
        else:
            self._store.check(conversation, desk.person)
        self.id = conversation
        self.desk = desk
        self._policy = policy
        self.approvals = Approvals(self._store, conversation, desk.person, policy)
        self.toolbox = Toolbox(desk, self.approvals)
        self._offline = Offline(self.toolbox)
        self.line = line
        self._tools = tools
        self._planner: Planner | None = None

    def close(self) -> None:
        """Let go of the planner; the line is its owner's."""
        if self._planner is not None:
            self._planner.close()
            self._planner = None

    def use_model(self, line: Line | None) -> None:
        """Go on with another language model, or with none."""
        self.close()
        self.line = line

    def history(self) -> list[tuple[str, dict[str, Any]]]:
        """Return what was said and done so far and not taken back, oldest first."""
        return self._store.turns(self.id)

    def _everything(self) -> list[tuple[str, dict[str, Any]]]:
        return self._store.turns(self.id, undone=True)

    def news(self) -> Iterator[Event]:
        """Say what has happened since to the studies that this conversation started."""
        told = self._everything()
        known = {(data["study"], data["what"]) for kind, data in told if kind == "news"}
        for name in dict.fromkeys(filter(None, (study_started(*turn) for turn in told))):
            for what, text in happenings(self.desk, self.desk.study(name)):
                if (name, what) not in known:
                    self._record("news", study=name, what=what)
                    yield from self._recorded(iter([Text(text, "offline")]))

    def broken_off(self) -> None:
        """Note that the person ended an answer in the middle."""
        self._record("interrupted", reason="you stopped it; what it had started goes on")

    def pending(self) -> list[Approval]:
        """Return what the person has to decide."""
        return self.approvals.pending()

    def send(self, text: str) -> Iterator[Event]:
        """Answer what the person said; `/undo` takes back what they said before."""
        if text.strip() == "/undo":
            yield from self._undo()
            return
        self._record("person", text=text)
        yield from self._recorded(self._in_words(self._answer(text)))
        yield Done()

    def approve(self, id: int, digest: str) -> Iterator[Event]:
        """Approve exactly what was shown, and go on.

        Raises:
            ApprovalError: If that cannot be decided any more, or the digest is of something else.
        """
        yield from self._decided(self.approvals.approve(id, digest, self.desk.person))

    def edit(self, id: int, changes: Mapping[str, Any]) -> Iterator[Event]:
        """Approve it with other arguments, and go on.

        Raises:
            LuthierError: If they make no sense; the approval is then still pending.
        """
        self.toolbox.edit(id, changes, self.desk.person)
        yield from self._decided(self.approvals.get(id))

    def reject(self, id: int, reason: str = "") -> Iterator[Event]:
        """Refuse it, and go on.

        Raises:
            ApprovalError: If that cannot be decided any more.
        """
        yield from self._decided(self.approvals.reject(id, reason, self.desk.person))

    def _decided(self, approval: Approval) -> Iterator[Event]:
        self._record("decision", approval=approval.id, state=approval.state, reason=approval.reason)
        yield from self._recorded(self._after(approval))
        yield Done()

    def _after(self, approval: Approval) -> Iterator[Event]:
        """Go on with a call that the person has decided about."""
        self._follow_policy()
        if approval.call.startswith("mcp/"):
            yield Text("The agent goes on when it calls again.", "offline")
            return
        planner = None if approval.call.startswith("offline/") else self._open_planner()
        if planner is None:  # also if a planner asked that is gone
            replaced = approval.state == "replaced"
            decided = self.approvals.replacement(approval.id) if replaced else approval
            yield from self._offline.decided(decided)
        elif not self.pending():
            yield from self._with_model(planner.resume(), "")

    def _follow_policy(self) -> None:
        self.approvals.policy = self._policy or load_policy(self.desk.workspace)

    def _answer(self, text: str) -> Iterator[Event]:
        self._follow_policy()
        pending = self.pending()
        if pending and (decided := self._typed_decision(text, pending)) is not None:
            yield from self._after(self.approvals.get(decided))
            return
        is_command = text.lstrip().startswith("/")
        if not is_command or text.lstrip().startswith(_OTHER_PLANS):
            reason = f"the person said something else instead: {text}"
            for approval in pending:
                self.approvals.reject(approval.id, reason, self.desk.person)
        planner = None if is_command else self._open_planner()
        if planner is None:
            yield from self._without_model(text)
        else:
            untold = _untold(self.history())
            yield from self._with_model(planner.send(text, untold), text)

    def _undo(self) -> Iterator[Event]:
        """Forget the person's last words and what was answered; what was done stays done."""
        text = self._store.undo(self.id)
        if text is None:
            yield Text("There is nothing to take back.", "offline")
        else:
            for approval in self.pending():
                reason = "the person took back what they had said"
                self.approvals.reject(approval.id, reason, self.desk.person)
            planner = self._open_planner()
            if planner is not None:
                planner.forget(text)
            yield Text(f"Taken back: “{text}”. What was started goes on.", "offline")
        yield Done()

    def _in_words(self, events: Iterator[Event]) -> Iterator[Event]:
        """Say what the person got wrong, rather than raise it."""
        try:
            yield from events
        except LuthierError as error:
            yield Text(f"{error}.", "offline")

    def _typed_decision(self, text: str, pending: list[Approval]) -> int | None:
        """Take a decision that the person typed; return the approval's id, None if it is none."""
        text = text.strip()
        yes, no, edit = _YES.fullmatch(text), _NO.fullmatch(text), _EDIT.fullmatch(text)
        found = yes or no or edit
        if found is None:
            return None
        asked = _one_of(pending, found["id"])
        if yes:
            self.approvals.approve(asked.id, asked.digest, self.desk.person)
        elif edit:
            self.toolbox.edit(asked.id, named_values(edit["changes"]), self.desk.person)
        elif no:
            self.approvals.reject(asked.id, no["reason"].strip(), self.desk.person)
        return asked.id

    def _open_planner(self) -> Planner | None:
        if self.line is None:
            return None
        if self._planner is None:
            from .planner import Planner

            self._planner = Planner(self.toolbox, self.line, self.id, self._tools)
        return self._planner

    def _with_model(self, events: Iterator[Event], text: str) -> Iterator[Event]:
        """Pass on what the planner does; where its model is lost, go on without."""
        assert self.line is not None
        self._record("heard")
        meter, told = self.line.meter, self._everything()
        study = next(filter(None, (study_started(*turn) for turn in reversed(told))), None)
        before = meter.total()
        meter.limit(*self._budget(study, told))
        try:
            yield from events
        except LLMError as error:
            yield Interrupted(f"the language model is lost: {error}")
            yield from self._without_model(text)
        finally:
            spent, dollars = meter.total(), None
            if spent.dollars is not None and before.dollars is not None:
                dollars = spent.dollars - before.dollars
            self._record("spent", study=study, tokens=spent.tokens - before.tokens, dollars=dollars)

    def _budget(
        self, name: str | None, told: Sequence[tuple[str, dict[str, Any]]]
    ) -> tuple[Caps, Usage]:
        """Return the caps of a study on tokens and dollars, and what counts against them already.

        That is what proposes in it has spent, and what was said since it was started.
        """
        if name is None:
            return Caps(), Usage()
        ledger = self.desk.ledger
        study = next((study for study in ledger.studies() if study.name == name), None)
        if study is None:  # it is gone
            return Caps(), Usage()
        said = [data for kind, data in told if kind == "spent" and data["study"] == name]
        tokens, dollars = (
            ledger.spending(study, meter)[0] + sum(data[meter] or 0.0 for data in said)
            for meter in ("tokens", "dollars")
        )
        budget = study.spec.budget
        return Caps(budget.tokens, budget.dollars), Usage(int(tokens), dollars=dollars)

    def _without_model(self, text: str) -> Iterator[Event]:
        if text:
            yield from self._offline.answer(text, str(len(self.approvals.all())))
        else:
            yield Text("I go on without a language model; /help says what I can do.", "offline")

    def _record(self, kind: str, **data: Any) -> None:
        self._store.add_turn(self.id, kind, data)

    def _recorded(self, events: Iterator[Event]) -> Iterator[Event]:
        """Pass events on and keep them; the pieces of one text are kept together."""
        called: dict[str, tuple[ToolCalled, float]] = {}
        pieces: list[Text] = []

        def keep_text() -> None:
            if pieces:
                self._record("text", text="".join(p.text for p in pieces), by=pieces[0].by)
                pieces.clear()

        try:
            for event in events:
                if not isinstance(event, Text) or event.by == "offline":
                    keep_text()
                match event:
                    case Text():
                        pieces.append(event)
                    case ToolCalled():
                        called[event.id] = event, time.monotonic()
                    case ToolAnswered():
                        told: dict[str, Any] = asdict(event) | {"arguments": {}}
                        if event.id in called:
                            call, begun = called[event.id]
                            seconds = round(time.monotonic() - begun, 3)
                            told |= {"arguments": call.arguments, "seconds": seconds}
                        self._record("tool", **told)
                    case ApprovalNeeded():
                        self._record("asked", approval=event.approval.id)
                    case Interrupted():
                        self._record("interrupted", reason=event.reason)
                    case Done():
                        pass
                yield event
        finally:
            keep_text()


def _untold(told: Sequence[tuple[str, dict[str, Any]]]) -> list[tuple[str, str]]:
    """Return what was said since the planner last listened, as role and text."""
    said: list[tuple[str, str]] = []
    *before, _ = told  # the last one is what it is told now
    for kind, data in before:
        if kind == "heard":
            said.clear()
        elif kind == "person" or (kind == "text" and data["by"] == "offline"):
            said.append((kind, data["text"]))
    return said


def study_started(kind: str, data: Mapping[str, Any]) -> str | None:
    """Return the study that a turn of a conversation started, None if it did not."""
    if kind != "tool" or data["tool"] not in _STARTS or data["failed"]:
        return None
    answer = data["answer"]  # langchain says before it what a person has changed
    return str(json.loads(answer[answer.index('{"study"') :])["study"])


def _one_of(pending: list[Approval], id: str | None) -> Approval:
    """Return the approval that is meant.

    Raises:
        UsageError: If that is not clear.
    """
    if id is None and len(pending) == 1:
        return pending[0]
    for approval in pending:
        if id is not None and approval.id == int(id):
            return approval
    numbers = ", ".join(str(approval.id) for approval in pending)
    raise UsageError(f"say which one you mean, by its number: {numbers}")
