"""Performance figures of the alarm system, after ISA-18.2 and EEMUA 191, each with its band."""

import asyncio
from collections.abc import Collection, Sequence
from typing import Any, Final

import msgspec
from sqlalchemy import select

from collectors.wire.reading import to_datetime, to_milliseconds
from gateway.alarms.lifecycle.chatter import OffDelay
from gateway.alarms.performance.activation_history import measured
from gateway.alarms.performance.flood import WINDOW_MS
from gateway.alarms.performance.flood_watch import Flood, floods_now
from gateway.alarms.performance.kpis import BANDS, DAY_MS, MINUTE_MS, PRIORITY_BANDS, Band, Figures, verdict_in
from gateway.alarms.suppression.reasons import Reason
from gateway.alarms.suppression.suppressed_alarms import SuppressedAlarm, suppressed_alarms
from gateway.api.alarms.bodies import FloodBody, GroupBody
from gateway.api.alarms.performance_bodies import (
    ChatteringBody,
    FigureBody,
    FrequentBody,
    OpcUaMetrics,
    PerformanceBody,
    PositionBody,
    ProposalBody,
    SetAsideBody,
)
from gateway.api.equipment.equipment import Moment
from gateway.api.http.bodies import Page, Texts, texts
from gateway.api.http.problems import ProblemError
from gateway.api.http.route import Call, Route, Services
from gateway.people.permissions import Permission
from gateway.storage.tables import out_of_service, shelf

_DEFAULT_DAYS: Final = 30
"""ISA-18.2 requires at least thirty days."""
_LONGEST_DAYS: Final = 400
_UNITS: Final = {
    "activations": "",
    "average_per_window": "per 10 min",
    "most_per_window": "per 10 min",
    "windows_over_limit": "share",
    "average_per_hour": "per h",
    "most_per_hour": "per h",
    "average_per_day": "per d",
    "most_per_day": "per d",
    "time_in_flood": "share",
    "most_frequent_share": "share",
    "chattering": "",
    "fleeting": "",
    "stale": "",
    "answered_p50_s": "s",
    "answered_p95_s": "s",
}
"""The figures in the order of docs/alarms.md, and their units; of a list, its length."""
_one_at_a_time: Final = asyncio.Lock()
"""Held while figures are computed: a year takes memory and a core. Other requests get 429 meanwhile."""
_AGAIN_S: Final = 5


class PerformanceQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    site: str | None = None
    start: Moment | None = None
    """Default: 30 days before the end."""
    end: Moment | None = None
    """Default: now. Exclusive."""


async def show_performance(call: Call) -> PerformanceBody:
    start, end = _period(call)
    sites = _sites(call)
    if _one_at_a_time.locked():
        raise ProblemError("too_many_requests", "other figures are being computed; try again in a moment", _AGAIN_S)
    async with _one_at_a_time:
        found = await measured(call.services.database, start, end, sites, call.services.duty)
    return PerformanceBody(
        start=to_datetime(start),
        end=to_datetime(end),
        positions=[_position(one, start, found.re_alarms.get(one.position, 0)) for one in found.figures],
        set_aside=await _set_aside(call.services, sites),
        drills=found.drills,
        disproved=found.disproved,
    )


def _period(call: Call) -> tuple[int, int]:
    query: PerformanceQuery = call.query
    if any(moment is not None and not 1970 <= moment.year < 2100 for moment in (query.start, query.end)):
        raise ProblemError("bad_query", "start and end must be between 1970 and 2100")
    end = to_milliseconds(query.end) if query.end else call.services.clock()
    start = to_milliseconds(query.start) if query.start else end - _DEFAULT_DAYS * DAY_MS
    if not 0 < end - start <= _LONGEST_DAYS * DAY_MS:
        raise ProblemError("bad_query", f"start must be before end, by at most {_LONGEST_DAYS} days")
    return start, end


def _sites(call: Call) -> Collection[str] | None:
    allowed, wanted = call.sites(Permission.READ_ALARM_PERFORMANCE), call.query.site
    if wanted is None:
        return allowed
    if allowed is not None and wanted not in allowed:
        raise ProblemError("not_found", "there is no site with this code")
    return [wanted]


