"""The reference pages, printed from the code that they describe.

`python -m phaya.reference` writes them into `docs/`; with `--check` it only compares, names each stale page
and ends with 1 where there is one.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import orjson
import typer
from pydantic.fields import FieldInfo
from typer.core import TyperCommand, TyperGroup, TyperOption
from typer.main import get_command

from phaya.catalog import CATALOG
from phaya.catalog.answers import STATES
from phaya.catalog.fields import MB
from phaya.catalog.language import PASSED_ON, ChatRequest
from phaya.catalog.service import Generation
from phaya.cli import app
from phaya.settings import Settings
from phaya.web.openapi import create_docs

Schema = Mapping[str, Any]

DOCS = Path(__file__).resolve().parents[2] / "docs"
NOTICE = "<!-- Printed from the code by `make docs`. Change the code, not this page. -->"


def pages() -> dict[str, str]:
    """The text of each page, by its file's name."""
    return {"services.md": services_page(), "settings.md": settings_page(), "cli.md": cli_page()}


# ── services ─────────────────────────────────────────────────────────────────────────────────────────────


def services_page() -> str:
    """Every service of the catalog, and chat: fields, prices, words and result fields."""
    lines = [
        "# Services and prices",
        NOTICE,
        "Paths are below `/api/v1`. Amounts are credits. `GET /api/v1/services` answers the same as data, "
        "`GET /openapi.json` as OpenAPI; [api.md](api.md) tells what all services have in common.",
        "## Price list",
        _table(("Service", "For", "Credits"), _prices()),
        "A media service is charged when the job is accepted, and given back where it fails or is cancelled. "
        "A chat is held at its ceiling and settled to the tokens it used.",
    ]
    for service in CATALOG:
        lines += _service(service)
    return _page([*lines, *_chat()])


def _prices() -> Iterator[tuple[str, ...]]:
    for service in CATALOG:
        for what, amount in service.rates.items():
            yield _linked(service.path), what, str(amount)
    for side, amount in ChatRequest.rates.items():
        yield _linked(ChatRequest.path), f"a million {side} tokens", str(amount)


def _linked(path: str) -> str:
    return f"[{path}](#{path})"


def _service(service: type[Generation]) -> Iterator[str]:
    schema = service.model_json_schema()
    words = {state: service.words.spell(state) for state in STATES}
    created = create_docs(service)["responses"]["200"]["content"]["application/json"]["schema"]["properties"]
    place = "Made on this server. " if service.local else ""
    yield f"## {service.path}"
    yield f"**{service.name()}**: {service.summary()}."
    yield f"`POST /api/v1/{service.create_path()}`"
    yield _table(
        ("Field", "Takes", "Default", "Meaning"),
        (
            _row(name, field, name in schema.get("required", ()), _meaning(service, name, field))
            for name, field in _fields(schema)
        ),
    )
    rest = (
        "" if service.cost is Generation.cost else " A job holds the most that it can cost, and returns what is left."
    )
    yield "Credits: " + ", ".join(f"{what} {amount}" for what, amount in service.rates.items()) + "." + rest
    yield "\n".join(
        [
            f"- Result fields: {', '.join(f'`{name}`' for name in service.answer.fields)}.",
            f"- `status`: `{created['status']['enum'][0]}` in the create answer; then "
            + ", ".join(f"{state} `{word}`" for state, word in words.items())
            + ".",
            f"- {place}Usually takes {service.seconds} s; fails, with its credits returned, "
            f"after {service.minutes:g} minutes.",
        ]
    )
    yield _json(service.example)


def _meaning(service: type[Generation], name: str, field: Schema) -> str:
    """The description of a field, what file it names, and under which other names it is known."""
    told = [str(field.get("description", ""))]
    if mark := service.inputs().get(name):
        told.append(f"Link or data URL, {mark.media}, at most {mark.limit // MB} MB.")
    if others := [other for other, meant in service.spellings().items() if meant == name]:
        told.append(f"Also read: {', '.join(f'`{other}`' for other in others)}.")
    return " ".join(told).strip()


def _chat() -> Iterator[str]:
    schema = ChatRequest.model_json_schema()
    yield f"## {ChatRequest.path}"
    yield f"**{ChatRequest.model_name}**: {' '.join((ChatRequest.__doc__ or '').split()).partition(': ')[2]}"
    yield f"`POST /api/v1/{ChatRequest.path}/chat/completions`"
    yield _table(
        ("Field", "Takes", "Default", "Meaning"),
        (
            _row(name, field, name in schema.get("required", ()), field.get("description", ""))
            for name, field in schema["properties"].items()
        ),
    )
    yield "Passed on as they stand: " + ", ".join(f"`{name}`" for name in sorted(PASSED_ON)) + "."
    yield (
        "Credits: "
        + ", ".join(f"a million {side} tokens {amount}" for side, amount in ChatRequest.rates.items())
        + f". A chat ends after {ChatRequest.minutes:g} minutes at the latest."
    )
    yield _json(ChatRequest.example)


