"""The tools: one for each service that is on sale, and those around them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mcp_types import Tool, ToolAnnotations

Schema = dict[str, Any]

LONGEST_WAIT = 60
"""Seconds that one call may wait."""

WAIT: Schema = {
    "type": "number",
    "minimum": 0,
    "maximum": LONGEST_WAIT,
    "description": "Seconds to wait for the result. What takes longer is asked for with wait_job.",
}
CONTROLS: Mapping[str, Schema] = {
    "wait": WAIT | {"default": 0},
    "idempotency_key": {
        "type": "string",
        "minLength": 1,
        "maxLength": 255,
        "description": "Your name for this purchase. Sent again with the same arguments within 24 hours, it is "
        "answered as the first time and not charged again.",
    },
    "dry_run": {"type": "boolean", "default": False, "description": "Only say what it would cost."},
}
"""What a tool of a service takes beside the service's own fields."""

JOB_ID: Schema = {"type": "string", "description": "The job_id that the service's tool answered."}


@dataclass(frozen=True, slots=True)
class Offer:
    """A service on sale, as the API lists it."""

    service: str
    create: str
    listed: Mapping[str, Any]

    @property
    def tool_name(self) -> str:
        """The service's path as tools may be named."""
        return self.service.replace("-", "_").replace("/", "_")

    @property
    def fields(self) -> frozenset[str]:
        """The arguments that the service itself takes."""
        return frozenset(self.listed["schema"]["properties"])


def offers(services: Sequence[Mapping[str, Any]]) -> dict[str, Offer]:
    """What makes files, by the name of its tool. Chat has a tool of its own shape; vectors are nothing for an agent."""
    found = [
        Offer(str(one["service"]), str(one["create"]).partition("/api/v1/")[2], one)
        for one in services
        if "status" in one
    ]
    return {one.tool_name: one for one in found if one.tool_name not in FIXED}


def prices(listed: Mapping[str, Any]) -> str:
    """A service's price list in words."""
    return ", ".join(f"{what} {amount:f}" for what, amount in listed["prices"].items())


def tools(services: Sequence[Mapping[str, Any]], *, local_files: bool) -> list[Tool]:
    """All tools. With local files an upload names a path, else it carries the content."""
    made = [_service_tool(offer) for offer in offers(services).values()]
    chat = next((one for one in services if one["service"] == "phaya-gpt"), None)
    return [*made, *([_chat_tool(chat)] if chat else []), *FIXED_TOOLS, _upload_tool(local_files)]


def _service_tool(offer: Offer) -> Tool:
    listed = offer.listed
    schema: Schema = dict(listed["schema"])
    schema["properties"] = schema["properties"] | CONTROLS
    schema["additionalProperties"] = False
    closed = "" if listed.get("available", True) else f" Not available now: {listed['reason']}"
    return Tool(
        name=offer.tool_name,
        title=str(listed["name"]),
        description=f"{listed['name']}: {listed['summary']}. Credits: {prices(listed)}. "
        f"It usually takes {listed['usual_seconds']} s; a job that fails gives its credits back.{closed}",
        input_schema=schema,
        annotations=ToolAnnotations(read_only_hint=False, destructive_hint=False, idempotent_hint=False),
    )


def _chat_tool(listed: Mapping[str, Any]) -> Tool:
    fields = {
        "message": {"type": "string", "description": "What to say, where there is no conversation yet."},
        "system": {"type": "string", "description": "How the model is to behave."},
        "messages": {"type": "array", "items": {"type": "object"}, "description": "A whole conversation instead."},
        "max_tokens": {"type": "integer", "minimum": 1, "description": "Tokens that the answer may have."},
        "idempotency_key": CONTROLS["idempotency_key"],
    }
    return Tool(
        name="chat",
        title=str(listed["name"]),
        description=f"{listed['name']}: a question to a language model. Credits: {prices(listed)}.",
        input_schema={"type": "object", "properties": fields, "additionalProperties": False},
        annotations=ToolAnnotations(read_only_hint=False, destructive_hint=False, idempotent_hint=False),
    )


def _upload_tool(local_files: bool) -> Tool:
    fields: Schema = (
        {"path": {"type": "string", "description": "The file, on the machine where this server runs."}}
        if local_files
        else {"data": {"type": "string", "description": "The file's content in base64, or a data URL."}}
    )
    return Tool(
        name="upload_media",
        title="Upload a file",
        description="Keeps a picture, film or sound for a while; the url that it answers is good as any input. What "
        "has an address that the public can fetch needs no upload. It costs nothing.",
        input_schema=_object(fields, *fields),
        annotations=ToolAnnotations(read_only_hint=False, destructive_hint=False),
    )


def _object(fields: Schema, *required: str) -> Schema:
    return {"type": "object", "properties": fields, "required": list(required), "additionalProperties": False}


def _reading(name: str, title: str, told: str, fields: Schema, *required: str) -> Tool:
    hints = ToolAnnotations(read_only_hint=True)
    return Tool(name=name, title=title, description=told, input_schema=_object(fields, *required), annotations=hints)


FIXED_TOOLS = (
    _reading("get_balance", "Balance", "The credits of the account, and what this session may still spend.", {}),
    _reading("list_services", "Services", "Every service with its prices, usual time and whether it is to be had.", {}),
    _reading("job_status", "Job", "Where a job stands, and its result.", {"job_id": JOB_ID}, "job_id"),
    _reading(
        "wait_job",
        "Wait for a job",
        f"Waits for a job's end, {LONGEST_WAIT} s at the most, and answers where it stands then. Call it again until "
        "state is completed, failed or cancelled.",
        {"job_id": JOB_ID, "seconds": WAIT | {"default": 30}},
        "job_id",
    ),
    Tool(
        name="cancel_job",
        title="Cancel a job",
        description="Ends a job that has not ended and gives its credits back.",
        input_schema=_object({"job_id": JOB_ID}, "job_id"),
        annotations=ToolAnnotations(read_only_hint=False, destructive_hint=True, idempotent_hint=True),
    ),
)
FIXED = frozenset({*(tool.name for tool in FIXED_TOOLS), "chat", "upload_media"})
