"""What is in quarantine knows its site; topics that nobody reads are listed."""

import sqlalchemy as sa
from alembic import op

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None


def upgrade() -> None:
    with op.batch_alter_table("quarantine") as batch:
        batch.add_column(sa.Column("site", sa.String(64), nullable=False, server_default=""))
    op.create_index(op.f("ix_quarantine_received_at"), "quarantine", ["received_at"])
    op.create_table(
        "unread_topic",
        sa.Column("topic", sa.String(512), nullable=False),
        sa.Column("reason", sa.String(32), nullable=False),
        sa.Column("detail", sa.Text(), nullable=False),
        sa.Column("first_at", sa.BigInteger(), nullable=False),
        sa.Column("last_at", sa.BigInteger(), nullable=False),
        sa.Column("messages", sa.BigInteger(), nullable=False),
        sa.Column("sample", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("topic", name=op.f("pk_unread_topic")),
    )


def downgrade() -> None:
    op.drop_table("unread_topic")
    op.drop_index(op.f("ix_quarantine_received_at"), "quarantine")
    with op.batch_alter_table("quarantine") as batch:
        batch.drop_column("site")
