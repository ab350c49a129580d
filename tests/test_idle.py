"""A server that waits for work has loaded only what it needs for that, and has made nothing twice."""

from __future__ import annotations

import importlib.util
import re
import sys
from pathlib import Path

import pytest
from fastapi.routing import APIRoute
from pydantic import BaseModel, ValidationError
from sqlalchemy import create_engine, inspect
from starlette.routing import Route

import machine
from conftest import settings
from phaya.absence import absent, unbuilt
from phaya.app import create_app
from phaya.database import Embedded
from phaya.migrations import migrate
from phaya.schema import complete

KEYS = {
    "KIE_API_KEY": "a-key-of-kie",
    "KIE_BASE_URL": "http://127.0.0.1:9",
    "OPENROUTER_API_KEY": "sk-or-v1-none",
    "GEMINI_API_KEY": "none",
}
# What is hidden from a library shows by its own name, as asked for in vain, so a part of it is named.
NOT_NEEDED = {
    "alembic": "the database is at its head",
    "asyncpg": "there is no PostgreSQL",
    "sqlalchemy.dialects.postgresql": "likewise",
    "greenlet._greenlet": "likewise",
    "redis": "there is no Redis",
    "obstore": "no file is stored",
    "jinja2": "nobody looks at the console",
    "argon2": "nobody signs in",
    "cryptography": "nobody has an authenticator",
    "segno": "likewise",
    "mcp": "no agent came",
    "phaya.client": "likewise",
    "yt_dlp": "it works in children",
    "PIL": "likewise",
    "av": "likewise",
    "numpy": "it is for the sandbox",
    "phaya.providers.sandbox": "providers' keys are given",
    "rich.console": "nothing is painted",
    "pygments": "likewise",
    "phaya.cli": "these are other commands",
    "pydantic.v1.main": "no model is of its time",
    "opentelemetry.sdk": "no traces are asked for",
}


@pytest.mark.anyio
async def test_an_idle_server_has_loaded_nothing_that_it_does_not_need(tmp_path: Path) -> None:
    await Embedded(tmp_path / "data").close()  # the first start of all brings the database forward
    log, port = tmp_path / "log", machine.free_port()
    command = ("-X", "importtime", "-m", "phaya", "serve", "--port", str(port))

    async with machine.started(log, *command, PHAYA_DATA_DIR=str(tmp_path / "data"), **KEYS):
        await machine.answered(f"http://127.0.0.1:{port}/readyz")

    loaded = set(re.findall(r"^import time:.*\| +(\S+)$", log.read_text(), re.MULTILINE))
    assert {"phaya.app", "sqlalchemy", "aiohttp"} <= loaded
    assert {name: why for name, why in NOT_NEEDED.items() if name in loaded} == {}


def test_every_route_is_made_once(tmp_path: Path) -> None:
    """What is included by FastAPI's `include_router` is made again at the first request."""
    app = create_app(settings(tmp_path), "http://127.0.0.1:1")

    assert [route for route in app.routes if not isinstance(route, Route)] == []
    assert len([route for route in app.routes if isinstance(route, APIRoute)]) > 200


def test_conditions_of_indexes_are_those_of_the_migrated_tables() -> None:
    with create_engine("sqlite://").connect() as connection:
        migrate(connection)
        found = {
            index["name"]: str(index.get("dialect_options", {})["sqlite_where"])
            for table in complete().tables
            for index in inspect(connection).get_indexes(table)
            if "sqlite_where" in index.get("dialect_options", {})
        }

    declared = {
        index.name: (str(index.dialect_kwargs["sqlite_where"]), str(index.dialect_kwargs["postgresql_where"]))
        for table in complete().tables.values()
        for index in table.indexes
        if "where" in index.info
    }
    assert len(declared) > 5
    assert declared == {name: (where, where) for name, where in found.items()}


def test_what_is_absent_cannot_be_imported_until_the_block_has_ended() -> None:
    sys.modules.pop("this", None)

    with absent("this", "re"), pytest.raises(ImportError):
        importlib.import_module("this")

    assert importlib.util.find_spec("this") is not None
    assert importlib.import_module("re") is re


def test_a_model_that_was_left_unbuilt_checks_as_any_other() -> None:
    with unbuilt():

        class Late(BaseModel):
            count: int

    class Early(BaseModel):
        count: int

    assert not Late.__pydantic_complete__
    assert Early.__pydantic_complete__
    assert Late.model_validate({"count": "3"}).count == 3
    with pytest.raises(ValidationError):
        Late.model_validate({"count": "three"})
