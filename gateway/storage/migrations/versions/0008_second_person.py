"""What waits for a second person; shared counts of failed logins; versions of sites; the audit's filters."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

_FILTERS = (("site", "id"), ("actor", "id"), ("act", "id"), ("thing", "id"))


def upgrade() -> None:
    op.create_table(
        "approval",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("site", sa.String(length=64), nullable=False),
        sa.Column("act", sa.String(length=64), nullable=False),
        sa.Column("method", sa.String(length=8), nullable=False),
        sa.Column("route", sa.String(length=200), nullable=False),
        sa.Column("path", sa.JSON(), nullable=False),
        sa.Column("query", sa.JSON(), nullable=False),
        sa.Column("body", sa.JSON(none_as_null=True), nullable=True),
        sa.Column("changes", sa.JSON(), nullable=False),
        sa.Column("thing", sa.String(length=128), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("requested_by", sa.String(length=64), nullable=False),
        sa.Column("via", sa.String(length=16), nullable=False),
        sa.Column("origin", sa.String(length=64), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("expires_at", sa.BigInteger(), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("decided_by", sa.String(length=64), nullable=True),
        sa.Column("decided_at", sa.BigInteger(), nullable=True),
        sa.Column("note", sa.Text(), nullable=False),
        sa.Column("outcome", sa.String(length=64), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_approval")),
    )
    op.create_index(op.f("ix_approval_state_expires_at"), "approval", ["state", "expires_at"])
    op.create_table(
        "login_failure",
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.Column("account", sa.String(length=64), nullable=False),
        sa.Column("count", sa.Integer(), nullable=False),
        sa.Column("last_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("digest", name=op.f("pk_login_failure")),
    )
    op.create_index(op.f("ix_login_failure_account"), "login_failure", ["account"])
    op.create_index(op.f("ix_login_failure_last_at"), "login_failure", ["last_at"])
    op.add_column("site", sa.Column("version", sa.Integer(), server_default="1", nullable=False))
    for columns in _FILTERS:
        op.create_index(op.f(f"ix_audit_{'_'.join(columns)}"), "audit", list(columns))


def downgrade() -> None:
    for columns in _FILTERS:
        op.drop_index(op.f(f"ix_audit_{'_'.join(columns)}"), "audit")
    op.drop_column("site", "version")
    op.drop_table("login_failure")
    op.drop_table("approval")
