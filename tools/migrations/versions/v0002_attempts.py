"""What each attempt ran with, and why it was asked to stop.

Revision ID: 0002
"""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("attempts", sa.Column("stop_reason", sa.String(length=20), nullable=True))
    op.add_column("attempts", sa.Column("ended_for", sa.Text(), nullable=True))
    op.add_column("attempts", sa.Column("configuration", sa.Text(), nullable=True))
