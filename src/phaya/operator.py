"""What an operator does from the command line: accounts, keys, credits by hand; and what other modules add to it.

An embedded database has one writing process. While a server runs, a command is handed to it through a Unix
socket in the data folder that only the owner can open; otherwise, and on PostgreSQL, the command opens the database
itself.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import socket
import stat
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import orjson
import structlog
from sqlalchemy import Connection

from phaya import inspection, keys, ledger, logins, reconciliation, sales, statements
from phaya.clock import Clock, written
from phaya.credits import credits
from phaya.database import Database, InUse
from phaya.engine import engine
from phaya.errors import Fault, Invalid, PhayaError
from phaya.settings import Settings
from phaya.tariff_file import tariff_of

log = structlog.get_logger()

LONGEST_LINE = 1_000_000


class Refused(Exception):
    """A command that could not be carried out; the message says why."""


def create_key(connection: Connection, secret: bytes, now: int, asked: Mapping[str, Any]) -> dict[str, Any]:
    """Makes a key (and its account, if new), with a first grant if asked for."""
    known = (*keys.SCOPES, *asked["services"])
    strange = set(asked["scopes"]) - set(known)
    if strange:
        raise Invalid(Fault("scope", f"must be one of {', '.join(known)}, not {', '.join(sorted(strange))}"))
    account = keys.open_account(connection, asked["account"], now)
    text, key = keys.mint(
        connection,
        secret,
        account,
        asked["name"],
        now,
        cap=_amount("cap", asked.get("cap")),
        scopes=asked["scopes"],
        rate=asked.get("rate"),
    )
    balance = account.balance
    amount = _amount("credits", asked.get("credits"))
    if amount is not None:
        balance = ledger.grant(connection, account.id, amount, f"with key {key.name}", now)
    return {
        "key": text,
        "key_id": key.id,
        "name": key.name,
        "account": account.email,
        "account_id": account.id,
        "credits_balance": str(balance),
        "cap": None if key.cap is None else str(key.cap),
        "scopes": sorted(key.scopes),
        "rate": key.rate,
    }


def list_keys(connection: Connection, _secret: bytes, _now: int, asked: Mapping[str, Any]) -> dict[str, Any]:
    """An account's keys, without their text."""
    account = keys.account_by_email(connection, asked["account"])
    return {
        "keys": [
            {
                "key_id": key.id,
                "name": key.name,
                "prefix": prefix,
                "scopes": sorted(key.scopes),
                "cap": None if key.cap is None else str(key.cap),
                "spent": str(key.spent),
                "revoked": key.revoked_at is not None,
            }
            for key, prefix, _ in keys.listing(connection, account.id)
        ]
    }


def revoke_key(connection: Connection, _secret: bytes, now: int, asked: Mapping[str, Any]) -> dict[str, Any]:
    """Ends a key for good."""
    account = keys.account_by_email(connection, asked["account"])
    return {"revoked": keys.revoke(connection, account.id, asked["key_id"], now)}


def grant(connection: Connection, _secret: bytes, now: int, asked: Mapping[str, Any]) -> dict[str, Any]:
    """Adds credits to an account."""
    amount = _amount("amount", asked["amount"])
    assert amount is not None
    by = None if asked.get("by") is None else _words("by", asked["by"], 100)
    account = keys.open_account(connection, asked["account"], now)
    until = sales.until(asked.get("expires"), now)
    note = asked.get("note") or "granted by the operator"
    balance = ledger.grant(connection, account.id, amount, note, now, by, until)
    return {
        "account": account.email,
        "granted": str(amount),
        "expires_at": written(until),
        "credits_balance": str(balance),
    }


def adjust(connection: Connection, _secret: bytes, now: int, asked: Mapping[str, Any]) -> dict[str, Any]:
    """Corrects a balance up or down."""
    amount = _amount("amount", asked["amount"])
    assert amount is not None
    reason, by = _signed(asked)
    account = keys.account_by_email(connection, asked["account"])
    balance = ledger.adjust(connection, account.id, amount, reason, now, by)
    return {"account": account.email, "adjusted": str(amount), "credits_balance": str(balance)}


def refund(connection: Connection, _secret: bytes, now: int, asked: Mapping[str, Any]) -> dict[str, Any]:
    """Gives back what a job kept, or a part of it."""
    reason, by = _signed(asked)
    done = ledger.refund(connection, asked["job"], _amount("amount", asked.get("amount")), reason, now, by)
    return {
        "job_id": asked["job"],
        "account": keys.find_account(connection, done.account_id).email,
        "refunded": str(done.amount),
        "kept": str(done.kept),
        "credits_balance": str(done.balance),
    }


def close(connection: Connection, secret: bytes, now: int, asked: Mapping[str, Any]) -> dict[str, Any]:
    """Ends the looking for a job."""
    reason, by = _signed(asked)
    return reconciliation.close(connection, secret, now, {**asked, "reason": reason, "by": by})


def make_vouchers(connection: Connection, secret: bytes, now: int, asked: Mapping[str, Any]) -> dict[str, Any]:
    """Makes vouchers, whose codes only this answer has."""
    note = asked["note"] and _words("note", asked["note"], 200)
    checked = {"credits": _amount("credits", asked["credits"]), "by": _words("by", asked["by"], 100), "note": note}
    return sales.make_vouchers(connection, secret, now, {**asked, **checked})


Command = Callable[[Connection, bytes, int, Mapping[str, Any]], dict[str, Any]]

