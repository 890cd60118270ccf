"""The ledger's record of workflow optimisation: every edit that was proposed, and why it counts."""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from . import schema as t
from .database import Database, insert
from .errors import LuthierError
from .space import did_you_mean


class WorkflowError(LuthierError, ValueError):
    """A workflow that is not there, or that was recorded from other parameters."""


@dataclass(frozen=True)
class EditRecord:
    """One proposal and what became of it."""

    number: int
    proposer: str
    parent: str
    """Hash of the parameters that it changes."""
    made: str
    """Hash of what it makes of them."""
    diagnosis: str
    changes: Mapping[str, Any]
    """Parameter to its new value."""
    refused: Mapping[str, str]
    """Parameter to why an edit of it was refused."""
    diff: str
    decision: str
    """`accepted`, or the step of the cascade that ended it."""
    reason: str
    scores: Mapping[str, tuple[float, float]]
    """Validation case to the scores before and after; none if it did not come so far."""
    mean: float | None
    bound: float | None
    low_evidence: bool
    prompt: str
    tokens: int
    dollars: float | None

    @property
    def accepted(self) -> bool:
        """Whether it became part of the workflow."""
        return self.decision == "accepted"


def lineage(edits: Sequence[EditRecord]) -> list[EditRecord]:
    """Return the accepted edits that lead to the best parameters, oldest first.

    An accepted edit that changes other parameters than the best ones' forebears was never measured
    together with them, and is no part of what may be applied.
    """
    accepted = {edit.made: edit for edit in edits if edit.accepted}
    if not accepted:
        return []
    best = max(accepted.values(), key=_mean_after)
    line = [best]
    while (before := accepted.get(line[0].parent)) is not None:
        line.insert(0, before)
    return line


def _mean_after(edit: EditRecord) -> float:
    return statistics.fmean(after for _, after in edit.scores.values())


@dataclass(frozen=True)
class WorkflowRecord:
    """One optimisation of a workflow."""

    id: int
    name: str
    base: str
    state: str
    """`running` or `finished`."""
    sealed: Mapping[str, Any] | None
    openings: int


class EditLedger:
    """Workflows and their edits in a workspace's database."""

    def __init__(self, database: Database) -> None:
        """Use an open database."""
        self._database = database

    def open(self, name: str, base: str) -> WorkflowRecord:
        """Begin a workflow's optimisation, or take it up again.

        Args:
            name: Its name.
            base: Hash of the parameters that it begins with.

        Raises:
            WorkflowError: If it was begun with other parameters.
        """
        with self._database.write() as db:
            row = db.execute(sa.select(t.workflows).where(t.workflows.c.name == name)).first()
            if row is None:
                insert(
                    db,
                    t.workflows,
                    name=name,
                    base=base,
                    state="running",
                    openings=0,
                    created_at=time.time(),
                )
        found = self.workflow(name)
        if found.base != base:
            raise WorkflowError(
                f"workflow {name!r} was begun with other parameters than the file has now; give "
                "this run another --name, or put the file back"
            )
        return found

    def workflow(self, name: str) -> WorkflowRecord:
        """Return a workflow.

        Raises:
            WorkflowError: If there is none of this name.
        """
        found = self.workflows()
        for each in found:
            if each.name == name:
                return each
        hint = did_you_mean(name, [each.name for each in found])
        raise WorkflowError(f"no workflow {name!r} was optimised in this workspace{hint}")

    def workflows(self) -> list[WorkflowRecord]:
        """Return all workflows, the one that was begun last first."""
        with self._database.read() as db:
            rows = db.execute(sa.select(t.workflows).order_by(t.workflows.c.id.desc())).all()
        return [
            WorkflowRecord(
                row.id,
                row.name,
                row.base,
                row.state,
                None if row.sealed is None else json.loads(row.sealed),
                row.openings,
            )
            for row in rows
        ]

    def openings(self, base: str) -> int:
        """Return how often sealed cases were opened by all that began with these parameters."""
        total = sa.func.coalesce(sa.func.sum(t.workflows.c.openings), 0)
        with self._database.read() as db:
            return int(db.execute(sa.select(total).where(t.workflows.c.base == base)).scalar_one())

    def edits(self, workflow: WorkflowRecord) -> list[EditRecord]:
        """Return its edits in the order in which they were proposed."""
        query = sa.select(t.edits).where(t.edits.c.workflow_id == workflow.id)
        with self._database.read() as db:
            rows = db.execute(query.order_by(t.edits.c.number)).mappings().all()
        return [_edit(dict(row)) for row in rows]

    def add(self, workflow: WorkflowRecord, edit: EditRecord) -> None:
        """Keep an edit, whatever became of it."""
        fields = vars(edit) | {
            "changes": json.dumps(edit.changes),
            "refused": json.dumps(edit.refused),
            "scores": json.dumps(edit.scores),
        }
        with self._database.write() as db:
            insert(db, t.edits, workflow_id=workflow.id, created_at=time.time(), **fields)

    def finish(self, workflow: WorkflowRecord, sealed: Mapping[str, Any] | None) -> None:
        """End an optimisation; `sealed` is what the sealed cases said, if they were opened."""
        values: dict[str, Any] = {"state": "finished"}
        if sealed is not None:
            values |= {"sealed": json.dumps(sealed), "openings": t.workflows.c.openings + 1}
        with self._database.write() as db:
            db.execute(
                sa.update(t.workflows).where(t.workflows.c.id == workflow.id).values(**values)
            )


def _edit(row: Mapping[str, Any]) -> EditRecord:
    known = {name: row[name] for name in EditRecord.__dataclass_fields__}
    scores: Mapping[str, Sequence[float]] = json.loads(row["scores"])
    return EditRecord(
        **known
        | {
            "changes": json.loads(row["changes"]),
            "refused": json.loads(row["refused"]),
            "scores": {name: (pair[0], pair[1]) for name, pair in scores.items()},
        }
    )
