"""A person's consent: asked for one call, bound to its exact arguments, used once.

Nothing but a front end that a person operates decides: no tool, no answer of a model, and no text
of a file or a log has a way to it.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

from ..tools.config_file import read_table, write_table
from ..tools.errors import LuthierError
from ..tools.workspace import Workspace
from .conversations import Conversations

State = Literal["pending", "approved", "rejected", "replaced", "used"]
"""`replaced`: the person edited it; another approval has the new arguments. `used`: the call that
it was for has begun, and no other one may."""

Level = Literal["always", "above", "within"]


class ApprovalError(LuthierError, RuntimeError):
    """A decision that cannot be taken, or a call that nobody has approved."""


@dataclass(frozen=True)
class Policy:
    """When a person is asked; what destroys, and what nobody can estimate, is always asked."""

    level: Level = "always"
    """`always`; `above`: only for more than `device_seconds` in one call; `within`: only when all
    that was granted in the conversation comes to more than `device_seconds`."""
    device_seconds: float = 0.0

    def __post_init__(self) -> None:
        if self.level != "always" and not self.device_seconds > 0:
            raise ApprovalError(
                f"the level {self.level!r} needs device-seconds above 0, but got "
                f"{self.device_seconds!r}"
            )

    def goes_ahead(self, effect: str, device_seconds: float | None, granted: float) -> str | None:
        """Return why a call needs nobody, None if a person must be asked."""
        if effect != "spends" or device_seconds is None or self.level == "always":
            return None
        spent = granted if self.level == "within" else 0.0
        if spent + device_seconds > self.device_seconds:
            return None
        whole = " in all" if self.level == "within" else ""
        return (
            f"{spent + device_seconds:.0f} device-seconds{whole}, of which the person lets "
            f"{self.device_seconds:.0f} go ahead"
        )


def load_policy(workspace: Workspace) -> Policy:
    """Return the policy that the person keeps in the workspace's `config.toml`; else `always`.

    Raises:
        ConfigFileError: If the file cannot be read.
        ApprovalError: If what it says makes no sense.
    """
    table = read_table(workspace.folder / "config.toml", "approvals")
    level, seconds = table.get("level", "always"), table.get("device_seconds", 0.0)
    if level not in get_args(Level) or not isinstance(seconds, int | float):
        raise ApprovalError(
            f"`approvals` in {workspace.folder / 'config.toml'} needs a `level` of "
            f"{', '.join(get_args(Level))} and `device_seconds`, but got {level!r} and {seconds!r}"
        )
    return Policy(level, float(seconds))


def store_policy(workspace: Workspace, policy: Policy) -> None:
    """Keep a policy in the workspace's `config.toml`.

    Raises:
        ConfigFileError: If the file cannot be written.
    """
    kept = None if policy.level == "always" else policy.device_seconds
    values = {"level": policy.level, "device_seconds": kept}
    write_table(workspace.folder / "config.toml", "approvals", values)


@dataclass(frozen=True)
class Approval:
    """What a person is asked, and what they said."""

    id: int
    call: str
    """Names the call that it was asked for."""
    tool: str
    arguments: dict[str, Any]
    digest: str
    """SHA-256 of the tool and its canonical arguments, in hex."""
    effect: str
    shown: dict[str, Any]
    """What the person sees besides: the spec, the estimate."""
    person: str
    """Who alone may decide."""
    state: State
    reason: str
    """Why it was rejected, or went ahead without a question."""
    replaces: int | None
    """The approval whose arguments the person edited."""

    @property
    def is_automatic(self) -> bool:
        """Whether the person's policy let it go ahead, and nobody was asked."""
        return self.state in ("approved", "used") and self.reason != ""


