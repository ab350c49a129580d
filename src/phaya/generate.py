"""`phaya generate <service>`: one command per service of the catalog, with its fields as options."""

from __future__ import annotations

import asyncio
import inspect
import sys
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, NoReturn, Union, get_args, get_origin
from urllib.parse import urlsplit

import typer
from pydantic import BaseModel
from pydantic.fields import FieldInfo
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from typer.core import TyperGroup
from typer.main import get_command

from phaya.catalog import CATALOG
from phaya.catalog.service import Generation
from phaya.client import ApiError, AsyncClient, AsyncJob, ClientError
from phaya.client.amounts import written
from phaya.client.place import NoKey
from phaya.settings import Settings
from phaya.tariff_file import BadTariff, tariff_of

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
        perform(_generate(service, body, wait=wait or out is not None, out=out, as_json=as_json, dry=dry_run))

    files = service.inputs()
    parameters = [
        parameter
        for name, field in service.model_fields.items()
        for parameter in _options(name, field, file=name in files)
    ]
    parameters += [
        _option("wait", bool, False, "Wait for the result, with a progress bar."),
        _option("out", Path | None, None, "Save the result here, or all results in this folder (waits for them)."),
        _option("json", bool, False, "Print the API's answer as JSON."),
        _option("dry_run", bool, False, "Only say what it would cost."),
    ]
    run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    run.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return run


def _options(name: str, field: FieldInfo, *, file: bool) -> list[inspect.Parameter]:
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
    told = f"{field.description or ''} A link, or a file to upload.".strip() if file else field.description or ""
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
    service: type[Generation], given: dict[str, Any], *, wait: bool, out: Path | None, as_json: bool, dry: bool
) -> None:
    async with AsyncClient() as client:
        body = await client.ready(_with_files(service, given))
        try:
            answer = await client.post(service.create_path(), body | ({"dry_run": True} if dry else {}))
        except asyncio.CancelledError:
            errors.print("Nobody has heard whether the job was accepted; 'phaya jobs list' shows it if it was.")
            raise
        for warning in answer["warnings"]:
            errors.print(f"[yellow]{escape(warning)}[/yellow]")
        if dry:
            return say(
                answer,
                as_json,
                f"It would cost {answer['credits']} credits; the balance is {answer['credits_balance']}.",
            )
        if not wait:
            return say(answer, as_json, answer["job_id"])
        await finish(AsyncJob(client, answer), service.name(), out, as_json, tuple(service.answer.fields))
        return None


def _with_files(service: type[Generation], body: Mapping[str, Any]) -> dict[str, Any]:
    """The fields with files of this machine as paths. Raises Misuse for what is neither a link nor a file."""

    def found(name: str, value: str) -> str | Path:
        if value.startswith(("http://", "https://", "data:")):
            return value
        file = Path(value).expanduser()
        if not file.is_file():
            raise Misuse(f"--{name.replace('_', '-')}: {value} is no link, and there is no such file.")
        return file

    taken = dict(body)
    for name in service.inputs():
        match taken.get(name):
            case str() as value:
                taken[name] = found(name, value)
            case list() as values:  # pyright: ignore[reportUnknownVariableType]
                taken[name] = [found(name, str(value)) for value in values]  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType]
            case _:
                pass
    return taken


async def finish(
    job: AsyncJob, label: str, out: Path | None, as_json: bool, facts: Sequence[str] = ("text", "character_id")
) -> None:
    """Waits for a job with a progress bar on stderr, saves and prints what came of it. Raises Stop where it failed.

    Into a folder all results are saved, under their own names. `facts` are the fields of results that are no files.
    """
    await _follow(job, label)
    if job.state != "completed":
        if as_json:
            say(job.status, as_json, "")
        raise Stop(job.error or job.status["message"])
    if not job.urls:
        text = next((str(job.status[name]) for name in facts if job.status.get(name)), "")
        if out is not None:
            out.write_text(text, encoding="utf-8")
        return say(job.status, as_json, str(out or text))
    if out is None:
        return say(job.status, as_json, "\n".join(job.urls))
    files: list[Path] = []
    for link in job.urls if out.is_dir() else job.urls[:1]:
        file = out / urlsplit(link).path.rpartition("/")[2] if out.is_dir() else out
        size = await job.fetch(link, file)
        errors.print(f"{file}: {size} bytes, {job.credits_used:f} credits", highlight=False)
        files.append(file)
    return say(job.status, as_json, "\n".join(map(str, files)))


async def _follow(job: AsyncJob, label: str) -> None:
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.fields[state]}"),
        TimeElapsedColumn(),
    )
    try:
        with Progress(*columns, console=errors) as progress:
            bar = progress.add_task(label, total=1.0, state=job.state)
            async for status in job.iter_events():
                progress.update(bar, completed=status["progress"], state=status["state"])
    except asyncio.CancelledError:
        errors.print(f"The job goes on; 'phaya jobs wait {job.id}' takes it up again.", highlight=False)
        raise


class Stop(Exception):
    """The job failed, and the user should read why."""


class Misuse(Exception):
    """The command was given something that it cannot use."""


FAILED, MISUSED, REFUSED, UNREACHABLE, INTERRUPTED = 1, 2, 3, 4, 130
"""Exit codes. A server that is there but cannot serve (5xx) counts as not reached: try again later."""


def perform(work: Coroutine[Any, Any, None]) -> None:
    """Runs a command; what went wrong is one line on stderr and an exit code."""
    try:
        asyncio.run(work)
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
    except Stop as error:
        _end(error, FAILED)
    except (Misuse, NoKey, OSError) as error:
        _end(error, MISUSED)
    except ApiError as error:
        _end(error, REFUSED if error.status < 500 else UNREACHABLE)
    except ClientError as error:
        _end(error, UNREACHABLE)


def _end(error: Exception, code: int) -> NoReturn:
    errors.print(f"[red]{escape(str(error))}[/red]", highlight=False, soft_wrap=True)
    sys.exit(code)


def say(answer: Mapping[str, Any], as_json: bool, text: str) -> None:
    """Prints an answer on stdout, as JSON or as the one thing that matters of it."""
    print(written(answer).decode() if as_json else text)
