"""The ledger: the one record of studies, trials, attempts, metrics, events, budget and wishes.

A study's worker writes through a `Writer`, which holds the study's lease: every transaction checks
the fencing token first, so a worker that lost its lease can write nothing. Front ends read, create
studies and leave wishes.
"""

from __future__ import annotations

import getpass
import json
import math
import os
import socket
import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError

from . import schema as t
from .clock import Clock
from .database import Database, LedgerError, add_event, bump, insert, open_database, value_to_sql
from .executors.processes import start_ticks
from .outcomes import Outcome, StopReason
from .records import (
    AttemptRecord,
    Curves,
    Decision,
    EventRecord,
    Owner,
    Prediction,
    StudyRecord,
    TrialRecord,
    Veto,
    continued,
    to_json,
    trial_state,
)
from .space import Configuration, did_you_mean
from .spec import StudySpec, parse_spec
from .writer import LEASE_SECONDS, Writer


class StudyNotFoundError(LedgerError):
    """There is no study of that name."""


class LeaseHeldError(LedgerError):
    """Another worker owns the study."""

    def __init__(self, study: str, owner: Owner) -> None:
        self.owner = owner
        super().__init__(
            f"study {study!r} is being run by {owner.name}; "
            f"watch it with `luthier watch {study}`, or stop it with `luthier stop {study}`"
        )


