"""The tables, the same on every engine. Times are milliseconds since 1970, amounts units of credits.py, ids UUIDs
as text. What changes here needs a migration, see migrations/."""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
    text,
)

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)

accounts = Table(
    "accounts",
    metadata,
    Column("id", String(36), primary_key=True),
    Column("email", String(254), nullable=False, unique=True),
    Column("balance", BigInteger, nullable=False, server_default="0"),
    Column("created_at", BigInteger, nullable=False),
    CheckConstraint("balance >= 0", name="balance_not_negative"),
)

keys = Table(
    "keys",
    metadata,
    Column("id", String(36), primary_key=True),
    Column("account_id", String(36), ForeignKey("accounts.id"), nullable=False, index=True),
    Column("name", String(100), nullable=False),
    Column("prefix", String(16), nullable=False, index=True),
    Column("hash", String(64), nullable=False, unique=True),
    Column("scopes", Text, nullable=False, server_default=""),
    Column("cap", BigInteger),
    Column("spent", BigInteger, nullable=False, server_default="0"),
    Column("rate", Integer),
    Column("created_at", BigInteger, nullable=False),
    Column("expires_at", BigInteger),
    Column("revoked_at", BigInteger),
    CheckConstraint("spent >= 0", name="spent_not_negative"),
)

jobs = Table(
    "jobs",
    metadata,
    Column("id", String(36), primary_key=True),
    Column("account_id", String(36), ForeignKey("accounts.id"), nullable=False),
    Column("key_id", String(36), ForeignKey("keys.id"), nullable=False),
    Column("service", String(64), nullable=False),
    Column("request", Text, nullable=False),  # what the user asked, as validated
    Column("call", Text, nullable=False),  # what is asked of the provider, see calls.py
    Column("sandbox", Boolean, nullable=False),
    Column("price", BigInteger, nullable=False),
    Column("returned", BigInteger, nullable=False, server_default="0"),
    Column("state", String(16), nullable=False),  # what the user is told
    Column("step", String(16), nullable=False),  # where the engine stands
    Column("lane", String(16), nullable=False),  # which workers may claim it
    Column("rev", Integer, nullable=False, server_default="0"),
    Column("claimed", Boolean, nullable=False),
    Column("next_at", BigInteger),  # when it is due; a claim's lease; null = nothing left to do
    Column("pokes", Integer, nullable=False, server_default="0"),  # callbacks heard
    Column("hint", String(128)),  # the ticket that a callback named
    Column("attempts", Integer, nullable=False, server_default="0"),
    Column("provider_key", String(16)),  # fingerprint of the provider key that bought it
    Column("ticket", String(128)),
    Column("progress", Integer, nullable=False, server_default="0"),  # thousandths
    Column("outcome", Text),  # what the provider made, before it is kept
    Column("results", Text),  # what we keep
    Column("spent", String(32)),  # what the provider charged us, in its own credits
    Column("error", Text),
    Column("error_code", String(32)),
    Column("trouble", Text),  # the last odd thing, for the operator
    Column("ways", Text),  # which services may carry it out, where it has others than its own; see ways.py
    Column("rates", Text),  # rates in force at creation, where its cost is known only at its end
    Column("deadline_at", BigInteger, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("submitted_at", BigInteger),
    Column("ended_at", BigInteger),
    Index("ix_jobs_account_id_created_at", "account_id", "created_at"),
    Index(
        "ix_jobs_due",
        "lane",
        "next_at",
        sqlite_where=text("next_at IS NOT NULL"),
        postgresql_where=text("next_at IS NOT NULL"),
    ),
    CheckConstraint("returned >= 0 AND returned <= price", name="returned_within_price"),
)

entries = Table(
    "entries",
    metadata,
    Column("id", BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=True),
    Column("account_id", String(36), ForeignKey("accounts.id"), nullable=False),
    Column("key_id", String(36), ForeignKey("keys.id")),
    Column("job_id", String(36), ForeignKey("jobs.id")),
    Column("reason", String(16), nullable=False),
    Column("amount", BigInteger, nullable=False),
    Column("note", Text, nullable=False, server_default=""),
    Column("created_at", BigInteger, nullable=False),
    UniqueConstraint("job_id", "reason"),
    Index("ix_entries_account_id_id", "account_id", "id"),
)
