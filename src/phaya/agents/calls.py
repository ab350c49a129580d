"""What happens when a tool is called, and how its answer is told."""

from __future__ import annotations

import asyncio
import base64
import binascii
import difflib
import re
from collections.abc import Awaitable, Callable, Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

from mcp_types import (
    BlobResourceContents,
    CallToolResult,
    ContentBlock,
    ImageContent,
    ReadResourceResult,
    ResourceLink,
    TextContent,
    TextResourceContents,
)

from phaya.agents.desk import Api, Budget, OverBudget, Shelf
from phaya.agents.tools import CONTROLS, LONGEST_WAIT, Offer, prices
from phaya.client.amounts import texts, written
from phaya.client.jobs import results
from phaya.client.refusals import ApiError, Unreachable
from phaya.links import CONTENT_TYPES, UNKNOWN_TYPE

SMALL = 1_000_000
"""Bytes of a picture that is shown in the answer itself."""
LARGEST = 25_000_000
"""Bytes of a result that is read as a resource; what is larger is fetched by its link."""
STRIDE = 2.0
"""Seconds that one look at a job waits, so that whoever waits longer hears how it goes."""
ENDED = ("completed", "failed", "cancelled")
RESULT = re.compile(r"phaya://jobs/([0-9a-f-]{36})/(\d{1,3})")


Report = Callable[[float, str], Awaitable[None]]
"""Tells whoever waits how far a job is, from 0 to 1, and in words."""


class BadCall(Exception):
    """The arguments are wrong; the text says what is allowed. Nothing was asked of the API."""


class Desk:
    """Carries out calls with one key and one budget."""

    def __init__(self, api: Api, budget: Budget, shelf: Shelf, *, local_files: bool) -> None:
        self._api = api
        self._budget = budget
        self._shelf = shelf
        self._local_files = local_files

    async def call(self, name: str, given: Mapping[str, Any], report: Report) -> CallToolResult:
        """A tool's answer; what is refused is an error of the tool, in the API's words."""
        try:
            return await self._carried_out(name, dict(given), report)
        except (ApiError, Unreachable, BadCall, OverBudget) as error:
            return CallToolResult(content=[TextContent(text=str(error))], is_error=True)

    async def services(self) -> list[dict[str, Any]]:
        """What is on sale."""
        return await self._shelf.services(self._api)

    async def newest(self, most: int) -> list[dict[str, Any]]:
        """The last jobs that were completed."""
        return (await self._api.get(f"jobs?state=completed&limit={most}"))["jobs"]

    async def _carried_out(self, name: str, given: dict[str, Any], report: Report) -> CallToolResult:
        match name:
            case "get_balance":
                _only(given)
                found = await self._api.get("user/credits")
                left = self._budget.left
                return _plain(found | {"budget_left": None if left is None else f"{left:f}"})
            case "list_services":
                _only(given)
                return _plain({"services": [_listed(one) for one in await self.services()]})
            case "job_status":
                _only(given, "job_id")
                return await self._told(await self._status(_text(given, "job_id"), 0))
            case "wait_job":
                _only(given, "job_id", "seconds")
                job = _text(given, "job_id")
                return await self._told(await self._waited(job, _seconds(given, "seconds", 30), report))
            case "cancel_job":
                _only(given, "job_id")
                job = _text(given, "job_id")
                answer = await self._api.post(f"jobs/{quote(job, safe='')}/cancel", {})
                self._budget.see(await self._status(job, 0))
                return _plain(answer)
            case "upload_media":
                return _plain(await self._upload(given))
            case "chat":
                return await self._chat(given)
            case _:
                known = await self._shelf.offers(self._api)
                if name not in known:
                    raise BadCall(f"There is no tool {name[:80]}.{_hint(name, known)}")
                return await self._bought(known[name], given, report)

    async def _bought(self, offer: Offer, given: dict[str, Any], report: Report) -> CallToolResult:
        """Creates a job, waits for it as long as is asked, and tells where it stands."""
        _only(given, *offer.fields, *CONTROLS)
        wait, dry = _seconds(given, "wait", 0), given.pop("dry_run", False)
        key = _text(given, "idempotency_key") if given.get("idempotency_key") is not None else None
        body = {name: value for name, value in given.items() if name in offer.fields}
        if dry:
            return _plain(await self._api.post(f"{offer.service}/estimate", body))
        price = Decimal(0)
        if self._budget.left is not None:
            price = (await self._api.post(f"{offer.service}/estimate", body))["credits"]
        async with self._budget.hold(price):
            answer = await self._api.post(offer.create, body, key)
            self._budget.charge(answer)
        if wait and answer["state"] not in ENDED:
            answer = await self._waited(answer["job_id"], wait, report) | {"warnings": answer["warnings"]}
        return await self._told(answer)

    async def _chat(self, given: dict[str, Any]) -> CallToolResult:
        _only(given, "message", "system", "messages", "max_tokens", "idempotency_key")
        talk: Any = given.pop("messages", None)
        if (message := given.pop("message", None)) is not None:
            talk = [*(talk or []), {"role": "user", "content": message}]
        if not talk:
            raise BadCall("message: is required, or messages")
        if (system := given.pop("system", None)) is not None:
            talk = [{"role": "system", "content": system}, *talk]
        key = given.pop("idempotency_key", None)
        body = {"messages": talk, **given}
        path, price = "phaya-gpt/chat/completions", Decimal(0)
        if self._budget.left is not None:
            price = (await self._api.post(path, body | {"dry_run": True}))["credits"]
        async with self._budget.hold(price):
            answer = await self._api.post(path, body, key)
            self._budget.charge(answer)
        told = {name: answer[name] for name in ("model", "message", "usage", "credits_used", "credits_balance")}
        said = str(answer["message"].get("content") or "")
        return CallToolResult(content=[TextContent(text=said)], structured_content=texts(told))

    async def _upload(self, given: dict[str, Any]) -> dict[str, Any]:
        if self._local_files:
            _only(given, "path")
            file = Path(_text(given, "path")).expanduser()
            try:
                return await self._api.keep(file.name, file.read_bytes())
            except OSError as error:
                raise BadCall(f"path: {file} cannot be read: {error.strerror}") from error
        _only(given, "data")
        data = _text(given, "data")
        if data.startswith("data:"):
            data = data.partition(",")[2]
        try:
            return await self._api.keep("upload", base64.b64decode(data, validate=True))
        except binascii.Error as error:
            raise BadCall(f"data: is not base64: {error}") from error

    async def _status(self, job: str, wait: float) -> dict[str, Any]:
        return await self._api.get(f"jobs/{quote(job, safe='')}" + (f"?wait={wait:g}" if wait else ""))

    async def _waited(self, job: str, seconds: float, report: Report) -> dict[str, Any]:
        """Where a job stands at its end, or after so many seconds; tells on the way how far it is."""
        loop = asyncio.get_running_loop()
        until, told = loop.time() + seconds, -1.0
        status = await self._status(job, 0)
        while status["state"] not in ENDED and (left := until - loop.time()) > 0:
            if (progress := float(status["progress"])) > told:  # the protocol wants every one larger than the last
                await report(progress, str(status["message"]))
                told = progress
            status = await self._status(job, min(STRIDE, left))
        return status

    async def _told(self, status: Mapping[str, Any]) -> CallToolResult:
        """A job with its results: links to them, small pictures themselves, and every field as data."""
        self._budget.see(status)
        blocks: list[ContentBlock] = []
        links = results(status)
        for number, link in enumerate(links):
            name = urlsplit(link).path.rpartition("/")[2]
            blocks.append(
                ResourceLink(
                    name=name,
                    uri=f"phaya://jobs/{status['job_id']}/{number}",
                    description=f"A result of {status['service']}; anybody can fetch it from {link}",
                    mime_type=_type(name),
                )
            )
            if _type(name).startswith("image/") and (found := await self._api.fetch(link, SMALL)):
                blocks.append(ImageContent(data=base64.b64encode(found[1]).decode(), mime_type=found[0]))
        failed = status["state"] in ("failed", "cancelled")
        text = str(status.get("error") or status["message"]) if failed else written(texts(dict(status))).decode()
        return CallToolResult(
            content=[TextContent(text=text), *blocks], structured_content=texts(dict(status)), is_error=failed
        )

    async def read(self, uri: str) -> ReadResourceResult:
        """A result of one's own job. Raises BadCall, ApiError or Unreachable."""
        if (found := RESULT.fullmatch(uri)) is None:
            raise BadCall(f"Resources are named phaya://jobs/<job_id>/<number>, not {uri[:200]}.")
        status = await self._status(found[1], 0)
        links = results(status)
        if int(found[2]) >= len(links):
            raise BadCall(f"Job {found[1]} is {status['state']} and has {len(links)} results.")
        link = links[int(found[2])]
        content = await self._api.fetch(link, LARGEST)
        if content is None:
            return ReadResourceResult(
                contents=[TextResourceContents(uri=uri, mime_type="text/uri-list", text=f"{link}\r\n")]
            )
        blob = base64.b64encode(content[1]).decode()
        return ReadResourceResult(contents=[BlobResourceContents(uri=uri, mime_type=content[0], blob=blob)])


