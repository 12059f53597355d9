"""Rows that are over are found by their times, and a row that goes finds at once what refers to it."""

from alembic import op

revision = "0014"
down_revision = "0011"
branch_labels = None
depends_on = None

_INDEXED = (("ticket", "alarm"), ("ticket", "closed_at"), ("event", "received_at"), ("fact", "at"))


def upgrade() -> None:
    for table, column in _INDEXED:
        op.create_index(op.f(f"ix_{table}_{column}"), table, [column])


def downgrade() -> None:
    for table, column in _INDEXED:
        op.drop_index(op.f(f"ix_{table}_{column}"), table)