class Ledger:
    """The database of a workspace."""

    def __init__(self, database: Database) -> None:
        """Wrap an open database; use `open_ledger`."""
        self._database = database

    @property
    def database(self) -> Database:
        """The open database, for what else stands in it; its ledger closes it."""
        return self._database

    @property
    def path(self) -> Path:
        """The database's file."""
        return self._database.path

    def create_study(
        self,
        spec: StudySpec,
        working_directory: Path,
        *,
        parent: StudyRecord | None = None,
        imported: Sequence[TrialRecord] = (),
    ) -> StudyRecord:
        """Store a new study, with the finished trials that it takes over from its parent.

        Raises:
            LedgerError: If the name is taken.
        """
        now = time.time()
        try:
            with self._database.write() as db:
                study_id = insert(
                    db,
                    t.studies,
                    name=spec.name,
                    spec=to_json(spec.to_dict()),
                    spec_hash=spec.content_hash(),
                    working_directory=str(working_directory),
                    parent_id=parent.id if parent else None,
                    state="created",
                    created_at=now,
                )
                lineage = {"parent": parent.name if parent else None}
                add_event(db, study_id, "created", None, lineage, now)
                for number, trial in enumerate(imported):
                    self._import_trial(db, study_id, number, trial)
        except IntegrityError:
            raise LedgerError(f"there is a study named {spec.name!r} already") from None
        return self.study(spec.name)

    def _import_trial(
        self, db: sa.Connection, study_id: int, number: int, trial: TrialRecord
    ) -> None:
        trial_id = insert(
            db,
            t.trials,
            study_id=study_id,
            number=number,
            state=str(trial.state),
            reason=trial.reason,
            configuration=to_json(trial.configuration),
            metrics=to_json(trial.metrics),
            source="import",
            imported_from=trial.id,
            created_at=trial.created_at,
            finished_at=trial.finished_at,
        )
        for attempt in trial.attempts[-1:]:
            attempt_id = insert(
                db,
                t.attempts,
                trial_id=trial_id,
                number=1,
                token=0,
                slot=attempt.slot,
                started_at=attempt.started_at,
                finished_at=attempt.finished_at,
                outcome=attempt.outcome,
                reason=attempt.reason,
                seconds=attempt.seconds,
                peak_bytes=attempt.peak_bytes,
            )
            rows = [
                {"attempt_id": attempt_id, "name": name, "step": step, "value": value_to_sql(value)}
                for name, curve in (trial.curves or {}).items()
                for step, value in curve.items()
            ]
            if rows:
                db.execute(sa.insert(t.metrics), rows)

    def study(self, name: str) -> StudyRecord:
        """Return a study.

        Raises:
            StudyNotFoundError: With the nearest name.
        """
        found = self._studies(t.studies.c.name == name)
        if not found:
            names = [study.name for study in self.studies()]
            hint = did_you_mean(name, names) or "; there are none in this workspace"
            raise StudyNotFoundError(f"there is no study {name!r}{hint}")
        return found[0]

    def studies(self) -> list[StudyRecord]:
        """Return all studies, oldest first."""
        return self._studies(sa.true())

    def _studies(self, where: sa.ColumnElement[bool]) -> list[StudyRecord]:
        parent = t.studies.alias()
        query = (
            sa.select(t.studies, parent.c.name.label("parent"))
            .join_from(t.studies, parent, t.studies.c.parent_id == parent.c.id, isouter=True)
            .where(where)
            .order_by(t.studies.c.id)
        )
        with self._database.read() as db:
            return [
                StudyRecord(
                    id=row.id,
                    name=row.name,
                    spec=parse_spec(json.loads(row.spec), f"the stored spec of {row.name!r}"),
                    working_directory=Path(row.working_directory),
                    parent=row.parent,
                    state=row.state,
                    reason=row.reason,
                    version=row.version,
                    wall_seconds=row.wall_seconds,
                    created_at=row.created_at,
                )
                for row in db.execute(query)
            ]

    def version(self, study: StudyRecord) -> int:
        """Return the study's version counter, which grows with every write.

        Raises:
            StudyNotFoundError: If the study was deleted since it was read.
        """
        with self._database.read() as db:
            query = sa.select(t.studies.c.version).where(t.studies.c.id == study.id)
            version = db.execute(query).scalar()
        if version is None:
            raise StudyNotFoundError(f"study {study.name!r} was deleted")
        return int(version)

    def trials(
        self,
        study: StudyRecord,
        *,
        curves: bool = False,
        numbers: Collection[int] | None = None,
    ) -> list[TrialRecord]:
        """Return a study's trials by number, or those with these numbers.

        Args:
            study: The study.
            curves: Whether to read their reports too.
            numbers: Which trials; None for all.
        """
        of_study = t.trials.c.study_id == study.id
        if numbers is not None:
            of_study &= t.trials.c.number.in_(numbers)
        by_trial: dict[int, list[Any]] = {}
        by_attempt: dict[int, dict[str, dict[int, float]]] = {}
        with self._database.read() as db:
            attempts = (
                sa.select(t.attempts)
                .join(t.trials)
                .where(of_study)
                .order_by(t.attempts.c.trial_id, t.attempts.c.number)
            )
            for row in db.execute(attempts):
                by_trial.setdefault(row.trial_id, []).append(row)
            if curves:
                points = (
                    sa.select(t.metrics)
                    .join(t.attempts, t.attempts.c.id == t.metrics.c.attempt_id)
                    .join(t.trials, t.trials.c.id == t.attempts.c.trial_id)
                    .where(of_study)
                    .order_by(t.metrics.c.step)
                )
                for row in db.execute(points):
                    curve = by_attempt.setdefault(row.attempt_id, {}).setdefault(row.name, {})
                    curve[row.step] = math.nan if row.value is None else row.value
            rows = db.execute(sa.select(t.trials).where(of_study).order_by(t.trials.c.number))
            found = [_trial(row, by_trial.get(row.id, ())) for row in rows]
        if not curves:
            return found
        return [replace(trial, curves=_curves(trial, by_attempt)) for trial in found]

    def latest_reports(self, study: StudyRecord) -> dict[int, dict[str, tuple[int, float]]]:
        """Return where running trials stand: number to metric to its latest step and value."""
        c = t.metrics.c
        # SQLite takes the other columns from the row of the maximum.
        query = (
            sa.select(t.trials.c.number, c.name, sa.func.max(c.step).label("step"), c.value)
            .join(t.attempts, t.attempts.c.id == c.attempt_id)
            .join(t.trials, t.trials.c.id == t.attempts.c.trial_id)
            .where(
                t.trials.c.study_id == study.id,
                t.trials.c.state == "running",
                t.attempts.c.outcome.is_(None),
            )
            .group_by(t.trials.c.number, c.name)
        )
        found: dict[int, dict[str, tuple[int, float]]] = {}
        with self._database.read() as db:
            for row in db.execute(query):
                value = math.nan if row.value is None else row.value
                found.setdefault(row.number, {})[row.name] = (row.step, value)
        return found

    def decisions(
        self, study: StudyRecord, numbers: Collection[int] | None = None
    ) -> dict[int, Decision]:
        """Return why configurations were chosen, by trial number: of all trials, or of these."""
        where = t.trials.c.study_id == study.id
        if numbers is not None:
            where &= t.trials.c.number.in_(numbers)
        query = sa.select(t.decisions, t.trials.c.number).join(t.trials).where(where)
        with self._database.read() as db:
            return {
                row.number: Decision(
                    source=row.source,
                    reason=row.reason,
                    seen_ended=row.seen_ended,
                    seen_pending=row.seen_pending,
                    seconds=row.seconds,
                    deadline_missed=row.deadline_missed,
                    prediction=_prediction(row.prediction),
                    prompt_version=row.prompt_version or "",
                    tokens=row.tokens,
                    dollars=row.dollars,
                    memory_bytes=row.memory_bytes,
                    vetoes=tuple(Veto(**veto) for veto in json.loads(row.vetoes or "[]")),
                )
                for row in db.execute(query)
            }

    def events(self, study: StudyRecord, after: int = 0) -> list[EventRecord]:
        """Return what happened, oldest first, after the event with id `after`."""
        query = (
            sa.select(t.events)
            .where(t.events.c.study_id == study.id, t.events.c.id > after)
            .order_by(t.events.c.id)
        )
        with self._database.read() as db:
            return [_event(row) for row in db.execute(query)]

    def newest_events(
        self, study: StudyRecord, kinds: Sequence[str], most: int
    ) -> list[EventRecord]:
        """Return the newest events of these kinds, oldest first."""
        c = t.events.c
        query = sa.select(t.events).where(c.study_id == study.id, c.kind.in_(kinds))
        with self._database.read() as db:
            rows = db.execute(query.order_by(c.id.desc()).limit(most)).all()
        return [_event(row) for row in reversed(rows)]

    def newest_event(self, study: StudyRecord) -> int:
        """Return the id of the study's newest event."""
        query = sa.select(sa.func.max(t.events.c.id)).where(t.events.c.study_id == study.id)
        with self._database.read() as db:
            return int(db.execute(query).scalar() or 0)

    def changed_trials(self, study: StudyRecord, after: int) -> list[int]:
        """Return the numbers of the trials that events after the one with id `after` are about."""
        c = t.events.c
        newer = sa.and_(c.study_id == study.id, c.id > after, c.trial.is_not(None))
        with self._database.read() as db:
            return list(db.execute(sa.select(c.trial).where(newer).distinct()).scalars())

    def last_event_time(self, study: StudyRecord) -> float:
        """Return when the study's newest event happened, in seconds since 1970."""
        query = (
            sa.select(t.events.c.time)
            .where(t.events.c.study_id == study.id)
            .order_by(t.events.c.id.desc())
            .limit(1)
        )
        with self._database.read() as db:
            return float(db.execute(query).scalar_one())

    def spending(self, study: StudyRecord, meter: str) -> tuple[float, float]:
        """Return how much of a meter is spent, and how much more is reserved."""
        c = t.spending.c
        query = sa.select(
            sa.func.coalesce(sa.func.sum(c.spent), 0.0),
            sa.func.coalesce(sa.func.sum(sa.case((c.spent.is_(None), c.reserved), else_=0.0)), 0.0),
        ).where(c.study_id == study.id, c.meter == meter)
        with self._database.read() as db:
            spent, reserved = db.execute(query).one()
            return float(spent), float(reserved)

    def wish(self, study: StudyRecord, kind: str, **data: Any) -> None:
        """Ask something of the study's worker."""
        with self._database.write() as db:
            insert(
                db,
                t.wishes,
                study_id=study.id,
                kind=kind,
                data=to_json(data),
                author=_who(),
                created_at=time.time(),
            )
            bump(db, study.id)

    def owner(self, study: StudyRecord) -> Owner | None:
        """Return the living owner of the study's lease, None if nobody runs it."""
        with self._database.read() as db:
            return _living_owner(db, study.id)

    def acquire(self, study: StudyRecord, clock: Clock = time) -> Writer:
        """Take a study's lease for this process.

        Args:
            study: The study.
            clock: Tells when what is written happened.

        Raises:
            LeaseHeldError: If a living worker owns it.
        """
        with self._database.write() as db:
            owner = _living_owner(db, study.id)
            if owner is not None:
                raise LeaseHeldError(study.name, owner)
            query = sa.select(t.leases.c.token).where(t.leases.c.study_id == study.id)
            last = db.execute(query).scalar()
            values = {
                "owner": _who(),
                "host": socket.gethostname(),
                "pid": os.getpid(),
                "pid_start": start_ticks(os.getpid()) or 0,
                "token": (last or 0) + 1,
                "expires_at": time.time() + LEASE_SECONDS,
            }
            if last is None:
                db.execute(sa.insert(t.leases).values(study_id=study.id, **values))
            else:
                where = t.leases.c.study_id == study.id
                db.execute(sa.update(t.leases).where(where).values(values))
            # To pause or stop was asked of a worker that is gone.
            c = t.wishes.c
            stale = sa.and_(
                c.study_id == study.id,
                c.handled_at.is_(None),
                c.kind.not_in(("resume", "retry", "confirm", "enqueue")),
            )
            db.execute(sa.update(t.wishes).where(stale).values(handled_at=time.time()))
        # What the caller knows of the study may have been read before another worker's run.
        return Writer(self._database, self.study(study.name), int(values["token"]), clock)

    def close(self) -> None:
        """Close all connections."""
        self._database.close()


