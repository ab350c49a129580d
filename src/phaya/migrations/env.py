"""Alembic's entry: runs the migrations on the connection that it is handed."""

from __future__ import annotations

from alembic import context

from phaya.schema import complete

connection = context.config.attributes["connection"]
context.configure(connection=connection, target_metadata=complete(), render_as_batch=True)
with context.begin_transaction():
    context.run_migrations()
if connection.in_transaction():
    connection.commit()
