"""Who wants to hear of an account's jobs, and how what they hear is signed, by the Standard Webhooks specification.

No secret is stored. Each is derived from the server's own by the id of whom it belongs to and the number of times
that it was changed, so a copy of the database signs nothing. See docs/decisions/0015-webhooks-are-an-outbox.md.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, fields
from enum import StrEnum
from ipaddress import IPv4Network, IPv6Network
from typing import Any

from sqlalchemy import Connection, Row, delete, func, insert, select, update

from phaya.addresses import Guard, UrlRefused
from phaya.clock import DAY
from phaya.errors import Fault, Invalid, NotFound
from phaya.schema import accounts, deliveries, endpoints

MOST = 20
"""Endpoints of one account."""
LONGEST = 2048
"""Characters of an address."""
PORTS = (80, 443, 8080, 8443)
"""Where receivers on public addresses may listen; in the operator's allowed networks they may do so anywhere."""
OVERLAP = DAY
"""Milliseconds for which a secret that was changed goes on signing beside its successor."""


class Event(StrEnum):
    """What is told."""

    COMPLETED = "job.completed"
    FAILED = "job.failed"
    CANCELLED = "job.cancelled"
    LATE_RESULT = "job.late_result"  # the result turned up after the refund
    TEST = "webhook.test"


JOB_EVENTS = tuple(event for event in Event if event is not Event.TEST)
"""What an endpoint may choose from; a test is told to any."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where an account hears of its jobs: of these events, or of all where none is named."""

    id: str
    account_id: str
    url: str
    events: tuple[str, ...]
    turn: int
    turned_at: int | None
    created_at: int
    disabled_at: int | None
    trouble: str | None

    @property
    def signer(self) -> Signer:
        """Whose secret signs what it is told."""
        return Signer(self.id, self.turn, self.turned_at)


_NAMES = tuple(field.name for field in fields(Endpoint))


@dataclass(frozen=True, slots=True)
class Signer:
    """Whose secret signs: an endpoint's, or an account's for the `webhook_url` of single jobs."""

    owner: str
    turn: int
    turned_at: int | None

    def secret(self, ours: bytes) -> str:
        """The secret in force, as its owner is shown it; `ours` is the server's."""
        return "whsec_" + base64.b64encode(self._key(ours, self.turn)).decode()

    def former_until(self, now: int) -> int | None:
        """Until when the secret before this one signs too, if it does."""
        until = None if self.turned_at is None else self.turned_at + OVERLAP
        return until if until is not None and now < until else None

    def sign(self, ours: bytes, message: str, seconds: int, body: bytes, now: int) -> str:
        """The `webhook-signature` of a body: one signature for each secret in force, separated by spaces."""
        turns = [self.turn] if self.former_until(now) is None else [self.turn, self.turn - 1]
        content = f"{message}.{seconds}.".encode() + body
        marks = (hmac.digest(self._key(ours, turn), content, "sha256") for turn in turns)
        return " ".join(f"v1,{base64.b64encode(mark).decode()}" for mark in marks)

    def _key(self, ours: bytes, turn: int) -> bytes:
        return hmac.new(ours, f"webhook {self.owner} {turn}".encode(), hashlib.sha256).digest()


def guard(networks: Sequence[IPv4Network | IPv6Network]) -> Guard:
    """What webhooks may connect to; `networks` are those that the operator lets through."""
    return Guard(networks=networks, ports=PORTS)


def checked_url(guard: Guard, url: object, field: str) -> str:
    """A receiver's address in one spelling, as far as it can be judged without a connection. Raises Invalid."""
    if not isinstance(url, str):
        raise Invalid(Fault(field, "must be an http or https address", "string_type"))
    try:
        parsed = guard.check_url(url)
    except UrlRefused as error:
        raise Invalid(Fault(field, f"is not usable: {error.message}", "url")) from None
    spelled = str(parsed.origin()).lower() + parsed.raw_path_qs
    if len(spelled) > LONGEST:
        raise Invalid(Fault(field, f"must have at most {LONGEST} characters, not {len(spelled)}", "string_too_long"))
    return spelled


def create(connection: Connection, account_id: str, url: str, events: Sequence[str], now: int) -> Endpoint:
    """A new endpoint. Raises Invalid where the account has as many as it may."""
    connection.execute(select(accounts.c.id).where(accounts.c.id == account_id).with_for_update())
    count = connection.execute(select(func.count()).where(endpoints.c.account_id == account_id)).scalar_one()
    if count >= MOST:
        raise Invalid(Fault("url", f"would be webhook {MOST + 1} of this account; delete one first", "too_many"))
    row = connection.execute(
        insert(endpoints)
        .values(id=str(uuid.uuid4()), account_id=account_id, url=url, events=" ".join(events), created_at=now)
        .returning(endpoints)
    ).one()
    return _endpoint(row)


