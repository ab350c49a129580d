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
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
    false,
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


def _partial(name: str, *columns: str, where: str) -> Index:
    return Index(name, *columns, info={"where": where})


def complete() -> MetaData:
    """The tables with the conditions of their partial indexes, for whoever makes or compares tables.

    They are left out until then: with the name of a database SQLAlchemy loads all that it knows of it, and a server on
    SQLite would keep PostgreSQL's part, 2.5 MB, for its whole life.
    """
    for table in metadata.tables.values():
        for index in table.indexes:
            if (where := index.info.get("where")) is not None:
                for database in ("sqlite", "postgresql"):
                    index.dialect_kwargs[f"{database}_where"] = text(where)
    return metadata


accounts = Table(
    "accounts",
    metadata,
    Column("id", String(36), primary_key=True),
    Column("email", String(254), nullable=False, unique=True),
    Column("balance", BigInteger, nullable=False, server_default="0"),
    Column("created_at", BigInteger, nullable=False),
    Column("hook_turn", Integer, nullable=False, server_default="0"),  # how often its webhook secret was changed
    Column("hook_turned_at", BigInteger),
    Column("expiring_at", BigInteger),  # when its next open grant expires; null = it has none
    Column("operator", Boolean, nullable=False, server_default=false()),
    Column("suspended_at", BigInteger),  # since when none of its keys is taken
    _partial("ix_accounts_expiring", "expiring_at", where="expiring_at IS NOT NULL"),
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
    Column("suspended_at", BigInteger),  # since when it is not taken; null = it is
    Column("networks", Text, nullable=False, server_default=""),  # where it may be used from; empty: anywhere
    Column("former_prefix", String(16), index=True),  # the text before its rotation, and until when it is good
    Column("former_hash", String(64)),
    Column("former_until", BigInteger),
    CheckConstraint("spent >= 0", name="spent_not_negative"),
)

allowances = Table(  # what an account may hold at a time, where the operator has set it apart; null = as all others
    "allowances",
    metadata,
    Column("account_id", String(36), ForeignKey("accounts.id"), primary_key=True),
    Column("jobs", Integer),
    Column("queued", Integer),
    Column("bytes", BigInteger),
)

holdings = Table(  # bytes that were stored for an account, by the day on which they came
    "holdings",
    metadata,
    Column("account_id", String(36), ForeignKey("accounts.id"), primary_key=True),
    Column("day", Integer, primary_key=True),  # since 1970
    Column("bytes", BigInteger, nullable=False),
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
    Column("webhook_url", String(2048)),  # told of the end, besides the account's endpoints
    Column("cancel_at", BigInteger),  # when the user wants it cancelled, if it has not ended by then
    Column("parked", Boolean, nullable=False, server_default=false()),  # behind others of its account, see lines.py
    _partial("ix_jobs_open", "account_id", "state", "lane", "parked", "created_at", where="ended_at IS NULL"),
    Index("ix_jobs_account_id_created_at", "account_id", "created_at"),
    _partial("ix_jobs_due", "lane", "next_at", where="next_at IS NOT NULL"),
    _partial("ix_jobs_ended", "ended_at", where="results IS NOT NULL"),
    _partial("ix_jobs_failed", "ended_at", where="state = 'failed'"),
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
    Column("actor", String(100)),  # which operator entered it by hand
    UniqueConstraint("job_id", "reason"),
    Index("ix_entries_account_id_id", "account_id", "id"),
)

idempotency = Table(  # paid requests that carried an Idempotency-Key, and what they were answered
    "idempotency",
    metadata,
    Column("account_id", String(36), ForeignKey("accounts.id"), primary_key=True),
    Column("key", String(255), primary_key=True),
    Column("fingerprint", String(64), nullable=False),
    Column("job_id", String(36), nullable=False),
    Column("answer", LargeBinary),  # null while the call lasts
    Column("created_at", BigInteger, nullable=False),
    Index("ix_idempotency_created_at", "created_at"),
)

endpoints = Table(  # where an account wants to hear of its jobs
    "endpoints",
    metadata,
    Column("id", String(36), primary_key=True),
    Column("account_id", String(36), ForeignKey("accounts.id"), nullable=False, index=True),
    Column("url", String(2048), nullable=False),
    Column("events", Text, nullable=False, server_default=""),  # empty: all
    Column("turn", Integer, nullable=False, server_default="0"),  # how often its secret was changed
    Column("turned_at", BigInteger),
    Column("created_at", BigInteger, nullable=False),
    Column("disabled_at", BigInteger),
    Column("trouble", Text),
)

