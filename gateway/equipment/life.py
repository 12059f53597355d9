"""The lifecycle of equipment: adopt, correct, rename, replace, retire, adopt again. Pure.

Each action returns the new rows or raises a named refusal. A code is never reused: past alarms, tickets and readings
name it, and must not seem to be those of other equipment.
"""

from collections.abc import Mapping
from enum import StrEnum
from typing import Final

import msgspec

from gateway.equipment.ledger import Equipment, Who


class Refusal(StrEnum):
    """Why an action on equipment is refused; also the code of the problem."""

    NOT_FOUND = "not_found"
    STALE = "stale_version"
    STATE = "not_permitted_in_state"
    CODE_TAKEN = "code_taken"
    KIND_DIFFERS = "kind_differs"
    ALARMS_OPEN = "alarms_open"


class EquipmentRefused(Exception):
    """The action is refused; the text says why and what to do."""

    def __init__(self, reason: Refusal, text: str) -> None:
        super().__init__(text)
        self.reason = reason


class Correction(msgspec.Struct, frozen=True):
    """A person's details of an equipment. Name and place in both languages; empty ones stay as they are."""

    version: int
    name: dict[str, str] = {}
    place: dict[str, str] = {}
    kind: str = ""


Rows = Mapping[Who, Equipment]
_SYSTEM: Final = "system"


def adopted(rows: Rows, who: Who, wanted: Correction) -> Equipment:
    """Adopt unknown equipment, or retired equipment again. Raises EquipmentRefused."""
    known = rows.get(who)
    if known is not None and known.in_use:  # checked before the version, so a repeated request gets this answer
        raise EquipmentRefused(Refusal.STATE, f"{known.id} is adopted already")
    item = _found(rows, who, wanted.version)
    if item.replaced_by:
        raise EquipmentRefused(Refusal.STATE, f"{item.id} was replaced by {item.replaced_by}, which has its history")
    return _next(item, adopted=True, retired_at=None, **_said(item, wanted))


def corrected(rows: Rows, who: Who, wanted: Correction) -> Equipment:
    """Change name, place or kind. Raises EquipmentRefused."""
    item = _found(rows, who, wanted.version)
    if item.retired_at is not None:
        raise EquipmentRefused(Refusal.STATE, f"{item.id} is retired; adopt it again first")
    changes = _said(item, wanted)
    if wanted.kind and wanted.kind != item.kind:
        former = [kind for kind in (*item.former_kinds, item.kind) if kind != wanted.kind]
        changes |= {"kind": wanted.kind, "former_kinds": list(dict.fromkeys(former))}
    return _next(item, **changes)


def absorbed(rows: Rows, item: Equipment) -> Equipment | None:
    """The row of a second kind under the code of `item`, which `item` absorbs when it gets that kind.

    Raises EquipmentRefused if it is adopted.
    """
    second = next(
        (row for row in rows.values() if (row.site, row.shares_code, row.kind) == (item.site, item.code, item.kind)),
        None,
    )
    if second is not None and second.adopted:
        raise EquipmentRefused(Refusal.CODE_TAKEN, f"{second.id} is adopted as the {item.kind} of this code")
    return second


def renamed(rows: Rows, former: Mapping[Who, str], who: Who, version: int, code: str) -> Equipment:
    """Give equipment another code. Raises EquipmentRefused."""
    item = _found(rows, who, version)
    if item.retired_at is not None:
        raise EquipmentRefused(Refusal.STATE, f"{item.id} is retired; its history stays under its code")
    taken = (item.site, code) in rows or former.get((item.site, code), item.code) != item.code
    if taken:
        raise EquipmentRefused(Refusal.CODE_TAKEN, f"{code} is, or was, the code of an equipment on this site")
    codes = [known for known in (*item.former_codes, item.code) if known != code]
    return _next(item, code=code, former_codes=codes)


def retired(rows: Rows, who: Who, version: int, now: int) -> Equipment:
    """Retire equipment. Raises EquipmentRefused."""
    item = _found(rows, who, version)
    if item.retired_at is not None:
        raise EquipmentRefused(Refusal.STATE, f"{item.id} is retired already")
    return _next(item, retired_at=now)


def replaced(
    rows: Rows, former: Mapping[Who, str], who: Who, version: int, code: str, now: int
) -> tuple[Equipment, Equipment]:
    """The retired row, and the row of the device that takes its place. Raises EquipmentRefused.

    The new device may be listed already, as long as it is not adopted.
    """
    old = retired(rows, who, version, now)
    listed = rows.get((old.site, code))
    if (old.site, code) in former or (listed is not None and (listed.adopted or listed.retired_at is not None)):
        raise EquipmentRefused(Refusal.CODE_TAKEN, f"{code} is, or was, the code of an equipment on this site")
    if listed is not None and listed.kind != old.kind:
        raise EquipmentRefused(Refusal.KIND_DIFFERS, f"{listed.id} reports as {listed.kind}, {old.id} is {old.kind}")
    fresh = listed or Equipment(old.site, code, old.kind, old.name, version=0)
    new = _next(fresh, name=old.name, place=old.place, adopted=True, replaces=old.code)
    return msgspec.structs.replace(old, replaced_by=code), new


def _found(rows: Rows, who: Who, version: int) -> Equipment:
    item = rows.get(who)
    if item is None:
        raise EquipmentRefused(Refusal.NOT_FOUND, f"there is no equipment {who[0]}:{who[1]}")
    if item.kind == _SYSTEM:
        raise EquipmentRefused(Refusal.STATE, f"{item.id} is the platform itself")
    if item.version != version:
        raise EquipmentRefused(Refusal.STALE, f"{item.id} is at version {item.version}")
    return item


def _said(item: Equipment, wanted: Correction) -> dict[str, object]:
    return {"name": wanted.name or item.name, "place": wanted.place or item.place}


def _next(item: Equipment, **changes: object) -> Equipment:
    return msgspec.structs.replace(item, version=item.version + 1, **changes)
