"""Alarms that stand acknowledged know when they ask again: the clock looks at those only that are due."""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    with op.batch_alter_table("alarm") as batch:
        batch.add_column(sa.Column("re_alarm_at", sa.BigInteger(), nullable=True))
        batch.create_index(op.f("ix_alarm_re_alarm_at"), ["re_alarm_at"])


def downgrade() -> None:
    with op.batch_alter_table("alarm") as batch:
        batch.drop_index(op.f("ix_alarm_re_alarm_at"))
        batch.drop_column("re_alarm_at")
