"""The life of an equipment: correct, rename, retire, replace."""

from collections.abc import Awaitable, Callable
from functools import partial

from sqlalchemy.ext.asyncio import AsyncConnection

from collectors.wire.fields import Kind
from gateway.alarms.estate.equipment_changes import (
    copy_rule_changes,
    end_alarms,
    forget_memories,
    has_open_alarms,
    move_alarms,
)
from gateway.alarms.estate.life_safety_sources import is_life_safety_source
from gateway.alarms.key import Scope
from gateway.alarms.rules.versions import current_rulebook
from gateway.api.equipment.bodies import EquipmentBody
from gateway.api.equipment.equipment import body_of, correction, find_equipment
from gateway.api.equipment.lifecycle_bodies import CorrectEquipment, RenameEquipment, ReplaceEquipment, RetireEquipment
from gateway.api.http.problems import ProblemError
from gateway.api.http.route import Call, NeedsSecondPerson, Route
from gateway.equipment.latest import latest_of
from gateway.equipment.ledger import Equipment
from gateway.equipment.life import EquipmentRefused, Refusal
from gateway.equipment.lifecycle import Also, Lifecycle
from gateway.people.permissions import Permission, may
from gateway.tickets.equipment_changes import move_tickets, note_on_tickets


async def correct(call: Call) -> EquipmentBody:
    item, wanted = _find(call, Permission.EDIT_LEDGER), call.body
    if wanted.kind is Kind.SYSTEM:
        raise ProblemError("bad_request", "the kind system is reserved for the platform")
    said = correction(wanted.version, wanted.name, wanted.place, "" if wanted.kind is None else wanted.kind.value)
    changes_kind = said.kind not in ("", item.kind)
    also = [*await _require_two(call, item), *_no_alarms(call, item, said.kind)] if changes_kind else []
    return await _acting(call, lambda life: life.correct((item.site, item.code), said, call.cause, _now(call), also))


async def rename(call: Call) -> EquipmentBody:
    item, wanted = _find(call, Permission.EDIT_LEDGER), call.body
    now, place = _now(call), Scope(item.site, item.code)
    also: list[Also] = [
        partial(move_alarms, place=place, code=wanted.code, cause=call.cause, now=now),
        partial(copy_rule_changes, place=place, code=wanted.code, cause=call.cause, now=now),
        partial(move_tickets, site=item.site, code=item.code, new=wanted.code, cause=call.cause, now=now),
    ]
    return await _acting(
        call, lambda life: life.rename((item.site, item.code), wanted.version, wanted.code, call.cause, now, also)
    )


async def retire(call: Call) -> EquipmentBody:
    item, wanted = _find(call, Permission.RETIRE_EQUIPMENT), call.body
    now = _now(call)
    also = [*await _require_two(call, item), *_ends(call, item, wanted.reason, now)]
    return await _acting(call, lambda life: life.retire((item.site, item.code), wanted.version, call.cause, now, also))


async def replace(call: Call) -> EquipmentBody:
    item, wanted = _find(call, Permission.RETIRE_EQUIPMENT), call.body
    now, place = _now(call), Scope(item.site, item.code)
    also: list[Also] = [
        *await _require_two(call, item),
        *_ends(call, item, f"replaced by {wanted.code}: {wanted.reason}", now),
        partial(copy_rule_changes, place=place, code=wanted.code, cause=call.cause, now=now),
    ]
    return await _acting(
        call, lambda life: life.replace((item.site, item.code), wanted.version, wanted.code, call.cause, now, also)
    )


def _ends(call: Call, item: Equipment, why: str, now: int) -> list[Also]:
    event = "equipment_retired"
    return [
        partial(end_alarms, place=Scope(item.site, item.code), why=why, cause=call.cause, now=now),
        partial(note_on_tickets, site=item.site, code=item.code, event=event, note=why, cause=call.cause, now=now),
    ]


def _no_alarms(call: Call, item: Equipment, kind: str) -> list[Also]:
    """Another kind has other rules: alarms of the old rules must be closed first."""
    rows = call.services.ledger.equipment.values()
    second = [row for row in rows if (row.site, row.shares_code, row.kind) == (item.site, item.code, kind)]

    async def check(connection: AsyncConnection, row: Equipment) -> None:
        place = Scope(row.site, row.code)
        if await has_open_alarms(connection, place):
            raise EquipmentRefused(Refusal.ALARMS_OPEN, f"{row.id} has open alarms; first close all of them")
        await forget_memories(connection, place)

    return [partial(check, row=row) for row in (item, *second)]


async def _require_two(call: Call, item: Equipment) -> list[Also]:
    """Equipment with life-safety signals or an open life-safety alarm needs two people.

    Alarms are read in the transaction: one may be raised while the request is under way.
    """
    if call.second_person is not None:
        return []
    latest = latest_of(item, call.services.store.latest())
    services = call.services
    rulebook = await current_rulebook(services.database, services.rules, services.ledger.estate)
    rules = rulebook.rules_for(item.site, Kind(item.kind), item.code)
    if is_life_safety_source(rules, None if latest is None else latest.fields.keys()):
        raise NeedsSecondPerson("it has life-safety signals: a second person has to approve")

    async def check(connection: AsyncConnection) -> None:
        if await has_open_alarms(connection, Scope(item.site, item.code), only_life_safety=True):
            raise NeedsSecondPerson("this closes an open life-safety alarm: a second person has to approve")

    return [check]


async def _acting(call: Call, act: Callable[[Lifecycle], Awaitable[Equipment]]) -> EquipmentBody:
    """Run the change; turn its errors into problems."""
    services = call.services
    try:
        return await body_of(services, await act(Lifecycle(services.database, services.ledger)))
    except EquipmentRefused as error:
        raise ProblemError(error.reason, str(error)) from error


def _find(call: Call, act: Permission) -> Equipment:
    item = find_equipment(call, Permission.WATCH)
    if not may(call.person.grants if call.person else None, act, item.site).permitted:
        raise ProblemError("forbidden")
    return item


def _now(call: Call) -> int:
    return call.services.clock()


_ONE = "/equipment/{equipment}"
ROUTES = (
    Route(
        "PATCH", _ONE, Permission.EDIT_LEDGER, correct, "Correct name, place or kind of equipment", EquipmentBody,
        request=CorrectEquipment,
    ),
    Route(
        "POST", _ONE + "/rename", Permission.EDIT_LEDGER, rename, "Give equipment another code; its history continues",
        EquipmentBody, request=RenameEquipment,
    ),
    Route(
        "POST", _ONE + "/retire", Permission.RETIRE_EQUIPMENT, retire,
        "Retire equipment: its open alarms are closed, its history stays", EquipmentBody, request=RetireEquipment,
    ),
    Route(
        "POST", _ONE + "/replace", Permission.RETIRE_EQUIPMENT, replace,
        "Replace equipment; the new device takes name, place, links, history", EquipmentBody, request=ReplaceEquipment,
    ),
)  # fmt: skip
