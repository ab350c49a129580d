"""What a Responses request says, in the words of a chat completion."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast

import orjson

from phaya.errors import Fault, Invalid

Fields = dict[str, Any]

_SAME = ("model", "temperature", "top_p", "parallel_tool_calls", "stream", "user", "seed", "dry_run", "top_logprobs")
# Taken and without effect: nothing is stored here, and every request is answered at once.
_QUIET = (
    *("store", "include", "metadata", "truncation", "service_tier", "background", "prompt_cache_key"),
    *("safety_identifier", "stream_options", "max_tool_calls", "prompt_cache_retention", "text", "reasoning"),
    *("input", "instructions", "tools", "tool_choice", "max_output_tokens", "previous_response_id", "conversation"),
)
_SEARCHES = ("web_search", "web_search_preview", "web_search_2025_08_26", "web_search_preview_2025_03_11")


@dataclass(frozen=True)
class Turn:
    """A request: what was asked, and the chat completion's body that it means."""

    asked: Fields
    body: Fields
    warnings: list[str]

    @property
    def model(self) -> str | None:
        """The model's name as sent."""
        return self.asked.get("model")


def read_turn(given: object) -> Turn:
    """Reads a Responses body. Raises Invalid."""
    if not isinstance(given, dict):
        raise Invalid(Fault("body", "must be a JSON object", "model_type"))
    asked = {str(name): value for name, value in cast("Fields", given).items() if value is not None}
    for name in ("previous_response_id", "conversation"):
        if name in asked:
            raise Invalid(Fault(name, "is not offered: no conversation is stored; send the whole of it as input"))
    if asked.get("background") is True:
        raise Invalid(Fault("background", "must be false; a response is made while its request waits"))
    if not isinstance(asked.get("model", ""), str):
        raise Invalid(Fault("model", "must be a text"))
    body: Fields = {name: asked[name] for name in _SAME if name in asked}
    body["messages"] = _messages(asked)
    if "max_output_tokens" in asked:
        body["max_tokens"] = asked["max_output_tokens"]
    if tools := _tools(asked.get("tools"), body):
        body["tools"] = tools
        if "tool_choice" in asked:
            body["tool_choice"] = _choice(asked["tool_choice"])
    if effort := _object(asked, "reasoning").get("effort"):
        body["reasoning"] = {"effort": effort}
    if form := _format(_object(asked, "text").get("format")):
        body["response_format"] = form
    warnings = [f"Unknown field '{name}' was ignored." for name in asked if name not in (*_SAME, *_QUIET)]
    return Turn(asked, body, warnings)


def _object(asked: Fields, name: str) -> Fields:
    value = asked.get(name, {})
    if not isinstance(value, dict):
        raise Invalid(Fault(name, "must be an object"))
    return cast("Fields", value)


def _messages(asked: Fields) -> list[Fields]:
    messages: list[Fields] = []
    if isinstance(instructions := asked.get("instructions"), str):
        messages.append({"role": "system", "content": instructions})
    told = asked.get("input")
    if told is None:
        raise Invalid(Fault("input", "is required", "missing"))
    if isinstance(told, str):
        return [*messages, {"role": "user", "content": told}]
    if not isinstance(told, list):
        raise Invalid(Fault("input", "must be a text or a list of items"))
    for number, item in enumerate(cast("list[Any]", told)):
        place = f"input.{number}"
        if not isinstance(item, dict):
            raise Invalid(Fault(place, "must be an object"))
        _add(messages, cast("Fields", item), place)
    return messages


def _add(messages: list[Fields], item: Fields, place: str) -> None:
    match item.get("type", "message"):
        case "message":
            messages.append({"role": item.get("role"), "content": _content(item.get("content"), place)})
        case "function_call":
            function = {"name": item.get("name"), "arguments": item.get("arguments", "{}")}
            call = {"id": item.get("call_id"), "type": "function", "function": function}
            last = messages[-1] if messages else {}
            if last.get("role") == "assistant":  # several calls of one turn, or words before a call
                last.setdefault("tool_calls", []).append(call)
            else:
                messages.append({"role": "assistant", "content": None, "tool_calls": [call]})
        case "function_call_output":
            output = _content(item.get("output"), place, field="output")
            text = output if isinstance(output, str) else orjson.dumps(output).decode()
            messages.append({"role": "tool", "tool_call_id": item.get("call_id"), "content": text})
        case "reasoning" | "web_search_call":
            pass  # the model's own notes of another turn; a chat completion has no place for them
        case other:
            raise Invalid(
                Fault(f"{place}.type", f"takes message, function_call and function_call_output, not {str(other)!r}")
            )


def _content(content: object, place: str, field: str = "content") -> str | list[Fields]:
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        raise Invalid(Fault(f"{place}.{field}", "must be a text or a list of parts"))
    parts: list[Fields] = []
    for part in cast("list[Any]", content):
        told = cast("Fields", part) if isinstance(part, dict) else {}
        match told.get("type"):
            case "input_text" | "output_text" | "text":
                parts.append({"type": "text", "text": told.get("text", "")})
            case "refusal":
                parts.append({"type": "text", "text": told.get("refusal", "")})
            case "input_image" if isinstance(told.get("image_url"), str):
                image = {"url": told["image_url"], "detail": told.get("detail") or "auto"}
                parts.append({"type": "image_url", "image_url": image})
            case other:
                allowed = "takes parts input_text and input_image (with image_url)"
                raise Invalid(Fault(f"{place}.{field}", f"{allowed}, not {str(other)!r}"))
    texts = [part["text"] for part in parts if part["type"] == "text"]
    return "".join(texts) if len(texts) == len(parts) else parts


def _tools(given: object, body: Fields) -> list[Fields]:
    """Function tools in a chat completion's shape; web search becomes the field that asks for it."""
    if given is None:
        return []
    if not isinstance(given, list):
        raise Invalid(Fault("tools", "must be a list"))
    found: list[Fields] = []
    for number, tool in enumerate(cast("list[Any]", given)):
        told = cast("Fields", tool) if isinstance(tool, dict) else {}
        kind = told.get("type")
        if kind in _SEARCHES:
            body["web_search"] = True
        elif kind == "function" and isinstance(told.get("name"), str):
            names = ("name", "description", "parameters", "strict")
            function = {name: told[name] for name in names if told.get(name) is not None}
            found.append({"type": "function", "function": function})
        else:
            raise Invalid(Fault(f"tools.{number}.type", f"must be function or web_search, not {str(kind)!r}"))
    return found


def _choice(given: object) -> object:
    if isinstance(given, dict) and cast("Fields", given).get("type") == "function":
        return {"type": "function", "function": {"name": cast("Fields", given).get("name")}}
    if given in ("auto", "none", "required"):
        return given
    raise Invalid(Fault("tool_choice", "must be auto, none, required, or a function by its name"))


def _format(given: object) -> Fields | None:
    if given is None:
        return None
    form = cast("Fields", given) if isinstance(given, dict) else {}
    match form.get("type"):
        case "text":
            return None
        case "json_object":
            return {"type": "json_object"}
        case "json_schema":
            names = ("name", "description", "schema", "strict")
            described = {name: form[name] for name in names if form.get(name) is not None}
            return {"type": "json_schema", "json_schema": described}
        case other:
            raise Invalid(Fault("text.format.type", f"must be text, json_object or json_schema, not {str(other)!r}"))
