import subprocess
import sys
import threading

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from luthier.tools import migrations, schema
from luthier.tools.ledger import open_ledger


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
            return {
                name: sorted(part.strip(" ,\t") for part in text.splitlines())
                for name, text in rows
                if name != "alembic_version"
            }

    assert tables(engine) == tables(fresh)
    fresh.dispose()


def test_the_code_knows_the_newest_revision_and_there_is_one_line_of_them():
    assert revisions().get_heads() == [schema.HEAD]
    numbers = [revision.revision for revision in revisions().walk_revisions()]
    assert sorted(numbers, reverse=True) == numbers  # compared as text when a ledger is opened


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