COMMANDS: Mapping[str, Command] = {
    "keys create": create_key,
    "keys list": list_keys,
    "keys revoke": revoke_key,
    "credits grant": grant,
    "credits adjust": adjust,
    "credits refund": refund,
    "credits statement": statements.command,
    "reconcile list": reconciliation.overview,
    "reconcile look": reconciliation.look,
    "reconcile close": close,
    "vouchers create": make_vouchers,
    "vouchers list": sales.list_vouchers,
    "vouchers revoke": sales.revoke_voucher,
    "payments list": sales.list_payments,
    "payments events": sales.list_events,
    "console link": logins.command,
    "console first": logins.first_command,
    "check": inspection.check,
    "check files": inspection.stored,
}

READING = frozenset(
    {
        *("keys list", "credits statement", "reconcile list", "vouchers list", "payments list", "payments events"),
        *("check", "check files"),
    }
)
"""Commands that only read: they keep nobody from writing, however long they take."""


def _amount(field: str, text: str | None) -> Any:
    if text is None:
        return None
    try:
        return credits(text)
    except ValueError as error:
        raise Invalid(Fault(field, str(error))) from None


def _signed(asked: Mapping[str, Any]) -> tuple[str, str]:
    """Why something is done by hand, and by whom."""
    return _words("reason", asked["reason"], 1000), _words("by", asked["by"], 100)


def _words(field: str, text: str, longest: int) -> str:
    words = " ".join(text.split())
    if not 1 <= len(words) <= longest:
        raise Invalid(Fault(field, f"must have 1 to {longest} characters"))
    return words


def socket_path(folder: Path) -> Path:
    """Where the running server listens for its operator; short enough for every system's limit of 100 bytes."""
    beside = folder.resolve() / "operator.sock"
    if len(str(beside).encode()) < 100:
        return beside
    mark = hashlib.sha256(str(folder.resolve()).encode()).hexdigest()[:16]
    return Path(tempfile.gettempdir()) / f"phaya-{mark}" / "operator.sock"


def _trust(path: Path) -> None:
    """Raises PermissionError where somebody else may have put a socket of theirs: anybody makes folders in `/tmp`."""
    if path.parent.parent != Path(tempfile.gettempdir()):
        return  # the data folder
    found = path.parent.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid() or found.st_mode & 0o077:
        raise PermissionError(f"{path.parent} is not this user's alone; remove it")


class Door:
    """Listens for the operator's commands while the server runs."""

    def __init__(self, folder: Path, database: Database, secret: bytes, clock: Clock, services: Sequence[str]) -> None:
        """`services` are the paths on sale, which keys may be limited to."""
        self._path = socket_path(folder)
        self._database = database
        self._secret = secret
        self._clock = clock
        self._services = services
        self._server: asyncio.Server | None = None

    async def __aenter__(self) -> Self:
        """Opens the socket, for the owner only."""
        self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        _trust(self._path)
        self._path.unlink(missing_ok=True)
        door = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            door.bind(str(self._path))
            self._path.chmod(0o600)  # before it listens, so that nobody slips in between
            self._server = await asyncio.start_unix_server(self._serve, sock=door, limit=LONGEST_LINE)
        except BaseException:
            door.close()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        """Closes it."""
        assert self._server is not None
        self._server.close()
        self._path.unlink(missing_ok=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            asked = orjson.loads(await reader.readline())
            answer = await _run(
                self._database,
                self._secret,
                self._clock,
                asked["command"],
                asked["values"] | {"services": self._services, "served": True},
            )
        except (PhayaError, Refused) as error:
            answer = {"refused": str(error)}
        except Exception as error:
            log.exception("operator.failed")
            answer = {"refused": f"something went wrong: {error!r}"}
        with contextlib.suppress(ConnectionError):
            writer.write(orjson.dumps(answer) + b"\n")
            await writer.drain()
        writer.close()


async def _run(
    database: Database, secret: bytes, clock: Clock, command: str, values: Mapping[str, Any]
) -> dict[str, Any]:
    work = COMMANDS.get(command)
    if work is None:
        raise Refused(f"this server does not know the command {command!r}; is it of another version?")
    log.info("operator.command", command=command)
    run = database.read if command in READING else database.write
    return await run(work, secret, clock.now(), values)


async def carry_out(settings: Settings, command: str, **values: Any) -> dict[str, Any]:
    """Carries out a command: in the database itself, or by the server that holds an embedded one.

    Raises Refused, PhayaError or BadTariff.
    """
    async with contextlib.AsyncExitStack() as stack:
        try:
            opened = await stack.enter_async_context(engine(settings))
        except InUse:
            return await _hand_over(settings.data_dir, command, values)
        secret = keys.load_secret(settings.secret, settings.data_dir)
        if opened.shared and not await opened.database.write(keys.agree, secret):
            raise Refused(keys.FOREIGN)
        everything = values | {"services": tariff_of(settings).paths}
        return await _run(opened.database, secret, opened.clock, command, everything)


async def _reach(folder: Path, patience: float = 5.0) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """A connection to the running server, which may be starting just now."""
    while True:
        try:
            _trust(socket_path(folder))
            return await asyncio.open_unix_connection(str(socket_path(folder)), limit=LONGEST_LINE)
        except OSError as error:
            if patience <= 0:
                raise Refused(f"another Phaya holds {folder} and does not answer: {error}") from error
            patience -= 0.1
            await asyncio.sleep(0.1)


async def _hand_over(folder: Path, command: str, values: Mapping[str, Any]) -> dict[str, Any]:
    reader, writer = await _reach(folder)
    writer.write(orjson.dumps({"command": command, "values": dict(values)}) + b"\n")
    await writer.drain()
    line = await reader.readline()
    writer.close()
    if not line:
        raise Refused("the server closed the connection; see its log")
    answer = orjson.loads(line)
    if "refused" in answer:
        raise Refused(answer["refused"])
    return answer
