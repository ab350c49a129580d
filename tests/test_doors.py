"""What stands open to whoever comes, and what is kept from everybody."""

from __future__ import annotations

import re
import stat
import tempfile
from collections.abc import AsyncGenerator, Iterator
from inspect import isasyncgenfunction, iscoroutinefunction
from pathlib import Path
from typing import Any

import pytest
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute, iter_route_contexts

from conftest import Phaya, running, settings
from phaya.app import create_app
from phaya.clock import SystemClock
from phaya.credits import credits
from phaya.database import Database
from phaya.operator import Door, socket_path

pytestmark = pytest.mark.anyio

PUBLIC = {
    "/api/v1/services",
    "/api/v1/text-to-speech/voices",
    "/api/v1/video-download/supported-platforms",
    "/api/v1/phaya-gpt/models",
    "/api/v1/phaya-gpt/pricing",
    "/api/v1/embedding/pricing",
    "/api/v1/topup/packs",
}
"""What anybody may read."""


@pytest.fixture(scope="module")
async def alone(tmp_path_factory: pytest.TempPathFactory) -> AsyncGenerator[Phaya, None]:
    async with running(tmp_path_factory.mktemp("phaya")) as shared:
        yield shared


async def doors(phaya: Phaya) -> list[tuple[str, str]]:
    paths = (await phaya.ask("GET", "/openapi.json")).json["paths"]
    return [(method.upper(), path) for path, methods in paths.items() for method in methods]


async def test_every_documented_door_but_the_public_ones_wants_a_key(alone: Phaya) -> None:
    opened: set[str] = set()
    for method, path in await doors(alone):
        address = re.sub(r"\{\w+(:path)?\}", "x", path)
        async with alone.session.request(method, alone.url + address, json={}) as answer:
            if answer.status != 401:
                opened.add(path)
                assert answer.status < 500, (method, path)

    assert opened == PUBLIC


def test_no_route_asks_a_thread_for_what_needs_none(tmp_path: Path) -> None:
    """FastAPI would give a thread to each dependency and route that is no coroutine, and wait for it."""
    app = create_app(settings(tmp_path), "http://phaya.example")

    def asked(dependant: Dependant) -> Iterator[Any]:
        yield dependant.call
        for inner in dependant.dependencies:
            yield from asked(inner)

    routes = [context.original_route for context in iter_route_contexts(app.routes)]
    calls = {call for route in routes if isinstance(route, APIRoute) for call in asked(route.dependant)}

    assert len(calls) > 100
    assert [call for call in calls if not iscoroutinefunction(call) and not isasyncgenfunction(call)] == []


async def test_a_callback_without_its_token_is_answered_alike_for_any_job(alone: Phaya) -> None:
    """So it tells nobody which jobs there are."""
    job = await alone.post("text-to-image/generate", {"prompt": "A boat [slow 30]"})
    said: list[tuple[int, object]] = []
    for name in (job.json["job_id"], "00000000-0000-4000-8000-000000000000"):
        address = f"{alone.url}/api/v1/text-to-image/callback?job={name}&token={'0' * 32}"
        async with alone.session.post(address, json={"code": 200, "data": {"taskId": "x"}}) as answer:
            said.append((answer.status, {**await answer.json(), "request_id": None}))

    assert said[0] == said[1]


async def test_what_the_data_folder_holds_in_secret_is_its_owners_alone(alone: Phaya) -> None:
    folder = alone.system.settings.data_dir

    assert [mode(folder / "secret"), mode(socket_path(folder))] == [0o600, 0o600]


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


async def test_a_folder_that_somebody_else_made_for_the_operators_socket_is_not_trusted(
    tmp_path: Path, database: Database
) -> None:
    """It lies among temporary files where the data folder's path is too long for a socket."""
    folder = tmp_path / ("long" * 30)
    path = socket_path(folder)
    assert path.parent.parent == Path(tempfile.gettempdir())
    path.parent.mkdir()
    path.parent.chmod(0o777)
    try:
        with pytest.raises(PermissionError, match="is not this user's alone"):
            async with Door(folder, database, b"secret", SystemClock(), (), "http://127.0.0.1", lambda: None):
                pass
    finally:
        path.parent.rmdir()


async def test_each_service_hears_its_provider_at_the_address_that_it_tells(phaya: Phaya) -> None:
    workflow = phaya.system.workflow
    heard: dict[str, int] = {}
    for path, service in phaya.system.tariff.services.items():
        request = service.model_validate(service.example)
        job = workflow.draft("account", "key", path, request, request.call(), credits("1"), 1)
        address = workflow.callback_url(job)
        assert address is not None
        async with phaya.session.post(address, json={"data": {"taskId": "t"}}) as answer:
            heard[path] = answer.status
    assert heard == dict.fromkeys(phaya.system.tariff.services, 200)
