"""The database of what was said, drafted and approved; the ledger knows only of studies."""

from __future__ import annotations

import contextlib
import json
import secrets
import sqlite3
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..tools.errors import LuthierError
from ..tools.spec import StudySpec, parse_spec

_FIRST = """
CREATE TABLE conversations (
    id TEXT PRIMARY KEY, person TEXT NOT NULL, created_at REAL NOT NULL
);
CREATE TABLE turns (
    id INTEGER PRIMARY KEY, conversation TEXT NOT NULL REFERENCES conversations (id),
    kind TEXT NOT NULL, data TEXT NOT NULL, time REAL NOT NULL
);
CREATE INDEX turns_of ON turns (conversation, id);
CREATE TABLE drafts (
    key TEXT PRIMARY KEY, spec TEXT NOT NULL, folder TEXT NOT NULL, created_at REAL NOT NULL
);
CREATE TABLE approvals (
    id INTEGER PRIMARY KEY, conversation TEXT NOT NULL REFERENCES conversations (id),
    call TEXT NOT NULL, tool TEXT NOT NULL, arguments TEXT NOT NULL, digest TEXT NOT NULL,
    effect TEXT NOT NULL, shown TEXT NOT NULL, person TEXT NOT NULL, state TEXT NOT NULL,
    reason TEXT NOT NULL, replaces INTEGER REFERENCES approvals (id),
    created_at REAL NOT NULL, decided_at REAL, device_seconds REAL
);
CREATE INDEX approvals_of ON approvals (conversation, call);
"""
_PREFERENCES = """
CREATE TABLE preferences (
    id INTEGER PRIMARY KEY, person TEXT NOT NULL, words TEXT NOT NULL, UNIQUE (person, words)
)
"""
_VERSIONS = (_FIRST, _PREFERENCES)
"""What each version of the database adds to the one before."""
MOST_PREFERENCES = 7
_UNDONE = "undone"


class ConversationError(LuthierError, RuntimeError):
    """Conversations that cannot be read or written."""


@dataclass(frozen=True)
class Draft:
    """A spec that nobody has started; its key changes with every change of it."""

    key: str
    spec: StudySpec
    folder: Path
    """Where its trials are to run."""


@dataclass(frozen=True)
class Preference:
    """What a person asked to be remembered."""

    id: int
    words: str
    """Their own."""