def _type(name: str) -> str:
    return CONTENT_TYPES.get(name.rpartition(".")[2], UNKNOWN_TYPE)


def _plain(found: Mapping[str, Any]) -> CallToolResult:
    told = texts(dict(found))
    return CallToolResult(content=[TextContent(text=written(told).decode())], structured_content=told)


def _listed(one: Mapping[str, Any]) -> dict[str, Any]:
    """A service as a list for agents needs it: its fields are its tool's."""
    kept = ("service", "name", "summary", "makes", "usual_seconds", "available", "reason")
    return {name: one[name] for name in kept if name in one} | {"credits": prices(one)}


def _only(given: Mapping[str, Any], *allowed: str) -> None:
    """Raises BadCall for an argument that the tool does not have: a misspelt one would be ignored, and paid for."""
    if strange := next((name for name in given if name not in allowed), None):
        raise BadCall(f"{strange[:80]}: is no argument of this tool.{_hint(strange, allowed)}")


def _hint(name: str, known: Any) -> str:
    near = difflib.get_close_matches(name, list(known), n=1)
    return f" Did you mean {near[0]}?" if near else ""


def _text(given: dict[str, Any], name: str) -> str:
    value = given.get(name)
    if not isinstance(value, str) or not value:
        raise BadCall(f"{name}: is required, as a text")
    return value


def _seconds(given: dict[str, Any], name: str, usual: float) -> float:
    value = given.pop(name, usual)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= LONGEST_WAIT:
        raise BadCall(f"{name}: must be 0 to {LONGEST_WAIT} seconds, not {str(value)[:40]}")
    return value
