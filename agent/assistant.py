"""`luthier.Agent`: the conversation from Python, up to a study's result."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from ..tools.errors import LuthierError
from .events import ApprovalNeeded, Event, Text, ToolAnswered

if TYPE_CHECKING:
    from ..tools.study import Study
    from .approvals import Approval, Policy
    from .dialogue import Dialogue
    from .llm.line import Line
    from .llm.settings import Settings
    from .tune import Result

Decide = Callable[["Approval"], "bool | str | Mapping[str, Any]"]
"""Decides for the person: True approves, False rejects, a text rejects with that reason, a mapping
approves with these arguments changed."""

_LOOK_SECONDS = 0.2


class AgentError(LuthierError, RuntimeError):
    """A request that led to no study."""


class Agent:
    """A conversation with Luthier; with a language model, if one is set up, or without.

    Example:
        with luthier.Agent(approve=lambda asked: asked.shown["estimate"]["trials"] <= 50) as agent:
            result = agent.run("tune train.py, maximise val_acc, 20 trials")
    """

    def __init__(
        self,
        llm: Settings | Mapping[str, Any] | bool | None = None,
        approve: Decide | None = None,
        *,
        policy: Policy | None = None,
        project: str | Path | None = None,
        workspace: str | Path | None = None,
        conversation: str | None = None,
    ) -> None:
        """Begin a conversation; nothing is sent yet.

        Args:
            llm: The language model: settings, or a dict of `base_url`, `model` and `api_key`; by
                default the one that is set up; False for none.
            approve: Decides about what spends or ends something. Without it all that is refused,
                but for what `policy` lets go ahead.
            policy: When somebody is asked at all; by default always.
            project: Folder of scripts and data; by default the current one.
            workspace: Folder for all that is written; by default LUTHIER_HOME or `.luthier`.
            conversation: The id of a conversation to go on with.

        Raises:
            SettingsError: If the language model is half set up.
            ConversationError: If there is no such conversation.
        """
        from .dialogue import Dialogue
        from .toolbox.desk import find_desk

        desk = find_desk(_path(project), _path(workspace))
        self._line = _open_line(llm, desk.workspace)
        self._approve = approve
        self.dialogue: Dialogue = Dialogue(
            desk, line=self._line, policy=policy, conversation=conversation
        )

    def __enter__(self) -> Agent:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the conversation; studies go on."""
        self.dialogue.close()
        if self._line is not None:
            self._line.close()

    def chat(self, text: str) -> Iterator[Event]:
        """Say something, and yield what happens; `approve` decides what is asked."""
        yield from self._settled(self.dialogue.send(text))

    def _settled(self, events: Iterator[Event]) -> Iterator[Event]:
        asked: list[Approval] = []
        for event in events:
            yield event
            if isinstance(event, ApprovalNeeded):
                asked.append(event.approval)
        for approval in asked:
            yield from self._settled(self._decide(approval))

    def _decide(self, approval: Approval) -> Iterator[Event]:
        if self._approve is None:
            reason = "nobody is there to approve it; give `luthier.Agent` an `approve` function"
            return self.dialogue.reject(approval.id, reason)
        decision = self._approve(approval)
        if isinstance(decision, Mapping):
            return self.dialogue.edit(approval.id, decision)
        if isinstance(decision, str):
            return self.dialogue.reject(approval.id, decision)
        if decision:
            return self.dialogue.approve(approval.id, approval.digest)
        return self.dialogue.reject(approval.id)

    def run(self, request: str) -> Result:
        """Do what is asked, wait until the study that was started has ended, and return the result.

        Raises:
            AgentError: If no study was started; with what Luthier said instead.
        """
        from .dialogue import study_started
        from .tune import result_of

        said: list[str] = []
        study = None
        for event in self.chat(request):
            if isinstance(event, Text):
                said.append(event.text)
            elif isinstance(event, ToolAnswered):
                study = study_started("tool", vars(event)) or study
        if study is None:
            raise AgentError(f"no study was started: {''.join(said).strip() or 'nothing was said'}")
        found = self.dialogue.desk.study(study)
        _wait(found)
        return result_of(found)

    async def achat(self, text: str) -> AsyncIterator[Event]:
        """Say something, as `chat` does, without blocking the event loop."""
        events = self.chat(text)
        while (event := await asyncio.to_thread(next, events, None)) is not None:
            yield event

    async def arun(self, request: str) -> Result:
        """Do what is asked, as `run` does, without blocking the event loop."""
        return await asyncio.to_thread(self.run, request)


def _wait(study: Study) -> None:
    while study.owner is not None:
        time.sleep(_LOOK_SECONDS)


def _path(path: str | Path | None) -> Path | None:
    return None if path is None else Path(path)


def _open_line(llm: Settings | Mapping[str, Any] | bool | None, workspace: Any) -> Line | None:
    """Return the way to a language model, None for none."""
    from .llm.line import Line
    from .llm.settings import Settings, load_settings

    if llm is False:
        return None
    if isinstance(llm, Settings):
        return Line(llm)
    settings = load_settings(workspace, **(llm if isinstance(llm, Mapping) else {}))
    return None if settings is None else Line(settings)
