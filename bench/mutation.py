"""Answers made wrong: documents of JSON changed in their structure, then at times in their bytes.

Everything hangs on the number that an input is made from, so each can be made again.
"""

from __future__ import annotations

import copy
import random
from typing import Any, cast

import orjson

_DEEP = "\u2400deep"
"""Stands for a nesting deeper than orjson writes; it becomes one in the bytes."""

STRANGE: tuple[Any, ...] = (
    None, True, False, 0, 1, -1, 200, 404, 2**31, 2**53, 2**63, 2**64 - 1, -(2**63), 0.1, -0.5, 1e-30, 1e308, -1e308,
    "", " ", "0", "-1", "1e9", "1e999", "NaN", "Infinity", "-0", "0E-99999999", "0E+99999999", "0." + "3" * 5000,
    "\u0663", "1_0", "null", "[]", "{}", '["https://a.example/x.png"]', '"', "[[[[", "https://", "http://[", "ftp://a/b",
    "https://a.example/" + "y" * 5000, "\ud7ff\U0001f600", "\x00\x1b[31m", "\u202e", "积分不足", "success", "fail",
    "SUCCESS", "STOP", "SAFETY", "AUDIO", "audio/L16;rate=0000", "audio/L16;rate=999999;channels=8", "AAAA", "x" * 3000,
    [], {}, [None], {"": None}, [1, "a"], _DEEP,
)  # fmt: skip

PAGES = (
    b"",
    b"null",
    b"[]",
    b"\xff\xfe",
    b"<html><h1>502 Bad Gateway</h1></html>",
    b"\xef\xbb\xbf{}",
    b"{" * 2000,
    b"[" * 900,
)


def changed(document: Any, dice: random.Random) -> bytes:
    """A document with one to four changes of its structure, as bytes, of which some are changed as well."""
    whole = [orjson.loads(orjson.dumps(document))]
    for _ in range(dice.choice((1, 1, 1, 2, 2, 3, 4))):
        _change(whole, dice)
    body = orjson.dumps(whole[0])
    if _DEEP.encode() in body:
        depth = dice.choice((50, 260, 700, 950))
        body = body.replace(f'"{_DEEP}"'.encode(), b"[" * depth + b"]" * depth)
    return broken(body, dice) if dice.random() < 0.15 else body


def broken(body: bytes, dice: random.Random) -> bytes:
    """Bytes cut off, doubled, flipped, or a page of somebody else's."""
    place = dice.randrange(len(body) + 1)
    match dice.randrange(6):
        case 0:
            return body[:place]
        case 1:
            return dice.choice(PAGES)
        case 2:
            return body[:place] + bytes((dice.randrange(256),)) + body[place + 1 :]
        case 3:
            return body[:place] + dice.choice(PAGES) + body[place:]
        case 4:
            return body + body
        case _:
            return body[place:] + body[:place]


def _places(node: Any, found: list[tuple[Any, Any]]) -> list[tuple[Any, Any]]:
    names: list[Any] = list(cast("dict[str, Any]", node)) if isinstance(node, dict) else list(range(len(node)))
    for name in names:
        found.append((cast("Any", node), name))
        if isinstance(node[name], dict | list):
            _places(node[name], found)
    return found


def _change(whole: list[Any], dice: random.Random) -> None:
    places = _places(whole, [])
    node, name = dice.choice(places)
    other, elsewhere = dice.choice(places)
    match dice.randrange(7):
        case 0 if node is not whole:
            del node[name]
        case 1:
            node[name] = [node[name]]
        case 2:
            node[name] = orjson.dumps(node[name]).decode()
        case 3 if isinstance(node, dict):
            members = cast("dict[str, Any]", node)
            members[dice.choice((f"{name}s", str(name).upper(), ""))] = members.pop(name)
        case 4:
            node[name] = orjson.loads(orjson.dumps(other[elsewhere]))
        case 5 if isinstance(node, list) and node is not whole and len(items := cast("list[Any]", node)) < 50:
            items += items * dice.randrange(1, 4)
        case _:
            node[name] = copy.copy(dice.choice(STRANGE))
