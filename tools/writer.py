"""The pen of a study's one worker, refused once its lease has gone to another."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import sqlalchemy as sa

from . import schema as t
from .audit import AUDITED
from .clock import Clock
from .database import Database, LedgerError, add_event, bump, insert, update, value_to_sql
from .metrics import Report
from .outcomes import StopReason, Verdict
from .records import (
    AdviceRecord,
    AttemptRecord,
    Decision,
    StudyRecord,
    StudyState,
    TrialRecord,
    Wish,
    to_json,
)
from .repeats import Repeat
from .space import Configuration
from .spec import StudySpec

LEASE_SECONDS = 15.0
"""How long a worker's lease lasts without a heartbeat."""


def _bound(name: str) -> sa.BindParameter[int]:
    return sa.bindparam(name, type_=sa.Integer)


# Statements that are executed again and again; to build one takes longer than to execute it.
_OF_STUDY = t.leases.c.study_id == _bound("this_study")
_RENEW = sa.update(t.leases).where(_OF_STUDY, t.leases.c.token == _bound("this_token"))
_TOKEN = sa.select(t.leases.c.token).where(_OF_STUDY)
_WISHES = (
    sa.select(t.wishes)
    .where(t.wishes.c.study_id == _bound("this_study"), t.wishes.c.handled_at.is_(None))
    .order_by(t.wishes.c.id)
)
_ADD_METRICS = sa.insert(t.metrics).prefix_with("OR IGNORE", dialect="sqlite")
_END = sa.update(t.attempts).where(
    t.attempts.c.id == _bound("this_attempt"), t.attempts.c.outcome.is_(None)
)
_SETTLE = sa.update(t.spending).where(
    t.spending.c.attempt_id == _bound("this_attempt"), t.spending.c.meter == "device_seconds"
)


class LeaseLostError(LedgerError):
    """This worker's lease went to another one; it must not write any more."""