def _position(figures: Figures, start: int, re_alarms: int) -> PositionBody:
    metrics = figures.metrics
    mix = [
        _figure(f"share_{name}", figures.by_priority.get(name, 0.0), "share", band)
        for name, band in PRIORITY_BANDS.items()
    ]
    return PositionBody(
        position=figures.position,
        figures=[_figure(name, _number(figures, name), unit, BANDS.get(name)) for name, unit in _UNITS.items()] + mix,
        most_frequent=[FrequentBody(one.key, one.activations, one.share) for one in figures.most_frequent],
        chattering=[ChatteringBody(one.key, one.activations, _proposal(one.proposal)) for one in figures.chattering],
        stale=figures.stale,
        by_priority=figures.by_priority,
        opc_ua=OpcUaMetrics(
            alarm_count=metrics.alarm_count,
            start_time=to_datetime(start),
            maximum_active_state=metrics.maximum_active_state,
            maximum_un_ack=metrics.maximum_unack,
            current_alarm_rate=metrics.current_alarm_rate,
            maximum_alarm_rate=metrics.maximum_alarm_rate,
            maximum_re_alarm_count=re_alarms,
            average_alarm_rate=metrics.average_alarm_rate,
            rate=WINDOW_MS // MINUTE_MS,
        ),
    )


def _number(figures: Figures, name: str) -> float | None:
    value = getattr(figures, name)
    return float(len(value)) if isinstance(value, list) else value


def _figure(name: str, value: float | None, unit: str, band: Band | None) -> FigureBody:
    if band is None or value is None:
        return FigureBody(name, value, unit)
    return FigureBody(name, value, unit, band.good, band.most, verdict_in(band, value).value, band.source)


def _proposal(delay: OffDelay | None) -> ProposalBody | None:
    if delay is None:
        return None
    said = Texts(
        f"With an off-delay of {delay.seconds} s these {delay.activations} activations"
        f" would have been {delay.would_have_been}.",
        f"若将恢复延时设为 {delay.seconds} 秒，这 {delay.activations} 次报警将只有 {delay.would_have_been} 次。",
    )
    return ProposalBody(delay.seconds, delay.activations, delay.would_have_been, said)


async def _set_aside(services: Services, sites: Collection[str] | None) -> list[SetAsideBody]:
    """What people have suppressed, whether its alarm is active or not, and what is suppressed by design."""
    now = services.clock()

    def on_sites(table: Any, *where: Any) -> Any:
        return select(table).where(*where, *(() if sites is None else (table.c.site.in_(sites),)))

    async with services.database.reading() as connection:
        shelved = (await connection.execute(on_sites(shelf, shelf.c.until > now))).mappings().all()
        stopped = (await connection.execute(on_sites(out_of_service))).mappings().all()
        quiet = await suppressed_alarms(connection, sites)
    found = [_by_person(row, Reason.SHELVED, row["rule"], row["until"], services) for row in shelved]
    found += [_by_person(row, Reason.OUT_OF_SERVICE, "", row["planned_end"], services) for row in stopped]
    people = (Reason.SHELVED, Reason.OUT_OF_SERVICE)
    found += [_by_design(one) for one in quiet if one.suppression.reason not in people]
    return found


def _by_person(row: Any, reason: Reason, rule: str, until: int, services: Services) -> SetAsideBody:
    by = texts(services.accounts.name_of(row["person"]))
    place = row["site"], f"{row['site']}:{row['equipment']}", row["part"], rule
    return SetAsideBody(*place, reason.value, by, to_datetime(row["since"]), to_datetime(until), row["reason"])


def _by_design(aside: SuppressedAlarm) -> SetAsideBody:
    key, one = aside.key, aside.suppression
    until = None if one.until is None else to_datetime(one.until)
    place = key.site, f"{key.site}:{key.equipment}", key.part, key.rule
    return SetAsideBody(*place, one.reason.value, Texts(one.by, one.by), to_datetime(one.since), until, one.why)


async def list_floods(call: Call) -> Page[FloodBody]:
    sites = call.sites(Permission.WATCH)
    floods = await floods_now(call.services.database, call.services.duty, call.services.clock())
    return Page([body for body in flood_bodies(floods) if sites is None or body.site in sites])


ROUTES = (
    Route(
        "GET", "/alarms/floods", Permission.WATCH, list_floods,
        "Current alarm floods, and their alarms grouped by probable cause", Page[FloodBody],
    ),
    Route(
        "GET", "/alarms/performance", Permission.READ_ALARM_PERFORMANCE, show_performance,
        "Performance figures of the alarm system with their bands, by duty position", PerformanceBody,
        query=PerformanceQuery,
    ),
)  # fmt: skip


def flood_bodies(floods: Sequence[Flood]) -> list[FloodBody]:
    """The floods to show, one for each site."""
    return [
        FloodBody(
            position=flood.position,
            site=site,
            since=to_datetime(flood.since),
            activations=flood.activations[site],  # people who watch this site may not be permitted to see another one
            groups=[GroupBody(group.cause, group.members) for group in groups],
        )
        for flood in floods
        for site, groups in flood.groups.items()
    ]