deliveries = Table(  # what is told to whom, written with the event itself
    "deliveries",
    metadata,
    Column("id", String(36), primary_key=True),
    Column("account_id", String(36), ForeignKey("accounts.id"), nullable=False),
    Column("endpoint_id", String(36)),  # null: the job's own webhook_url
    Column("job_id", String(36)),
    Column("event", String(32), nullable=False),
    Column("url", String(2048), nullable=False),
    Column("state", String(16), nullable=False),
    Column("attempts", Integer, nullable=False, server_default="0"),
    Column("rev", Integer, nullable=False, server_default="0"),
    Column("next_at", BigInteger),  # when it is due; a claim's lease; null = over
    Column("status", Integer),  # the last HTTP status
    Column("trouble", Text),
    Column("created_at", BigInteger, nullable=False),
    Column("ended_at", BigInteger),
    Index("ix_deliveries_account_id_created_at", "account_id", "created_at"),
    _partial("ix_deliveries_due", "next_at", where="next_at IS NOT NULL"),
)

circuits = Table(  # the breaker's, where several nodes share it; see breaker.py
    "circuits",
    metadata,
    Column("name", String(200), primary_key=True),
    Column("failures", Integer, nullable=False),
    Column("failed_at", BigInteger, nullable=False),
    Column("rests", Integer, nullable=False),
    Column("until", BigInteger, nullable=False),
    Column("probe_until", BigInteger, nullable=False),
    Column("reason", Text, nullable=False),
)

logins = Table(  # who may sign in to the console with a password
    "logins",
    metadata,
    Column("account_id", String(36), ForeignKey("accounts.id"), primary_key=True),
    Column("key_id", String(36), ForeignKey("keys.id"), nullable=False),  # what its sessions act with; has no text
    Column("password", String(200), nullable=False),  # argon2id
    Column("changed_at", BigInteger, nullable=False),
)

invitations = Table(  # one-time links that set a password
    "invitations",
    metadata,
    Column("hash", String(64), primary_key=True),
    Column("account_id", String(36), ForeignKey("accounts.id")),  # null: makes an account
    Column("credits", BigInteger, nullable=False, server_default="0"),  # granted to the account that it makes
    Column("expires_at", BigInteger, nullable=False),
    Column("without_totp", Boolean, nullable=False, server_default=false()),  # turns the second step off as well
)

sessions = Table(  # browsers that are signed in
    "sessions",
    metadata,
    Column("hash", String(64), primary_key=True),
    Column("account_id", String(36), ForeignKey("accounts.id"), nullable=False, index=True),
    Column("key_id", String(36), ForeignKey("keys.id"), nullable=False),
    Column("owner", Boolean, nullable=False),  # signed in by password, so that keys may be managed
    Column("created_at", BigInteger, nullable=False),
    Column("seen_at", BigInteger, nullable=False),
    Column("expires_at", BigInteger, nullable=False),
    Column("device", String(60)),  # which browser on which system, by what it says of itself
    Index("ix_sessions_expires_at", "expires_at"),
)

authenticators = Table(  # apps whose codes are asked for after the password; see authenticators.py
    "authenticators",
    metadata,
    Column("account_id", String(36), ForeignKey("accounts.id"), primary_key=True),
    Column("sealed", LargeBinary, nullable=False),  # the app's secret, encrypted
    Column("created_at", BigInteger, nullable=False),
    Column("confirmed_at", BigInteger),  # null: set up, and not asked for yet
    Column("last_step", BigInteger, nullable=False, server_default="0"),  # of the newest code that was taken
    Column("misses", Integer, nullable=False, server_default="0"),  # wrong codes since then
    Column("missed_at", BigInteger),  # when the last wrong one came
)

recovery_codes = Table(  # each stands in for the app once, and is deleted then
    "recovery_codes",
    metadata,
    Column("account_id", String(36), ForeignKey("accounts.id"), primary_key=True),
    Column("hash", String(64), primary_key=True),
)

marks = Table(  # what all nodes of a database must agree on
    "marks",
    metadata,
    Column("name", String(64), primary_key=True),
    Column("value", Text, nullable=False),
)

