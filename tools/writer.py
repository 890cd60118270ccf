"""The pen of a study's one worker, refused once its lease has gone to another."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any

import sqlalchemy as sa

from . import schema as t
from .database import Database, LedgerError, add_event, bump, insert, value_to_sql
from .metrics import Report
from .outcomes import Verdict
from .records import (
    AttemptRecord,
    Decision,
    StudyRecord,
    StudyState,
    TrialRecord,
    Wish,
    to_json,
)
from .space import Configuration
from .spec import StudySpec

LEASE_SECONDS = 15.0
"""How long a worker's lease lasts without a heartbeat."""


class LeaseLostError(LedgerError):
    """This worker's lease went to another one; it must not write any more."""


class Writer:
    """The one worker's pen: every method is one transaction, refused without the lease."""

    def __init__(self, database: Database, study: StudyRecord, token: int) -> None:
        """Hold the lease `token` of a study; use `Ledger.acquire`."""
        self._database = database
        self.study = study
        self.token = token

    @contextlib.contextmanager
    def _fenced(self) -> Iterator[sa.Connection]:
        with self._database.write() as db:
            self._renew(db)
            bump(db, self.study.id)
            yield db

    def _renew(self, db: sa.Connection) -> None:
        c = t.leases.c
        renewed = db.execute(
            sa.update(t.leases)
            .where(c.study_id == self.study.id, c.token == self.token)
            .values(expires_at=time.time() + LEASE_SECONDS)
        )
        if renewed.rowcount != 1:
            raise self._lost()

    def _lost(self) -> LeaseLostError:
        return LeaseLostError(f"the lease of study {self.study.name!r} went to another worker")

    def heartbeat(self, run_seconds: float) -> None:
        """Renew the lease and note how long the study has run in all, in seconds."""
        with self._database.write() as db:
            self._renew(db)
            where = t.studies.c.id == self.study.id
            db.execute(sa.update(t.studies).where(where).values(wall_seconds=run_seconds))

    def release(self) -> None:
        """Give the lease back."""
        with self._database.write() as db:
            self._renew(db)
            where = t.leases.c.study_id == self.study.id
            db.execute(sa.update(t.leases).where(where).values(expires_at=0.0))

    def set_state(self, state: StudyState, reason: str = "") -> None:
        """Change the study's state."""
        with self._fenced() as db:
            where = t.studies.c.id == self.study.id
            db.execute(sa.update(t.studies).where(where).values(state=state, reason=reason))
            add_event(db, self.study.id, state, None, {"reason": reason} if reason else {})

    def change_budget(self, spec: StudySpec) -> None:
        """Store a spec that differs in its budget only."""
        before = self.study.spec
        with self._fenced() as db:
            values = {"spec": to_json(spec.to_dict()), "spec_hash": spec.content_hash()}
            db.execute(sa.update(t.studies).where(t.studies.c.id == self.study.id).values(values))
            data = {"before": before.budget.model_dump(), "after": spec.budget.model_dump()}
            add_event(db, self.study.id, "budget_changed", None, data)
        self.study = replace(self.study, spec=spec)

    def note(self, kind: str, trial: int | None = None, **data: Any) -> None:
        """Append an event."""
        with self._fenced() as db:
            add_event(db, self.study.id, kind, trial, data)

    def add_trial(
        self,
        number: int,
        configuration: Configuration,
        decision: Decision,
        slot: str,
        reserved_seconds: float,
    ) -> TrialRecord:
        """Store a new trial with its decision and first attempt, and return it."""
        now = time.time()
        with self._fenced() as db:
            trial_id = insert(
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
            trial = TrialRecord(
                id=trial_id,
                number=number,
                state="running",
                reason="",
                configuration=configuration,
                metrics={},
                source=decision.source,
                created_at=now,
                finished_at=None,
                curves={},
            )
            return self._add_attempt(db, trial, slot, reserved_seconds)

    def add_attempt(self, trial: TrialRecord, slot: str, reserved_seconds: float) -> TrialRecord:
        """Store another attempt at a waiting trial, and return the trial."""
        with self._fenced() as db:
            where = t.trials.c.id == trial.id
            db.execute(sa.update(t.trials).where(where).values(state="running", reason=""))
            running = replace(trial, state="running", reason="")
            return self._add_attempt(db, running, slot, reserved_seconds)

    def _add_attempt(
        self, db: sa.Connection, trial: TrialRecord, slot: str, reserved_seconds: float
    ) -> TrialRecord:
        number, now = len(trial.attempts) + 1, time.time()
        attempt_id = insert(
            db,
            t.attempts,
            trial_id=trial.id,
            number=number,
            token=self.token,
            slot=slot,
            started_at=now,
        )
        insert(
            db,
            t.spending,
            study_id=self.study.id,
            attempt_id=attempt_id,
            meter="device_seconds",
            reserved=reserved_seconds,
        )
        add_event(db, self.study.id, "started", trial.number, {"attempt": number, "slot": slot})
        attempt = AttemptRecord(
            attempt_id, number, slot, started_at=now, configuration=trial.configuration
        )
        return replace(trial, attempts=(*trial.attempts, attempt))

    def record_reports(self, attempt_id: int, reports: Iterable[Report]) -> None:
        """Store reports of steps; the first value of a metric at a step stays."""
        rows: dict[tuple[str, int], dict[str, Any]] = {}
        for report in reports:
            for name, value in report.metrics.items():
                if report.step is not None:
                    row = {"name": name, "step": report.step, "value": value_to_sql(value)}
                    rows.setdefault((name, report.step), {"attempt_id": attempt_id, **row})
        if not rows:
            return
        with self._fenced() as db:
            statement = sa.insert(t.metrics).prefix_with("OR IGNORE", dialect="sqlite")
            db.execute(statement, list(rows.values()))

    def finish_attempt(
        self,
        trial: TrialRecord,
        verdict: Verdict,
        *,
        metrics: Mapping[str, float],
        seconds: float,
        peak_bytes: int,
        error_tail: str,
        again: bool,
    ) -> TrialRecord:
        """Store how a trial's latest attempt ended, and return the trial.

        Telling it twice changes nothing.

        Args:
            trial: The trial, running.
            verdict: How the attempt ended.
            metrics: Its final metrics.
            seconds: Its wall time.
            peak_bytes: Its peak memory.
            error_tail: Its last words.
            again: Whether the trial waits for another attempt instead of ending too.
        """
        now = time.time()
        ended: dict[str, Any] = {
            "outcome": verdict.outcome,
            "reason": verdict.reason,
            "finished_at": now,
            "seconds": seconds,
            "peak_bytes": peak_bytes,
            "error_tail": error_tail,
        }
        attempt = trial.attempts[-1]
        finished_trial = replace(
            trial,
            state="waiting" if again else verdict.outcome,
            reason=verdict.reason,
            metrics=dict(metrics),
            finished_at=None if again else now,
            attempts=(*trial.attempts[:-1], replace(attempt, **ended)),
        )
        with self._fenced() as db:
            c = t.attempts.c
            where = sa.and_(c.id == attempt.id, c.outcome.is_(None))
            if db.execute(sa.update(t.attempts).where(where).values(ended)).rowcount == 1:
                c = t.spending.c
                where = sa.and_(c.attempt_id == attempt.id, c.meter == "device_seconds")
                db.execute(sa.update(t.spending).where(where).values(spent=seconds))
                self._end(db, finished_trial, verdict)
        return finished_trial

    def reopen(self, trial: TrialRecord, configuration: Configuration) -> TrialRecord:
        """Let an ended trial wait for another attempt, with this configuration; return it."""
        changed = configuration != trial.configuration
        reopened = replace(
            trial,
            state="waiting",
            reason="",
            configuration=configuration,
            finished_at=None,
            curves={} if changed else trial.curves,
        )
        with self._fenced() as db:
            if changed:  # what ran with the trial's configuration keeps it
                c = t.attempts.c
                where = sa.and_(c.trial_id == trial.id, c.configuration.is_(None))
                own = {"configuration": to_json(trial.configuration)}
                db.execute(sa.update(t.attempts).where(where).values(own))
            self._store(db, reopened)
            data = {"outcome": str(trial.state), "configuration": configuration}
            add_event(db, self.study.id, "reopened", trial.number, data)
        return reopened

    def _end(self, db: sa.Connection, trial: TrialRecord, verdict: Verdict) -> None:
        self._store(db, trial)
        data = {"outcome": str(verdict.outcome), "reason": verdict.reason}
        add_event(db, self.study.id, "ended", trial.number, data)

    def _store(self, db: sa.Connection, trial: TrialRecord) -> None:
        values = {
            "state": str(trial.state),
            "reason": trial.reason,
            "configuration": to_json(trial.configuration),
            "metrics": to_json(trial.metrics),
            "finished_at": trial.finished_at,
        }
        db.execute(sa.update(t.trials).where(t.trials.c.id == trial.id).values(values))

    def end_waiting(self, trial: TrialRecord, verdict: Verdict) -> TrialRecord:
        """End a trial that waits for another attempt which will not come, and return it."""
        state, reason = verdict.outcome, verdict.reason
        ended = replace(trial, state=state, reason=reason, finished_at=time.time())
        with self._fenced() as db:
            self._end(db, ended, verdict)
        return ended

    def wishes(self) -> list[Wish]:
        """Return the wishes that nobody has handled yet, oldest first.

        Raises:
            LeaseLostError: If they are another worker's to grant.
        """
        c = t.wishes.c
        query = (
            sa.select(t.wishes)
            .where(c.study_id == self.study.id, c.handled_at.is_(None))
            .order_by(c.id)
        )
        lease = sa.select(t.leases.c.token).where(t.leases.c.study_id == self.study.id)
        with self._database.read() as db:
            if db.execute(lease).scalar() != self.token:
                raise self._lost()
            return [
                Wish(row.id, row.kind, json.loads(row.data), row.author)
                for row in db.execute(query)
            ]

    def handled(self, wish: Wish) -> None:
        """Mark a wish as handled."""
        with self._fenced() as db:
            where = t.wishes.c.id == wish.id
            db.execute(sa.update(t.wishes).where(where).values(handled_at=time.time()))
            add_event(db, self.study.id, "wish", None, {"kind": wish.kind, "author": wish.author})
