"""Agents use Phaya through the official MCP client: over stdin and stdout of a real process, and over HTTP."""

from __future__ import annotations

import base64
import io
import os
import sys
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any

import anyio
import httpx2
import pytest
from mcp import Client, MCPError, StdioServerParameters, stdio_client
from mcp.client.streamable_http import streamable_http_client
from mcp_types import BlobResourceContents, CallToolResult, ImageContent, ResourceLink, TextContent
from PIL import Image

from conftest import Phaya
from phaya.agents.desk import FRESH, Shelf
from phaya.catalog import CATALOG

pytestmark = pytest.mark.anyio

OVER = pytest.mark.parametrize("over", ["stdio", "http"])
PICTURE = {"prompt": "A lighthouse above a calm sea", "aspect_ratio": "16:9", "wait": 60}


@asynccontextmanager
async def agent(phaya: Phaya, over: str, key: str | None = None, budget: str | None = None) -> AsyncGenerator[Client]:
    """A session of the official client."""
    if over == "stdio":
        environment = {name: value for name, value in os.environ.items() if not name.startswith("PHAYA")}
        environment |= {"PHAYA_BASE": f"{phaya.url}/api/v1", "PHAYA_API_KEY": key or phaya.key}
        arguments = ["-m", "phaya", "mcp", *([] if budget is None else ["--budget", budget])]
        transport = stdio_client(StdioServerParameters(command=sys.executable, args=arguments, env=environment))
        async with Client(transport) as client:
            yield client
        return
    headers = {"Authorization": f"Bearer {key or phaya.key}"} | ({} if budget is None else {"X-Budget": budget})
    async with (
        httpx2.AsyncClient(headers=headers, timeout=90) as http,
        Client(streamable_http_client(f"{phaya.url}/mcp", http_client=http)) as client,
    ):
        yield client


def said(result: CallToolResult) -> str:
    first = result.content[0]
    assert isinstance(first, TextContent)
    return first.text


async def done(client: Client, tool: str, **arguments: Any) -> dict[str, Any]:
    result = await client.call_tool(tool, arguments)
    assert not result.is_error, said(result)
    return result.structured_content


@OVER
async def test_each_service_is_a_tool_with_its_schema_and_price(phaya: Phaya, over: str) -> None:
    async with agent(phaya, over) as client:
        tools = {tool.name: tool for tool in (await client.list_tools()).tools}

    for service in CATALOG:
        tool = tools[service.path.replace("-", "_").replace("/", "_")]
        assert tool.description is not None
        assert all(f"{what} {amount}" in tool.description for what, amount in service.rates.items())
        assert set(service.model_fields) <= set(tool.input_schema["properties"])
    assert {"chat", "get_balance", "list_services", "job_status", "wait_job", "cancel_job", "upload_media"} <= set(
        tools
    )


@OVER
async def test_an_agent_buys_a_picture_and_reads_it(phaya: Phaya, over: str) -> None:
    key = await phaya.new_key("10")
    async with agent(phaya, over, key) as client:
        price = await done(client, "nano_banana", dry_run=True, prompt="A lighthouse")
        bought = await client.call_tool("nano_banana", PICTURE)
        link = next(block for block in bought.content if isinstance(block, ResourceLink))
        shown = next(block for block in bought.content if isinstance(block, ImageContent))
        contents = (await client.read_resource(link.uri)).contents[0]
        listed = (await client.list_resources()).resources
        balance = await done(client, "get_balance")

    assert ("2", "completed", "8") == (price["credits"], bought.structured_content["state"], balance["credits_balance"])
    assert isinstance(contents, BlobResourceContents)
    with Image.open(io.BytesIO(base64.b64decode(contents.blob))) as picture:
        assert picture.width / picture.height == pytest.approx(16 / 9, rel=0.01)
    assert shown.data == contents.blob
    assert [link.uri] == [resource.uri for resource in listed]