grants = Table(  # credits that expire, of those in the balance
    "grants",
    metadata,
    Column("id", String(36), primary_key=True),
    Column("account_id", String(36), ForeignKey("accounts.id"), nullable=False),
    Column("amount", BigInteger, nullable=False),
    Column("remaining", BigInteger, nullable=False),  # what no job has taken
    Column("expired", BigInteger, nullable=False, server_default="0"),  # what was taken when it closed
    Column("expires_at", BigInteger, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("closed_at", BigInteger),
    _partial("ix_grants_open", "account_id", "expires_at", where="closed_at IS NULL"),
    CheckConstraint("remaining >= 0 AND remaining + expired <= amount", name="remaining_within_amount"),
)

draws = Table(  # what a job took of an open grant, so that a return finds its way back
    "draws",
    metadata,
    Column("job_id", String(36), primary_key=True),
    Column("grant_id", String(36), ForeignKey("grants.id"), primary_key=True, index=True),
    Column("amount", BigInteger, nullable=False),
)

vouchers = Table(
    "vouchers",
    metadata,
    Column("id", String(36), primary_key=True),
    Column("hash", String(64), nullable=False, unique=True),
    Column("credits", BigInteger, nullable=False),
    Column("uses", Integer, nullable=False),
    Column("used", Integer, nullable=False, server_default="0"),
    Column("grant_days", Integer),  # for how long the credits are good; null = for ever
    Column("note", Text, nullable=False, server_default=""),
    Column("actor", String(100), nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("expires_at", BigInteger),
    Column("revoked_at", BigInteger),
    Index("ix_vouchers_created_at_id", "created_at", "id"),
    CheckConstraint("used >= 0 AND used <= uses", name="used_within_uses"),
)

redemptions = Table(
    "redemptions",
    metadata,
    Column("voucher_id", String(36), ForeignKey("vouchers.id"), primary_key=True),
    Column("account_id", String(36), ForeignKey("accounts.id"), primary_key=True),
    Column(
        "entry_id", BigInteger().with_variant(Integer, "sqlite"), ForeignKey("entries.id"), nullable=False, unique=True
    ),
    Column("created_at", BigInteger, nullable=False),
)

payments = Table(  # checkouts at Stripe, each written down before Stripe hears of it
    "payments",
    metadata,
    Column("id", String(36), primary_key=True),
    Column("account_id", String(36), ForeignKey("accounts.id"), nullable=False),
    Column("credits", BigInteger, nullable=False),
    Column("price", BigInteger, nullable=False),  # in the currency's smallest unit, before taxes
    Column("currency", String(3), nullable=False),
    Column("state", String(16), nullable=False),
    Column("session", String(255), unique=True),  # Stripe's name for the checkout
    Column("intent", String(255), index=True),  # Stripe's name for the money, by which refunds are told
    Column("entry_id", BigInteger().with_variant(Integer, "sqlite"), ForeignKey("entries.id"), unique=True),
    Column("trouble", Text),
    Column("created_at", BigInteger, nullable=False),
    Column("ended_at", BigInteger),
    Index("ix_payments_account_id_created_at", "account_id", "created_at"),
    Index("ix_payments_created_at_id", "created_at", "id"),
    CheckConstraint("(state = 'paid') = (entry_id IS NOT NULL)", name="paid_is_entered"),
)

notices = Table(  # events that Stripe has told, each kept once
    "notices",
    metadata,
    Column("id", String(255), primary_key=True),  # Stripe's
    Column("kind", String(100), nullable=False),
    Column("subject", String(255), nullable=False),  # Stripe's name for what it is about
    Column("payment_id", String(36), ForeignKey("payments.id"), index=True),
    Column("outcome", String(16), nullable=False),
    Column("detail", Text, nullable=False, server_default=""),
    Column("created_at", BigInteger, nullable=False),
    Index("ix_notices_created_at_id", "created_at", "id"),
)

audit = Table(  # what operators did; triggers refuse to change or delete a line, see migrations/
    "audit",
    metadata,
    Column("id", BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=True),
    Column("created_at", BigInteger, nullable=False),
    Column("actor", String(300), nullable=False),
    Column("action", String(40), nullable=False),
    Column("subject", String(300), nullable=False),
    Column("account_id", String(36), ForeignKey("accounts.id")),  # whose matter it is, if it is an account's
    Column("details", Text, nullable=False),  # JSON
    Index("ix_audit_account_id_id", "account_id", "id"),
    Index("ix_audit_created_at", "created_at"),
)


def padded(ids: list[str]) -> list[str]:
    """The ids, the last one repeated up to a power of two: so a database prepares ten statements, not 512."""
    return ids + ids[-1:] * ((1 << (len(ids) - 1).bit_length()) - len(ids))
