"""Alembic's entry: runs the revisions on the connection that `migrate.py` hands over."""

from alembic import context
from sqlalchemy import Connection

from gateway.storage.tables import metadata


def run(connection: Connection) -> None:
    context.configure(
        connection=connection, target_metadata=metadata, render_as_batch=True, transaction_per_migration=False
    )
    with context.begin_transaction():
        context.run_migrations()


run(context.config.attributes["connection"])
