"""Alembic environment: the store passes its own connection, inside its own transaction."""

from __future__ import annotations

from alembic import context

from service.tables import metadata

context.configure(connection=context.config.attributes["connection"], target_metadata=metadata, render_as_batch=True)
context.run_migrations()
