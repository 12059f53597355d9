"""Taking equipment, or a part of it, out of service and returning it to service."""

from typing import Final

from collectors.wire.reading import to_milliseconds
from gateway.alarms.key import Scope
from gateway.alarms.suppression.out_of_service import NotOutOfService, return_to_service, take_out_of_service
from gateway.alarms.suppression.reasons import Outage
from gateway.api.alarms.suppression_bodies import OutOfService, ReturnToService
from gateway.api.equipment.bodies import EquipmentBody
from gateway.api.equipment.equipment import find_equipment, show_equipment
from gateway.api.http.problems import ProblemError
from gateway.api.http.route import Call, NeedsSecondPerson, Route
from gateway.equipment.ledger import Equipment
from gateway.people.permissions import Permission, may

_LONGEST_MS: Final = 366 * 24 * 3_600_000
_ONE: Final = "/equipment/{equipment}"


async def put_out_of_service(call: Call) -> EquipmentBody:
    item, wanted, now = _find(call), call.body, call.services.clock()
    planned_end = to_milliseconds(wanted.planned_end)
    if not now < planned_end <= now + _LONGEST_MS:
        raise ProblemError("bad_request", "planned_end must be in the future, at most a year from now")
    if wanted.life_safety:
        _require_two(call, item.site)
    outage = Outage(
        since=now, planned_end=planned_end, person=call.cause.actor,
        second_person=call.second_person if wanted.life_safety else None, reason=wanted.reason.strip(),
    )  # fmt: skip
    place = Scope(item.site, item.code)
    await take_out_of_service(call.services.database, place, wanted.part, outage, call.cause, now)
    return await show_equipment(call)


async def put_back_into_service(call: Call) -> EquipmentBody:
    item, services = _find(call), call.services
    place = Scope(item.site, item.code)
    try:
        await return_to_service(services.database, place, call.body.part, call.cause, services.clock())
    except NotOutOfService as error:
        raise ProblemError("not_permitted_in_state", str(error)) from error
    return await show_equipment(call)


def _find(call: Call) -> Equipment:
    item = find_equipment(call, Permission.WATCH)
    if not may(call.person.grants if call.person else None, Permission.TAKE_OUT_OF_SERVICE, item.site).permitted:
        raise ProblemError("forbidden")
    return item


def _require_two(call: Call, site: str) -> None:
    if not may(call.person.grants if call.person else None, Permission.QUIET_LIFE_SAFETY, site).permitted:
        raise ProblemError("forbidden", "suppressing life-safety alarms needs a shift leader and a second person")
    if call.second_person is None:
        raise NeedsSecondPerson("suppressing life-safety alarms needs two people")


ROUTES = (
    Route(
        "POST", _ONE + "/out-of-service", Permission.TAKE_OUT_OF_SERVICE, put_out_of_service,
        "Take equipment out of service; suppresses its alarms", EquipmentBody, request=OutOfService,
    ),
    Route(
        "POST", _ONE + "/return-to-service", Permission.TAKE_OUT_OF_SERVICE, put_back_into_service,
        "Return equipment to service; its alarms are annunciated again", EquipmentBody, request=ReturnToService,
        ends_silence=True,
    ),
)  # fmt: skip