class Writer:
    """The one worker's pen: every method is one transaction, refused without the lease."""

    def __init__(
        self, database: Database, study: StudyRecord, token: int, clock: Clock = time
    ) -> None:
        """Hold the lease `token` of a study; use `Ledger.acquire`."""
        self._database = database
        self.study = study
        self.token = token
        self.clock = clock
        """Tells when things happened; leases run by the machine's own clock in any case."""

    @contextlib.contextmanager
    def _fenced(self) -> Iterator[sa.Connection]:
        with self._database.write() as db:
            self._renew(db)
            bump(db, self.study.id)
            yield db

    def _add_event(
        self, db: sa.Connection, kind: str, trial: int | None, data: Mapping[str, Any]
    ) -> None:
        add_event(db, self.study.id, kind, trial, data, self.clock.time())

    def _renew(self, db: sa.Connection) -> None:
        held = {"this_study": self.study.id, "this_token": self.token}
        renewed = db.execute(_RENEW, {"expires_at": time.time() + LEASE_SECONDS, **held})
        if renewed.rowcount != 1:
            raise self._lost()

    def _lost(self) -> LeaseLostError:
        return LeaseLostError(f"the lease of study {self.study.name!r} went to another worker")

    def heartbeat(self, run_seconds: float) -> None:
        """Renew the lease and note how long the study has run in all, in seconds."""
        with self._database.write() as db:
            self._renew(db)
            update(db, t.studies, self.study.id, wall_seconds=run_seconds)

    def release(self) -> None:
        """Give the lease back."""
        with self._database.write() as db:
            self._renew(db)
            update(db, t.leases, self.study.id, expires_at=0.0)

    def set_state(self, state: StudyState, reason: str = "") -> None:
        """Change the study's state."""
        with self._fenced() as db:
            update(db, t.studies, self.study.id, state=state, reason=reason)
            self._add_event(db, state, None, {"reason": reason} if reason else {})
        self.study = replace(self.study, state=state, reason=reason)

    def change_budget(self, spec: StudySpec) -> None:
        """Store a spec that differs in its budget only."""
        before = self.study.spec
        with self._fenced() as db:
            text, digest = to_json(spec.to_dict()), spec.content_hash()
            update(db, t.studies, self.study.id, spec=text, spec_hash=digest)
            data = {"before": before.budget.model_dump(), "after": spec.budget.model_dump()}
            self._add_event(db, "budget_changed", None, data)
        self.study = replace(self.study, spec=spec)

    def note(self, kind: str, trial: int | None = None, **data: Any) -> None:
        """Append an event."""
        with self._fenced() as db:
            self._add_event(db, kind, trial, data)

    def record_advice(self, advice: AdviceRecord) -> None:
        """Store what was asked of the language model, and what it cost."""
        with self._fenced() as db:
            for meter, spent in (("tokens", advice.tokens), ("dollars", advice.dollars)):
                if spent:
                    insert(
                        db,
                        t.spending,
                        study_id=self.study.id,
                        meter=meter,
                        reserved=0.0,
                        spent=spent,
                    )
            data = {
                name: value
                for name, value in vars(advice).items()
                if value not in ("", 0, None, {})
            }
            self._add_event(db, "no_advice" if advice.cause else "advice", None, data)

    def add_trial(
        self,
        number: int,
        configuration: Configuration,
        decision: Decision,
        slot: str,
        reserved_seconds: float,
    ) -> TrialRecord:
        """Store a new trial with its decision and first attempt, and return it."""
        now = self.clock.time()
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
            insert(db, t.decisions, trial_id=trial_id, **_row(decision))
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

    def add_repeats(self, number: int, repeats: Sequence[Repeat]) -> list[TrialRecord]:
        """Store repeats of trials, all at one moment, to wait for their attempts; return them.

        Args:
            number: The first one's number.
            repeats: What to run, in this order.
        """
        now = self.clock.time()
        added = []
        with self._fenced() as db:
            for offset, repeat in enumerate(repeats):
                values: dict[str, Any] = {
                    "number": number + offset,
                    "source": "confirm",
                    "created_at": now,
                    "repeat_of": repeat.of.number,
                    "seed": repeat.seed,
                }
                trial_id = insert(
                    db,
                    t.trials,
                    study_id=self.study.id,
                    state="waiting",
                    configuration=to_json(repeat.configuration),
                    **values,
                )
                insert(db, t.decisions, trial_id=trial_id, **_row(repeat.decision))
                self._add_event(db, "repeating", repeat.of.number, {"trial": number + offset})
                added.append(
                    TrialRecord(
                        id=trial_id,
                        state="waiting",
                        reason="",
                        configuration=repeat.configuration,
                        metrics={},
                        finished_at=None,
                        curves={},
                        **values,
                    )
                )
        return added

    def add_wanted(self, number: int, configuration: Configuration, wish: Wish) -> TrialRecord:
        """Store a trial that a person wants, to wait for its attempt, and end their wish with it.

        Both are one transaction, so that a worker that dies leaves no wish that would be granted
        twice.
        """
        now = self.clock.time()
        reason = f"{wish.author} wants it tried"
        with self._fenced() as db:
            trial_id = insert(
                db,
                t.trials,
                study_id=self.study.id,
                number=number,
                state="waiting",
                configuration=to_json(configuration),
                source="person",
                created_at=now,
            )
            insert(db, t.decisions, trial_id=trial_id, **_row(Decision("person", reason)))
            update(db, t.wishes, wish.id, handled_at=time.time())
            self._add_event(db, "enqueued", number, {"author": wish.author})
        return TrialRecord(
            id=trial_id,
            number=number,
            state="waiting",
            reason="",
            configuration=configuration,
            metrics={},
            source="person",
            created_at=now,
            finished_at=None,
            curves={},
        )

    def add_attempt(self, trial: TrialRecord, slot: str, reserved_seconds: float) -> TrialRecord:
        """Store another attempt at a waiting trial, and return the trial."""
        with self._fenced() as db:
            update(db, t.trials, trial.id, state="running", reason="")
            running = replace(trial, state="running", reason="")
            return self._add_attempt(db, running, slot, reserved_seconds)

    def _add_attempt(
        self, db: sa.Connection, trial: TrialRecord, slot: str, reserved_seconds: float
    ) -> TrialRecord:
        number, now = len(trial.attempts) + 1, self.clock.time()
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
        self._add_event(db, "started", trial.number, {"attempt": number, "slot": slot})
        attempt = AttemptRecord(
            attempt_id, number, slot, started_at=now, configuration=trial.configuration
        )
        return replace(trial, attempts=(*trial.attempts, attempt))

    def record_reports(
        self,
        trial: TrialRecord,
        reports: Iterable[Report],
        stop: StopReason | None = None,
        spared_at: int | None = None,
    ) -> None:
        """Store reports of steps; the first value of a metric at a step stays.

        Args:
            trial: The trial, running.
            reports: What its newest attempt reported.
            stop: Why it is going to be stopped for that, if it is.
            spared_at: The step at which it would have been stopped if it were not audited.
        """
        attempt_id = trial.attempts[-1].id
        rows: dict[tuple[str, int], dict[str, Any]] = {}
        for report in reports:
            for name, value in report.metrics.items():
                if report.step is not None:
                    row = {"name": name, "step": report.step, "value": value_to_sql(value)}
                    rows.setdefault((name, report.step), {"attempt_id": attempt_id, **row})
        if not rows:
            return
        with self._fenced() as db:
            db.execute(_ADD_METRICS, list(rows.values()))
            if spared_at is not None:
                self._add_event(db, AUDITED, trial.number, {"step": spared_at})
            if stop is not None:
                self._note_stop(db, trial, stop, None)

    def note_stop(self, trial: TrialRecord, reason: StopReason, ended_for: str | None) -> None:
        """Store that a running attempt is going to be stopped.

        Args:
            trial: The trial, running.
            reason: Why.
            ended_for: Why the trial must end with this attempt, if it must.
        """
        with self._fenced() as db:
            self._note_stop(db, trial, reason, ended_for)

    def _note_stop(
        self, db: sa.Connection, trial: TrialRecord, reason: StopReason, ended_for: str | None
    ) -> None:
        c = t.attempts.c
        where = sa.and_(c.id == trial.attempts[-1].id, c.stop_reason.is_(None))
        values = {"stop_reason": str(reason), "ended_for": ended_for}
        if db.execute(sa.update(t.attempts).where(where).values(values)).rowcount == 1:
            self._add_event(db, "stopping", trial.number, {"reason": ended_for or str(reason)})

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
        now = self.clock.time()
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
            if db.execute(_END, {"this_attempt": attempt.id, **ended}).rowcount == 1:
                db.execute(_SETTLE, {"this_attempt": attempt.id, "spent": seconds})
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
            self._add_event(db, "reopened", trial.number, data)
        return reopened

    def _end(self, db: sa.Connection, trial: TrialRecord, verdict: Verdict) -> None:
        self._store(db, trial)
        data = {"outcome": str(verdict.outcome), "reason": verdict.reason}
        self._add_event(db, "ended", trial.number, data)

    def _store(self, db: sa.Connection, trial: TrialRecord) -> None:
        update(
            db,
            t.trials,
            trial.id,
            state=str(trial.state),
            reason=trial.reason,
            configuration=to_json(trial.configuration),
            metrics=to_json(trial.metrics),
            finished_at=trial.finished_at,
        )

    def end_waiting(self, trial: TrialRecord, verdict: Verdict) -> TrialRecord:
        """End a trial that waits for another attempt which will not come, and return it."""
        state, reason = verdict.outcome, verdict.reason
        ended = replace(trial, state=state, reason=reason, finished_at=self.clock.time())
        with self._fenced() as db:
            self._end(db, ended, verdict)
        return ended

    def wishes(self) -> list[Wish]:
        """Return the wishes that nobody has handled yet, oldest first.

        Raises:
            LeaseLostError: If they are another worker's to grant.
        """
        study = {"this_study": self.study.id}
        with self._database.read() as db:
            if db.execute(_TOKEN, study).scalar() != self.token:
                raise self._lost()
            return [
                Wish(row.id, row.kind, json.loads(row.data), row.author)
                for row in db.execute(_WISHES, study)
            ]

    def handled(self, wish: Wish) -> None:
        """Mark a wish as handled."""
        with self._fenced() as db:
            update(db, t.wishes, wish.id, handled_at=time.time())
            self._add_event(db, "wish", None, {"kind": wish.kind, "author": wish.author})


def _row(decision: Decision) -> dict[str, Any]:
    """Return a decision as the columns of its table."""
    expected, vetoes = decision.prediction, decision.vetoes
    return vars(decision) | {
        "prediction": None if expected is None else to_json(vars(expected)),
        "vetoes": to_json([vars(veto) for veto in vetoes]) if vetoes else None,
    }