def _fields(schema: Schema) -> Iterator[tuple[str, Schema]]:
    """The fields of a JSON schema; after an object come the fields that it has, as `object.field`."""
    definitions: Mapping[str, Schema] = schema.get("$defs", {})
    for name, field in schema["properties"].items():
        yield name, field
        for option in field.get("anyOf", (field,)):
            inner = definitions.get(str(option.get("$ref", "")).rpartition("/")[2])
            for part, one in inner["properties"].items() if inner else ():
                yield f"{name}.{part}", one


def _row(name: str, field: Schema, required: bool, meaning: str) -> tuple[str, ...]:
    default = field.get("default")
    shown = "none" if default in (None, [], "") else _literal(default)
    return f"`{name}`", _kind(field), "**required**" if required else shown, meaning


def _kind(field: Schema) -> str:
    """A field's type and limits in words."""
    if "anyOf" in field:
        kinds = [_kind(option) for option in field["anyOf"] if option.get("type") != "null"]
        return " or ".join(kinds)
    if "enum" in field:
        return " ".join(_literal(value) for value in field["enum"])
    match field.get("type", "object"):
        case "string":
            return "text" + _span(field, "minLength", "maxLength", "characters")
        case "array":
            return f"list of {_kind(field.get('items', {}))}" + _span(field, "minItems", "maxItems", "of them")
        case "number" | "integer" as kind:
            return kind + _span(field, "minimum", "maximum")
        case "boolean":
            return "`true` `false`"
        case kind:
            return str(kind)


def _span(field: Schema, least: str, most: str, unit: str = "") -> str:
    low, high, beyond = field.get(least), field.get(most), field.get("exclusiveMinimum")
    bounds = [f"more than {beyond:g}"] if beyond is not None else []
    if low is not None and high is not None:
        bounds.append(f"{low:g} to {high:g}")
    elif low is not None or high is not None:
        bounds.append(f"at least {low:g}" if high is None else f"at most {high:g}")
    return f", {', '.join(bounds)} {unit}".rstrip() if bounds else ""


# ── settings ─────────────────────────────────────────────────────────────────────────────────────────────


def settings_page() -> str:
    """Every environment variable that Phaya reads."""
    rows = (
        (f"`{field.alias}`", _default(field), "**Secret.** " * is_secret(field) + (field.description or ""))
        for field in Settings.model_fields.values()
    )
    return _page(
        [
            "# Settings",
            NOTICE,
            "Read from the environment once, at the start. A list is separated by commas; a switch is `true` or "
            "`false`. A value that cannot be read stops the start with a message. "
            "[operating.md](operating.md) tells which of them matter first.",
            _table(("Variable", "Default", "Meaning"), rows),
        ]
    )


def is_secret(field: FieldInfo) -> bool:
    """Whether a setting's value must never be shown."""
    return not field.repr or str(field.alias).endswith(("_KEY", "_SECRET"))


def _default(field: FieldInfo) -> str:
    """A setting's default as an operator would write it."""
    match field.default:
        case None | ():
            return "none"
        case bool() as value:
            return f"`{value}`".lower()
        case float() as value:
            return f"`{value:g}`"
        case tuple() as values:  # pyright: ignore[reportUnknownVariableType]
            return f"`{','.join(map(str, values))}`"  # pyright: ignore[reportUnknownArgumentType]
        case value:
            return f"`{value}`"


# ── command line ─────────────────────────────────────────────────────────────────────────────────────────


def cli_page() -> str:
    """Every command with its options."""
    return _page(
        [
            "# Command line",
            NOTICE,
            "`keys`, `credits` and `check` work on the data folder of this machine, through the running server "
            "where there is one. `generate` is a client: it calls the API at `PHAYA_BASE` "
            "(by default `http://127.0.0.1:8000/api/v1`) with the key in `PHAYA_API_KEY`, and ends with 1 where "
            "the job or the request failed, with 3 where no server answers.",
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


# ── text ─────────────────────────────────────────────────────────────────────────────────────────────────


def _page(blocks: Sequence[str]) -> str:
    return "\n\n".join(blocks) + "\n"


def _table(head: Sequence[str], rows: Iterator[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


def _literal(value: object) -> str:
    """A value as a client writes it in JSON."""
    return f"`{orjson.dumps(value).decode()}`"


def _json(example: object) -> str:
    return f"```json\n{orjson.dumps(example, option=orjson.OPT_INDENT_2).decode()}\n```"


def main(arguments: Sequence[str], folder: Path = DOCS) -> int:
    """Writes the pages into `folder`, or compares them with `--check`; answers the exit code."""
    if list(arguments) not in ([], ["--check"]):
        sys.stderr.write("usage: python -m phaya.reference [--check]\n")
        return 2
    stale = 0
    for name, text in pages().items():
        file = folder / name
        if file.exists() and file.read_text(encoding="utf-8") == text:
            continue
        if arguments:
            stale += 1
            sys.stderr.write(f"{file} is stale; 'make docs' prints it anew\n")
        else:
            file.write_text(text, encoding="utf-8")
            sys.stderr.write(f"wrote {file}\n")
    return 1 if stale else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
