"""`phaya generate <service>`: one command per service of the catalog, with its fields as options."""

from __future__ import annotations

import asyncio
import inspect
import os
import sys
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Union, get_args, get_origin

import typer
from pydantic import BaseModel
from pydantic.fields import FieldInfo
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from typer.core import TyperGroup
from typer.main import get_command

from phaya.catalog import CATALOG
from phaya.catalog.service import Generation
from phaya.client import ApiError, Unreachable, Wire
from phaya.client.amounts import written
from phaya.settings import Settings
from phaya.tariff_file import BadTariff, tariff_of

DEFAULT_BASE = "http://127.0.0.1:8000/api/v1"
errors = Console(stderr=True)


def commands() -> typer.Typer:
    """The group of commands."""
    group = typer.Typer(cls=Offered, help="Make a picture, a film, a song or a clip.", no_args_is_help=True)
    _add(group, CATALOG)
    return group


def _add(group: typer.Typer, services: Iterable[type[Generation]]) -> None:
    for service in services:
        group.command(service.path, help=f"{service.name()}: {service.summary()}.")(_command(service))


class Offered(TyperGroup):
    """The catalog's commands, and those of the models that this machine's tariff file adds."""

    def list_commands(self, ctx: Any) -> list[str]:
        """The names, the catalog's first."""
        return [*super().list_commands(ctx), *self._added()]

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """The command of a name."""
        return super().get_command(ctx, cmd_name) or self._added().get(cmd_name)

    @staticmethod
    def _added() -> Mapping[str, Any]:
        try:
            services = tariff_of(Settings()).services
        except (BadTariff, ValueError) as error:
            errors.print(f"[red]{error}[/red]", highlight=False)
            sys.exit(1)
        known = {service.path for service in CATALOG}
        added = [service for path, service in services.items() if path not in known]
        if not added:
            return {}
        group = typer.Typer(no_args_is_help=True)
        _add(group, added)
        group.callback()(lambda: None)  # with a single command Typer would make no group of it
        made = get_command(group)
        return made.commands if isinstance(made, TyperGroup) else {}


def _command(service: type[Generation]) -> Callable[..., None]:
    def run(**given: Any) -> None:
        wait, out, as_json, dry_run = (given.pop(name) for name in ("wait", "out", "json", "dry_run"))
        body = _body(service, given)
        asyncio.run(
            guarded(_generate(service, body, wait=wait or out is not None, out=out, as_json=as_json, dry=dry_run))
        )

    parameters = [parameter for name, field in service.model_fields.items() for parameter in _options(name, field)]
    parameters += [
        _option("wait", bool, False, "Wait for the result, with a progress bar."),
        _option("out", Path | None, None, "Save the result here (waits for it)."),
        _option("json", bool, False, "Print the API's answer as JSON."),
        _option("dry_run", bool, False, "Only say what it would cost."),
    ]
    run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    run.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return run


def _options(name: str, field: FieldInfo) -> list[inspect.Parameter]:
    kind = field.annotation
    inner = next((part for part in get_args(kind) if isinstance(part, type) and issubclass(part, BaseModel)), None)
    if inner is not None:
        return [
            _option(
                f"{name}_{part}",
                _plain(one.annotation) | None,
                None,
                f"{one.description or ''} (default {one.default})",
            )
            for part, one in inner.model_fields.items()
        ]
    default = None if field.is_required() else field.get_default(call_default_factory=True)
    told = field.description or ""
    if default not in (None, "", []) and not isinstance(default, bool):
        told = f"{told} (default {default})".strip()
    if field.is_required():
        return [_option(name, _plain(kind), inspect.Parameter.empty, told)]
    return [_option(name, _plain(kind) | None, None, told)]


def _plain(kind: Any) -> Any:
    """The type as the command line knows it: without marks, without None, lists of texts."""
    if get_origin(kind) is Annotated:
        return _plain(get_args(kind)[0])
    if get_origin(kind) is list:
        return list[str]
    parts = [part for part in get_args(kind) if part is not NoneType]
    return _plain(parts[0]) if get_origin(kind) in (Union, UnionType) else kind


