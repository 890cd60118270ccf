"""Which trial a repeat repeats, and its seed.

Revision ID: 0003
"""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("trials", sa.Column("repeat_of", sa.Integer(), nullable=True))
    op.add_column("trials", sa.Column("seed", sa.BigInteger(), nullable=True))
