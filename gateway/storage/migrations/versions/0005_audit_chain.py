"""Audit rows name the role, and are chained by hash; a signed statement for each day."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    with op.batch_alter_table("audit") as batch:
        batch.add_column(sa.Column("role", sa.Text(), nullable=False, server_default=""))
        batch.add_column(sa.Column("seq", sa.BigInteger(), nullable=True))
        batch.add_column(sa.Column("hash", sa.String(length=64), nullable=True))
        batch.create_unique_constraint(op.f("uq_audit_seq"), ["seq"])
    op.create_table(
        "audit_day",
        sa.Column("day", sa.String(length=10), nullable=False),
        sa.Column("first", sa.BigInteger(), nullable=False),
        sa.Column("last", sa.BigInteger(), nullable=False),
        sa.Column("previous", sa.String(length=64), nullable=False),
        sa.Column("hash", sa.String(length=64), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("closed", sa.Boolean(), nullable=False),
        sa.Column("key", sa.String(length=16), nullable=False),
        sa.Column("signature", sa.String(length=128), nullable=False),
        sa.PrimaryKeyConstraint("day", name=op.f("pk_audit_day")),
    )


def downgrade() -> None:
    op.drop_table("audit_day")
    with op.batch_alter_table("audit") as batch:
        batch.drop_constraint(op.f("uq_audit_seq"), type_="unique")
        batch.drop_column("hash")
        batch.drop_column("seq")
        batch.drop_column("role")
