"""The page of settings."""

from __future__ import annotations

from pydantic.fields import FieldInfo

from phaya.reference.markdown import NOTICE, page, table
from phaya.settings import Settings, is_secret


def settings_page() -> str:
    """Every environment variable that Phaya reads."""
    rows = (
        (f"`{field.alias}`", _default(field), "**Secret.** " * is_secret(field) + (field.description or ""))
        for field in Settings.model_fields.values()
    )
    return page(
        [
            "# Settings",
            NOTICE,
            "Read from the environment once, at the start. A list is separated by commas; a switch is `true` or "
            "`false`. A value that cannot be read stops the start with a message. "
            "Each secret may be in a file instead, which the variable with `_FILE` behind its name names, such as "
            "`KIE_API_KEY_FILE=/run/secrets/kie`. "
            "[operating.md](operating.md) tells which of them matter first.",
            table(("Variable", "Default", "Meaning"), rows),
        ]
    )


def _default(field: FieldInfo) -> str:
    """A setting's default as an operator would write it."""
    match field.default:
        case None | ():
            return "none"
        case bool() as value:
            return f"`{value}`".lower()
        case float() as value:
            return f"`{value:g}`"
        case tuple() as values:  # pyright: ignore[reportUnknownVariableType]
            return f"`{','.join(map(str, values))}`"  # pyright: ignore[reportUnknownArgumentType]
        case value:
            return f"`{value}`"
