"""The ledger: the one record of studies, trials, attempts, metrics, events, budget and wishes.

A study's worker writes through a `Writer`, which holds the study's lease: every transaction checks
the fencing token first, so a worker that lost its lease can write nothing. Front ends read, create
studies and leave wishes.
"""

from __future__ import annotations

import contextlib
import getpass
import json
import math
import os
import socket
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError, IntegrityError, OperationalError

from . import schema as t
from .executors.launcher import start_ticks
from .metrics import Report
from .outcomes import Outcome, Verdict
from .records import (
    AttemptRecord,
    Decision,
    EventRecord,
    Owner,
    StudyRecord,
    StudyState,
    TrialRecord,
    Wish,
    to_json,
    trial_state,
)
from .space import Configuration, did_you_mean
from .spec import StudySpec, parse_spec

LEASE_SECONDS = 15.0
"""How long a worker's lease lasts without a heartbeat."""


class LedgerError(RuntimeError):
    """The ledger cannot be read or written; nothing of the transaction happened."""


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


class LeaseLostError(LedgerError):
    """This worker's lease went to another one; it must not write any more."""


class Ledger:
    """The database of a workspace."""

    def __init__(self, engine: sa.Engine, path: Path) -> None:
        """Wrap an engine whose schema is up to date; use `open_ledger`."""
        self._engine = engine
        self.path = path

    @contextlib.contextmanager
    def _read(self) -> Iterator[sa.Connection]:
        with _errors(self.path), self._engine.connect() as connection:
            yield connection

    @contextlib.contextmanager
    def _write(self) -> Iterator[sa.Connection]:
        with _errors(self.path), self._engine.connect() as connection:
            with connection.execution_options(luthier_writes=True).begin():
                yield connection

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
            with self._write() as db:
                study_id = _insert(
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
                _event(db, study_id, "created", None, {"parent": parent.name if parent else None})
                for number, trial in enumerate(imported):
                    self._import_trial(db, study_id, number, trial)
        except IntegrityError:
            raise LedgerError(f"there is a study named {spec.name!r} already") from None
        return self.study(spec.name)

    def _import_trial(
        self, db: sa.Connection, study_id: int, number: int, trial: TrialRecord
    ) -> None:
        trial_id = _insert(
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
            attempt_id = _insert(
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
                {"attempt_id": attempt_id, "name": name, "step": step, "value": _to_sql(value)}
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
        with self._read() as db:
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
        """Return the study's version counter, which grows with every write."""
        with self._read() as db:
            query = sa.select(t.studies.c.version).where(t.studies.c.id == study.id)
            return int(db.execute(query).scalar_one())

    def trials(self, study: StudyRecord, *, curves: bool = False) -> list[TrialRecord]:
        """Return a study's trials by number; with `curves`, their reports too."""
        of_study = t.trials.c.study_id == study.id
        by_trial: dict[int, list[AttemptRecord]] = {}
        by_attempt: dict[int, dict[str, dict[int, float]]] = {}
        with self._read() as db:
            attempts = (
                sa.select(t.attempts)
                .join(t.trials)
                .where(of_study)
                .order_by(t.attempts.c.trial_id, t.attempts.c.number)
            )
            for row in db.execute(attempts):
                by_trial.setdefault(row.trial_id, []).append(_attempt(row))
            if curves:
                points = (
                    sa.select(t.metrics)
                    .join(t.attempts)
                    .join(t.trials)
                    .where(of_study)
                    .order_by(t.metrics.c.step)
                )
                for row in db.execute(points):
                    curve = by_attempt.setdefault(row.attempt_id, {}).setdefault(row.name, {})
                    curve[row.step] = math.nan if row.value is None else row.value
            rows = db.execute(sa.select(t.trials).where(of_study).order_by(t.trials.c.number))
            return [
                TrialRecord(
                    id=row.id,
                    number=row.number,
                    state=trial_state(row.state),
                    reason=row.reason,
                    configuration=json.loads(row.configuration),
                    metrics=json.loads(row.metrics),
                    source=row.source,
                    created_at=row.created_at,
                    finished_at=row.finished_at,
                    attempts=tuple(by_trial.get(row.id, ())),
                    curves=(
                        by_attempt.get(by_trial[row.id][-1].id, {})
                        if curves and row.id in by_trial
                        else ({} if curves else None)
                    ),
                    imported=row.imported_from is not None,
                )
                for row in rows
            ]

    def decisions(self, study: StudyRecord) -> dict[int, Decision]:
        """Return why each trial's configuration was chosen, by trial number."""
        query = (
            sa.select(t.decisions, t.trials.c.number)
            .join(t.trials)
            .where(t.trials.c.study_id == study.id)
        )
        with self._read() as db:
            return {
                row.number: Decision(
                    source=row.source,
                    reason=row.reason,
                    seen_ended=row.seen_ended,
                    seen_pending=row.seen_pending,
                    seconds=row.seconds,
                    deadline_missed=row.deadline_missed,
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
        with self._read() as db:
            return [
                EventRecord(row.id, row.time, row.kind, row.trial, json.loads(row.data))
                for row in db.execute(query)
            ]

    def spending(self, study: StudyRecord, meter: str) -> tuple[float, float]:
        """Return how much of a meter is spent, and how much more is reserved."""
        c = t.spending.c
        query = sa.select(
            sa.func.coalesce(sa.func.sum(c.spent), 0.0),
            sa.func.coalesce(sa.func.sum(sa.case((c.spent.is_(None), c.reserved), else_=0.0)), 0.0),
        ).where(c.study_id == study.id, c.meter == meter)
        with self._read() as db:
            spent, reserved = db.execute(query).one()
            return float(spent), float(reserved)

    def wish(self, study: StudyRecord, kind: str, **data: Any) -> None:
        """Ask something of the study's worker."""
        with self._write() as db:
            _insert(
                db,
                t.wishes,
                study_id=study.id,
                kind=kind,
                data=to_json(data),
                author=_who(),
                created_at=time.time(),
            )

    def owner(self, study: StudyRecord) -> Owner | None:
        """Return the living owner of the study's lease, None if nobody runs it."""
        with self._read() as db:
            return _living_owner(db, study.id)

    def change_budget(self, study: StudyRecord, spec: StudySpec) -> StudyRecord:
        """Store a spec that differs in its budget only, and record the change."""
        with self._write() as db:
            values = {"spec": to_json(spec.to_dict()), "spec_hash": spec.content_hash()}
            db.execute(sa.update(t.studies).where(t.studies.c.id == study.id).values(values))
            _bump(db, study.id)
            data = {"before": study.spec.budget.model_dump(), "after": spec.budget.model_dump()}
            _event(db, study.id, "budget_changed", None, data)
        return self.study(study.name)

    def acquire(self, study: StudyRecord) -> Writer:
        """Take a study's lease for this process.

        Raises:
            LeaseHeldError: If a living worker owns it.
        """
        with self._write() as db:
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
        return Writer(self, study, int(values["token"]))

    def close(self) -> None:
        """Close all connections."""
        self._engine.dispose()


class Writer:
    """The one worker's pen: every method is one transaction, refused without the lease."""

    def __init__(self, ledger: Ledger, study: StudyRecord, token: int) -> None:
        """Hold the lease `token` of a study; use `Ledger.acquire`."""
        self.ledger = ledger
        self.study = study
        self.token = token

    @contextlib.contextmanager
    def _fenced(self) -> Iterator[sa.Connection]:
        with self.ledger._write() as db:
            self._renew(db)
            _bump(db, self.study.id)
            yield db

    def _renew(self, db: sa.Connection) -> None:
        c = t.leases.c
        renewed = db.execute(
            sa.update(t.leases)
            .where(c.study_id == self.study.id, c.token == self.token)
            .values(expires_at=time.time() + LEASE_SECONDS)
        )
        if renewed.rowcount != 1:
            raise LeaseLostError(f"the lease of study {self.study.name!r} went to another worker")

    def heartbeat(self, run_seconds: float) -> None:
        """Renew the lease and note how long the study has run in all, in seconds."""
        with self.ledger._write() as db:
            self._renew(db)
            self._set_wall(db, run_seconds)

    def _set_wall(self, db: sa.Connection, seconds: float) -> None:
        where = t.studies.c.id == self.study.id
        db.execute(sa.update(t.studies).where(where).values(wall_seconds=seconds))

    def release(self, run_seconds: float) -> None:
        """Give the lease back."""
        with self.ledger._write() as db:
            self._renew(db)
            self._set_wall(db, run_seconds)
            where = t.leases.c.study_id == self.study.id
            db.execute(sa.update(t.leases).where(where).values(expires_at=0.0))

    def set_state(self, state: StudyState, reason: str = "") -> None:
        """Change the study's state."""
        with self._fenced() as db:
            where = t.studies.c.id == self.study.id
            db.execute(sa.update(t.studies).where(where).values(state=state, reason=reason))
            _event(db, self.study.id, state, None, {"reason": reason} if reason else {})

    def note(self, kind: str, trial: int | None = None, **data: Any) -> None:
        """Append an event."""
        with self._fenced() as db:
            _event(db, self.study.id, kind, trial, data)

    def add_trial(
        self, number: int, configuration: Configuration, decision: Decision, slot: str
    ) -> int:
        """Store a new trial with its decision and first attempt; return the attempt's id."""
        now = time.time()
        with self._fenced() as db:
            trial_id = _insert(
                db,
                t.trials,
                study_id=self.study.id,
                number=number,
                state="running",
                configuration=to_json(configuration),
                source=decision.source,
                created_at=now,
            )
            db.execute(sa.insert(t.decisions).values(trial_id=trial_id, **vars(decision)))
            return self._add_attempt(db, trial_id, number, 1, slot, now)

    def add_attempt(self, trial: TrialRecord, slot: str) -> int:
        """Store another attempt at a waiting trial; return its id."""
        with self._fenced() as db:
            where = t.trials.c.id == trial.id
            db.execute(sa.update(t.trials).where(where).values(state="running", reason=""))
            number = len(trial.attempts) + 1
            return self._add_attempt(db, trial.id, trial.number, number, slot, time.time())

    def _add_attempt(
        self, db: sa.Connection, trial_id: int, trial: int, number: int, slot: str, now: float
    ) -> int:
        attempt_id = _insert(
            db,
            t.attempts,
            trial_id=trial_id,
            number=number,
            token=self.token,
            slot=slot,
            started_at=now,
        )
        _insert(
            db,
            t.spending,
            study_id=self.study.id,
            attempt_id=attempt_id,
            meter="device_seconds",
            reserved=0.0,
        )
        _event(db, self.study.id, "started", trial, {"attempt": number, "slot": slot})
        return attempt_id

    def reserve(self, attempt_id: int, seconds: float) -> None:
        """Reserve device-seconds for a running attempt."""
        with self._fenced() as db:
            c = t.spending.c
            where = sa.and_(c.attempt_id == attempt_id, c.meter == "device_seconds")
            db.execute(sa.update(t.spending).where(where).values(reserved=seconds))

    def record_reports(self, attempt_id: int, reports: Iterable[Report]) -> None:
        """Store reports of steps; the first value of a metric at a step stays."""
        rows = {
            (name, report.step): {
                "attempt_id": attempt_id,
                "name": name,
                "step": report.step,
                "value": _to_sql(value),
            }
            for report in reports
            if report.step is not None
            for name, value in report.metrics.items()
        }
        if not rows:
            return
        with self._fenced() as db:
            statement = sa.insert(t.metrics).prefix_with("OR IGNORE", dialect="sqlite")
            db.execute(statement, list(rows.values()))

    def finish_attempt(
        self,
        trial: int,
        attempt_id: int,
        verdict: Verdict,
        *,
        metrics: Mapping[str, float],
        seconds: float,
        peak_bytes: int,
        error_tail: str,
        trial_state: Literal["waiting"] | Outcome,
    ) -> None:
        """Store how an attempt, and with it (unless it waits for another) the trial, ended.

        Telling it again changes nothing.
        """
        now = time.time()
        with self._fenced() as db:
            ended = db.execute(
                sa.update(t.attempts)
                .where(t.attempts.c.id == attempt_id, t.attempts.c.outcome.is_(None))
                .values(
                    outcome=str(verdict.outcome),
                    reason=verdict.reason,
                    finished_at=now,
                    seconds=seconds,
                    peak_bytes=peak_bytes,
                    error_tail=error_tail,
                )
            )
            if ended.rowcount != 1:
                return
            c = t.spending.c
            where = sa.and_(c.attempt_id == attempt_id, c.meter == "device_seconds")
            db.execute(sa.update(t.spending).where(where).values(spent=seconds))
            db.execute(
                sa.update(t.trials)
                .where(t.trials.c.study_id == self.study.id, t.trials.c.number == trial)
                .values(
                    state=str(trial_state),
                    reason=verdict.reason,
                    metrics=to_json(dict(metrics)),
                    finished_at=now if isinstance(trial_state, Outcome) else None,
                )
            )
            data = {"outcome": str(verdict.outcome), "reason": verdict.reason}
            _event(db, self.study.id, "ended", trial, data)

    def wait_again(self, trial: TrialRecord) -> None:
        """Put a finished trial back to waiting, for another attempt."""
        with self._fenced() as db:
            where = t.trials.c.id == trial.id
            values = {"state": "waiting", "finished_at": None}
            db.execute(sa.update(t.trials).where(where).values(values))
            _event(db, self.study.id, "waits_again", trial.number, {})

    def wishes(self) -> list[Wish]:
        """Return the wishes that nobody has handled yet, oldest first."""
        c = t.wishes.c
        query = (
            sa.select(t.wishes)
            .where(c.study_id == self.study.id, c.handled_at.is_(None))
            .order_by(c.id)
        )
        with self.ledger._read() as db:
            return [
                Wish(row.id, row.kind, json.loads(row.data), row.author)
                for row in db.execute(query)
            ]

    def handled(self, wish: Wish) -> None:
        """Mark a wish as handled."""
        with self._fenced() as db:
            where = t.wishes.c.id == wish.id
            db.execute(sa.update(t.wishes).where(where).values(handled_at=time.time()))
            _event(db, self.study.id, "wish", None, {"kind": wish.kind, "author": wish.author})


def open_ledger(path: Path) -> Ledger:
    """Open a workspace's database, creating or upgrading it as needed.

    Raises:
        LedgerError: If the folder cannot be written, the file is no database, or it was written by
            a newer Luthier.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise LedgerError(f"cannot create the workspace {str(path.parent)!r}: {error}") from None
    if not os.access(path.parent, os.W_OK):
        raise LedgerError(
            f"the workspace {str(path.parent)!r} cannot be written; "
            "choose another with LUTHIER_HOME or mend its permissions"
        )
    engine = sa.create_engine(f"sqlite:///{path}", connect_args={"timeout": 30.0})
    sa.event.listen(engine, "connect", _configure_sqlite)
    sa.event.listen(engine, "begin", _begin)
    with _errors(path):
        _upgrade(engine, path)
    return Ledger(engine, path)


def _upgrade(engine: sa.Engine, path: Path) -> None:
    with engine.connect() as db:
        has_version = sa.inspect(db).has_table("alembic_version")
        query = sa.text("SELECT version_num FROM alembic_version")
        version = db.execute(query).scalar() if has_version else None
    if version == t.HEAD:
        return
    if version is not None and version > t.HEAD:
        raise LedgerError(
            f"{str(path)!r} was written by a newer Luthier (schema {version}, this one knows "
            f"{t.HEAD}); upgrade Luthier, or choose another workspace with LUTHIER_HOME"
        )
    from .migrations import upgrade

    upgrade(engine)


def _configure_sqlite(connection: Any, _: object) -> None:
    connection.isolation_level = None  # transactions are begun by `_begin`
    # With a write-ahead log readers never wait for the worker, nor the worker for them.
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = NORMAL")
    connection.execute("PRAGMA foreign_keys = ON")


def _begin(connection: sa.Connection) -> None:
    # A transaction that will write takes the lock at once, so it cannot fail half way for another.
    writes = connection.get_execution_options().get("luthier_writes", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


@contextlib.contextmanager
def _errors(path: Path) -> Iterator[None]:
    try:
        yield
    except IntegrityError:
        raise
    except OperationalError as error:
        raise LedgerError(f"{str(path)!r}: {error.orig}") from error
    except DBAPIError as error:
        raise LedgerError(f"{str(path)!r} is not a Luthier database: {error.orig}") from error


def _living_owner(db: sa.Connection, study_id: int) -> Owner | None:
    row = db.execute(sa.select(t.leases).where(t.leases.c.study_id == study_id)).one_or_none()
    if row is None or row.expires_at < time.time():
        return None
    if row.host == socket.gethostname() and start_ticks(row.pid) != row.pid_start:
        return None  # it died on this machine; nobody need wait for the lease to run out
    return Owner(row.owner, row.host, row.pid, row.pid_start, row.token, row.expires_at)


def _insert(db: sa.Connection, table: sa.Table, **values: Any) -> int:
    result = db.execute(sa.insert(table).values(**values))
    key = result.inserted_primary_key
    assert key is not None
    return int(key[0])


def _bump(db: sa.Connection, study_id: int) -> None:
    where = t.studies.c.id == study_id
    db.execute(sa.update(t.studies).where(where).values(version=t.studies.c.version + 1))


def _event(
    db: sa.Connection, study_id: int, kind: str, trial: int | None, data: Mapping[str, Any]
) -> None:
    _insert(
        db,
        t.events,
        study_id=study_id,
        time=time.time(),
        kind=kind,
        trial=trial,
        data=to_json(data),
    )


def _attempt(row: Any) -> AttemptRecord:
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
    )


def _to_sql(value: float) -> float | None:
    return None if math.isnan(value) else value


def _who() -> str:
    return f"{getpass.getuser()}@{socket.gethostname()} (pid {os.getpid()})"
