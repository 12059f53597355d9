"""Equipment, its newest values and its history."""

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated

import msgspec

from collectors.device_clocks import Doubt
from collectors.payloads.field_values import is_field_name
from collectors.plausible import Range, ranges_of
from collectors.timeseries.store import Latest, LatestValue, Series, StoreUnavailable
from collectors.wire.fields import Channel, Field, Kind, fields_of
from collectors.wire.reading import to_datetime, to_milliseconds
from gateway.alarms.key import Scope
from gateway.alarms.suppression.out_of_service import load_outages
from gateway.alarms.suppression.reasons import Outage
from gateway.api.equipment.bodies import (
    Adopt,
    Bucket,
    Change,
    EquipmentBody,
    FieldBody,
    FieldValue,
    HistoryBody,
    LastMessageBody,
    LatestBody,
    OutageBody,
    ProfileBody,
    payload_text,
)
from gateway.api.http.bodies import Page, Texts, texts
from gateway.api.http.problems import ProblemError
from gateway.api.http.route import Call, Route, Services
from gateway.equipment.joined_history import joined
from gateway.equipment.latest import latest_of
from gateway.equipment.ledger import Equipment
from gateway.equipment.life import Correction, EquipmentRefused
from gateway.equipment.lifecycle import Lifecycle
from gateway.equipment.profiles import PROFILES, Profile
from gateway.people.permissions import Permission, may

_PLACE_LENGTH = 200
_DAY_MS = 24 * 3600 * 1000


class EquipmentQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    site: str | None = None
    kind: Kind | None = None
    q: str = ""
    """Substring of the code, name or place."""
    adopted: bool | None = None
    """false: only unknown equipment, with its last message."""
    retired: bool = False
    """true: only retired equipment; with the last message if it still sends."""


Moment = Annotated[datetime, msgspec.Meta(tz=True)]
"""RFC 3339 with a time zone; without one the time would be ambiguous."""


class HistoryQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    field: str
    start: Moment | None = None
    """Default: 24 hours before the end."""
    end: Moment | None = None
    """Default: now. Exclusive."""
    points: int = 500


def profile_body(kind: Kind, profile: Profile) -> ProfileBody:
    known = fields_of(kind, Channel.TELEMETRY) | fields_of(kind, Channel.STATUS)
    ranges = ranges_of(kind, Channel.TELEMETRY)
    fields = [_field_body(known[name], texts(label), ranges.get(name)) for name, label in profile.fields.items()]
    return ProfileBody(kind, texts(profile.name), fields)


def _field_body(field: Field, label: Texts, plausible: Range | None) -> FieldBody:
    if plausible is None:
        return FieldBody(field.name, label, field.type, field.unit)
    bounds, sentinels = [plausible.low, plausible.high], sorted(plausible.sentinels)
    return FieldBody(field.name, label, field.type, field.unit, bounds, sentinels)


def profile_bodies() -> list[ProfileBody]:
    return [profile_body(kind, profile) for kind, profile in PROFILES.items()]


def field_values(fields: dict[str, LatestValue]) -> dict[str, FieldValue]:
    return {name: FieldValue(entry.value, to_datetime(entry.at)) for name, entry in fields.items() if name != "online"}


def is_online(latest: Latest | None) -> bool | None:
    """The last status that the equipment reported; None if it never did."""
    entry = None if latest is None else latest.fields.get("online")
    return entry.value if entry is not None and isinstance(entry.value, bool) else None


def last_seen(latest: Latest | None) -> datetime | None:
    """When the last new sample was received; None if there was none."""
    return to_datetime(latest.heard_at) if latest is not None and latest.heard_at else None


OutageBodies = Mapping[Scope, list[OutageBody]]
"""Equipment -> its parts that are out of service."""


async def outage_bodies(services: Services) -> OutageBodies:
    """All equipment that is out of service."""
    async with services.database.reading() as connection:
        outages = await load_outages(connection)
    return {
        place: [_outage_body(part, outage, services) for part, outage in sorted(parts.items())]
        for place, parts in outages.by_place.items()
    }


def _outage_body(part: str, outage: Outage, services: Services) -> OutageBody:
    name_of = services.accounts.name_of
    return OutageBody(
        part=part,
        since=to_datetime(outage.since),
        planned_end=to_datetime(outage.planned_end),
        person=texts(name_of(outage.person)),
        second_person=None if outage.second_person is None else texts(name_of(outage.second_person)),
        reason=outage.reason,
    )


