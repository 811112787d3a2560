"""Runs the migrations inside the transaction of the connection that it is given: all of them, or none."""

from __future__ import annotations

from alembic import context

from beam_datahub.store.tables import METADATA

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=METADATA,
    transactional_ddl=True,
    # SQLite changes a table by copying it.
    render_as_batch=True,
    compare_type=True,
)
context.run_migrations()