def digest_of(tool: str, arguments: Mapping[str, Any]) -> str:
    """Return what an approval is bound to: the SHA-256 of the exact call."""
    text = json.dumps([tool, arguments], sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


class Approvals:
    """The approvals of one conversation."""

    def __init__(
        self, store: Conversations, conversation: str, person: str, policy: Policy | None = None
    ) -> None:
        """Look at them; nothing is asked yet."""
        self._store = store
        self._conversation = conversation
        self.person = person
        self.policy = policy or Policy()

    def ask(
        self,
        call: str,
        tool: str,
        arguments: dict[str, Any],
        effect: str,
        shown: dict[str, Any],
        device_seconds: float | None,
    ) -> Approval:
        """Return the approval of one call: as it stands, or a new one, pending if a person decides.

        Args:
            call: Names the call; the same one is never asked about twice.
            tool: The tool's name.
            arguments: Its canonical arguments.
            effect: What it does.
            shown: What the person sees besides.
            device_seconds: What it will take; None if unknown.
        """
        with self._store.write() as db:
            row = self._find(db, call, tool, arguments)
            if row is not None:
                return _approval(row)
            reason = self.policy.goes_ahead(effect, device_seconds, self._granted(db))
            key = self._insert(
                db,
                call=call,
                tool=tool,
                arguments=arguments,
                effect=effect,
                shown=shown,
                state="pending" if reason is None else "approved",
                reason=reason or "",
                replaces=None,
                device_seconds=device_seconds,
            )
            return self._get(db, key)

    def find(self, call: str, tool: str, arguments: Mapping[str, Any]) -> Approval | None:
        """Return what was asked about a call, None if nothing was yet."""
        with self._store.read() as db:
            row = self._find(db, call, tool, arguments)
        return None if row is None else _approval(row)

    def _find(
        self, db: sqlite3.Connection, call: str, tool: str, arguments: Mapping[str, Any]
    ) -> sqlite3.Row | None:
        query = """
            SELECT * FROM approvals WHERE conversation = ? AND call = ? AND digest = ?
            AND replaces IS NULL
        """
        key = (self._conversation, call, digest_of(tool, arguments))
        row: sqlite3.Row | None = db.execute(query, key).fetchone()
        return row

    def _granted(self, db: sqlite3.Connection) -> float:
        query = """
            SELECT coalesce(sum(device_seconds), 0) AS granted FROM approvals
            WHERE conversation = ? AND state IN ('approved', 'used')
        """
        return float(db.execute(query, (self._conversation,)).fetchone()["granted"])

    def _insert(self, db: sqlite3.Connection, **values: Any) -> int:
        values |= {
            "digest": digest_of(values["tool"], values["arguments"]),
            "conversation": self._conversation,
            "person": self.person,
            "created_at": time.time(),
            "decided_at": None if values["state"] == "pending" else time.time(),
            "arguments": json.dumps(values["arguments"], ensure_ascii=False),
            "shown": json.dumps(values["shown"], ensure_ascii=False),
        }
        names, marks = ", ".join(values), ", ".join("?" * len(values))
        text = f"INSERT INTO approvals ({names}) VALUES ({marks})"
        return int(db.execute(text, tuple(values.values())).lastrowid or 0)

    def _get(self, db: sqlite3.Connection, id: int) -> Approval:
        query = "SELECT * FROM approvals WHERE id = ? AND conversation = ?"
        row = db.execute(query, (id, self._conversation)).fetchone()
        if row is None:
            raise ApprovalError(f"there is no approval {id} in this conversation")
        return _approval(row)

    def get(self, id: int) -> Approval:
        """Return an approval as it stands.

        Raises:
            ApprovalError: If there is none of this id.
        """
        with self._store.read() as db:
            return self._get(db, id)

    def all(self) -> list[Approval]:
        """Return all approvals of the conversation, oldest first."""
        query = "SELECT * FROM approvals WHERE conversation = ? ORDER BY id"
        with self._store.read() as db:
            return [_approval(row) for row in db.execute(query, (self._conversation,))]

    def pending(self) -> list[Approval]:
        """Return what the person has not decided yet."""
        return [approval for approval in self.all() if approval.state == "pending"]

    def approve(self, id: int, digest: str, person: str) -> Approval:
        """Say yes to exactly what was shown.

        Args:
            id: The approval's.
            digest: The digest of what the person saw.
            person: Who says it.

        Raises:
            ApprovalError: If it is not theirs, was decided before, or has another digest.
        """
        return self._decide(id, person, "approved", "", digest)

    def reject(self, id: int, reason: str, person: str) -> Approval:
        """Say no; the reason goes back to the planner.

        Raises:
            ApprovalError: If it is not theirs, or was decided before.
        """
        return self._decide(id, person, "rejected", reason, None)

    def replace(
        self,
        id: int,
        arguments: dict[str, Any],
        shown: dict[str, Any],
        device_seconds: float | None,
        person: str,
    ) -> Approval:
        """Say yes to other arguments; the caller has validated them. Returns the new approval.

        Raises:
            ApprovalError: If it is not theirs, or was decided before.
        """
        with self._store.write() as db:
            old = self._open(db, id, person)
            self._set(db, id, "replaced", "")
            query = "SELECT call FROM approvals WHERE id = ?"
            key = self._insert(
                db,
                call=db.execute(query, (id,)).fetchone()["call"],
                tool=old.tool,
                arguments=arguments,
                effect=old.effect,
                shown=shown,
                state="approved",
                reason="",
                replaces=id,
                device_seconds=device_seconds,
            )
            return self._get(db, key)

    def replacement(self, id: int) -> Approval:
        """Return the approval that has what the person made of this one."""
        return next(approval for approval in self.all() if approval.replaces == id)

    def use(self, tool: str, arguments: Mapping[str, Any]) -> Approval | None:
        """Use up an approval of exactly this call, and return it; None if there is none."""
        query = """
            SELECT id FROM approvals WHERE conversation = ? AND digest = ? AND person = ?
            AND state = 'approved' ORDER BY id LIMIT 1
        """
        with self._store.write() as db:
            key = (self._conversation, digest_of(tool, arguments), self.person)
            row = db.execute(query, key).fetchone()
            if row is None:
                return None
            db.execute("UPDATE approvals SET state = 'used' WHERE id = ?", (row["id"],))
            return self._get(db, row["id"])

    def why_not(self, tool: str, arguments: Mapping[str, Any]) -> str:
        """Return why a call that nothing approves may not begin."""
        digest = digest_of(tool, arguments)
        last = next((a for a in reversed(self.all()) if a.digest == digest), None)
        match last and last.state:
            case "pending":
                return "waits for the person's approval"
            case "rejected":
                return f"was refused by the person: {last.reason}" if last else ""
            case "used":
                return "was approved once, and has begun once; look at what came of it"
            case "replaced":
                return "was changed by the person before they approved it"
            case _:
                return "needs the person's approval of exactly these arguments, which nobody gave"

    def _decide(
        self, id: int, person: str, state: State, reason: str, digest: str | None
    ) -> Approval:
        with self._store.write() as db:
            asked = self._open(db, id, person)
            if digest is not None and digest != asked.digest:
                raise ApprovalError(
                    f"approval {id} is for other arguments than those that were shown; look again"
                )
            self._set(db, id, state, reason)
            return self._get(db, id)

    def _open(self, db: sqlite3.Connection, id: int, person: str) -> Approval:
        asked = self._get(db, id)
        if asked.person != person:
            raise ApprovalError(f"approval {id} is {asked.person}'s to decide, not {person}'s")
        if asked.state != "pending":
            raise ApprovalError(f"approval {id} is {asked.state} already")
        return asked

    def _set(self, db: sqlite3.Connection, id: int, state: State, reason: str) -> None:
        db.execute(
            "UPDATE approvals SET state = ?, reason = ?, decided_at = ? WHERE id = ?",
            (state, reason, time.time(), id),
        )


def waiting(store: Conversations, person: str) -> list[tuple[str, Approval]]:
    """Return what a person has to decide, with the conversation that asks; oldest first."""
    query = "SELECT * FROM approvals WHERE person = ? AND state = 'pending' ORDER BY id"
    with store.read() as db:
        return [(row["conversation"], _approval(row)) for row in db.execute(query, (person,))]


def _approval(row: sqlite3.Row) -> Approval:
    return Approval(
        id=row["id"],
        call=row["call"],
        tool=row["tool"],
        arguments=json.loads(row["arguments"]),
        digest=row["digest"],
        effect=row["effect"],
        shown=json.loads(row["shown"]),
        person=row["person"],
        state=row["state"],
        reason=row["reason"],
        replaces=row["replaces"],
    )
