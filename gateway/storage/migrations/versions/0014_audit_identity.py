"""The audit's hash binds a row's id and the text of its JSON; a signed statement says when the database began."""

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("audit", sa.Column("form", sa.SmallInteger(), nullable=True))
    op.create_table(
        "audit_identity",
        sa.Column("database", sa.String(length=36), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("last", sa.BigInteger(), nullable=False),
        sa.Column("hash", sa.String(length=64), nullable=False),
        sa.Column("key", sa.String(length=16), nullable=False),
        sa.Column("signature", sa.String(length=128), nullable=False),
        sa.PrimaryKeyConstraint("database", name=op.f("pk_audit_identity")),
    )


def downgrade() -> None:
    op.drop_table("audit_identity")
    op.drop_column("audit", "form")
