"""A second step of signing in, its recovery codes, and what kind of browser a session is of"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    """Goes one step forward. Nodes of the version before work on; they ask for no second step."""
    op.create_table(
        "authenticators",
        sa.Column("account_id", sa.String(length=36), nullable=False),
        sa.Column("sealed", sa.LargeBinary(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("confirmed_at", sa.BigInteger(), nullable=True),
        sa.Column("last_step", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("misses", sa.Integer(), server_default="0", nullable=False),
        sa.Column("missed_at", sa.BigInteger(), nullable=True),
        sa.ForeignKeyConstraint(["account_id"], ["accounts.id"], name=op.f("fk_authenticators_account_id")),
        sa.PrimaryKeyConstraint("account_id", name=op.f("pk_authenticators")),
    )
    op.create_table(
        "recovery_codes",
        sa.Column("account_id", sa.String(length=36), nullable=False),
        sa.Column("hash", sa.String(length=64), nullable=False),
        sa.ForeignKeyConstraint(["account_id"], ["accounts.id"], name=op.f("fk_recovery_codes_account_id")),
        sa.PrimaryKeyConstraint("account_id", "hash", name=op.f("pk_recovery_codes")),
    )
    op.add_column("invitations", sa.Column("without_totp", sa.Boolean(), server_default=sa.false(), nullable=False))
    op.add_column("sessions", sa.Column("device", sa.String(length=60), nullable=True))
