"""Ways and rates of a job"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Goes one step forward."""
    op.add_column("jobs", sa.Column("ways", sa.Text(), nullable=True))
    op.add_column("jobs", sa.Column("rates", sa.Text(), nullable=True))
