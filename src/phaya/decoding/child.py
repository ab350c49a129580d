"""A script, started by `process.Child`: `child.py {"paths": …, "loads": "pictures" or "streams", "limits": …}`.

It loads what decodes, goes behind the walls, and then takes orders from the socket that is its standard input: a frame
of JSON, with open files beside it. It opens nothing itself, and ends when nobody holds the socket's other end any more.
"""

from __future__ import annotations

import errno
import importlib
import json
import os
import socket
import struct
import sys
from typing import Any

LONGEST = 64 * 1024
"""Bytes of an order or an answer."""


def main() -> None:
    """Takes orders until there are none."""
    told: dict[str, Any] = json.loads(sys.argv[1])
    link = socket.socket(fileno=0)
    sys.path[:] = told["paths"]
    try:
        work = importlib.import_module(f"phaya.decoding.{told['loads']}")
        formats = importlib.import_module("phaya.decoding.formats")
        cage = importlib.import_module("phaya.cage")
    except Exception as error:  # noqa: BLE001 - whatever it is, the parent is told
        _answer(link, {"failed": _words(error)})
        return
    cage.confine(told["limits"])
    _answer(link, {"ready": True})
    while True:
        content, files = _order(link)
        if not content:
            return
        _answer(link, _carry_out(work, formats, json.loads(content), files))


def _order(link: socket.socket) -> tuple[bytes, list[int]]:
    """The next order and its open files; nothing where the server has gone."""
    content, files, _, _ = socket.recv_fds(link, LONGEST, 2)
    while content and len(content) < 4 + struct.unpack(">I", content[:4])[0]:
        more = link.recv(LONGEST)
        if not more:
            return b"", files
        content += more
    return content[4:], files


def _answer(link: socket.socket, answer: dict[str, Any]) -> None:
    content = json.dumps(answer).encode()
    link.sendall(struct.pack(">I", len(content)) + content)


def _carry_out(work: Any, formats: Any, order: dict[str, str], files: list[int]) -> dict[str, Any]:
    name, form = order["work"], order["form"]
    try:
        with os.fdopen(files[0], "rb") as file:
            if name in work.READING:
                return {"found": work.READING[name](file, form)}
            with os.fdopen(files[1], "w+b") as into:
                return {"found": work.WRITING[name](file, into, form)}
    except formats.Unreadable as error:
        return {"unreadable": error.message}
    except formats.Moving:
        return {"moving": True}
    except MemoryError:
        return {"unreadable": "it takes too much memory to read"}
    except Exception as error:  # noqa: BLE001 - decoders of hostile files raise nearly anything
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            return {"full": True}
        return {"failed": _words(error)}


def _words(error: Exception) -> str:
    return "".join(letter for letter in f"{type(error).__name__}: {error}"[:200] if letter.isprintable())


if __name__ == "__main__":
    main()