def equipment_body(item: Equipment, latest: Latest | None, outages: OutageBodies) -> EquipmentBody:
    return EquipmentBody(
        id=item.id,
        site=item.site,
        code=item.code,
        kind=Kind(item.kind),
        name=texts(item.name),
        place=texts(item.place),
        adopted=item.adopted,
        version=item.version,
        online=is_online(latest),
        last_seen=last_seen(latest),
        clock=Doubt.NONE if latest is None else latest.clock,
        latest={} if latest is None else field_values(latest.fields),
        out_of_service=outages.get(Scope(item.site, item.code), []),
        retired_at=None if item.retired_at is None else to_datetime(item.retired_at),
        replaced_by=_beside(item, item.replaced_by),
        replaces=_beside(item, item.replaces),
        former_codes=item.former_codes,
        former_kinds=[Kind(kind) for kind in item.former_kinds],
        shares_code_with=_beside(item, item.shares_code),
    )


def _beside(item: Equipment, code: str) -> str | None:
    return f"{item.site}:{code}" if code else None


async def equipment_bodies(services: Services, sites: frozenset[str] | None) -> list[EquipmentBody]:
    """All equipment on the given sites (None: on all), by site, kind and code."""
    latest, outages = services.store.latest(), await outage_bodies(services)
    items = [item for item in services.ledger.equipment.values() if sites is None or item.site in sites]
    items.sort(key=lambda item: (item.site, item.kind, item.code))
    return [equipment_body(item, latest_of(item, latest), outages) for item in items]


async def list_profiles(_call: Call) -> Page[ProfileBody]:
    return Page(profile_bodies())


async def list_equipment(call: Call) -> Page[EquipmentBody]:
    query: EquipmentQuery = call.query
    wanted = query.q.casefold()
    return Page(
        [
            with_last_message(call, body)
            for body in await equipment_bodies(call.services, call.sites(Permission.WATCH))
            if query.site in {None, body.site}
            and query.kind in {None, body.kind}
            and query.adopted in {None, body.adopted}
            and query.retired is (body.retired_at is not None)
            and wanted in f"{body.code} {body.name.en} {body.name.zh} {body.place.en} {body.place.zh}".casefold()
        ]
    )


async def show_equipment(call: Call) -> EquipmentBody:
    item = find_equipment(call, Permission.WATCH)
    return with_last_message(call, await body_of(call.services, item))


async def body_of(services: Services, item: Equipment) -> EquipmentBody:
    return equipment_body(item, latest_of(item, services.store.latest()), await outage_bodies(services))


def with_last_message(call: Call, body: EquipmentBody) -> EquipmentBody:
    """Its last message, for people who may adopt it: it shows what the equipment is."""
    last = call.services.ledger.last_messages.get((body.site, body.code))
    grants = call.person.grants if call.person else None
    if last is None or not may(grants, Permission.ADOPT_EQUIPMENT, body.site).permitted:
        return body
    payload, encoding = payload_text(last.payload)
    shown = LastMessageBody(last.topic, to_datetime(last.received_at), payload, encoding, last.size, last.count)
    return msgspec.structs.replace(body, last_message=shown)


async def adopt_equipment(call: Call) -> EquipmentBody:
    item, wanted = find_equipment(call, Permission.WATCH), call.body
    if not may(call.person.grants if call.person else None, Permission.ADOPT_EQUIPMENT, item.site).permitted:
        raise ProblemError("forbidden")
    services, said = call.services, correction(wanted.version, wanted.name, wanted.place)
    try:
        adopted = await Lifecycle(services.database, services.ledger).adopt(
            (item.site, item.code), said, call.cause, services.clock()
        )
    except EquipmentRefused as error:
        raise ProblemError(error.reason, str(error)) from error
    return await body_of(services, adopted)


def correction(version: int, name: Texts | None, place: Texts | None, kind: str = "") -> Correction:
    """A person's details of an equipment, checked. Raises ProblemError."""
    said = Correction(version, _both(name), _both(place), kind)
    if any(len(text) > _PLACE_LENGTH for text in said.place.values()) or not all(map(str.strip, said.name.values())):
        raise ProblemError("bad_request", f"a name must not be empty, a place has at most {_PLACE_LENGTH} characters")
    return said


def _both(said: Texts | None) -> dict[str, str]:
    return {} if said is None else {"en": said.en, "zh-CN": said.zh}


