"""Groups alarms into incidents by the place of their equipment, as far as it is known. Pure.

The place of equipment is a text of the ledger, written from large to small: "Tower 3, 12F, plant room" or
"3号楼12层水泵房". Missing parts are not guessed: the next smaller area is used, and equipment without a place is an
incident of its own.
"""

import re
import unicodedata
from collections.abc import Mapping
from enum import StrEnum
from hashlib import blake2b
from typing import Any, Final

import msgspec

from collectors.wire.fields import Kind
from gateway.tickets.lifecycle.states import TicketType


class Scope(StrEnum):
    """Size of the place whose life-safety alarms form one incident."""

    ZONE = "zone"
    """The zone of the alarm, within the building if known; without a zone, the room."""
    ROOM = "room"
    """The whole text of the place."""
    FLOOR = "floor"
    BUILDING = "building"


class Reason(StrEnum):
    """Why an alarm belongs to a ticket."""

    SAME_ALARM = "same alarm"
    SAME_PANEL = "same panel"
    SAME_EQUIPMENT = "same equipment"
    SAME_PLACE = "same place"
    SAME_SENSOR = "same sensor"
    """It needs a repair while its sensor has an open emergency."""


class Gathering(msgspec.Struct, frozen=True):
    """The grouping of an alarm: the open key of its ticket, the reason, and the normalized place or ""."""

    key: str
    why: Reason
    place: str = ""


CALL_PLAYBOOKS: Final = frozenset({"lift_entrapment", "sos"})
"""Calls for help and entrapments concern one person and never join another danger of the place."""
_PLAYBOOKS: Final = ("fire", "carbon_monoxide")
"""Playbooks of a place's dangers, the most urgent first; then any other, then none."""
_NO_PLACE: Final = frozenset({"", "-", "?", "n a", "none", "unknown", "未知", "无", "不详"})
_LONGEST: Final = 200
"""Maximum length of a place in a key; longer ones are distinguished by their digest."""
_SEPARATORS: Final = re.compile(r"[\s,;/|·•、>_]+")
_FLOOR: Final = re.compile(
    r"(?<![a-z0-9])(?:b\d{1,2}f?|-?\d{1,3}f|f\d{1,3}|(?:floor|level) -?\d{1,3}|\d{1,3}(?:st|nd|rd|th) floor)"
    r"(?![a-z0-9])"
    r"|(?:地下|负|-|b)?(?:\d{1,3}|[一二三四五六七八九十]{1,4})[层楼](?![栋座幢])"
)
"""A floor in a normalized place. "3号楼", "3栋" and "Tower 3" are buildings and do not match."""


def gathering_of(alarm: Mapping[str, Any], place: Mapping[str, str], scope: Scope) -> Gathering:
    """The grouping of an alarm.

    Args:
        alarm: its row.
        place: of its equipment in the ledger, in both languages; empty if unknown.
        scope: how large a place is.

    A place's key has one slash, that of equipment two, that of an alarm at least three.
    """
    site, equipment, drill = alarm["site"], alarm["equipment"], ":drill" if alarm["drill"] else ""
    if is_fire(alarm):
        key = f"{site}/{equipment}/fire:{alarm['priority']}:{alarm['playbook']}{drill}"
        return Gathering(key, Reason.SAME_PANEL)
    if alarm["wants_ticket"] != TicketType.EMERGENCY.value or not alarm["life_safety"]:
        return Gathering("/".join(alarm[name] for name in ("site", "equipment", "part", "rule")), Reason.SAME_ALARM)
    if is_call(alarm):
        return Gathering(f"{site}/{equipment}/call{drill}", Reason.SAME_EQUIPMENT)
    area = area_of(place.get("en") or place.get("zh-CN") or "", alarm["zone"], scope)
    if not area:
        return Gathering(f"{site}/{equipment}/incident{drill}", Reason.SAME_EQUIPMENT)
    return Gathering(f"{site}/{'drill' if drill else 'place'}:{_short(area)}", Reason.SAME_PLACE, area)


def is_fire(alarm: Mapping[str, Any]) -> bool:
    """Whether it is a point of a fire panel: all of them are one emergency, whatever the scope.

    The ledger has no buildings: a panel represents the building that it monitors.
    """
    return (alarm["kind"], alarm["wants_ticket"]) == (Kind.FIRE_PANEL.value, TicketType.EMERGENCY.value)


def is_call(alarm: Mapping[str, Any]) -> bool:
    """Whether it is about a person who calls for help or is trapped, and never joins a danger of the place."""
    return alarm["kind"] == Kind.ELEVATOR.value or alarm["playbook"] in CALL_PLAYBOOKS


def is_more_urgent(playbook: str, other: str) -> bool:
    """Whether an incident with the playbook `other` switches to this one when an alarm with it joins."""
    return _urgency(playbook) < _urgency(other)


def _urgency(playbook: str) -> int:
    if playbook in _PLAYBOOKS:
        return _PLAYBOOKS.index(playbook)
    return len(_PLAYBOOKS) if playbook else len(_PLAYBOOKS) + 1


def area_of(place: str, zone: str, scope: Scope) -> str:
    """The part of a place for the scope, or the next smaller known one; "" if there is none.

    Texts that differ only in case, width, blanks and separators are equal.
    """
    whole, zone = compared(place), compared(zone)
    floor = _FLOOR.search(whole)
    building = whole[: floor.start()].strip() if floor else ""
    if scope is Scope.ZONE and zone:
        return f"{building} zone {zone}".strip()
    if floor and building and scope is Scope.BUILDING:
        return building
    if floor and scope in (Scope.FLOOR, Scope.BUILDING):
        return whole[: floor.end()].strip()
    return whole


def compared(text: str) -> str:
    """A normalized place. "" for texts that mean unknown."""
    found = _SEPARATORS.sub(" ", unicodedata.normalize("NFKC", text).casefold()).strip()
    return "" if found in _NO_PLACE else found


def _short(area: str) -> str:
    return area if len(area) <= _LONGEST else f"{area[:_LONGEST]}:{blake2b(area.encode(), digest_size=16).hexdigest()}"
