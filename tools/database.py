"""The ledger's database: opening it, its transactions, and its errors."""

from __future__ import annotations

import contextlib
import functools
import math
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError, IntegrityError, OperationalError

from . import schema as t
from .errors import LuthierError
from .records import to_json


class LedgerError(LuthierError, RuntimeError):
    """The ledger cannot be read or written; nothing of the transaction happened."""


class DiskFullError(LedgerError):
    """There is no space left on the disk."""


_BUMP = (
    sa.update(t.studies)
    .where(t.studies.c.id == sa.bindparam("this_key"))
    .values(version=t.studies.c.version + 1)
)
WritePoint = Literal["begun", "written", "committed"]
"""Where in a transaction that writes a fault can strike: before its first statement, after its
last one, and when it is done."""


class Database:
    """A SQL database whose schema is up to date."""

    def __init__(self, engine: sa.Engine, path: Path) -> None:
        """Wrap an engine; use `open_database`."""
        self._engine = engine
        self.path = path
        self.fault_hook: Callable[[WritePoint], None] = lambda _: None
        """Called at every point of every write, so that a test can let the process die there."""

    @contextlib.contextmanager
    def read(self) -> Iterator[sa.Connection]:
        """Begin a transaction that only reads."""
        with _errors(self.path), self._engine.connect() as connection:
            yield connection

    @contextlib.contextmanager
    def write(self) -> Iterator[sa.Connection]:
        """Begin a transaction that writes; all of it happens or nothing."""
        with _errors(self.path), self._engine.connect() as connection:
            with connection.execution_options(luthier_writes=True).begin():
                self.fault_hook("begun")
                yield connection
                self.fault_hook("written")
            self.fault_hook("committed")

    def close(self) -> None:
        """Close all connections."""
        self._engine.dispose()


def open_database(path: Path) -> Database:
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
    return Database(engine, path)


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
        kind = DiskFullError if "disk is full" in str(error.orig) else LedgerError
        raise kind(f"{str(path)!r}: {error.orig}") from error
    except DBAPIError as error:
        raise LedgerError(f"{str(path)!r} is not a Luthier database: {error.orig}") from error


def insert(db: sa.Connection, table: sa.Table, **values: Any) -> int:
    """Insert a row; return its key."""
    result = db.execute(_insert_into(table), values)
    key = result.inserted_primary_key
    assert key is not None
    return int(key[0])


def update(db: sa.Connection, table: sa.Table, key: int, **values: Any) -> None:
    """Change columns of the row with this key."""
    db.execute(_update_of(table), {"this_key": key, **values})


@functools.cache
def _insert_into(table: sa.Table) -> sa.Insert:
    # To build a statement takes longer than to execute it.
    return sa.insert(table)


@functools.cache
def _update_of(table: sa.Table) -> sa.Update:
    (key,) = table.primary_key.columns
    return sa.update(table).where(key == sa.bindparam("this_key"))


def bump(db: sa.Connection, study_id: int) -> None:
    """Advance a study's version counter."""
    db.execute(_BUMP, {"this_key": study_id})


def add_event(
    db: sa.Connection,
    study_id: int,
    kind: str,
    trial: int | None,
    data: Mapping[str, Any],
    when: float,
) -> None:
    """Append an event that happened at `when`, in seconds since 1970."""
    insert(
        db,
        t.events,
        study_id=study_id,
        time=when,
        kind=kind,
        trial=trial,
        data=to_json(data),
    )


def value_to_sql(value: float) -> float | None:
    """Return a metric's value as stored: NULL stands for NaN."""
    return None if math.isnan(value) else value
