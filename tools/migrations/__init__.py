"""The ledger's schema, one alembic revision a version."""

from __future__ import annotations

from pathlib import Path

import sqlalchemy as sa


def upgrade(engine: sa.Engine) -> None:
    """Bring a database to the newest revision, in one transaction that takes the write lock."""
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent))
    with engine.connect() as connection:
        with connection.execution_options(luthier_writes=True).begin():
            config.attributes["connection"] = connection
            command.upgrade(config, "head")
