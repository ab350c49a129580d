"""The lines of parked jobs are read from the index of open jobs"""

from __future__ import annotations

from alembic import op

revision = "0009"
down_revision = "0008"


def upgrade() -> None:
    """Goes one step forward. Nodes of the version before work on; they look for halted lines in the table."""
    op.drop_index("ix_jobs_parked", "jobs")
