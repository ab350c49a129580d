"""The express lanes answer as the routes do, and what they hold in memory is never older than it may be."""

from __future__ import annotations

import asyncio
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from cluster import cluster
from conftest import SQLITE, Phaya, Reply
from servers import Postgres

ENGINES = (SQLITE,)
pytestmark = pytest.mark.anyio

PICTURE = "text-to-image/generate"
DETOUR = "handling=lenient"
"""A preference, which sends a request to its route and changes nothing there."""
NEW = frozenset(
    {"job_id", "id", "status_url", "credits_balance", "created_at", "processing_time_ms", "created", "request_id"}
)


def lasting(reply: Reply) -> Any:
    """What does not differ from one time to the next."""
    return {name: value for name, value in reply.json.items() if name not in NEW}


def shaped(reply: Reply) -> tuple[int, set[str]]:
    """Status and headers, by their names."""
    return reply.status, {name.lower() for name in reply.headers}


@pytest.mark.parametrize(
    ("path", "body"),
    [
        (f"/api/v1/{PICTURE}", {"prompt": "A fox"}),
        (f"/api/v1/{PICTURE}", {"prompt": "A fox", "webhok": "x"}),
        (f"/api/v1/{PICTURE}", {"prompt": "A fox", "dry_run": True}),
        (f"/api/v1/{PICTURE}", {}),
        (f"/api/v1/{PICTURE}", {"prompt": "A fox", "aspect_ratio": "7:3"}),
        (f"/api/v1/{PICTURE}", []),
        ("/api/v1/phaya-gpt/chat/completions", {"messages": [{"role": "user", "content": "Hi"}]}),
        ("/api/v1/phaya-gpt/chat/completions", {"messages": []}),
        ("/v1/chat/completions", {"model": "phaya-gpt", "messages": [{"role": "user", "content": "Hi"}]}),
        ("/v1/chat/completions", {"model": "none", "messages": [{"role": "user", "content": "Hi"}]}),
        ("/v1/chat/completions", {"model": "phaya-gpt", "messages": [], "stream": True}),
    ],
)
async def test_a_post_is_answered_on_its_lane_as_at_its_route(phaya: Phaya, path: str, body: Any) -> None:
    quick = await phaya.ask("POST", path, body)
    slow = await phaya.ask("POST", path, body, Prefer=DETOUR)

    assert lasting(quick) == lasting(slow)
    assert shaped(quick) == shaped(slow)


@pytest.mark.parametrize("authorization", ["Bearer pk_wrong", "Basic x", ""])
async def test_a_stranger_is_told_the_same_on_a_lane_as_at_its_route(phaya: Phaya, authorization: str) -> None:
    job = (await phaya.post(PICTURE, {"prompt": "A fox"})).json["job_id"]
    for ask in (
        partial(phaya.post, PICTURE, {"prompt": "A fox"}, Authorization=authorization),
        partial(phaya.get, f"text-to-image/status/{job}", Authorization=authorization),
    ):
        quick, slow = await ask(), await ask(Prefer=DETOUR)

        assert lasting(quick) == lasting(slow)
        assert shaped(quick) == shaped(slow)
        assert quick.status == 401


async def test_a_status_is_told_on_its_lane_as_at_its_route(phaya: Phaya) -> None:
    job = (await phaya.post(PICTURE, {"prompt": "A fox"})).json["job_id"]
    path = f"text-to-image/status/{job}"
    await phaya.get(f"{path}?wait=30")

    quick, slow = await phaya.get(path), await phaya.get(path, Prefer=DETOUR)
    known = await phaya.get(path, If_None_Match=quick.headers["ETag"])

    assert quick.json["state"] == "completed"
    assert quick.json == slow.json
    assert shaped(quick) == shaped(slow)
    assert quick.headers["ETag"] == slow.headers["ETag"]
    assert (known.status, known.content) == (304, b"")


async def test_a_cancel_is_seen_by_the_very_next_poll(phaya: Phaya) -> None:
    job = (await phaya.post(PICTURE, {"prompt": "[slow 30]"})).json["job_id"]
    path = f"text-to-image/status/{job}"
    assert (await phaya.get(path)).json["state"] in ("queued", "processing")

    await phaya.post(f"text-to-image/cancel/{job}", {})

    assert (await phaya.get(path)).json["state"] == "cancelled"


async def test_another_accounts_job_is_unknown_on_a_lane(phaya: Phaya) -> None:
    job = (await phaya.post(PICTURE, {"prompt": "A fox"})).json["job_id"]
    other = await phaya.new_key()
    path = f"text-to-image/status/{job}"
    await phaya.get(path)

    refused = await phaya.get(path, key=other)

    assert refused.status == 404
    assert refused.json["message"] == f"There is no job {job}."


async def test_a_key_revoked_by_the_operator_is_refused_at_once(phaya: Phaya) -> None:
    asked: dict[str, Any] = {"account": "x@phaya.example", "name": "k", "scopes": [], "rate": None}
    made = await phaya.operate("keys create", credits="5", **asked)
    assert (await phaya.get("user/credits", key=made["key"])).status == 200

    await phaya.operate("keys revoke", account="x@phaya.example", key_id=made["key_id"])

    assert (await phaya.post(PICTURE, {"prompt": "x"}, key=made["key"])).status == 401
    assert (await phaya.get("user/credits", key=made["key"])).status == 401


async def test_a_refund_by_the_operator_is_seen_by_the_very_next_poll(phaya: Phaya) -> None:
    job = (await phaya.post(PICTURE, {"prompt": "A fox"})).json["job_id"]
    path = f"text-to-image/status/{job}"
    await phaya.get(f"{path}?wait=30")
    assert (await phaya.get(path)).json["credits_refunded"] == 0

    await phaya.operate("credits refund", job=job, amount=None, reason="poor", by="Ann")

    assert (await phaya.get(path)).json["credits_refunded"] == 1


async def test_what_another_node_did_is_seen_within_a_second(tmp_path: Path, postgresql: Postgres) -> None:
    """Both nodes hold the job and the key in memory when the other one changes them."""
    async with cluster(tmp_path, postgresql.new_database()) as run:
        first, second = [await run.serve() for _ in range(2)]
        job = await run.create("[slow 30]", node=first)
        path = f"text-to-image/status/{job}"
        assert (await run.ask("GET", path, node=second))[1]["state"] in ("queued", "processing")

        await run.ask("POST", f"text-to-image/cancel/{job}", node=first)
        await asyncio.sleep(1)

        assert (await run.ask("GET", path, node=second))[1]["state"] == "cancelled"