def open_ledger(path: Path) -> Ledger:
    """Open a workspace's ledger, creating or upgrading its database as needed.

    Raises:
        LedgerError: If the folder cannot be written, the file is no database, or it was written by
            a newer Luthier.
    """
    return Ledger(open_database(path))


def _living_owner(db: sa.Connection, study_id: int) -> Owner | None:
    row = db.execute(sa.select(t.leases).where(t.leases.c.study_id == study_id)).one_or_none()
    if row is None or row.expires_at < time.time():
        return None
    if row.host == socket.gethostname() and start_ticks(row.pid) != row.pid_start:
        return None  # it died on this machine; nobody need wait for the lease to run out
    return Owner(row.owner, row.host, row.pid, row.pid_start, row.token, row.expires_at)


def _trial(row: Any, attempts: Iterable[Any]) -> TrialRecord:
    configuration = json.loads(row.configuration)
    return TrialRecord(
        id=row.id,
        number=row.number,
        state=trial_state(row.state),
        reason=row.reason,
        configuration=configuration,
        metrics=json.loads(row.metrics),
        source=row.source,
        created_at=row.created_at,
        finished_at=row.finished_at,
        attempts=tuple(_attempt(attempt, configuration) for attempt in attempts),
        imported=row.imported_from is not None,
        repeat_of=row.repeat_of,
        seed=row.seed,
    )


