"""The table of fields: what the wire contract promises to devices, word for word."""

import pytest

from collectors.wire.fields import FIELDS, WIRE_KINDS, Channel, FieldType, Kind, fields_of

TELEMETRY, EVENT, STATUS = Channel.TELEMETRY, Channel.EVENT, Channel.STATUS
NUMBER, BOOLEAN, TEXT = FieldType.NUMBER, FieldType.BOOLEAN, FieldType.TEXT
SERVICE_MODES = ("normal", "inspection", "fire_recall", "firefighter", "emergency_power", "earthquake",
                 "stopped", "unknown")  # fmt: skip
EVENT_TYPES = ("fire", "supervisory", "fault", "disabled", "started", "feedback", "reset", "silenced", "test",
               "check_post", "unreadable")  # fmt: skip
DETECTORS = ("smoke", "heat", "call_point", "flow_switch", "gas", "other")

CONTRACT: dict[tuple[Kind, Channel], dict[tuple[FieldType, str], str]] = {
    (Kind.ELEVATOR, TELEMETRY): {
        (BOOLEAN, ""): "moving in_door_zone occupied alarm_button intercom_ok",
        (TEXT, ""): "service_mode direction floor door power",
        (NUMBER, "m/s"): "speed",
        (NUMBER, "mm"): "levelling_error",
        (NUMBER, "m/s²"): "vibration",
        (NUMBER, "kg"): "load",
        (NUMBER, "°C"): "motor_temperature machine_room_temperature",
        (NUMBER, "h"): "run_hours",
        (NUMBER, ""): "trips fault_code",
    },
    (Kind.PUMP, TELEMETRY): {
        (BOOLEAN, ""): "running leak",
        (TEXT, ""): "mode",
        (NUMBER, "MPa"): "suction_pressure discharge_pressure setpoint",
        (NUMBER, "m³/h"): "flow",
        (NUMBER, "A"): "current_a current_b current_c",
        (NUMBER, "V"): "voltage",
        (NUMBER, "Hz"): "frequency",
        (NUMBER, "mm/s"): "vibration",
        (NUMBER, "°C"): "bearing_temperature motor_temperature",
        (NUMBER, "m"): "tank_level sump_level",
        (NUMBER, "h"): "run_hours",
        (NUMBER, ""): "starts drive_fault",
    },
    (Kind.FIRE_PANEL, TELEMETRY): {(BOOLEAN, ""): "mains battery", (TEXT, ""): "mode"},
    (Kind.FIRE_PANEL, EVENT): {
        (BOOLEAN, ""): "active",
        (TEXT, ""): "type loop address zone device_type text field",
    },
    **{(kind, EVENT): {(TEXT, ""): "type field text"} for kind in (Kind.ELEVATOR, Kind.PUMP, Kind.SENSOR)},
    (Kind.PATROL_READER, EVENT): {(TEXT, ""): "tag checkpoint card sun"},
    (Kind.SENSOR, TELEMETRY): {
        (BOOLEAN, ""): "leak smoke gas carbon_monoxide heat panic level_alarm mains",
        (NUMBER, "°C"): "temperature",
        (NUMBER, "%"): "humidity battery",
        (NUMBER, "m"): "level",
        (NUMBER, "MPa"): "pressure",
    },
    (Kind.SYSTEM, TELEMETRY): {
        (
            BOOLEAN,
            "",
        ): "history_reachable losing_readings work_set_aside part_failing backup_ok checkpoint_ok audit_ok "
        "damaged_file_kept history_stopped alarm_reserve_in_use broker_reachable "
        "history_behind clock_synchronised clock_jumped site_silent out_of_service_overdue",
        (NUMBER, "%"): "spool_used disk_free",
        (NUMBER, "h"): "backup_age_h",
        (NUMBER, "s"): "oldest_wait database_clock_apart devices_clock_apart",
        (NUMBER, "d"): "certificate_days",
        (NUMBER, ""): "messages_waiting decisions_waited pages_dropped",
    },
    (Kind.SYSTEM, EVENT): {(TEXT, ""): "type equipment field text", (BOOLEAN, ""): "active"},
    **{(kind, STATUS): {(BOOLEAN, ""): "online"} for kind in WIRE_KINDS},
}


def test_the_table_names_each_kind_and_channel_of_the_contract_and_no_other() -> None:
    assert set(FIELDS) == set(CONTRACT)


@pytest.mark.parametrize(("kind", "channel"), CONTRACT)
def test_every_field_has_the_type_and_unit_of_the_contract(kind: Kind, channel: Channel) -> None:
    promised = {name: (form, unit) for (form, unit), names in CONTRACT[kind, channel].items() for name in names.split()}
    assert {name: (field.type, field.unit) for name, field in fields_of(kind, channel).items()} == promised
    assert all(name == field.name for name, field in fields_of(kind, channel).items())


@pytest.mark.parametrize(
    ("kind", "channel", "name", "choices"),
    [
        (Kind.ELEVATOR, TELEMETRY, "service_mode", SERVICE_MODES),
        (Kind.ELEVATOR, TELEMETRY, "direction", ("up", "down", "none")),
        (Kind.ELEVATOR, TELEMETRY, "door", ("open", "closed", "opening", "closing")),
        (Kind.ELEVATOR, TELEMETRY, "power", ("mains", "backup", "off")),
        (Kind.ELEVATOR, TELEMETRY, "floor", ()),  # B1, 3A, 大堂: every building has its own
        (Kind.PUMP, TELEMETRY, "mode", ("auto", "manual", "off")),
        (Kind.FIRE_PANEL, TELEMETRY, "mode", ("auto", "manual")),
        (Kind.FIRE_PANEL, EVENT, "type", EVENT_TYPES),
        (Kind.FIRE_PANEL, EVENT, "device_type", DETECTORS),
    ],
)
def test_a_closed_set_lists_its_texts(kind: Kind, channel: Channel, name: str, choices: tuple[str, ...]) -> None:
    assert fields_of(kind, channel)[name].choices == choices


def test_a_channel_that_the_contract_does_not_fill_has_no_known_fields() -> None:
    assert fields_of(Kind.PATROL_READER, TELEMETRY) == {}
