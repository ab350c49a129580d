"""What the sandbox says: a short, friendly answer to the last message, the same for the same conversation."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import cast

import orjson
from pydantic import JsonValue

from phaya.providers.sandbox import tokens
from phaya.providers.sandbox.endings import unmarked
from phaya.providers.sandbox.shapes import example

Message = Mapping[str, JsonValue]

LONGEST_QUOTE = 160
_THAI = re.compile(r"[\u0e00-\u0e7f]")
_ENDLESS = "and on it flows, "


@dataclass(frozen=True, slots=True)
class ToolCall:
    """One call of a tool that the sandbox wants made. `arguments` is JSON text."""

    id: str
    name: str
    arguments: str


@dataclass(frozen=True, slots=True)
class Reply:
    """What is said, and which tool is called instead of saying it."""

    text: str
    tool: ToolCall | None = None


def text_of(message: Message) -> str:
    """The words of a message; of parts, only those that are text."""
    content = message.get("content")
    if isinstance(content, str):
        return content
    parts = content if isinstance(content, list) else []
    said = [part.get("text") for part in parts if isinstance(part, dict) and part.get("type") == "text"]
    return "\n".join(word for word in said if isinstance(word, str))


def pictures_of(message: Message) -> int:
    """How many pictures, sounds, films and documents a message carries."""
    content = message.get("content")
    parts = content if isinstance(content, list) else []
    return sum(1 for part in parts if isinstance(part, dict) and part.get("type") != "text")


def last_words(messages: Sequence[Message]) -> str:
    """The text of the last user message, which the answer reacts to and which may hold markers."""
    return next((text_of(message) for message in reversed(messages) if message.get("role") == "user"), "")


def prompt_tokens(messages: Sequence[Message], tools: JsonValue) -> int:
    """How many tokens a request has."""
    total = sum(
        tokens.count(text_of(message)) + tokens.PICTURE * pictures_of(message) + tokens.FRAME for message in messages
    )
    return total + (tokens.count(orjson.dumps(tools).decode()) if tools else 0)


def reply(body: Mapping[str, JsonValue], messages: Sequence[Message]) -> Reply:
    """The answer to a request: a tool call, JSON of the wanted shape, or words."""
    asked = last_words(messages)
    called = _wanted_tool(body, messages, asked)
    if called is not None:
        return Reply("", called)
    shaped = _shaped(body.get("response_format"), unmarked(asked))
    if shaped is not None:
        return Reply(shaped)
    if "[forever]" in asked.lower():
        return Reply(_ENDLESS * 2000)
    return Reply(_words(messages, asked))


def _words(messages: Sequence[Message], asked: str) -> str:
    said = " ".join(unmarked(asked).split())
    quote = said if len(said) <= LONGEST_QUOTE else f"{said[:LONGEST_QUOTE].rstrip()}…"
    last = messages[-1]
    media = pictures_of(last)
    turn = sum(1 for message in messages if message.get("role") == "user")
    if _THAI.search(said):
        parts = [f"สวัสดี คุณเขียนมาว่า “{quote}”"]
        parts += [f"พร้อมไฟล์แนบ {media} ไฟล์"] if media else []
        parts += [f"เครื่องมือตอบว่า {_short(text_of(last))}"] if last.get("role") == "tool" else []
        parts += [f"นี่เป็นข้อความที่ {turn} ของเราแล้ว"] if turn > 1 else []
        parts += [
            "ขณะนี้ผู้ตอบคือแซนด์บ็อกซ์ของ Phaya ยังไม่ได้เรียกโมเดลจริง เมื่อใส่คีย์ของผู้ให้บริการแล้ว โมเดลที่เลือกไว้จะตอบแทนในรูปแบบเดียวกัน"
        ]
        return " ".join(parts)
    parts = [f"{_greeting(said)} You wrote: “{quote}”."]
    if media:
        parts.append(f"I received {media} attachment{'s' if media > 1 else ''} with it.")
    if last.get("role") == "tool":
        parts.append(f"The tool answered: {_short(text_of(last))}.")
    if turn > 1:
        parts.append(f"This is message {turn} of our conversation.")
    parts.append(
        "I am Phaya's sandbox, so no model was asked; with a provider key in place, the model of your choice "
        "answers here in the very same form."
    )
    return " ".join(parts)


def _short(text: str) -> str:
    flat = " ".join(text.split())
    return flat if len(flat) <= LONGEST_QUOTE else f"{flat[:LONGEST_QUOTE].rstrip()}…"


def _greeting(said: str) -> str:
    greetings = ("Gladly!", "Of course.", "Good question.", "Thank you for writing.")
    if re.match(r"(hi|hello|hey|good (morning|evening|day))\b", said, re.IGNORECASE):
        return "Hello!"
    return greetings[hashlib.sha256(said.encode(errors="surrogatepass")).digest()[0] % len(greetings)]


def _wanted_tool(body: Mapping[str, JsonValue], messages: Sequence[Message], asked: str) -> ToolCall | None:
    """The tool that the message names or that is demanded; after a tool's result, words follow."""
    offered = [function for function in map(_function, _items(body.get("tools"))) if function is not None]
    choice = body.get("tool_choice")
    if not offered or choice == "none" or messages[-1].get("role") == "tool":
        return None
    named = _function(choice)
    heard = _plain(asked)
    for function in offered:
        name = str(function["name"])
        if (named is not None and named["name"] == name) or (named is None and _plain(name) in heard):
            return _call(function, asked)
    return _call(offered[0], asked) if choice == "required" else None


def _call(function: Mapping[str, JsonValue], asked: str) -> ToolCall:
    name = str(function["name"])
    arguments = example(function.get("parameters") or {"type": "object"}, unmarked(asked))
    mark = hashlib.sha256(f"{name}\n{asked}".encode(errors="surrogatepass")).hexdigest()[:24]
    return ToolCall(f"call_{mark}", name, orjson.dumps(arguments).decode())


def _function(tool: JsonValue) -> Mapping[str, JsonValue] | None:
    function = tool.get("function") if isinstance(tool, dict) else None
    return function if isinstance(function, dict) and isinstance(function.get("name"), str) else None


def _items(value: JsonValue) -> list[JsonValue]:
    return value if isinstance(value, list) else []


def _plain(text: str) -> str:
    return re.sub(r"[\W_]+", " ", text.casefold()).strip()


def _shaped(wanted: JsonValue, asked: str) -> str | None:
    form = wanted if isinstance(wanted, dict) else {}
    if form.get("type") == "json_object":
        return orjson.dumps({"reply": asked, "sandbox": True}).decode()
    described = form.get("json_schema")
    if form.get("type") == "json_schema" and isinstance(described, dict):
        return orjson.dumps(example(cast("JsonValue", described.get("schema", {})), asked)).decode()
    return None
