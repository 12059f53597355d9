"""What retention erases is found by its time, or by its key."""

from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None

_INDEXED = (
    ("event", "received_at"),
    ("fact", "at"),
    ("approval", "decided_at"),
    ("fact_set_aside", "fact"),
    ("maintenance_window", "cancelled_at"),
)


def upgrade() -> None:
    for table, column in _INDEXED:
        op.create_index(op.f(f"ix_{table}_{column}"), table, [column])


def downgrade() -> None:
    for table, column in _INDEXED:
        op.drop_index(op.f(f"ix_{table}_{column}"), table)
