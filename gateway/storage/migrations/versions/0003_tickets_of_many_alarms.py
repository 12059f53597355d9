"""Tickets of many alarms, zones of fire points, and facts set aside."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("alarm", sa.Column("zone", sa.String(length=128), server_default="", nullable=False))
    _create_ticket_alarm()
    _gather_fires()
    _create_fact_set_aside()


def downgrade() -> None:
    op.drop_table("fact_set_aside")
    op.drop_table("ticket_alarm")
    with op.batch_alter_table("alarm") as table:
        table.drop_column("zone")


def _create_ticket_alarm() -> None:
    op.create_table(
        "ticket_alarm",
        sa.Column("ticket", sa.String(length=100), nullable=False),
        sa.Column("alarm", sa.String(length=36), nullable=False),
        sa.Column("joined_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["alarm"], ["alarm.id"], name=op.f("fk_ticket_alarm_alarm")),
        sa.ForeignKeyConstraint(["ticket"], ["ticket.number"], name=op.f("fk_ticket_alarm_ticket")),
        sa.PrimaryKeyConstraint("ticket", "alarm", name=op.f("pk_ticket_alarm")),
    )
    op.create_index(op.f("ix_ticket_alarm_alarm"), "ticket_alarm", ["alarm"])
    op.execute(
        "INSERT INTO ticket_alarm (ticket, alarm, joined_at)"
        " SELECT joined.ticket, activation.alarm, MIN(ticket.opened_at) FROM ticket_activation AS joined"
        " JOIN activation ON activation.id = joined.activation JOIN ticket ON ticket.number = joined.ticket"
        " GROUP BY joined.ticket, activation.alarm"
    )


def _gather_fires() -> None:
    """From now on a fire's further points join one emergency: of those that are open, the oldest of a panel."""
    connection = op.get_bind()
    found = connection.execute(
        sa.text(
            "SELECT ticket.number, ticket.site, ticket.equipment, ticket.priority, ticket.playbook, ticket.drill"
            " FROM ticket JOIN alarm ON alarm.id = ticket.alarm"
            " WHERE ticket.open_key IS NOT NULL AND ticket.type = 'emergency' AND alarm.kind = 'fire_panel'"
            " ORDER BY ticket.id"
        )
    )
    taken: set[str] = set()
    for number, site, equipment, priority, playbook, drill in found.all():
        key = f"{site}/{equipment}/fire:{priority}:{playbook}{':drill' if drill else ''}"
        if key not in taken:
            taken.add(key)
            statement = sa.text("UPDATE ticket SET open_key = :key WHERE number = :number")
            connection.execute(statement, {"key": key, "number": number})


def _create_fact_set_aside() -> None:
    op.create_table(
        "fact_set_aside",
        sa.Column("consumer", sa.String(length=64), nullable=False),
        sa.Column("fact", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("site", sa.String(length=64), nullable=False),
        sa.Column("kind", sa.String(length=32), nullable=False),
        sa.Column("thing", sa.String(length=128), nullable=False),
        sa.Column("body", sa.JSON(), nullable=False),
        sa.Column("error", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("consumer", "fact", name=op.f("pk_fact_set_aside")),
    )
    op.create_index(op.f("ix_fact_set_aside_at"), "fact_set_aside", ["at"])
