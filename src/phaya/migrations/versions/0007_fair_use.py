"""What an account may hold, its place in the queue, rotated keys and the networks that keys are tied to"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    """Goes one step forward. Nodes of the version before work on: every column has a default or may be null."""
    op.add_column("keys", sa.Column("networks", sa.Text(), server_default="", nullable=False))
    op.add_column("keys", sa.Column("former_prefix", sa.String(length=16), nullable=True))
    op.add_column("keys", sa.Column("former_hash", sa.String(length=64), nullable=True))
    op.add_column("keys", sa.Column("former_until", sa.BigInteger(), nullable=True))
    op.create_index("ix_keys_former_prefix", "keys", ["former_prefix"])
    op.create_table(
        "allowances",
        sa.Column("account_id", sa.String(length=36), nullable=False),
        sa.Column("jobs", sa.Integer(), nullable=True),
        sa.Column("queued", sa.Integer(), nullable=True),
        sa.Column("bytes", sa.BigInteger(), nullable=True),
        sa.ForeignKeyConstraint(["account_id"], ["accounts.id"], name=op.f("fk_allowances_account_id")),
        sa.PrimaryKeyConstraint("account_id", name=op.f("pk_allowances")),
    )
    op.create_table(
        "holdings",
        sa.Column("account_id", sa.String(length=36), nullable=False),
        sa.Column("day", sa.Integer(), nullable=False),
        sa.Column("bytes", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["account_id"], ["accounts.id"], name=op.f("fk_holdings_account_id")),
        sa.PrimaryKeyConstraint("account_id", "day", name=op.f("pk_holdings")),
    )
    op.add_column("jobs", sa.Column("parked", sa.Boolean(), server_default=sa.false(), nullable=False))
    op.create_index(
        "ix_jobs_open", "jobs", ["account_id", "state", "lane", "parked", "created_at"],
        sqlite_where=sa.text("ended_at IS NULL"), postgresql_where=sa.text("ended_at IS NULL"),
    )  # fmt: skip
    op.create_index("ix_jobs_parked", "jobs", ["account_id", "lane"], sqlite_where=sa.text("parked"),
                    postgresql_where=sa.text("parked"))  # fmt: skip
