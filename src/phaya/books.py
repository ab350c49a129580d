"""The command line of the operator's books: credits, reconciliation, the check, and moving house."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer

from phaya import inspection, operator, statements, transfer
from phaya.clock import SystemClock
from phaya.credits import Credits
from phaya.database import InUse
from phaya.errors import PhayaError
from phaya.ledger import Entry
from phaya.storage import storage_of
from phaya.tariff_file import BadTariff
from phaya.terminal import (
    Account,
    AsJson,
    By,
    Expires,
    configure_logs,
    console,
    order,
    print_json,
    problems,
    read_settings,
    stop,
)

T = TypeVar("T")

Reason = Annotated[str, typer.Option("--reason", help="Why, for the books; the customer sees it on the statement.")]
JobId = Annotated[str, typer.Argument(metavar="JOB", help="The job's id.")]

_SIGNED = {"ignore_unknown_options": True}  # an amount may begin with a minus
_WRONG = (operator.Refused, PhayaError, BadTariff, InUse, transfer.Untransferable, ValueError, OSError)


def install(app: typer.Typer) -> None:
    """Adds the commands of the books to the command line."""
    app.command()(check)
    app.command()(migrate)
    app.command()(copy)
    app.add_typer(_credits(), name="credits")
    app.add_typer(_reconcile(), name="reconcile")


def _credits() -> typer.Typer:
    credits = typer.Typer(help="Grant, correct, refund and export credits (operator).", no_args_is_help=True)
    credits.command("grant")(grant)
    credits.command("adjust", context_settings=_SIGNED)(adjust)
    credits.command("refund")(refund)
    credits.command("statement")(statement)
    return credits


def _reconcile() -> typer.Typer:
    reconcile = typer.Typer(help="Jobs whose fate at the provider is or was unknown (operator).", no_args_is_help=True)
    reconcile.command("list")(reconcile_list)
    reconcile.command("look")(reconcile_look)
    reconcile.command("close")(reconcile_close)
    return reconcile


def grant(
    account: Account,
    amount: Annotated[str, typer.Argument(help="Credits to add.")],
    note: Annotated[str | None, typer.Option(help="Why, for the statement.")] = None,
    by: Annotated[str | None, typer.Option("--by", help="Who grants them, for the books.")] = None,
    expires: Expires = None,
    as_json: AsJson = False,
) -> None:
    """Add credits to an account."""
    done = order("credits grant", account=account, amount=amount, note=note, by=by, expires=expires)
    _tell(done, f"{done['account']} has {done['credits_balance']} credits.", as_json)


def adjust(
    account: Account,
    amount: Annotated[str, typer.Argument(help="Credits to add, or with a minus to take.")],
    reason: Reason,
    by: By,
    as_json: AsJson = False,
) -> None:
    """Correct a balance up or down, never below zero."""
    done = order("credits adjust", account=account, amount=amount, reason=reason, by=by)
    _tell(done, f"{done['account']} has {done['credits_balance']} credits.", as_json)


def refund(
    job: JobId,
    reason: Reason,
    by: By,
    amount: Annotated[str | None, typer.Option(help="Credits; without it all that the job kept.")] = None,
    as_json: AsJson = False,
) -> None:
    """Give back the price of a completed job, or a part of it, once."""
    done = order("credits refund", job=job, amount=amount, reason=reason, by=by)
    told = f"{done['refunded']} credits of job {done['job_id']} were given back; it keeps {done['kept']}."
    _tell(done, f"{told} {done['account']} has {done['credits_balance']} credits.", as_json)


def statement(
    account: Account,
    begin: Annotated[str | None, typer.Option("--from", help="First day or moment (UTC), such as 2026-11-01.")] = None,
    end: Annotated[str | None, typer.Option("--to", help="Last day, which counts whole, or the moment after.")] = None,
    form: Annotated[statements.Format, typer.Option("--format", help="How it is written.")] = "csv",
    out: Annotated[Path | None, typer.Option(help="Write it here instead of printing it.")] = None,
) -> None:
    """Export an account's entries with the balances before, between and after them."""
    settings = read_settings()
    configure_logs("warning")
    asked = _run(_period(begin, end))
    with contextlib.ExitStack() as stack:
        file = sys.stdout
        if out is not None:
            try:
                file = stack.enter_context(out.open("w", encoding="utf-8", newline=""))
            except OSError as error:
                stop(f"{out} cannot be written: {error.strerror}.")
        _run(
            _write_statement(partial(operator.carry_out, settings), settings.currency, account, asked, form, file.write)
        )
        sys.stdout.flush()


async def _period(begin: str | None, end: str | None) -> statements.Period:
    return statements.period(begin, end, SystemClock().now())


