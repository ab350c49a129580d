"""The schema's history. Alembic is loaded only when the database is behind, so that a start stays quick."""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import Connection, inspect, text

HEAD = "0009"


def version(connection: Connection) -> str | None:
    """The revision that the database is at, or None for an empty one."""
    if not inspect(connection).has_table("alembic_version"):
        return None
    return connection.execute(text("SELECT version_num FROM alembic_version")).scalar()


def migrate(connection: Connection) -> None:
    """Brings the database forward to HEAD; one that is further on already is left as it is, because every migration
    lets the version before it work on. The connection must have no transaction open."""
    with connection.begin():
        found = version(connection)
    if found is not None and found >= HEAD:
        return
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent))
    config.attributes["connection"] = connection
    command.upgrade(config, "head")
