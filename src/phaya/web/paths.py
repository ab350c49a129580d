"""Which door a path belongs to, and the slips in paths that clients make."""

from __future__ import annotations

import re
from collections.abc import Mapping

from starlette.types import ASGIApp, Receive, Scope, Send

from phaya.catalog import CATALOG

API = "/api/v1"
"""What the native paths begin with."""

_OPENAI = re.compile(
    r"/v1(/.*)?|(/api/v1)?/(chat/completions|embeddings|(models|responses|images|audio|videos)(/.*)?)/?"
)
_VERBS = {"create": "generate", "generate": "create"}
REPLACED = b"%EF%BF%BD"
"""What stands for a NUL in an address: no id or word has one, and PostgreSQL takes none in a text."""
_SPEECH = re.compile(r"/api/v1/tts/(.*)")


def is_openai(path: str) -> bool:
    """Whether a path belongs to the OpenAI-style door, which has its own shape of error."""
    return _OPENAI.fullmatch(path) is not None


def real_path(path: str) -> str:
    """The one path of a route that hangs in several places. Slips were led here before."""
    return f"/v1{path.removeprefix('/api').removeprefix('/v1')}" if is_openai(path) else path


def _aliases() -> Mapping[str, str]:
    """Create paths with the other of the two verbs, each with the real one."""
    return {
        f"/api/v1/{service.path}/{_VERBS[service.verb]}": f"/api/v1/{service.create_path()}"
        for service in CATALOG
        if service.verb in _VERBS
    }


class Signpost:
    """Leads slips in paths to where they were meant to go, without a redirect: a trailing slash, the other verb
    of a create path, `tts` for `text-to-speech`. A redirected POST would lose its body or its method."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app
        self._aliases = _aliases()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Passes everything on, with the path that was meant."""
        if scope["type"] == "http":
            # In the scope itself, as the router does: who stands before sees which route answered.
            meant = self._meant(scope["path"])
            if meant != scope["path"]:
                scope["path"], scope["raw_path"] = meant, meant.encode()
            if b"%00" in scope["query_string"]:
                scope["query_string"] = scope["query_string"].replace(b"%00", REPLACED)
        await self.app(scope, receive, send)

    def _meant(self, path: str) -> str:
        path = path.replace("\0", "\ufffd")
        if path == "/mcp/":
            return "/mcp"
        if not (path.startswith("/api/v1/") or is_openai(path)):
            return path
        path = path.rstrip("/") or "/"
        if found := _SPEECH.fullmatch(path):
            verb = "generate" if found[1] == "create" else found[1]
            return f"/api/v1/text-to-speech/{verb}"
        return self._aliases.get(path, path)
