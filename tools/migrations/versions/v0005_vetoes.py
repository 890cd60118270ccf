"""What configurations were estimated to need of memory, and which ones were vetoed for it.

Revision ID: 0005
"""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("decisions", sa.Column("memory_bytes", sa.BigInteger()))
    op.add_column("decisions", sa.Column("vetoes", sa.Text()))
