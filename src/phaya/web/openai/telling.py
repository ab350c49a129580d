"""A chat completion told as a Responses answer: whole, or as its events."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterator, Mapping
from contextlib import aclosing
from typing import Any

from phaya.catalog.language import ChatRequest
from phaya.credits import Credits
from phaya.web.answers import dumps
from phaya.web.openai.items import Turn
from phaya.web.talk import HUNG_UP, Said, Talk, told

Fields = dict[str, Any]

_ECHOED: Fields = {
    "instructions": None,
    "max_output_tokens": None,
    "metadata": {},
    "parallel_tool_calls": True,
    "reasoning": {"effort": None, "summary": None},
    "temperature": 0.7,
    "text": {"format": {"type": "text"}},
    "tool_choice": "auto",
    "tools": [],
    "top_p": 1.0,
    "truncation": "disabled",
    "user": None,
}
"""Fields of a request that its answer repeats, with what they are where nothing was said."""


class Telling:
    """One response as it grows: its output items, in the order in which they began."""

    def __init__(self, turn: Turn, talk: Talk) -> None:
        self._turn = turn
        self._talk = talk
        self._mark = talk.job.id.replace("-", "")
        self._created = talk.job.created_at // 1000
        self._output: list[Fields] = []
        self._message: Fields | None = None
        self._calls: dict[int, Fields] = {}
        self._number = 0

    # --- whole ---

    def told(self, said: Said) -> Fields:
        """The response of a whole answer."""
        choice = said.choices[0]
        self._hear(choice["message"])
        return self.whole(choice.get("finish_reason"), said.counted, said.used)

    def _hear(self, message: Mapping[str, Any]) -> None:
        self._output.clear()  # it may be told again
        self._message = None
        if text := message.get("content"):
            self._begin_message()["content"].append(_part(text))
        for index, call in enumerate(message.get("tool_calls") or []):
            item = self._begin_call(index, call)
            item["arguments"] = call["function"].get("arguments") or ""
        for item in self._output:
            item["status"] = "completed"

    def whole(self, finish: object, usage: Fields | None, used: Credits | None) -> Fields:
        """The response at its end."""
        cut = {"length": "max_output_tokens", "content_filter": "content_filter"}.get(str(finish))
        answer = self._response("incomplete" if cut else "completed", usage, used)
        answer["incomplete_details"] = {"reason": cut} if cut else None
        return answer

    # --- in pieces ---

    async def events(self, chunks: AsyncGenerator[bytes, None]) -> AsyncGenerator[bytes, None]:
        """The events of the response, from those of the chat. Closing this closes the chat."""
        async with aclosing(chunks):
            # The chat is begun before a word of ours: one that was never begun could not be closed and settled.
            head = await anext(chunks, None)
            yield self._event("response.created", response=self._response("in_progress"))
            yield self._event("response.in_progress", response=self._response("in_progress"))
            finish: object = None
            usage: Fields | None = None
            async for chunk in _all(head, chunks):
                data = told(chunk)
                if data is None:
                    if chunk.startswith(b":"):
                        yield chunk
                    continue
                if data.get("error"):
                    yield self._failed(data["error"])
                    return
                usage = data.get("usage") or usage
                choices: list[Fields] = data.get("choices") or []
                for choice in choices:
                    finish = choice.get("finish_reason") or finish
                    delta: Fields = choice.get("delta") or {}
                    for event in self._heard(delta):
                        yield event
            for event in self._ended():
                yield event
            last = self.whole(finish, usage, self._talk.tab.used)
            yield self._event(f"response.{last['status']}", response=last)

    def _heard(self, delta: Mapping[str, Any]) -> Iterator[bytes]:
        if text := delta.get("content"):
            if self._message is None:
                item = self._begin_message()
                place = self._output.index(item)
                yield self._event("response.output_item.added", output_index=place, item=item)
                item["content"].append(_part(""))
                yield self._event("response.content_part.added", **self._place(item), part=item["content"][0])
            item = self._message
            assert item is not None
            item["content"][0]["text"] += text
            yield self._event("response.output_text.delta", **self._place(item), delta=text, logprobs=[])
        calls: list[Fields] = delta.get("tool_calls") or []
        for call in calls:
            index: int = call.get("index") or 0
            if index not in self._calls:
                item = self._begin_call(index, call)
                yield self._event("response.output_item.added", output_index=self._output.index(item), item=item)
            item = self._calls[index]
            function: Fields = call.get("function") or {}
            if more := function.get("arguments"):
                item["arguments"] += more
                place = self._output.index(item)
                yield self._event(
                    "response.function_call_arguments.delta", item_id=item["id"], output_index=place, delta=more
                )

    def _ended(self) -> Iterator[bytes]:
        for place, item in enumerate(self._output):
            item["status"] = "completed"
            if item is self._message:
                part = item["content"][0]
                yield self._event("response.output_text.done", **self._place(item), text=part["text"], logprobs=[])
                yield self._event("response.content_part.done", **self._place(item), part=part)
            else:
                done = {"name": item["name"], "arguments": item["arguments"]}
                yield self._event(
                    "response.function_call_arguments.done", item_id=item["id"], output_index=place, **done
                )
            yield self._event("response.output_item.done", output_index=place, item=item)

    def cut_off(self, used: Credits) -> bytes:
        """The last event of a response whose client hung up, for when it comes back."""
        return self._failed({"message": HUNG_UP}, used)

    def _failed(self, error: object, used: Credits | None = None) -> bytes:
        message = error.get("message") if isinstance(error, dict) else error  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]
        answer = self._response("failed", None, used)
        answer["error"] = {"code": "server_error", "message": str(message)}  # pyright: ignore[reportUnknownArgumentType]
        return self._event("response.failed", response=answer)

    # --- parts ---

    def _begin_message(self) -> Fields:
        self._message = {
            "id": f"msg_{self._mark}",
            "type": "message",
            "role": "assistant",
            "status": "in_progress",
            "content": [],
        }
        self._output.append(self._message)
        return self._message

    def _begin_call(self, index: int, call: Mapping[str, Any]) -> Fields:
        function: Fields = call.get("function") or {}
        item: Fields = {
            "id": f"fc_{self._mark}{index}",
            "type": "function_call",
            "status": "in_progress",
            "call_id": call.get("id") or f"call_{self._mark}{index}",
            "name": function.get("name") or "",
            "arguments": "",
        }
        self._calls[index] = item
        self._output.append(item)
        return item

    def _place(self, item: Fields) -> Fields:
        return {"item_id": item["id"], "output_index": self._output.index(item), "content_index": 0}

    def _response(self, status: str, usage: Fields | None = None, used: Credits | None = None) -> Fields:
        asked = self._turn.asked
        return {
            "id": f"resp_{self._mark}",
            "object": "response",
            "created_at": self._created,
            "status": status,
            "error": None,
            "incomplete_details": None,
            "model": ChatRequest.path,
            "output": self._output,
            "previous_response_id": None,
            "store": False,
            **{name: asked.get(name, usual) for name, usual in _ECHOED.items()},
            "usage": None if usage is None else _usage(usage),
            "credits_used": used,
            "sandbox": self._talk.job.sandbox,
            "warnings": self._talk.warnings,
        }

    def _event(self, kind: str, **fields: object) -> bytes:
        data = {"type": kind, "sequence_number": self._number, **fields}
        self._number += 1
        return f"event: {kind}\n".encode() + b"data: " + dumps(data) + b"\n\n"


async def _all(head: bytes | None, chunks: AsyncGenerator[bytes, None]) -> AsyncGenerator[bytes, None]:
    if head is not None:
        yield head
    async for chunk in chunks:
        yield chunk


def _part(text: str) -> Fields:
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": []}


def _usage(usage: Fields) -> Fields:
    prompt: Fields = usage.get("prompt_tokens_details") or {}
    completion: Fields = usage.get("completion_tokens_details") or {}
    return {
        "input_tokens": usage["prompt_tokens"],
        "input_tokens_details": {name: prompt.get(name) or 0 for name in ("cached_tokens", "cache_write_tokens")},
        "output_tokens": usage["completion_tokens"],
        "output_tokens_details": {"reasoning_tokens": completion.get("reasoning_tokens") or 0},
        "total_tokens": usage["prompt_tokens"] + usage["completion_tokens"],
    }
