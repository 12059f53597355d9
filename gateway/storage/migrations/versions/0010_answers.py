"""Each activation knows when it was answered and whether it was damped, and those that stand are found at once."""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    with op.batch_alter_table("activation") as batch:
        batch.add_column(sa.Column("damped", sa.Boolean(), nullable=False, server_default=sa.false()))
        batch.add_column(sa.Column("acknowledged_at", sa.BigInteger(), nullable=True))
    op.create_index(op.f("ix_activation_ended_at"), "activation", ["ended_at"])
    # What was answered before: an alarm kept its last acknowledgement only, earlier ones are lost.
    op.execute(
        "UPDATE activation SET acknowledged_at = (SELECT alarm.acknowledged_at FROM alarm"
        " WHERE alarm.id = activation.alarm AND alarm.acknowledged_at >= activation.received_at)"
    )


def downgrade() -> None:
    op.drop_index(op.f("ix_activation_ended_at"), "activation")
    with op.batch_alter_table("activation") as batch:
        batch.drop_column("acknowledged_at")
        batch.drop_column("damped")
