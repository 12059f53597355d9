"""Events are listed by site and kind."""

from alembic import op

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None

_INDEXED = (("received_at",), ("kind", "received_at"), ("site", "received_at"), ("site", "kind", "received_at"))


def upgrade() -> None:
    op.drop_index(op.f("ix_event_received_at"), "event")
    for columns in _INDEXED:
        op.create_index(op.f("_".join(("ix_event", *columns, "digest"))), "event", [*columns, "digest"])


def downgrade() -> None:
    for columns in _INDEXED:
        op.drop_index(op.f("_".join(("ix_event", *columns, "digest"))), "event")
    op.create_index(op.f("ix_event_received_at"), "event", ["received_at"])
