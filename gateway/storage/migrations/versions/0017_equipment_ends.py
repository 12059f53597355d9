"""Equipment that is retired, replaced, renamed or shares its code; how often unknown equipment has spoken."""

import sqlalchemy as sa
from alembic import op

revision = "0017"
down_revision = "0016"
branch_labels = None
depends_on = None

_COLUMNS = ("retired_at", "replaced_by", "replaces", "former_codes", "former_kinds", "shares_code")


def upgrade() -> None:
    op.add_column("equipment", sa.Column("retired_at", sa.BigInteger(), nullable=True))
    for name in ("replaced_by", "replaces", "shares_code"):
        op.add_column("equipment", sa.Column(name, sa.String(64), nullable=False, server_default=""))
    for name in ("former_codes", "former_kinds"):
        op.add_column("equipment", sa.Column(name, sa.JSON(), nullable=False, server_default="[]"))
    op.add_column("last_message", sa.Column("count", sa.Integer(), nullable=False, server_default="1"))


def downgrade() -> None:
    op.drop_column("last_message", "count")
    for name in _COLUMNS:
        op.drop_column("equipment", name)