def _option(name: str, kind: Any, default: Any, told: str) -> inspect.Parameter:
    flag = f"--{name.replace('_', '-')}"
    if default is None and bool in (kind, *get_args(kind)):
        flag += f"/--no-{name.replace('_', '-')}"
    return inspect.Parameter(
        name,
        inspect.Parameter.KEYWORD_ONLY,
        default=default,
        annotation=Annotated[kind, typer.Option(flag, help=told)],
    )


def _body(service: type[Generation], given: Mapping[str, Any]) -> dict[str, Any]:
    body: dict[str, Any] = {}
    for name, value in given.items():
        if value is None or value == []:
            continue
        if name in service.model_fields:
            body[name] = value
        else:
            outer = next(field for field in service.model_fields if name.startswith(f"{field}_"))
            body.setdefault(outer, {})[name.removeprefix(f"{outer}_")] = value
    return body


async def _generate(
    service: type[Generation], body: dict[str, Any], *, wait: bool, out: Path | None, as_json: bool, dry: bool
) -> None:
    async with api() as client:
        answer = await client.post(service.create_path(), body | ({"dry_run": True} if dry else {}))
        for warning in answer["warnings"]:
            errors.print(f"[yellow]{warning}[/yellow]")
        if dry:
            return say(
                answer,
                as_json,
                f"It would cost {answer['credits']} credits; the balance is {answer['credits_balance']}.",
            )
        if not wait:
            return say(answer, as_json, answer["job_id"])
        status = await follow(client, service.home(), answer["job_id"], service.name())
        if status["state"] != "completed":
            if as_json:
                say(status, as_json, "")
            raise Stop(status["error"] or status["message"])
        if status["result_url"] is None:  # what was made is no file
            text = str(next((status[name] for name in service.answer.fields if status.get(name)), ""))
            if out is not None:
                out.write_text(text, encoding="utf-8")
            return say(status, as_json, str(out or text))
        if out is not None:
            size = await client.download(status["result_url"], out)
            errors.print(f"{out}: {size} bytes, {answer['credits_used']} credits")
        say(status, as_json, str(out or status["result_url"]))
        return None


async def follow(client: Wire, service: str, job_id: str, label: str) -> dict[str, Any]:
    """Waits for a job with a progress bar on stderr; answers its last status."""
    status: dict[str, Any] = {}
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.fields[state]}"),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=errors) as progress:
        bar = progress.add_task(label, total=1.0, state="queued")
        async for status in client.follow(service, job_id):
            progress.update(bar, completed=status["progress"], state=status["state"])
    return status


class Stop(Exception):
    """The command ends with an error that the user should read."""


def api() -> Wire:
    """A client of the Phaya that `address` names. Raises Stop."""
    return Wire(*address())


def address() -> tuple[str, str]:
    """Base and key by the environment: PHAYA_BASE (or PHAYA_BASE_URL) and PHAYA_API_KEY. Raises Stop."""
    key = os.environ.get("PHAYA_API_KEY")
    if not key:
        raise Stop("Set PHAYA_API_KEY to your key; 'phaya keys create' makes one.")
    return os.environ.get("PHAYA_BASE") or os.environ.get("PHAYA_BASE_URL") or DEFAULT_BASE, key


async def guarded(work: Any) -> None:
    """Runs a command; what went wrong is one line on stderr and an exit code: 1, or 3 where nobody answers."""
    try:
        await work
    except (Stop, ApiError) as error:
        errors.print(f"[red]{error}[/red]", highlight=False)
        sys.exit(1)
    except Unreachable as error:
        errors.print(f"[red]{error}[/red]", highlight=False)
        sys.exit(3)


def say(answer: Mapping[str, Any], as_json: bool, text: str) -> None:
    """Prints an answer on stdout, as JSON or as the one thing that matters of it."""
    print(written(answer).decode() if as_json else text)
