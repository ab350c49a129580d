"""How each command of the operator is written into the audit log: what it is about, and which of its values and answers
stay with it. What is not named here is not kept, so that no key, code, link or password is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from sqlalchemy import Connection, select

from phaya import audit, keys, statements
from phaya.clock import DAY, written
from phaya.schema import accounts


@dataclass(frozen=True)
class Deed:
    """The names of values and answers. `subject` is what was acted on. Where a command answers `done` with nothing, it
    has changed nothing, and there is nothing to write down."""

    subject: str
    kept: tuple[str, ...] = ()
    done: str | None = None


DEEDS: Mapping[str, Deed] = {
    "keys create": Deed("key_id", ("name", "scopes", "cap", "rate", "credits")),
    "keys revoke": Deed("key_id", done="revoked"),
    "keys rotate": Deed("key_id", ("name", "former_until")),
    "accounts limits": Deed("account", ("limits",), done="changed"),
    "keys suspend": Deed("key_id", ("name",), done="changed"),
    "keys resume": Deed("key_id", ("name",), done="changed"),
    "keys cap": Deed("key_id", ("name", "cap", "spent")),
    "accounts promote": Deed("account", done="changed"),
    "accounts demote": Deed("account", done="changed"),
    "accounts suspend": Deed("account", ("reason",), done="changed"),
    "accounts resume": Deed("account", done="changed"),
    "credits grant": Deed("account", ("granted", "note", "by", "expires_at", "credits_balance")),
    "credits adjust": Deed("account", ("adjusted", "reason", "by", "credits_balance")),
    "credits refund": Deed("job_id", ("refunded", "kept", "reason", "by", "credits_balance")),
    "jobs cancel": Deed("job_id", ("service", "returned", "reason")),
    "reconcile look": Deed("job_id", ("service", "step")),
    "reconcile close": Deed("job_id", ("reason", "by")),
    "vouchers create": Deed("ids", ("count", "credits", "uses", "expires_at", "grant_days", "note", "by"), done="made"),
    "vouchers revoke": Deed("id", ("credits", "used")),
    "console link": Deed("account", ("expires_at", "without_totp")),
    "console first": Deed("first", ("credits",), done="path"),
}
"""Every command that changes something."""
OWN = ("account codes", "account password", "account sessions", "account totp off", "account totp on")
"""What an operator does to the own account, see safety.py."""
ACTIONS = tuple(sorted((*DEEDS, *OWN, "accounts claim", "breaker close")))
"""Everything that lines tell of: the commands, an operator's own account, the first account that somebody claims, and a
circuit that is closed."""


def is_new(connection: Connection, email: str | None) -> bool:
    """Whether there is no account with this address yet, so that a command may make it."""
    if email is None:
        return False
    known = select(accounts.c.id).where(accounts.c.email == email.strip().lower())
    return connection.execute(known).one_or_none() is None


def record(
    connection: Connection,
    actor: str,
    command: str,
    asked: Mapping[str, Any],
    answer: Mapping[str, Any],
    now: int,
    *,
    made: bool,
) -> None:
    """Writes down that a command was carried out; `made` says that its account was new."""
    deed = DEEDS[command]
    if deed.done is not None and not answer[deed.done]:
        return
    known = {**asked, **answer}
    details = {name: known[name] for name in deed.kept if name in known}
    account_id = None
    if known.get("account") is not None:
        email = known["account"].strip().lower()
        account_id = connection.execute(select(accounts.c.id).where(accounts.c.email == email)).scalar_one()
    if made:
        details["new_account"] = True
    audit.write(connection, actor, command, _subject(deed, known), now, details, account_id)


def listing(connection: Connection, _secret: bytes, _now: int, asked: Mapping[str, Any]) -> dict[str, Any]:
    """The operator's command: a page of the audit log, the newest line first. Raises NotFound and Invalid."""
    account, day = asked.get("account"), asked.get("day")
    search = audit.Search(
        asked.get("actor"),
        asked.get("action"),
        None if account is None else keys.account_by_email(connection, account).id,
        None if day is None else statements.moment("day", day) // DAY,
        asked.get("before"),
    )
    limit = asked.get("limit", audit.PAGE)
    found = audit.listing(connection, search, limit)
    lines = [asdict(line) | {"created_at": written(line.created_at)} for line in found]
    return {"lines": lines, "next": found[-1].id if len(found) == limit else None}


def _subject(deed: Deed, known: Mapping[str, Any]) -> str:
    match deed.subject:
        case "ids":  # of vouchers; there may be a thousand, made at one moment
            first, *more = [voucher["id"] for voucher in known["vouchers"]]
            return f"{first} and {len(more)} more" if more else first
        case "first":
            return "a link for the first account"
        case name:
            return known[name]
