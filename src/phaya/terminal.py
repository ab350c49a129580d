"""What the commands of the command line share: the terminal, the settings, and orders to the operator's desk."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any

import orjson
import typer
from rich.console import Console

from phaya import logs, operator
from phaya.entry import read_settings, stop
from phaya.errors import PhayaError
from phaya.tariff_file import BadTariff

console = Console()
problems = Console(stderr=True)

Account = Annotated[str, typer.Option("--account", help="E-mail address of the account.")]
By = Annotated[str, typer.Option("--by", help="Who does it, for the books.")]
Expires = Annotated[
    str | None,
    typer.Option("--expires", metavar="DATE|DAYS", help="Last day (UTC) such as 2026-12-31, or days from now."),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def order(command: str, **values: Any) -> dict[str, Any]:
    """What an operator's command answers; ends with one sentence where it is refused."""
    settings = read_settings()
    configure_logs("warning")
    try:
        return asyncio.run(operator.carry_out(settings, command, **values))
    except (operator.Refused, PhayaError, BadTariff) as error:
        stop(str(error))


def print_json(found: object) -> None:
    """Prints one line of JSON."""
    print(orjson.dumps(found).decode())


def configure_logs(level: str, form: logs.Form = "auto") -> None:
    """Structured logs on stderr: readable on a terminal, JSON elsewhere."""
    logs.configure(level, form)
