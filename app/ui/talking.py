"""The conversations that this server answers in: each in a thread of its own, which no tab holds.

A tab that is closed, or never was there, changes nothing: what is said and done stands in the
database, and here only what is under way.
"""

from __future__ import annotations

import io
import logging
import queue
import shutil
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from ...agent.approvals import Approval, Approvals
from ...agent.events import Event, Text, ToolAnswered, ToolCalled
from ...agent.llm.settings import load_settings
from ...agent.toolbox.desk import Desk
from ...tools.errors import LuthierError

if TYPE_CHECKING:
    from ...agent.dialogue import Dialogue

UPLOADS = (".py", ".csv", ".parquet", ".zip")
"""Kinds of files that a person may drop into a conversation."""
_NEWS_SECONDS = 3.0
_log = logging.getLogger(__name__)

Turn = Callable[["Dialogue"], Iterator[Event]]


class UploadError(LuthierError, ValueError):
    """A file that no conversation can use."""


@dataclass(frozen=True)
class Live:
    """What of a conversation is under way, and not in the database yet."""

    busy: bool = False
    text: str = ""
    """What the planner has said of its present sentence."""
    running: ToolCalled | None = None
    problem: str = ""
    """Why the last turn could not be finished."""


@dataclass(frozen=True)
class View:
    """A conversation as it stands."""

    id: str
    turns: Sequence[tuple[str, dict[str, Any]]]
    pending: Sequence[Approval]


class Talk:
    """A conversation, and the thread that answers in it."""

    def __init__(self, desk: Desk, conversation: str) -> None:
        self.live = Live()
        self._desk = desk
        self._id = conversation
        self._stop = threading.Event()
        self._asked = queue.SimpleQueue[Turn]()
        self._news_at = 0.0
        threading.Thread(target=self._work, name=f"talk {conversation}", daemon=True).start()

    def do(self, turn: Turn) -> None:
        """Let a turn follow those that were asked for before."""
        self._stop.clear()
        self.live = Live(busy=True)
        self._asked.put(turn)

    def look_for_news(self) -> None:
        """See what became of the studies, if nothing else is under way and it is time."""
        if not self.live.busy and time.monotonic() - self._news_at > _NEWS_SECONDS:
            self._news_at = time.monotonic()
            self._asked.put(lambda dialogue: dialogue.news())

    def stop(self) -> None:
        """End the present answer as soon as its next piece comes."""
        self._stop.set()

    def _work(self) -> None:
        from ...agent.dialogue import Dialogue

        dialogue = None
        while True:
            turn, problem = self._asked.get(), ""
            try:
                if dialogue is None:
                    dialogue = Dialogue(self._desk, conversation=self._id)
                self._use_model(dialogue)
                self._hear(dialogue, turn(dialogue))
            except LuthierError as error:
                problem = str(error)
            except Exception as error:  # told to the person; the conversation must go on
                _log.exception("a turn of conversation %s failed", self._id)
                problem = f"something unforeseen went wrong: {type(error).__name__}: {error}"
            self.live = Live(busy=not self._asked.empty(), problem=problem)

    def _use_model(self, dialogue: Dialogue) -> None:
        """Think with the language model that is set up by now."""
        settings = load_settings(self._desk.workspace)
        before = dialogue.line
        if settings == (None if before is None else before.settings):
            return
        from ...agent.llm.line import Line

        dialogue.use_model(None if settings is None else Line(settings))
        if before is not None:
            before.close()

    def _hear(self, dialogue: Dialogue, events: Iterator[Event]) -> None:
        for event in events:
            match event:
                case Text(by="planner"):
                    self.live = replace(self.live, text=self.live.text + event.text)
                case ToolCalled():
                    self.live = replace(self.live, text="", running=event)
                case ToolAnswered():
                    self.live = replace(self.live, running=None)
                case _:
                    self.live = replace(self.live, text="")
            if self._stop.is_set():
                events.close()  # type: ignore[attr-defined]
                dialogue.broken_off()
                return


class Talks:
    """All conversations of one workspace."""

    def __init__(self, desk: Desk) -> None:
        self.desk = desk
        self._talks: dict[str, Talk] = {}
        self._lock = threading.Lock()

    def latest(self) -> str | None:
        """Return the person's last conversation, None if there is none yet."""
        path = self.desk.workspace.folder / "conversations.db"
        return self.desk.conversations.latest(self.desk.person) if path.exists() else None

    def begin(self) -> str:
        """Begin a conversation, and return its id."""
        return self.desk.conversations.begin(self.desk.person)

    def spoken(self) -> list[tuple[str, str]]:
        """Return the person's conversations as id and first words, the last one first."""
        return self.desk.conversations.spoken(self.desk.person)

    def talk(self, id: str) -> Talk:
        """Return a conversation.

        Raises:
            ConversationError: If there is none of this id, or it is another person's.
        """
        with self._lock:
            if id not in self._talks:
                self.desk.conversations.check(id, self.desk.person)
                self._talks[id] = Talk(self.desk, id)
            return self._talks[id]

    def version(self, id: str) -> tuple[int, tuple[int, ...]]:
        """Return what changes whenever a view does."""
        newest = self.desk.conversations.newest_turn(id)
        return newest, tuple(approval.id for approval in self._approvals(id).pending())

    def view(self, id: str) -> View:
        """Return a conversation as it stands."""
        turns = self.desk.conversations.turns(id)
        return View(id, turns, self._approvals(id).pending())

    def approval(self, id: str, approval: int) -> Approval:
        """Return an approval of a conversation.

        Raises:
            ApprovalError: If it has none of this number.
        """
        return self._approvals(id).get(approval)

    def _approvals(self, id: str) -> Approvals:
        return Approvals(self.desk.conversations, id, self.desk.person)

    def take_in(self, upload: Path) -> str:
        """Copy a file that a person dropped into the project; return its path there.

        Of a zip the images are taken, as one `.npz` file; what they are stands beside the path.

        Raises:
            UploadError: If it is of a kind that nobody can use.
            ImagesError: If it is a zip without images that can be used.
        """
        if upload.suffix.lower() not in UPLOADS:
            raise UploadError(
                f"{upload.name!r} cannot be used here: drop a training script (.py), a table "
                "(.csv, .parquet), or a .zip of images with a folder for each class"
            )
        if upload.suffix.lower() == ".zip":
            return self._take_in_images(upload)
        with upload.open("rb") as source:
            return self._put(upload.stem, upload.suffix, source)

    def _take_in_images(self, upload: Path) -> str:
        import numpy as np

        from .images import pack

        arrays, said = pack(upload)
        content = io.BytesIO()
        np.savez_compressed(content, **arrays)  # type: ignore[arg-type]
        content.seek(0)
        return f"{self._put(upload.stem, '.npz', content)} ({said})"

    def _put(self, stem: str, suffix: str, source: BinaryIO) -> str:
        """Write a file of a name that is free; return its path in the project."""
        folder = self.desk.project / "uploads"
        folder.mkdir(exist_ok=True)
        for count in range(1, 1000):
            name = f"{stem}{suffix}" if count == 1 else f"{stem}-{count}{suffix}"
            try:
                with (folder / name).open("xb") as target:
                    shutil.copyfileobj(source, target)
            except FileExistsError:
                continue
            return f"uploads/{name}"
        raise UploadError(f"{str(folder)!r} holds too many files named {stem + suffix!r}")
