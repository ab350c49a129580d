"""Where a user's Phaya is and by which key it knows them: the environment, else what `phaya login` kept."""

from __future__ import annotations

import os
from pathlib import Path

import orjson

from phaya.client.refusals import ClientError

DEFAULT_BASE = "http://127.0.0.1:8000/api/v1"


class NoKey(ClientError):
    """No key is known."""


def login_file() -> Path:
    """What `phaya login` writes, below the XDG configuration folder."""
    folder = os.environ.get("XDG_CONFIG_HOME") or "~/.config"
    return Path(folder).expanduser() / "phaya" / "login.json"


def keep(base: str, key: str) -> Path:
    """Keeps both, readable by this user alone; answers the file."""
    file = login_file()
    file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    fresh = file.with_suffix(".new")
    fresh.unlink(missing_ok=True)
    fresh.touch(mode=0o600)
    fresh.write_bytes(orjson.dumps({"base": base, "key": key}))
    fresh.replace(file)
    return file


def place(base: str | None = None, key: str | None = None) -> tuple[str, str]:
    """Base and key: those given, else PHAYA_BASE (or PHAYA_BASE_URL) and PHAYA_API_KEY, else those of the login.

    The key of a login is only ever sent to the base of that login. Raises NoKey.
    """
    base = base or os.environ.get("PHAYA_BASE") or os.environ.get("PHAYA_BASE_URL")
    key = key or os.environ.get("PHAYA_API_KEY")
    kept = _kept()
    if kept and base in (None, kept[0]):
        base, key = kept[0], key or kept[1]
    if not key:
        raise NoKey("Set PHAYA_API_KEY to your key, or run 'phaya login'; 'phaya keys create' makes one.")
    return (base or DEFAULT_BASE).rstrip("/"), key


def _kept() -> tuple[str, str] | None:
    try:
        found = orjson.loads(login_file().read_bytes())
        return str(found["base"]), str(found["key"])
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise NoKey(f"{login_file()} cannot be read ({error}); run 'phaya login' again.") from error