@OVER
async def test_a_long_job_is_waited_for_and_cancelled(phaya: Phaya, over: str) -> None:
    async with agent(phaya, over, await phaya.new_key("10")) as client:
        job = (await done(client, "text_to_image", prompt="A slow sunrise [slow 60]"))["job_id"]
        waited = await done(client, "wait_job", job_id=job, seconds=0.2)
        cancelled = await done(client, "cancel_job", job_id=job)
        after = await client.call_tool("job_status", {"job_id": job})
        balance = await done(client, "get_balance")

    assert waited["state"] in ("queued", "processing")
    assert (True, "cancelled") == (cancelled["success"], after.structured_content["state"])
    assert balance["credits_balance"] == "10"


@OVER
async def test_whoever_waits_hears_how_the_job_goes_on(phaya: Phaya, over: str) -> None:
    heard: list[tuple[float, float | None]] = []

    async def hear(progress: float, total: float | None, message: str | None) -> None:
        heard.append((progress, total))

    async with agent(phaya, over, await phaya.new_key("10")) as client:
        job = (await done(client, "text_to_image", prompt="A slow sunrise [slow 60]"))["job_id"]
        await client.call_tool("wait_job", {"job_id": job, "seconds": 4.5}, progress_callback=hear)
        await done(client, "cancel_job", job_id=job)

    assert len(heard) >= 2
    assert heard == sorted(set(heard))
    assert {total for _, total in heard} == {1.0}


async def test_a_client_without_events_is_answered_with_json(phaya: Phaya) -> None:
    call: dict[str, Any] = {"name": "get_balance", "arguments": {}}
    body: dict[str, Any] = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": call}
    headers = {"Authorization": f"Bearer {phaya.key}", "Accept": "application/json"}
    async with phaya.session.post(f"{phaya.url}/mcp", json=body, headers=headers) as answer:
        assert (answer.status, answer.content_type) == (200, "application/json")
        assert (await answer.json())["result"]["structuredContent"]["success"]


async def test_the_services_are_asked_for_once_in_a_while() -> None:
    moment, asked = 0.0, list[str]()

    class Counted:
        """An API that notes what it is asked for."""

        async def get(self, path: str) -> dict[str, Any]:
            asked.append(path)
            return {"services": []}

        async def post(self, path: str, body: Mapping[str, Any], key: str | None = None) -> dict[str, Any]:
            raise AssertionError(path)

        async def keep(self, name: str, content: bytes) -> dict[str, Any]:
            raise AssertionError(name)

        async def fetch(self, url: str, most: int) -> tuple[str, bytes] | None:
            raise AssertionError(url)

    shelf = Shelf(lambda: moment)
    async with anyio.create_task_group() as callers:
        for _ in range(5):
            callers.start_soon(shelf.services, Counted())
    moment = FRESH
    await shelf.offers(Counted())

    assert asked == ["services"] * 2


@OVER
async def test_an_upload_is_good_as_an_input(phaya: Phaya, over: str, tmp_path: Path) -> None:
    file = tmp_path / "red.png"
    Image.new("RGB", (64, 64), "red").save(file)
    given = {"path": str(file)} if over == "stdio" else {"data": base64.b64encode(file.read_bytes()).decode()}
    async with agent(phaya, over) as client:
        kept = await done(client, "upload_media", **given)
        clip = await done(client, "image_to_video", image_url=kept["url"], duration=1, wait=60)

    assert ("image", "completed") == (kept["media"], clip["state"])


@OVER
async def test_a_chat_costs_its_tokens_exactly(phaya: Phaya, over: str) -> None:
    key = await phaya.new_key("10")
    async with agent(phaya, over, key, budget="5") as client:
        answer = await done(client, "chat", message="Say hello in Thai.", max_tokens=50)

    assert answer["message"]["content"]
    assert Decimal(10) - Decimal(answer["credits_used"]) == await phaya.balance(key)


async def test_a_session_spends_no_more_than_its_budget(phaya: Phaya) -> None:
    key = await phaya.new_key("100")
    async with agent(phaya, "stdio", key, budget="2.5") as client:
        failed = await client.call_tool("text_to_image", {"prompt": "x [fail]", "wait": 60})
        for number in range(2):
            await done(client, "text_to_image", prompt=f"A boat {number}")
        refused = await client.call_tool("text_to_image", {"prompt": "One boat more"})
        balance = await done(client, "get_balance")

    assert (True, True) == (failed.is_error, refused.is_error)
    assert "This would cost 1 credits, and the budget of this session has 0.5 left of 2.5." in said(refused)
    assert ("0.5", "98") == (balance["budget_left"], balance["credits_balance"])


