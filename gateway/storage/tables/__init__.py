"""The service's tables, by subject.

History (readings) is not here: it lives in the time-series store.
"""

from gateway.storage.tables.alarms import (
    activation,
    alarm,
    alarm_is_open,
    event,
    maintenance_window,
    out_of_service,
    rule_memory,
    rule_version,
    shelf,
    window_is_open,
)
from gateway.storage.tables.columns import metadata
from gateway.storage.tables.equipment import equipment, equipment_link, last_message, site
from gateway.storage.tables.people import (
    api_token,
    approval,
    known_device,
    login,
    login_failure,
    person,
    recovery_code,
    role_grant,
)
from gateway.storage.tables.platform import consumer_offset, dead_letter, fact, lease, quarantine, unread_topic
from gateway.storage.tables.records import audit, audit_day, audit_identity, journal
from gateway.storage.tables.tickets import (
    attachment,
    ticket,
    ticket_activation,
    ticket_alarm,
    ticket_counter,
    ticket_is_open,
    ticket_is_over,
)

__all__ = [
    "activation",
    "alarm",
    "alarm_is_open",
    "api_token",
    "approval",
    "attachment",
    "audit",
    "audit_day",
    "audit_identity",
    "consumer_offset",
    "dead_letter",
    "equipment",
    "equipment_link",
    "event",
    "fact",
    "journal",
    "known_device",
    "last_message",
    "lease",
    "login",
    "login_failure",
    "maintenance_window",
    "metadata",
    "out_of_service",
    "person",
    "quarantine",
    "recovery_code",
    "role_grant",
    "rule_memory",
    "rule_version",
    "shelf",
    "site",
    "ticket",
    "ticket_activation",
    "ticket_alarm",
    "ticket_counter",
    "ticket_is_open",
    "ticket_is_over",
    "unread_topic",
    "window_is_open",
]