def _curves(trial: TrialRecord, by_attempt: Mapping[int, Curves]) -> Curves:
    """Return the curves of the attempts since the configuration was last changed, joined."""
    curves: Curves = {}
    for attempt in trial.attempts:
        same = attempt.configuration == trial.configuration
        curves = continued(curves, by_attempt.get(attempt.id, {})) if same else {}
    return curves


def _attempt(row: Any, configuration: Configuration) -> AttemptRecord:
    return AttemptRecord(
        id=row.id,
        number=row.number,
        slot=row.slot,
        started_at=row.started_at,
        finished_at=row.finished_at,
        outcome=Outcome(row.outcome) if row.outcome is not None else None,
        reason=row.reason,
        seconds=row.seconds,
        peak_bytes=row.peak_bytes,
        error_tail=row.error_tail,
        stop_reason=StopReason(row.stop_reason) if row.stop_reason is not None else None,
        ended_for=row.ended_for,
        configuration=configuration if row.configuration is None else json.loads(row.configuration),
    )


def _prediction(text: str | None) -> Prediction | None:
    if text is None:
        return None
    data = json.loads(text)
    return Prediction(**{**data, "raw": tuple(data["raw"])})


def _event(row: Any) -> EventRecord:
    return EventRecord(row.id, row.time, row.kind, row.trial, json.loads(row.data))


def _who() -> str:
    return f"{getpass.getuser()}@{socket.gethostname()} (pid {os.getpid()})"
