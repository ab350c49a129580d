"""Commands of those who hold a key: they call a Phaya's API, wherever it is."""

from __future__ import annotations

import contextlib
import importlib
import itertools
import sys
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Column, Table

from phaya.client import AsyncClient
from phaya.client.place import DEFAULT_BASE, keep, place
from phaya.credits import credits
from phaya.generate import Misuse, finish, perform, say
from phaya.terminal import AsJson, console, problems

jobs_app = typer.Typer(help="List, show, wait for and cancel your jobs.", no_args_is_help=True)
JobId = Annotated[str, typer.Argument(help="The job's id.")]


def install(app: typer.Typer) -> None:
    """Adds the commands."""
    app.add_typer(jobs_app, name="jobs")
    for command in (chat, balance, login, mcp):
        app.command()(command)


@jobs_app.command("list")
def jobs_list(
    service: Annotated[str | None, typer.Option(help="Only of this service.")] = None,
    state: Annotated[
        str | None, typer.Option(help="Only in this state: queued, processing, completed, failed or cancelled.")
    ] = None,
    limit: Annotated[int, typer.Option(min=1, help="As many at the most.")] = 20,
    as_json: AsJson = False,
) -> None:
    """List your jobs, newest first."""

    async def work() -> None:
        found: list[dict[str, Any]] = []
        async with AsyncClient() as client:
            async for job in client.jobs(service=service, state=state):
                found.append(job.status)
                if len(found) == limit:
                    break
        if as_json:
            return say({"jobs": found}, as_json, "")
        whole = Column("job", min_width=36, no_wrap=True)  # it is to be copied
        table = Table(whole, "service", "state", "credits", "created")
        for job in found:
            spent = job["credits_used"] - (job["credits_refunded"] or 0)
            table.add_row(job["job_id"], job["service"], job["state"], f"{spent:f}", job["created_at"])
        return console.print(table)

    perform(work())


@jobs_app.command("show")
def jobs_show(job_id: JobId) -> None:
    """Print all that is known of a job, as JSON."""

    async def work() -> None:
        async with AsyncClient() as client:
            say((await client.job(job_id)).status, True, "")

    perform(work())


@jobs_app.command("wait")
def jobs_wait(
    job_id: JobId,
    out: Annotated[Path | None, typer.Option(help="Save the result here, or all results in this folder.")] = None,
    as_json: AsJson = False,
) -> None:
    """Wait for a job with a progress bar, and print the links of its results."""

    async def work() -> None:
        async with AsyncClient() as client:
            job = await client.job(job_id)
            await finish(job, job.service, out, as_json)

    perform(work())


@jobs_app.command("cancel")
def jobs_cancel(job_id: JobId) -> None:
    """End a job and get its credits back."""

    async def work() -> None:
        async with AsyncClient() as client:
            job = await client.job(job_id)
            if not await job.cancel():
                raise Misuse(f"The job is {job.state} already.")

    perform(work())


def chat(
    question: Annotated[str | None, typer.Argument(help="One question; without it a conversation begins.")] = None,
    model: Annotated[str | None, typer.Option(help="Which model is asked.")] = None,
    system: Annotated[str | None, typer.Option(help="How the model is to behave.")] = None,
) -> None:
    """Talk to Phaya-GPT, answered word by word. A conversation ends with Ctrl-D."""
    fields = {} if model is None else {"model": model}

    async def answered(client: AsyncClient, talk: list[dict[str, str]]) -> str:
        said: list[str] = []
        async for word in client.chat_stream(talk, system=system, **fields):
            sys.stdout.write(word)
            sys.stdout.flush()
            said.append(word)
        sys.stdout.write("\n")
        return "".join(said)

    async def work() -> None:
        talk: list[dict[str, str]] = []
        async with AsyncClient() as client:
            for turn in itertools.count():
                if turn and question is not None:
                    return
                if (asked := question or _asked()) is None:
                    return
                talk.append({"role": "user", "content": asked})
                talk.append({"role": "assistant", "content": await answered(client, talk)})

    perform(work())


def _asked() -> str | None:
    """The next line of a conversation; None at its end."""
    if not sys.stdin.isatty():
        return sys.stdin.readline().strip() or None
    with contextlib.suppress(ImportError):
        importlib.import_module("readline")  # gives input() a history and keys to edit with
    sys.stderr.write("> ")
    sys.stderr.flush()
    try:
        while True:
            if line := input().strip():
                return line
    except EOFError:
        return None


def balance(as_json: AsJson = False) -> None:
    """Print the credits of your account."""

    async def work() -> None:
        async with AsyncClient() as client:
            found = await client.get("user/credits")
            say(found, as_json, f"{found['credits_balance']:f}")

    perform(work())


def login(
    base: Annotated[
        str | None, typer.Option(help="The API's address, ending in /api/v1; asked for if left out.")
    ] = None,
    key: Annotated[str | None, typer.Option(help="Your key; asked for, unseen, if left out.")] = None,
) -> None:
    """Keep a Phaya's address and your key for the other commands; PHAYA_BASE and PHAYA_API_KEY go before them."""
    base = base or typer.prompt("Address of the API", default=DEFAULT_BASE, err=True)
    key = key or typer.prompt("Key", hide_input=True, err=True)

    async def work() -> None:
        async with AsyncClient(base, key) as client:
            profile = await client.get("user/profile")
        file = keep(str(base).rstrip("/"), str(key))
        problems.print(f"You are {profile['email']}; kept in {file}.", highlight=False, soft_wrap=True)

    perform(work())


def mcp(
    budget: Annotated[str | None, typer.Option(help="Credits that this session may spend at the most.")] = None,
) -> None:
    """Serve Phaya's services as tools to an AI agent, by the Model Context Protocol over stdin and stdout."""

    async def work() -> None:
        try:
            limit = None if budget is None else Decimal(str(credits(budget)))
        except ValueError as error:
            raise Misuse(f"--budget: {error}.") from None
        from phaya.agents.server import over_stdio

        await over_stdio(*place(), limit)

    perform(work())
