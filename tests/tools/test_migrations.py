import json
import subprocess
import sys
import threading

import pytest
import sqlalchemy as sa
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from luthier.tools import migrations, schema
from luthier.tools.ledger import open_ledger

VERSION = {"alembic_version"}
SPEC = json.dumps(
    {
        "name": "old",
        "objective": {"kind": "callable", "reference": "m:f"},
        "space": {"x": {"type": "float", "low": 0, "high": 1}},
        "metrics": {"loss": {"direction": "minimize"}},
    }
)


@pytest.fixture
def engine(tmp_path):
    open_ledger(tmp_path / "ledger.db").close()
    made = sa.create_engine(f"sqlite:///{tmp_path / 'ledger.db'}")
    yield made
    made.dispose()


def revisions():
    config = Config()
    config.set_main_option("script_location", str(migrations.__path__[0]))
    return ScriptDirectory.from_config(config)


def test_the_migrations_make_exactly_the_schema_of_the_code(engine):
    with engine.connect() as connection:
        context = MigrationContext.configure(
            connection, opts={"compare_type": True, "compare_server_default": True}
        )
        assert compare_metadata(context, schema.metadata) == []


def test_the_tables_are_written_as_the_code_would_write_them(engine, tmp_path):
    fresh = sa.create_engine(f"sqlite:///{tmp_path / 'fresh.db'}")
    schema.metadata.create_all(fresh)

    def tables(of):
        with of.connect() as connection:
            rows = connection.exec_driver_sql(
                "SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL"
            )
            # SQLite writes a column that was added later behind the others, in the same line.
            return {
                name: sorted(part.strip(" \t\n)") for part in text.split(", "))
                for name, text in rows
                if name != "alembic_version"
            }

    assert tables(engine) == tables(fresh)
    fresh.dispose()


def test_the_code_knows_the_newest_revision_and_there_is_one_line_of_them():
    assert revisions().get_heads() == [schema.HEAD]
    numbers = [revision.revision for revision in revisions().walk_revisions()]
    assert sorted(numbers, reverse=True) == numbers  # compared as text when a ledger is opened


ROWS_OF_0001 = {
    "studies": (1, "old", SPEC, "hash", "/somewhere", None, "finished", "", 7, 12.5, 1000.0),
    "leases": (1, "me", "here", 1, 1, 4, 0.0),
    "trials": (1, 1, 0, "complete", "", '{"x":0.5}', '{"loss":0.25}', "sobol", None, 1.0, 2.0),
    "attempts": (1, 1, 1, 4, "cpu:0", 1.0, 2.0, "complete", "", 1.0, 100, ""),
    "metrics": (1, "loss", 1, 0.25),
    "events": (1, 1, 1.0, "created", None, "{}"),
    "decisions": (1, 0, 0, "sobol", "spread", 0.1, 0, None, None, 0, 0.0),
    "spending": (1, 1, 1, "device_seconds", 2.0, 1.0),
    "wishes": (1, 1, "pause", "{}", "me", 1.0, None),
}
ADDED_SINCE = {"decisions": 2, "attempts": 3, "trials": 2}
"""Columns that later revisions have added."""


def test_a_ledger_of_the_first_revision_is_upgraded_with_nothing_lost(tmp_path):
    old = sa.create_engine(f"sqlite:///{tmp_path / 'ledger.db'}")
    config = Config()
    config.set_main_option("script_location", str(migrations.__path__[0]))
    with old.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "0001")
        assert ROWS_OF_0001.keys() == {*sa.inspect(connection).get_table_names()} - VERSION
        for table, row in ROWS_OF_0001.items():
            holes = ", ".join("?" * len(row))
            connection.exec_driver_sql(f"INSERT INTO {table} VALUES ({holes})", row)
    ledger = open_ledger(tmp_path / "ledger.db")
    (trial,) = ledger.trials(ledger.study("old"), curves=True)
    ledger.close()
    assert (trial.attempts[0].configuration, trial.curves) == ({"x": 0.5}, {"loss": {1: 0.25}})
    with old.connect() as connection:
        for table, row in ROWS_OF_0001.items():
            (kept,) = connection.exec_driver_sql(f"SELECT * FROM {table}")
            assert tuple(kept) == (*row, *[None] * ADDED_SINCE.get(table, 0))
    old.dispose()


def test_opening_twice_changes_nothing(engine, tmp_path):
    before = (tmp_path / "ledger.db").stat().st_size
    open_ledger(tmp_path / "ledger.db").close()
    assert (tmp_path / "ledger.db").stat().st_size == before


def test_an_upgrade_that_fails_leaves_nothing_behind(tmp_path, monkeypatch):
    from alembic import op

    def broken(*_, **__):
        raise RuntimeError("out of disk, say")

    with monkeypatch.context() as patched:
        patched.setattr(op, "create_index", broken)
        with pytest.raises(RuntimeError, match="out of disk"):
            open_ledger(tmp_path / "ledger.db")
    engine = sa.create_engine(f"sqlite:///{tmp_path / 'ledger.db'}")
    assert sa.inspect(engine).get_table_names() == []
    engine.dispose()
    open_ledger(tmp_path / "ledger.db").close()


def test_many_that_open_a_new_ledger_at_once_make_one(tmp_path):
    code = (
        "import sys; from pathlib import Path; from luthier.tools.ledger import open_ledger\n"
        "print('ready', flush=True); sys.stdin.read()\n"
        "ledger = open_ledger(Path(sys.argv[1])); print(ledger.studies())"
    )
    openers = [
        subprocess.Popen(
            [sys.executable, "-c", code, str(tmp_path / "ledger.db")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(3)
    ]
    for opener in openers:
        assert opener.stdout is not None
        opener.stdout.readline()
    answers = []

    def finish(opener):
        answers.append(opener.communicate(timeout=60))

    threads = [threading.Thread(target=finish, args=(opener,)) for opener in openers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == [("[]\n", "")] * 3
