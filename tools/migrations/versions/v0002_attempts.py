"""What each attempt ran with, where that is not what its trial runs with now.

Revision ID: 0002
"""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("attempts", sa.Column("configuration", sa.Text(), nullable=True))
