"""Standard terms: offsets of consumers, dead letters, permissions of a token."""

import sqlalchemy as sa
from alembic import op

revision = "0018"
down_revision = "0017"
branch_labels = None
depends_on = None

_TABLES = {"fact_cursor": "consumer_offset", "fact_set_aside": "dead_letter"}
_INDEXES = (["at"], ["consumer", "at"], ["fact"])


def upgrade() -> None:
    _drop_indexes("fact_set_aside")
    for old, new in _TABLES.items():
        _rename(old, new)
    _create_indexes("dead_letter")
    op.execute("ALTER TABLE api_token RENAME COLUMN acts TO permissions")


def downgrade() -> None:
    op.execute("ALTER TABLE api_token RENAME COLUMN permissions TO acts")
    _drop_indexes("dead_letter")
    for old, new in _TABLES.items():
        _rename(new, old)
    _create_indexes("fact_set_aside")


def _rename(old: str, new: str) -> None:
    op.rename_table(old, new)
    if op.get_bind().dialect.name == "postgresql":  # SQLite's primary keys have no name of their own to change
        op.execute(sa.text(f"ALTER TABLE {new} RENAME CONSTRAINT pk_{old} TO pk_{new}"))


def _drop_indexes(table: str) -> None:
    for columns in _INDEXES:
        op.drop_index(_name(table, columns), table)


def _create_indexes(table: str) -> None:
    for columns in _INDEXES:
        op.create_index(_name(table, columns), table, columns)


def _name(table: str, columns: list[str]) -> str:
    return str(op.f(f"ix_{table}_{'_'.join(columns)}"))
