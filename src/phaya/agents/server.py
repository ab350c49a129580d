"""The MCP server: its answers to the protocol's requests, and the session over stdin and stdout."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from decimal import Decimal
from typing import Any, TypeVar

from mcp import MCPError
from mcp.server.context import ServerRequestContext
from mcp.server.lowlevel import Server
from mcp.server.stdio import stdio_server
from mcp_types import (
    INVALID_PARAMS,
    CallToolRequestParams,
    CallToolResult,
    ListResourcesResult,
    ListResourceTemplatesResult,
    ListToolsResult,
    PaginatedRequestParams,
    ReadResourceRequestParams,
    ReadResourceResult,
    Resource,
    ResourceTemplate,
)

from phaya import __version__
from phaya.agents.calls import BadCall, Desk
from phaya.agents.desk import Api, Budget, Shelf
from phaya.agents.tools import tools
from phaya.client import Wire
from phaya.client.jobs import results
from phaya.client.refusals import ApiError, Unreachable

T = TypeVar("T")
Context = ServerRequestContext[Any, Any]

INSTRUCTIONS = (
    "Phaya makes pictures, films, songs, speech and clips for credits of a prepaid balance. Each service is a tool "
    "that names its price; dry_run answers the exact price of a request and costs nothing. A tool answers a job_id at "
    "once, or with wait its result; wait_job goes on waiting. A job that fails gives its credits back. Inputs are "
    "addresses that the public can fetch, results of earlier jobs, or what upload_media answered."
)
NEWEST = 20
"""Jobs whose results are listed as resources."""


def mcp_server(desk_of: Callable[[Context], Desk], *, local_files: bool) -> Server[Any]:
    """The server. `desk_of` says who carries out a request: with which key, and within which budget."""

    async def list_tools(context: Context, params: PaginatedRequestParams | None) -> ListToolsResult:
        return ListToolsResult(tools=tools(await _asked(desk_of(context).services()), local_files=local_files))

    async def call_tool(context: Context, params: CallToolRequestParams) -> CallToolResult:
        async def report(progress: float, words: str) -> None:
            await context.session.report_progress(progress, 1.0, words)

        return await desk_of(context).call(params.name, params.arguments or {}, report)

    async def list_resources(context: Context, params: PaginatedRequestParams | None) -> ListResourcesResult:
        found = await _asked(desk_of(context).newest(NEWEST))
        return ListResourcesResult(
            resources=[
                Resource(
                    name=f"{job['service']} {number + 1} of {job['created_at']}",
                    uri=f"phaya://jobs/{job['job_id']}/{number}",
                    description=link,
                )
                for job in found
                for number, link in enumerate(results(job))
            ]
        )

    async def list_templates(context: Context, params: PaginatedRequestParams | None) -> ListResourceTemplatesResult:
        template = ResourceTemplate(
            name="result",
            uri_template="phaya://jobs/{job_id}/{number}",
            description="A result of a job, counted from 0. What is too large is answered as its link.",
        )
        return ListResourceTemplatesResult(resource_templates=[template])

    async def read_resource(context: Context, params: ReadResourceRequestParams) -> ReadResourceResult:
        return await _asked(desk_of(context).read(params.uri))

    return Server(
        "phaya",
        version=__version__,
        title="Phaya",
        instructions=INSTRUCTIONS,
        on_list_tools=list_tools,
        on_call_tool=call_tool,
        on_list_resources=list_resources,
        on_list_resource_templates=list_templates,
        on_read_resource=read_resource,
    )


async def _asked(asking: Awaitable[T]) -> T:
    """What the desk answers; a refusal is the protocol's error where the protocol has no error of a tool."""
    try:
        return await asking
    except (ApiError, Unreachable, BadCall) as error:
        raise MCPError(INVALID_PARAMS, str(error)) from error


async def over_stdio(base: str, key: str, limit: Decimal | None) -> None:
    """Serves one session over stdin and stdout, until stdin ends. Raises ApiError or Unreachable at the start."""
    async with Wire(base, key) as wire:
        await wire.get("user/credits")  # a wrong key is known now, not at the first tool
        await _serve(wire, Budget(limit))


async def _serve(api: Api, budget: Budget) -> None:
    desk = Desk(api, budget, Shelf(time.monotonic), local_files=True)
    server = mcp_server(lambda _: desk, local_files=True)
    async with stdio_server() as (read, write):
        await server.run(read, write, server.create_initialization_options())