def find(connection: Connection, account_id: str, endpoint_id: str) -> Endpoint:
    """An account's endpoint. Raises NotFound, in the same words for those of others."""
    query = select(endpoints).where(endpoints.c.id == endpoint_id, endpoints.c.account_id == account_id)
    return _found(connection.execute(query).one_or_none(), endpoint_id)


def listing(connection: Connection, account_id: str) -> list[Endpoint]:
    """An account's endpoints, oldest first."""
    query = select(endpoints).where(endpoints.c.account_id == account_id)
    return [_endpoint(row) for row in connection.execute(query.order_by(endpoints.c.created_at, endpoints.c.id))]


def change(
    connection: Connection,
    account_id: str,
    endpoint_id: str,
    now: int,
    *,
    url: str | None = None,
    events: Sequence[str] | None = None,
    enabled: bool | None = None,
) -> Endpoint:
    """Changes what is given. What still waits to be told goes to the new address. Raises NotFound."""
    values: dict[str, object] = {}
    if url is not None:
        values["url"] = url
    if events is not None:
        values["events"] = " ".join(events)
    if enabled is not None:
        values |= {"disabled_at": None, "trouble": None} if enabled else {"disabled_at": now}
    if not values:
        return find(connection, account_id, endpoint_id)
    row = connection.execute(
        update(endpoints)
        .where(endpoints.c.id == endpoint_id, endpoints.c.account_id == account_id)
        .values(values)
        .returning(endpoints)
    ).one_or_none()
    changed = _found(row, endpoint_id)
    if url is not None:
        connection.execute(
            update(deliveries)
            .where(
                deliveries.c.account_id == account_id,
                deliveries.c.endpoint_id == endpoint_id,
                deliveries.c.next_at.is_not(None),
            )
            .values(url=url)
        )
    return changed


def remove(connection: Connection, account_id: str, endpoint_id: str) -> None:
    """Deletes an endpoint; what still waits to be told to it will fail. Raises NotFound."""
    done = connection.execute(
        delete(endpoints).where(endpoints.c.id == endpoint_id, endpoints.c.account_id == account_id)
    )
    if not done.rowcount:
        raise _missing(endpoint_id)


def rotate(connection: Connection, account_id: str, endpoint_id: str, now: int) -> Endpoint:
    """Gives an endpoint its next secret. Raises NotFound."""
    row = connection.execute(
        update(endpoints)
        .where(endpoints.c.id == endpoint_id, endpoints.c.account_id == account_id)
        .values(turn=endpoints.c.turn + 1, turned_at=now)
        .returning(endpoints)
    ).one_or_none()
    return _found(row, endpoint_id)


def account_signer(connection: Connection, account_id: str) -> Signer:
    """Whose secret signs what is told to a job's own `webhook_url`."""
    row = connection.execute(
        select(accounts.c.hook_turn, accounts.c.hook_turned_at).where(accounts.c.id == account_id)
    ).one()
    return Signer(account_id, row.hook_turn, row.hook_turned_at)


def rotate_account(connection: Connection, account_id: str, now: int) -> Signer:
    """Gives an account its next secret."""
    connection.execute(
        update(accounts)
        .where(accounts.c.id == account_id)
        .values(hook_turn=accounts.c.hook_turn + 1, hook_turned_at=now)
    )
    return account_signer(connection, account_id)


def listening(connection: Connection, account_id: str, event: Event) -> list[Endpoint]:
    """The account's living endpoints that want to hear of an event: one look at an index."""
    query = select(endpoints).where(endpoints.c.account_id == account_id, endpoints.c.disabled_at.is_(None))
    found = [_endpoint(row) for row in connection.execute(query)]
    return [endpoint for endpoint in found if not endpoint.events or event in endpoint.events]


def disable(connection: Connection, endpoint_id: str, now: int, trouble: str) -> None:
    """Tells an endpoint nothing more, until its owner wants it again."""
    connection.execute(
        update(endpoints)
        .where(endpoints.c.id == endpoint_id, endpoints.c.disabled_at.is_(None))
        .values(disabled_at=now, trouble=trouble)
    )


def _missing(endpoint_id: str) -> NotFound:
    return NotFound(f"There is no webhook {endpoint_id[:64]}.")


def _found(row: Row[Any] | None, endpoint_id: str) -> Endpoint:
    if row is None:
        raise _missing(endpoint_id)
    return _endpoint(row)


def _endpoint(row: Row[Any]) -> Endpoint:
    values: dict[str, Any] = {name: getattr(row, name) for name in _NAMES}
    values["events"] = tuple(row.events.split())
    return Endpoint(**values)