async def show_latest(call: Call) -> LatestBody:
    body = await show_equipment(call)
    return LatestBody(body.id, body.online, body.last_seen, body.clock, body.latest)


async def show_history(call: Call) -> HistoryBody:
    item, query = find_equipment(call, Permission.READ_HISTORY), call.query
    if any(moment is not None and not 1970 <= moment.year < 2100 for moment in (query.start, query.end)):
        raise ProblemError("bad_query", "start and end must be between 1970 and 2100")
    if not is_field_name(query.field):
        raise ProblemError("bad_query", "field must be a field's name")
    end = to_milliseconds(query.end) if query.end else call.services.clock()
    start = to_milliseconds(query.start) if query.start else end - _DAY_MS
    if start >= end:
        raise ProblemError("bad_query", "start must be before end")
    if not 1 <= query.points <= 10_000:
        raise ProblemError("bad_query", "points must be between 1 and 10000")
    channel = Channel.STATUS if query.field in fields_of(Kind(item.kind), Channel.STATUS) else Channel.TELEMETRY
    store = call.services.store
    try:
        parts = [
            await store.history(series, query.field, start, end if until is None else min(end, until + 1), query.points)
            for series, until in series_of(call.services, item, channel)
            if until is None or start <= until
        ]
    except StoreUnavailable as error:
        raise ProblemError("store_unavailable", "try again in a minute") from error
    found = joined(parts, query.points)
    known = next((of[query.field] for kind in _kinds(item) if query.field in (of := fields_of(kind, channel))), None)
    return HistoryBody(
        id=item.id,
        field=query.field,
        unit=known.unit if known else "",
        start=to_datetime(start),
        end=to_datetime(end),
        raw=found.raw,
        buckets=[Bucket(to_datetime(at), least, mean, most, count) for at, least, mean, most, count in found.buckets],
        changes=[Change(to_datetime(at), value) for at, value in found.changes],
        older_left_out=found.older_left_out,
    )


def series_of(services: Services, item: Equipment, channel: Channel) -> list[tuple[Series, int | None]]:
    """The series of its readings: one for each code and kind that it, and the equipment it replaces, ever had.

    Each with the last moment (epoch ms) at which the readings are its own; None: until today.
    """
    ledger, codes = services.ledger, services.ledger.codes_until(item.site, item.code)
    kinds = [kind.value for kind in _kinds(item)]
    found = [(Series(item.site, kind, code, channel.value), until) for code, until in codes.items() for kind in kinds]
    for code, until in codes.items():  # collectors store equipment that sends another equipment's code under that code
        row = ledger.equipment.get((item.site, code))
        if row is not None and row.shares_code:
            found.append((Series(item.site, row.kind, row.shares_code, channel.value), until))
    return found


def _kinds(item: Equipment) -> list[Kind]:
    return [Kind(kind) for kind in (item.kind, *item.former_kinds)]


def find_equipment(call: Call, act: Permission) -> Equipment:
    """The equipment in the path. Raises ProblemError `not_found` if it does not exist or may not be seen."""
    site, _, code = call.path["equipment"].partition(":")
    item = call.services.ledger.find(site, code)
    grants = call.person.grants if call.person else None
    if item is None or not may(grants, act, site).permitted:
        raise ProblemError("not_found", "name the equipment as {site}:{code}")
    return item


_ONE = "/equipment/{equipment}"
ROUTES = (
    Route(
        "GET",
        "/profiles",
        Permission.SIGNED_IN,
        list_profiles,
        "Kinds of equipment and their fields",
        Page[ProfileBody],
    ),
    Route(
        "GET", "/equipment", Permission.WATCH, list_equipment, "Equipment", Page[EquipmentBody], query=EquipmentQuery
    ),
    Route("GET", _ONE, Permission.WATCH, show_equipment, "One equipment, named {site}:{code}", EquipmentBody),
    Route("GET", _ONE + "/latest", Permission.WATCH, show_latest, "Its newest values", LatestBody),
    Route(
        "POST",
        _ONE + "/adopt",
        Permission.ADOPT_EQUIPMENT,
        adopt_equipment,
        "Adopt unknown equipment, or retired equipment again",
        EquipmentBody,
        request=Adopt,
    ),
    Route(
        "GET",
        _ONE + "/history",
        Permission.READ_HISTORY,
        show_history,
        "The history of a field",
        HistoryBody,
        query=HistoryQuery,
    ),
)
