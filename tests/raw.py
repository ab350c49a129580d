"""Requests as bytes, for what no client would send."""

from __future__ import annotations

import asyncio


async def answered(port: int, request: bytes) -> bytes:
    """All that comes until the server closes the connection."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(request)
        async with asyncio.timeout(30):
            return await reader.read()
    finally:
        writer.transport.abort()