async def test_a_purchase_that_is_repeated_is_spent_once(phaya: Phaya) -> None:
    async with agent(phaya, "stdio", await phaya.new_key("100"), budget="5") as client:
        jobs = [
            (await done(client, "text_to_image", prompt="A boat", idempotency_key="boat"))["job_id"] for _ in range(3)
        ]
        balance = await done(client, "get_balance")

    assert len(set(jobs)) == 1
    assert ("4", "99") == (balance["budget_left"], balance["credits_balance"])


async def test_over_http_no_call_costs_more_than_the_header_says(phaya: Phaya) -> None:
    key = await phaya.new_key("100")
    async with agent(phaya, "http", key, budget="1") as client:
        refused = await client.call_tool("sora2_text_to_video", {"prompt": "A dragon"})
        await done(client, "text_to_image", prompt="A boat")

    assert "This would cost 8 credits" in said(refused)
    assert await phaya.balance(key) == 99


@OVER
@pytest.mark.parametrize(
    ("tool", "arguments", "told"),
    [
        ("text_to_image", {"promt": "A boat"}, "promt: is no argument of this tool. Did you mean prompt?"),
        ("text_to_image", {}, "prompt: is required"),
        ("text_to_image", {"prompt": "A boat", "aspect_ratio": "2:1"}, "aspect_ratio: must be one of 1:1, 4:3"),
        ("text_to_image", {"prompt": "A boat", "wait": 3600}, "wait: must be 0 to 60 seconds, not 3600"),
        ("text_to_imagine", {"prompt": "A boat"}, "There is no tool text_to_imagine. Did you mean text_to_image?"),
        ("job_status", {"job_id": "../user/profile"}, "There is no"),
        ("chat", {}, "message: is required"),
    ],
)
async def test_what_is_wrong_is_an_error_of_the_tool_and_costs_nothing(
    phaya: Phaya, over: str, tool: str, arguments: dict[str, Any], told: str
) -> None:
    before = await phaya.balance()
    async with agent(phaya, over) as client:
        result = await client.call_tool(tool, arguments)

    assert result.is_error
    assert told in said(result)
    assert await phaya.balance() == before


@OVER
async def test_a_result_of_another_account_is_not_read(phaya: Phaya, over: str) -> None:
    async with agent(phaya, over, await phaya.new_key("10")) as client:
        job = (await done(client, "text_to_image", **PICTURE))["job_id"]
    async with agent(phaya, over, await phaya.new_key("10")) as client:
        with pytest.raises(MCPError, match="There is no job"):
            await client.read_resource(f"phaya://jobs/{job}/0")


async def test_the_scopes_and_the_quota_of_a_key_hold_for_agents_too(phaya: Phaya) -> None:
    key = await phaya.new_key("10", scopes=["chat"], rate=2)
    async with agent(phaya, "http", key) as client:
        answers = [await client.call_tool("text_to_image", {"prompt": "A boat"}) for _ in range(3)]

    assert "scopes do not allow this" in said(answers[0])
    assert "This key may make 2 requests a minute" in said(answers[2])


@pytest.mark.parametrize(
    ("headers", "status"),
    [({}, 401), ({"Authorization": "Bearer pk_wrong"}, 401), ({"X-Budget": "lots"}, 422)],
)
async def test_the_door_takes_valid_keys_and_budgets_only(phaya: Phaya, headers: dict[str, str], status: int) -> None:
    sent = headers if status == 401 else headers | {"X-API-Key": phaya.key}
    async with phaya.session.post(f"{phaya.url}/mcp", json={}, headers=sent) as answer:
        assert answer.status == status


async def test_nobody_listens_at_a_door_without_sessions(phaya: Phaya) -> None:
    answer = await phaya.ask("GET", "/mcp")

    assert (405, "POST") == (answer.status, answer.headers["Allow"])


async def test_a_trailing_slash_leads_to_the_same_door(phaya: Phaya) -> None:
    async with phaya.session.post(f"{phaya.url}/mcp/", json={}) as answer:
        assert answer.status == 401
