"""What is open, or waits for something, is found by indexes of just that; lists of the past are read along theirs."""

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None

_REPLACED = {
    "activation": (["alarm"],),
    "alarm": (["re_alarm_at"], ["site", "equipment", "raised_at"]),
    "audit": (["site", "id"], ["actor", "id"], ["act", "id"], ["thing", "id"]),
    "event": (["site", "equipment", "measured_at"],),
    "journal": (["subject", "thing"],),
    "maintenance_window": (["site"],),
    "ticket_alarm": (["alarm"],),
}
_NEW = {
    "activation": (["alarm", "id"], ["site", "id"], ["site", "equipment", "id"]),
    "alarm": (
        ["returned_at"], ["priority", "id"], ["site", "priority", "id"], ["site", "equipment", "priority", "id"],
        ["site", "equipment", "part", "rule", "id"],
    ),
    "approval": (["requested_by", "id"], ["act", "id"], ["site", "act", "id"]),
    "audit": (["at", "id"], ["site", "at", "id"], ["actor", "at", "id"], ["act", "at", "id"], ["thing", "at", "id"]),
    "event": (["site", "equipment", "received_at", "digest"],),
    "fact_set_aside": (["consumer", "at"],),
    "journal": (["subject", "thing", "id"],),
    "maintenance_window": (["outcome", "id"], ["site", "outcome", "id"], ["site", "equipment", "outcome", "id"]),
    "rule_version": (["superseded_by"], ["rule", "id"], ["rule", "site", "id"], ["rule", "site", "equipment", "id"]),
    "ticket": (["alarm"], ["closed_at"]),
    "ticket_alarm": (["alarm", "joined_at", "ticket"],),
}  # fmt: skip
_PARTIAL = (
    ("ix_activation_unanswered_alarm", "activation", ["alarm", "received_at"], "acknowledged_at IS NULL"),
    ("ix_activation_unended_alarm", "activation", ["alarm"], "ended_at IS NULL"),
    ("ix_activation_unticketed_alarm", "activation", ["alarm"], "ticketed_at IS NULL"),
    ("ix_alarm_open_id", "alarm", ["id"], "closed_at IS NULL"),
    ("ix_alarm_open_rule", "alarm", ["rule"], "closed_at IS NULL"),
    ("ix_alarm_open_site_equipment", "alarm", ["site", "equipment"], "closed_at IS NULL"),
    ("ix_alarm_open_re_alarm_at", "alarm", ["re_alarm_at"], "closed_at IS NULL AND re_alarm_at IS NOT NULL"),
    ("ix_audit_unsealed_id", "audit", ["id"], "seq IS NULL"),
    ("ix_journal_annunciated", "journal", ["thing", "at"], "event = 'annunciated'"),
    ("ix_journal_re_alarmed", "journal", ["at"], "event = 're_alarmed'"),
    ("ix_maintenance_window_open_id", "maintenance_window", ["id"], "outcome IS NULL"),
    ("ix_ticket_open_id", "ticket", ["id"], "closed_at IS NULL"),
    ("ix_ticket_over_state_id", "ticket", ["state", "id"], "closed_at IS NOT NULL"),
    ("ix_ticket_over_site_state_id", "ticket", ["site", "state", "id"], "closed_at IS NOT NULL"),
    (
        "ix_ticket_over_site_equipment_state_id", "ticket", ["site", "equipment", "state", "id"],
        "closed_at IS NOT NULL",
    ),
)  # fmt: skip


def upgrade() -> None:
    op.add_column("activation", sa.Column("ticketed_at", sa.BigInteger(), nullable=True))
    op.add_column("maintenance_window", sa.Column("outcome", sa.String(16), nullable=True))
    op.add_column("rule_version", sa.Column("superseded_by", sa.BigInteger(), nullable=True))
    for table, replaced in _REPLACED.items():
        for columns in replaced:
            op.drop_index(_name(table, columns), table)
    # What is damped asks for no ticket of its own, and of what is over nobody asks any more.
    op.execute(
        "UPDATE activation SET ticketed_at = received_at WHERE damped"
        " OR EXISTS (SELECT 1 FROM ticket_activation WHERE ticket_activation.activation = activation.id)"
        " OR EXISTS (SELECT 1 FROM alarm WHERE alarm.id = activation.alarm AND alarm.closed_at IS NOT NULL)"
    )
    op.execute(
        "UPDATE maintenance_window SET outcome = CASE WHEN cancelled_at IS NOT NULL THEN 'cancelled'"
        " WHEN EXISTS (SELECT 1 FROM journal WHERE journal.subject = 'maintenance'"
        " AND journal.thing = maintenance_window.id AND journal.event = 'ended') THEN 'over' END"
    )
    op.execute(
        "UPDATE rule_version SET superseded_by = (SELECT min(later.id) FROM rule_version AS later"
        " WHERE later.rule = rule_version.rule AND later.site = rule_version.site"
        " AND later.equipment = rule_version.equipment AND later.id > rule_version.id)"
    )
    for table, new in _NEW.items():
        for columns in new:
            op.create_index(_name(table, columns), table, columns)
    for name, table, columns, where in _PARTIAL:
        op.create_index(name, table, columns, sqlite_where=sa.text(where), postgresql_where=sa.text(where))


def downgrade() -> None:
    for name, table, _, _ in _PARTIAL:
        op.drop_index(name, table)
    for table, new in _NEW.items():
        for columns in new:
            op.drop_index(_name(table, columns), table)
    for table, replaced in _REPLACED.items():
        for columns in replaced:
            op.create_index(_name(table, columns), table, columns)
    op.drop_column("activation", "ticketed_at")
    op.drop_column("maintenance_window", "outcome")
    op.drop_column("rule_version", "superseded_by")


def _name(table: str, columns: list[str]) -> str:
    return str(op.f(f"ix_{table}_{'_'.join(columns)}"))
