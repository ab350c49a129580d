"""The page of commands."""

from __future__ import annotations

from collections.abc import Iterator

import typer
from typer.core import TyperCommand, TyperGroup, TyperOption
from typer.main import get_command

from phaya.cli import app
from phaya.reference.markdown import NOTICE, page


def cli_page() -> str:
    """Every command with its options."""
    return page(
        [
            "# Command line",
            NOTICE,
            "`keys`, `credits`, `reconcile` and `check` work on the data folder of this machine, through the running "
            "server where there is one; `migrate` and `copy` want no server to run.",
            "`generate`, `jobs`, `chat`, `balance` and `mcp` call any Phaya: at `PHAYA_BASE` with the key in "
            "`PHAYA_API_KEY`, else as `phaya login` kept them. Results go to stdout, all else to stderr. They end with "
            "0 where all went well, 1 where the job failed, 2 where the command was given something wrong, 3 where the "
            "server refused (key, credits, scope, fields, rate), 4 where no server answers or it cannot serve now, 130 "
            "where they were interrupted: the job goes on. An option that names a picture, film or sound takes a link, "
            "or a file, which is uploaded first.",
            "`phaya --install-completion` makes the shell complete commands and options.",
            *_command("phaya", get_command(app)),
        ]
    )


def _command(name: str, command: object) -> Iterator[str]:
    """A command, its arguments and options, and the commands below it."""
    assert isinstance(command, TyperCommand | TyperGroup)
    context = typer.Context(command, info_name=name)
    yield f"## {name}"
    if command.help:
        yield " ".join(command.help.split())
    options: list[str] = []
    for parameter in command.params:
        option, told = parameter.get_help_record(context) or ("", "")
        if isinstance(parameter, TyperOption) and parameter.multiple:
            option, told = option.replace("list[str]", "str"), f"{told} May be given several times."
        if option:
            options.append(f"- `{option}` {' '.join(told.split())}".rstrip())
    if options:
        yield "\n".join(options)
    if isinstance(command, TyperGroup):
        for part, one in command.commands.items():
            yield from _command(f"{name} {part}", one)
