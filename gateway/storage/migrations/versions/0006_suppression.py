"""Alarms can be shelved, suppressed, silenced and re-alarmed; equipment out of service, in maintenance, linked."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    with op.batch_alter_table("alarm") as batch:
        batch.add_column(sa.Column("suppressions", sa.JSON(), nullable=False, server_default="[]"))
        batch.add_column(sa.Column("annunciated", sa.Boolean(), nullable=False, server_default=sa.true()))
        batch.add_column(sa.Column("silenced_at", sa.BigInteger(), nullable=True))
        batch.add_column(sa.Column("silenced_by", sa.String(length=64), nullable=True))
        batch.add_column(sa.Column("re_alarm", sa.BigInteger(), nullable=False, server_default="0"))
        batch.add_column(sa.Column("chattering", sa.Boolean(), nullable=False, server_default=sa.false()))
    op.create_table(
        "shelf",
        sa.Column("site", sa.String(length=64), nullable=False),
        sa.Column("equipment", sa.String(length=64), nullable=False),
        sa.Column("part", sa.String(length=128), nullable=False),
        sa.Column("rule", sa.String(length=128), nullable=False),
        sa.Column("since", sa.BigInteger(), nullable=False),
        sa.Column("until", sa.BigInteger(), nullable=False),
        sa.Column("one_shot", sa.Boolean(), nullable=False),
        sa.Column("person", sa.String(length=64), nullable=False),
        sa.Column("second_person", sa.String(length=64), nullable=True),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("site", "equipment", "part", "rule", name=op.f("pk_shelf")),
    )
    op.create_table(
        "out_of_service",
        sa.Column("site", sa.String(length=64), nullable=False),
        sa.Column("equipment", sa.String(length=64), nullable=False),
        sa.Column("part", sa.String(length=128), nullable=False),
        sa.Column("since", sa.BigInteger(), nullable=False),
        sa.Column("planned_end", sa.BigInteger(), nullable=False),
        sa.Column("person", sa.String(length=64), nullable=False),
        sa.Column("second_person", sa.String(length=64), nullable=True),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("site", "equipment", "part", name=op.f("pk_out_of_service")),
    )
    op.create_table(
        "maintenance_window",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("site", sa.String(length=64), nullable=False),
        sa.Column("kind", sa.String(length=32), nullable=False),
        sa.Column("equipment", sa.String(length=64), nullable=False),
        sa.Column("part", sa.String(length=128), nullable=False),
        sa.Column("zone", sa.String(length=128), nullable=False),
        sa.Column("starts_at", sa.BigInteger(), nullable=False),
        sa.Column("ends_at", sa.BigInteger(), nullable=False),
        sa.Column("person", sa.String(length=64), nullable=False),
        sa.Column("second_person", sa.String(length=64), nullable=True),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("cancelled_at", sa.BigInteger(), nullable=True),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_maintenance_window")),
    )
    op.create_index(op.f("ix_maintenance_window_site"), "maintenance_window", ["site"])
    op.create_index(op.f("ix_maintenance_window_ends_at"), "maintenance_window", ["ends_at"])
    op.create_table(
        "equipment_link",
        sa.Column("site", sa.String(length=64), nullable=False),
        sa.Column("child", sa.String(length=64), nullable=False),
        sa.Column("parent", sa.String(length=64), nullable=False),
        sa.Column("relation", sa.String(length=16), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("site", "child", "parent", "relation", name=op.f("pk_equipment_link")),
    )


def downgrade() -> None:
    for table in ("equipment_link", "maintenance_window", "out_of_service", "shelf"):
        op.drop_table(table)
    with op.batch_alter_table("alarm") as batch:
        for name in ("chattering", "re_alarm", "silenced_by", "silenced_at", "annunciated", "suppressions"):
            batch.drop_column(name)
