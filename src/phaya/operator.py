"""What an operator does, from the command line or in the console: credits by hand, and what other modules add to it.
Each command that changes something is written into the audit log, in its own transaction.

An embedded database has one writing process. While a server runs, a command is handed to it through a Unix
socket in the data folder that only the owner can open; otherwise, and on PostgreSQL, the command opens the database
itself.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import pwd
import socket
import stat
import tempfile
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import orjson
import structlog
from sqlalchemy import Connection

from phaya import (
    accounts,
    allowances,
    backlog,
    deeds,
    digest,
    inspection,
    keys,
    ledger,
    logins,
    reconciliation,
    sales,
    statements,
)
from phaya.clock import Clock, written
from phaya.database import Database, InUse
from phaya.engine import engine
from phaya.errors import PhayaError
from phaya.settings import Settings
from phaya.tariff_file import tariff_of
from phaya.typed import read_amount, read_words

log = structlog.get_logger()

LONGEST_LINE = 1_000_000


class Refused(Exception):
    """A command that could not be carried out; the message says why."""


def grant(connection: Connection, _secret: bytes, now: int, asked: Mapping[str, Any]) -> dict[str, Any]:
    """Adds credits to an account."""
    amount = read_amount("amount", asked["amount"])
    by = None if asked.get("by") is None else read_words("by", asked["by"], 100)
    account = keys.open_account(connection, asked["account"], now)
    accounts.unmoved(connection, account.id, asked.get("seen"))
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
    amount = read_amount("amount", asked["amount"])
    reason, by = _signed(asked)
    account = keys.account_by_email(connection, asked["account"])
    accounts.unmoved(connection, account.id, asked.get("seen"))
    balance = ledger.adjust(connection, account.id, amount, reason, now, by)
    return {"account": account.email, "adjusted": str(amount), "credits_balance": str(balance)}


def refund(connection: Connection, _secret: bytes, now: int, asked: Mapping[str, Any]) -> dict[str, Any]:
    """Gives back what a job kept, or a part of it."""
    reason, by = _signed(asked)
    amount = None if asked.get("amount") is None else read_amount("amount", asked["amount"])
    done = ledger.refund(connection, asked["job"], amount, reason, now, by)
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
    note = asked["note"] and read_words("note", asked["note"], 200)
    checked = {
        "credits": read_amount("credits", asked["credits"]),
        "by": read_words("by", asked["by"], 100),
        "note": note,
    }
    return sales.make_vouchers(connection, secret, now, {**asked, **checked})


Command = Callable[[Connection, bytes, int, Mapping[str, Any]], dict[str, Any]]

COMMANDS: Mapping[str, Command] = {
    "keys create": accounts.create_key,
    "keys list": accounts.list_keys,
    "keys revoke": accounts.revoke_key,
    "keys rotate": accounts.rotate_key,
    "keys suspend": accounts.suspend_key,
    "keys resume": accounts.resume_key,
    "keys cap": accounts.cap_key,
    "accounts limits": allowances.command,
    "accounts list": accounts.listing,
    "accounts show": accounts.show,
    "accounts promote": accounts.promote,
    "accounts demote": accounts.demote,
    "accounts suspend": accounts.suspend,
    "accounts resume": accounts.resume,
    "jobs cancel": backlog.cancel,
    "audit list": deeds.listing,
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
    "digest": digest.digest,
    "check": inspection.check,
    "check files": inspection.stored,
}

READING = frozenset(
    {
        *("keys list", "credits statement", "reconcile list", "vouchers list", "payments list", "payments events"),
        *("accounts list", "accounts show", "audit list", "digest", "check", "check files"),
    }
)
"""Commands that only read: they keep nobody from writing, however long they take."""


def _signed(asked: Mapping[str, Any]) -> tuple[str, str]:
    """Why something is done by hand, and by whom."""
    return read_words("reason", asked["reason"], 1000), read_words("by", asked["by"], 100)


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

    def __init__(
        self,
        folder: Path,
        database: Database,
        secret: bytes,
        clock: Clock,
        services: Sequence[str],
        public_url: str,
        changed: Callable[[], None],
        live: Callable[[], Awaitable[list[dict[str, Any]]]] | None = None,
    ) -> None:
        """`services` are the paths on sale, which keys may be limited to; `public_url` is the server's address;
        `changed` is told of every command that may have written; `live` is what only this process can tell for a
        digest."""
        self._live = live
        self._path = socket_path(folder)
        self._database = database
        self._secret = secret
        self._clock = clock
        self._services = services
        self._changed = changed
        self._public_url = public_url
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
            if asked["command"] == "digest" and self._live is not None:
                asked["values"]["live"] = await self._live()
            answer = await _run(
                self._database,
                self._secret,
                self._clock,
                asked["command"],
                asked["values"] | {"services": self._services, "served": True, "public_url": self._public_url},
                asked.get("actor", "cli"),
            )
            if asked["command"] not in READING:
                self._changed()
        except (PhayaError, Refused) as error:
            answer = {"refused": str(error)}
        except Exception as error:
            log.exception("operator.failed")
            answer = {"refused": f"something went wrong: {error!r}"}
        with contextlib.suppress(ConnectionError):
            writer.write(orjson.dumps(answer) + b"\n")
            await writer.drain()
        writer.close()


def perform(
    connection: Connection, command: str, secret: bytes, now: int, values: Mapping[str, Any], actor: str
) -> dict[str, Any]:
    """Carries out a command and writes down that `actor` did, in one transaction. Raises Refused or PhayaError."""
    work = COMMANDS.get(command)
    if work is None:
        raise Refused(f"this server does not know the command {command!r}; is it of another version?")
    if command in READING:
        return work(connection, secret, now, values)
    made = deeds.is_new(connection, values.get("account"))
    answer = work(connection, secret, now, values)
    deeds.record(connection, actor, command, values, answer, now, made=made)
    return answer


async def _run(
    database: Database, secret: bytes, clock: Clock, command: str, values: Mapping[str, Any], actor: str
) -> dict[str, Any]:
    log.info("operator.command", command=command, actor=actor)
    run = database.read if command in READING else database.write
    return await run(perform, command, secret, clock.now(), values, actor)


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
        everything = values | {"services": tariff_of(settings).paths, "public_url": settings.public_url}
        return await _run(opened.database, secret, opened.clock, command, everything, actor())


def actor() -> str:
    """Who gives commands here, for the audit log: the user of the operating system, whatever the environment says."""
    number = os.getuid()
    try:
        return f"cli:{pwd.getpwuid(number).pw_name}"
    except KeyError:  # in a container users need no names
        return f"cli:{number}"


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
    writer.write(orjson.dumps({"command": command, "values": dict(values), "actor": actor()}) + b"\n")
    await writer.drain()
    line = await reader.readline()
    writer.close()
    if not line:
        raise Refused("the server closed the connection; see its log")
    answer = orjson.loads(line)
    if "refused" in answer:
        raise Refused(answer["refused"])
    return answer