class Conversations:
    """The conversations of a workspace; it may be used from any thread and process."""

    def __init__(self, path: Path) -> None:
        """Open the database, or make it.

        Raises:
            ConversationError: If it cannot be written, or a newer Luthier wrote it.
        """
        self.path = path
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ConversationError(f"cannot create {str(path.parent)!r}: {error}") from None
        with self.write() as db:
            (version,) = db.execute("PRAGMA user_version").fetchone()
            if version > len(_VERSIONS):
                raise ConversationError(
                    f"{str(path)!r} was written by a newer Luthier; upgrade Luthier, or choose "
                    "another workspace with LUTHIER_HOME"
                )
            if version < len(_VERSIONS):
                for statement in ";".join(_VERSIONS[version:]).split(";"):
                    db.execute(statement)
                db.execute(f"PRAGMA user_version = {len(_VERSIONS)}")

    @contextlib.contextmanager
    def read(self) -> Iterator[sqlite3.Connection]:
        """Open a connection that reads."""
        try:
            db = sqlite3.connect(self.path, timeout=30.0, isolation_level=None)
            with contextlib.closing(db):
                db.row_factory = sqlite3.Row
                db.execute("PRAGMA journal_mode = WAL")
                db.execute("PRAGMA synchronous = NORMAL")
                yield db
        except sqlite3.Error as error:
            raise ConversationError(f"{str(self.path)!r}: {error}") from error

    @contextlib.contextmanager
    def write(self) -> Iterator[sqlite3.Connection]:
        """Begin a transaction; all of it happens or nothing."""
        with self.read() as db:
            db.execute("BEGIN IMMEDIATE")
            try:
                yield db
            except BaseException:
                db.execute("ROLLBACK")
                raise
            db.execute("COMMIT")

    def begin(self, person: str) -> str:
        """Begin a conversation, and return its id."""
        name = f"{time.strftime('%Y%m%d-%H%M%S')}-{secrets.token_hex(3)}"
        with self.write() as db:
            db.execute("INSERT INTO conversations VALUES (?, ?, ?)", (name, person, time.time()))
        return name

    def check(self, conversation: str, person: str) -> None:
        """See that a conversation is there, and this person's.

        Raises:
            ConversationError: If it is not.
        """
        with self.read() as db:
            query = "SELECT person FROM conversations WHERE id = ?"
            row = db.execute(query, (conversation,)).fetchone()
        if row is None:
            raise ConversationError(f"there is no conversation {conversation!r}; begin a new one")
        if row["person"] != person:
            raise ConversationError(
                f"conversation {conversation!r} is {row['person']}'s, not {person}'s; begin another"
            )

    def latest(self, person: str) -> str | None:
        """Return the conversation that this person spoke in last, None if there is none."""
        query = """
            SELECT conversations.id FROM conversations LEFT JOIN turns ON conversation =
            conversations.id WHERE person = ? GROUP BY conversations.id
            ORDER BY max(coalesce(time, created_at)) DESC LIMIT 1
        """
        with self.read() as db:
            row = db.execute(query, (person,)).fetchone()
        return None if row is None else str(row["id"])

    def spoken(self, person: str, most: int = 50) -> list[tuple[str, str]]:
        """Return this person's conversations as id and first words, the one spoken in last first.

        Those in which nobody has said anything yet are left out.
        """
        query = """
            SELECT conversations.id AS id, min(turns.id),
            json_extract(data, '$.text') AS words,
            (SELECT max(time) FROM turns AS all_turns WHERE conversation = conversations.id) AS last
            FROM conversations JOIN turns ON conversation = conversations.id
            WHERE person = ? AND kind = 'person' GROUP BY conversations.id
            ORDER BY last DESC LIMIT ?
        """
        with self.read() as db:
            return [(row["id"], row["words"]) for row in db.execute(query, (person, most))]

    def newest_turn(self, conversation: str) -> int:
        """Return a number that grows with whatever is said or done; 0 before anything was."""
        query = "SELECT coalesce(max(id), 0) AS newest FROM turns WHERE conversation = ?"
        with self.read() as db:
            return int(db.execute(query, (conversation,)).fetchone()["newest"])

    def add_turn(self, conversation: str, kind: str, data: dict[str, Any]) -> None:
        """Append something that was said or done."""
        text = json.dumps(data, ensure_ascii=False)
        with self.write() as db:
            db.execute(
                "INSERT INTO turns (conversation, kind, data, time) VALUES (?, ?, ?, ?)",
                (conversation, kind, text, time.time()),
            )

    def turns(self, conversation: str, *, undone: bool = False) -> list[tuple[str, dict[str, Any]]]:
        """Return what was said and done, oldest first, as kind and data.

        Args:
            conversation: The conversation's id.
            undone: Whether to return what was taken back, too.
        """
        query = "SELECT id, kind, data FROM turns WHERE conversation = ? ORDER BY id"
        with self.read() as db:
            rows = db.execute(query, (conversation,)).fetchall()
        read = [(int(row["id"]), row["kind"], json.loads(row["data"])) for row in rows]
        back = [] if undone else [(data["since"], id) for id, kind, data in read if kind == _UNDONE]
        return [
            (kind, data)
            for id, kind, data in read
            # What the planner was told before, it knows still.
            if kind == "heard" or not any(since <= id < until for since, until in back)
        ]

    def undo(self, conversation: str) -> str | None:
        """Take back what the person said last, and all that came of it in the talk.

        It stays in the database, and whatever was done stays done.

        Returns:
            What they had said; None if there is nothing left to take back.
        """
        query = """
            SELECT id, json_extract(data, '$.text') AS text FROM turns AS said
            WHERE conversation = ? AND kind = 'person' AND NOT EXISTS (
                SELECT 1 FROM turns AS undone WHERE undone.conversation = said.conversation
                AND undone.kind = ? AND json_extract(undone.data, '$.since') <= said.id
                AND undone.id > said.id
            ) ORDER BY id DESC LIMIT 1
        """
        with self.write() as db:
            row = db.execute(query, (conversation, _UNDONE)).fetchone()
            if row is None:
                return None
            text = json.dumps({"since": row["id"], "text": row["text"]}, ensure_ascii=False)
            db.execute(
                "INSERT INTO turns (conversation, kind, data, time) VALUES (?, ?, ?, ?)",
                (conversation, _UNDONE, text, time.time()),
            )
            return str(row["text"])

    def has_said(self, person: str, words: str) -> bool:
        """Tell whether a person has said these words, one after the other, in what they last said.

        Case, and how much space is between them, do not matter.
        """
        query = """
            SELECT json_extract(data, '$.text') AS text FROM turns JOIN conversations
            ON conversation = conversations.id WHERE person = ? AND kind = 'person'
            ORDER BY turns.id DESC LIMIT 200
        """
        with self.read() as db:
            rows = db.execute(query, (person,)).fetchall()
        return any(_plain(words) in _plain(row["text"]) for row in rows)

    def preferences(self, person: str) -> list[Preference]:
        """Return what a person asked to be remembered, newest first."""
        query = "SELECT id, words FROM preferences WHERE person = ? ORDER BY id DESC"
        with self.read() as db:
            return [Preference(row["id"], row["words"]) for row in db.execute(query, (person,))]

    def remember(self, person: str, words: str) -> None:
        """Keep a preference; the same one twice is one.

        Raises:
            ConversationError: If there are as many as are kept.
        """
        with self.write() as db:
            query = "SELECT count(*) AS kept FROM preferences WHERE person = ? AND words != ?"
            if db.execute(query, (person, words)).fetchone()["kept"] >= MOST_PREFERENCES:
                raise ConversationError(
                    f"{MOST_PREFERENCES} preferences are remembered, and no more; forget one first"
                )
            db.execute(
                "INSERT OR IGNORE INTO preferences (person, words) VALUES (?, ?)", (person, words)
            )

    def forget(self, person: str, id: int) -> None:
        """Forget a preference.

        Raises:
            ConversationError: If this person has none of that number.
        """
        with self.write() as db:
            query = "DELETE FROM preferences WHERE person = ? AND id = ?"
            if db.execute(query, (person, id)).rowcount == 0:
                raise ConversationError(f"there is no preference {id}")

    def keep_draft(self, spec: StudySpec, folder: Path) -> Draft:
        """Keep a draft; the same one twice is one."""
        key = f"{spec.name}@{spec.content_hash()[:10]}"
        text = json.dumps(spec.to_dict())
        with self.write() as db:
            db.execute(
                "INSERT INTO drafts VALUES (?, ?, ?, ?) ON CONFLICT (key) DO UPDATE SET "
                "created_at = excluded.created_at, folder = excluded.folder",
                (key, text, str(folder), time.time()),
            )
        return Draft(key, spec, folder)

    def draft(self, key: str) -> Draft | None:
        """Return a draft, None if there is none of this key."""
        with self.read() as db:
            row = db.execute("SELECT * FROM drafts WHERE key = ?", (key,)).fetchone()
        return None if row is None else _draft(row)

    def drafts(self, most: int = 5) -> list[Draft]:
        """Return the newest drafts, newest first."""
        query = "SELECT * FROM drafts ORDER BY created_at DESC LIMIT ?"
        with self.read() as db:
            return [_draft(row) for row in db.execute(query, (most,))]


def _plain(text: str) -> str:
    return " ".join(text.split()).casefold()


def _draft(row: sqlite3.Row) -> Draft:
    spec = parse_spec(json.loads(row["spec"]), f"the draft {row['key']!r}")
    return Draft(row["key"], spec, Path(row["folder"]))