async def _write_statement(
    ask: Callable[..., Awaitable[dict[str, Any]]],
    currency: str,
    account: str,
    asked: statements.Period,
    form: statements.Format,
    write: Callable[[str], object],
) -> None:
    async def page(after: int) -> dict[str, Any]:
        values = {"account": account, "begin": asked.begin, "end": asked.end, "after": after}
        return await ask("credits statement", **values)

    first = await page(0)

    async def read(after: int) -> Sequence[Entry]:
        found = first if after == 0 else await page(after)
        return [statements.told(row) for row in found["entries"]]

    pages, before = statements.pages(read), Credits(first["opening"])
    async for text in statements.statement(form, first["account"], currency, asked, before, pages, actors=True):
        write(text)
    if form == "json":
        write("\n")


def reconcile_list(
    everything: Annotated[bool, typer.Option("--all", help="Those that were closed, too.")] = False,
    as_json: AsJson = False,
) -> None:
    """List the jobs that the provider may have made, or has made late, without the user having paid."""
    found: list[dict[str, Any]] = []
    after: list[Any] | None = None
    while True:
        page = order("reconcile list", all=everything, after=after)
        found += page["jobs"]
        if (after := page["next"]) is None:
            break
    if as_json:
        print_json(found)
        return
    for job in found:
        ticket = f"ticket {job['ticket'] or 'unknown'}, provider key {job['provider_key'] or 'unknown'}"
        lines = (
            f"{job['job_id']}  {job['service']}  {job['state']}/{job['step']}",
            f"  {job['account']}: price {job['price']}, returned {job['returned']}",
            f"  {ticket}, cost there {job['provider_spent'] or 'unknown'}",
            f"  {job['trouble'] or job['error_code'] or 'no trouble told'}",
            f"  next: {job['next']} {job['next_at'] or ''}".rstrip(),
        )
        console.print("\n".join(lines), highlight=False, soft_wrap=True)
    if not found:
        console.print("No job is in doubt.")


def reconcile_look(job: JobId, as_json: AsJson = False) -> None:
    """Ask the provider about a job now."""
    done = order("reconcile look", job=job)
    _tell(done, f"Job {done['job_id']} is due: {done['next']}.", as_json)


def reconcile_close(job: JobId, reason: Annotated[str, typer.Option(help="Why, for the books.")], by: By) -> None:
    """End the looking for a job and take it off the list."""
    done = order("reconcile close", job=job, reason=reason, by=by)
    console.print(f"Job {done['job_id']} was {done['trouble']}.", highlight=False)


def check(
    at_rest: Annotated[
        bool, typer.Option("--at-rest", help="Nobody works on this database, a backup for instance: nothing is late.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Prove that entries, balances, caps, jobs, queue and stored files agree; exits with 1 where they do not."""
    settings = read_settings()
    configure_logs("warning")
    storage = storage_of(settings, settings.public_url or "")
    ask = partial(operator.carry_out, settings)
    found = _run(inspection.examine(ask, storage, settings.media_days, at_rest=at_rest))
    if as_json:
        print_json(found)
    else:
        for fault in found["faults"]:
            problems.print(f"[red]{fault}[/red]", highlight=False, soft_wrap=True)
        if not found["faults"]:
            console.print("Clean: entries, balances, caps, jobs and queue agree, and no file is missing.")
        for place, count in sorted(found["waiting"].items()):
            console.print(f"  {count} jobs in {place}")
    sys.exit(1 if found["faults"] else 0)


def migrate() -> None:
    """Bring the database forward to the schema of this version."""
    settings = read_settings()
    configure_logs("warning")
    done = _run(transfer.bring_forward(settings.data_dir, settings.database_url))
    where = f"the database in {settings.data_dir}" if settings.database_url is None else "PostgreSQL"
    if done.before == done.after:
        console.print(f"{where[0].upper()}{where[1:]} is at {done.after} already.", highlight=False)
    else:
        console.print(f"Brought {where} from {done.before or 'nothing'} to {done.after}.", highlight=False)


def copy(
    to: Annotated[str, typer.Option(help="An empty PostgreSQL, as postgresql://user:password@host/database.")],
) -> None:
    """Copy the embedded database of the data folder, while no server runs, into an empty PostgreSQL."""
    settings = read_settings()
    configure_logs("warning")
    done = _run(transfer.carry_over(settings.data_dir, to, SystemClock().now()))
    for table, count in done.tables.items():
        console.print(f"  {count} {table}", highlight=False)
    for fault in done.faults:
        problems.print(f"[red]On both sides: {fault}[/red]", highlight=False, soft_wrap=True)
    console.print("Every row, balance and entry arrived. Set PHAYA_DATABASE_URL, and do not start the old one again.")
    if settings.secret is None:
        told = f"Keys go on working with the same secret: give every node the file {settings.data_dir / 'secret'}"
        console.print(f"{told}, or its content as PHAYA_SECRET.", highlight=False, soft_wrap=True)
    else:
        console.print("Keys go on working with the same PHAYA_SECRET.")
    console.print(f"Results stay in {settings.data_dir / 'media'}.", highlight=False, soft_wrap=True)


def _run(work: Any) -> Any:
    try:
        return asyncio.run(work)
    except _WRONG as error:
        stop(str(error))


def _tell(done: dict[str, Any], sentence: str, as_json: bool) -> None:
    if as_json:
        print_json(done)
    else:
        console.print(sentence, highlight=False, soft_wrap=True)
