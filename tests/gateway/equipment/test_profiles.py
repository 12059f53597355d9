"""Profiles: every field that the contract names has its label, in both languages."""

import pytest

from collectors.wire.fields import Channel, Kind, fields_of
from gateway.api.equipment.equipment import profile_bodies
from gateway.equipment.profiles import PROFILES


@pytest.mark.parametrize("kind", list(Kind))
def test_every_field_of_a_kinds_telemetry_has_its_label_and_no_other(kind: Kind) -> None:
    fields = set(fields_of(kind, Channel.TELEMETRY)) or set(fields_of(kind, Channel.STATUS))
    assert set(PROFILES[kind].fields) == fields


@pytest.mark.parametrize("kind", list(Kind))
def test_labels_are_in_both_languages_and_differ_within_a_kind(kind: Kind) -> None:
    profile = PROFILES[kind]
    for label in (profile.name, *profile.fields.values()):
        assert set(label) == {"en", "zh-CN"}
        assert label["en"].isascii()
        assert any("\u4e00" <= letter <= "\u9fff" for letter in label["zh-CN"])
    for language in ("en", "zh-CN"):
        names = [label[language] for label in profile.fields.values()]
        assert len(set(names)) == len(names)


def test_the_page_gets_type_and_unit_of_the_contract() -> None:
    pump = next(body for body in profile_bodies() if body.kind is Kind.PUMP)
    pressure = next(field for field in pump.fields if field.name == "discharge_pressure")
    assert (pressure.unit, pressure.type) == ("MPa", "number")
    assert (pressure.label.en, pressure.label.zh) == ("Discharge pressure", "出口压力")
