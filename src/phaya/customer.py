"""Commands of those who hold a key: they call a Phaya's API, wherever it is."""

from __future__ import annotations

import asyncio
from decimal import Decimal
from typing import Annotated

import typer

from phaya.credits import credits
from phaya.generate import address, guarded
from phaya.terminal import stop


def install(app: typer.Typer) -> None:
    """Adds the commands."""
    app.command()(mcp)


def mcp(
    budget: Annotated[str | None, typer.Option(help="Credits that this session may spend at the most.")] = None,
) -> None:
    """Serve Phaya's services as tools to an AI agent, by the Model Context Protocol over stdin and stdout."""
    try:
        limit = None if budget is None else Decimal(str(credits(budget)))
    except ValueError as error:
        stop(f"--budget: {error}.", 2)
    from phaya.agents.server import over_stdio

    async def serve() -> None:
        await over_stdio(*address(), limit)

    asyncio.run(guarded(serve()))
