"""The live feed: first a snapshot, then numbered changes, filtered by each listener's permissions.

Alarms and tickets are sent at once, from facts; readings at most once a second per equipment. A listener that reads too
slowly is closed and takes a new snapshot, so it never shows outdated data.
"""

import asyncio
import contextlib
import time
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Final

import msgspec
import structlog
from aiohttp import WSCloseCode, web

from collectors.wire.reading import Reading, to_datetime
from gateway.api.alarms.alarms import alarm_bodies, open_alarm_bodies
from gateway.api.alarms.maintenance import open_window_bodies, window_bodies
from gateway.api.equipment.bodies import FieldValue
from gateway.api.equipment.equipment import (
    equipment_bodies,
    equipment_body,
    is_online,
    last_seen,
    outage_bodies,
    profile_bodies,
)
from gateway.api.equipment.sites import site_body
from gateway.api.http.route import Services
from gateway.api.live.bodies import (
    Beat,
    LiveAlarm,
    LiveEquipment,
    LiveFlood,
    LiveMaintenance,
    LiveReading,
    LiveSystem,
    LiveTicket,
    Snapshot,
)
from gateway.api.people.approval_bodies import LiveApproval
from gateway.api.people.approvals import approval_body, concerns
from gateway.api.platform.health import ready_body
from gateway.api.tickets.tickets import open_ticket_bodies, ticket_bodies
from gateway.equipment.latest import latest_of
from gateway.people.accounts import Person
from gateway.people.approvals.requests import ApprovalRecord
from gateway.people.authentication.logins import Session
from gateway.people.permissions import ALL_SITES, Permission, may
from gateway.storage.database_errors import DatabaseTrouble
from gateway.storage.outbox.isolate_failure import reason_of
from gateway.storage.outbox.outbox import Fact, follow
from gateway.storage.trouble_words import in_plain_words

log = structlog.get_logger(__name__)

_MOST_WAITING: Final = 5_000
"""Messages that may be queued for one listener."""
_TOO_SLOW: Final = "too slow"
_CONFLATED_S: Final = 1.0
_BEAT_S: Final = 1.0
_FLUSH_S: Final = 0.1
_JOINING: Final = frozenset({"ticket.opened", "ticket.alarm_joined"})
"""Facts that name an alarm which got a new ticket."""
SNAPSHOT_S: Final = 30.0
"""Timeout of a snapshot; the page then tries again."""
_RETRY_S: Final = 0.5
_LOGINS_S: Final = 0.5
_CLOSING_S: Final = 2.0
"""Timeout of the closing handshake after a login has ended; then the connection is aborted."""
Message = LiveReading | LiveEquipment | LiveAlarm | LiveFlood | LiveTicket | LiveMaintenance | LiveSystem | LiveApproval
_encoder: Final = msgspec.json.Encoder()

REQUIRED: Final[dict[type[msgspec.Struct], Permission]] = {
    LiveReading: Permission.WATCH,
    LiveEquipment: Permission.WATCH,
    LiveAlarm: Permission.WATCH,
    LiveFlood: Permission.WATCH,
    LiveTicket: Permission.READ_TICKETS,
    LiveMaintenance: Permission.WATCH,
    LiveSystem: Permission.WATCH,
    LiveApproval: Permission.SIGNED_IN,  # and the act that the request itself needs: see `_offer_approvals`
}
"""Message -> permission that a listener needs on the site. Messages not listed here are never sent."""


class _Listener:
    """One connection."""

    def __init__(self, session: Session, cut_off: Callable[[], None]) -> None:
        self.session = session
        self.cut_off = cut_off
        """Aborts the connection, whether the peer reads or not."""
        self.waiting: asyncio.Queue[Message] = asyncio.Queue(_MOST_WAITING)
        self.behind = ""
        """Why it has missed changes and must take a new snapshot; "" if it has not."""
        self.over = False
        """Its login has ended."""
        self.may_go_on = True
        """Its login is valid and has the same permissions as when the socket was opened."""

    @property
    def person(self) -> Person:
        return self.session.person

    def offer(self, message: Message, site: str | None) -> None:
        act = REQUIRED.get(type(message))
        if act is None or not self.may_go_on or not may(self.person.grants, act, site).permitted:
            return
        try:
            self.waiting.put_nowait(message)
        except asyncio.QueueFull:
            self.behind = _TOO_SLOW


class LiveFeed:
    """Sends changes to every listener."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._listeners: set[_Listener] = set()
        self.dropped = 0
        """Listeners that were too slow and had to take a new snapshot."""
        self._fresh: dict[tuple[str, str], set[str]] = {}
        self._sent_at: dict[tuple[str, str], float] = {}
        self._floods: dict[str, LiveFlood] = {}
        self._followed = 0
        """The last fact that was sent to listeners, or for which they take a new snapshot."""

    @property
    def listeners(self) -> int:
        return len(self._listeners)

    # -- what changes ----------------------------------------------------------------------------------

    def note(self, readings: Iterable[Reading]) -> None:
        """Queue durable readings; equipment without a message in the last second is sent at once."""
        if not self._listeners:
            return
        now = time.monotonic()
        at_once: set[tuple[str, str]] = set()
        for reading in readings:
            who = (reading.topic.site, reading.topic.equipment)
            self._fresh.setdefault(who, set()).update(reading.fields)
            if now - self._sent_at.get(who, 0.0) >= _CONFLATED_S:
                at_once.add(who)
        self._send_readings(at_once, now)

    def note_equipment(self, heard: Iterable[tuple[str, str]]) -> None:
        """Queue all newest values of equipment whose readings another process received."""
        if self._listeners:
            table = self._services.store.latest()
            for who in heard:
                self._fresh.setdefault(who, set()).update(table[who].fields)

    def note_flood(self, message: LiveFlood) -> None:
        """Send the current state or the end of a site's flood."""
        self._floods[message.site] = message
        self._offer(message, message.site)

    async def run(self, sent: int) -> None:
        """Follow facts after `sent`, conflated readings and the platform's state until cancelled.

        Run again after an error, it continues where it was; every listener takes a new snapshot.
        """
        self._followed = max(sent, self._followed)
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._follow_facts(), name="live_feed.facts")
                group.create_task(self._flush(), name="live_feed.readings")
                group.create_task(self._watch_platform(), name="live_feed.platform")
                group.create_task(self._watch_logins(), name="live_feed.logins")
        except ExceptionGroup as errors:
            self._start_again(reason_of(errors.exceptions[0]))
            raise

    async def _follow_facts(self) -> None:
        async for facts in follow(self._services.database, self._followed):
            self._followed = facts[-1].id
            await self._learn(facts)
            try:
                if self._listeners:
                    await self._send_facts(facts)
                self._services.watchdog.delivered(facts)
            except DatabaseTrouble as error:
                self._start_again(str(error))
            except Exception as error:  # noqa: BLE001 - an unsendable change must not end the feed or the service
                self._start_again(reason_of(error))

    def _start_again(self, why: str) -> None:
        log.error("changes cannot be sent; every listener takes a new snapshot", why=why)
        for listener in self._listeners:
            listener.behind = "changes were lost"

    async def _learn(self, facts: Sequence[Fact]) -> None:
        """Update the ledger with changes of another process before they are sent to listeners."""
        entered = [fact.thing for fact in facts if fact.kind.startswith("equipment.")]
        sites = any(fact.kind.startswith("site.") for fact in facts)
        while entered or sites:
            try:
                await self._services.ledger.learn(entered)
            except DatabaseTrouble as error:
                log.warning("the ledger is waiting for the database", why=in_plain_words(error), detail=str(error))
                await asyncio.sleep(_RETRY_S)
            else:
                break
        if sites:  # names and time zones are in the snapshot only, and change a few times a year
            for listener in self._listeners:
                listener.behind = "sites have changed"

    async def _send_facts(self, facts: Sequence[Fact]) -> None:
        database = self._services.database
        things = {
            subject: dict.fromkeys(fact.thing for fact in facts if fact.kind.partition(".")[0] == subject)
            for subject in ("alarm", "ticket", "equipment", "maintenance", "approval")
        }
        if things["approval"]:
            self._offer_approvals(await self._services.people.approvals.of(things["approval"]), self._listeners)
        tickets = await ticket_bodies(database, things["ticket"]) if things["ticket"] else ()
        for ticket in tickets:
            self._offer(LiveTicket(0, ticket), ticket.site)
        # An alarm shows its ticket's number: one that has joined a ticket is sent again.
        joined = [str(fact.body["alarm"]) for fact in facts if fact.kind in _JOINING and "alarm" in fact.body]
        changed = dict.fromkeys((*things["alarm"], *joined))
        for alarm in await alarm_bodies(self._services, changed) if changed else ():
            self._offer(LiveAlarm(0, alarm), alarm.site)
        for window in await window_bodies(self._services, things["maintenance"]) if things["maintenance"] else ():
            self._offer(LiveMaintenance(0, window), window.site)
        outages = await outage_bodies(self._services) if things["equipment"] else {}
        for identity in things["equipment"]:
            site, _, code = identity.partition(":")
            item = self._services.ledger.equipment.get((site, code))
            if item is not None:
                latest = latest_of(item, self._services.store.latest())
                self._offer(LiveEquipment(0, equipment_body(item, latest, outages)), site)

    def _offer_approvals(self, records: Iterable[ApprovalRecord], listeners: Iterable[_Listener]) -> None:
        """Send approvals to their requester and to possible second persons. A new listener gets all pending ones."""
        accounts, now = self._services.accounts, self._services.wall()
        for record in records:
            message = LiveApproval(0, approval_body(record, accounts, now))
            for listener in listeners:
                if concerns(listener.session, record):
                    listener.offer(message, None)

    async def _flush(self) -> None:
        while True:
            await asyncio.sleep(_FLUSH_S)
            now = time.monotonic()
            due = {who for who in self._fresh if now - self._sent_at.get(who, 0.0) >= _CONFLATED_S}
            self._send_readings(due, now)
            self._sent_at = {who: at for who, at in self._sent_at.items() if now - at < _CONFLATED_S}

    def _send_readings(self, equipment: Iterable[tuple[str, str]], now: float) -> None:
        table = self._services.store.latest()
        for who in equipment:
            names, latest = self._fresh.pop(who, set()), table.get(who)
            self._sent_at[who] = now
            if latest is None:
                continue
            values = {
                name: FieldValue(latest.fields[name].value, to_datetime(latest.fields[name].at))
                for name in names
                if name in latest.fields and name != "online"
            }
            item = self._services.ledger.find(*who)
            if item is not None and item.retired_at is not None:
                continue
            identity = ":".join(who) if item is None else item.id
            message = LiveReading(0, identity, is_online(latest), last_seen(latest), latest.clock, values)
            self._offer(message, who[0])

    async def _watch_platform(self) -> None:
        before: dict[str, str] = {}
        while True:
            components = self._services.components()
            if components != before:
                body = ready_body(components)
                self._offer(LiveSystem(0, body.ready, body.components), None)
                before = components
            await asyncio.sleep(_BEAT_S)

    async def _watch_logins(self) -> None:
        """Close a listener when its login ends or its permissions change."""
        while True:
            await asyncio.sleep(_LOGINS_S)
            listeners = list(self._listeners)
            try:
                sessions = await self._services.people.logins.still(
                    [listener.session for listener in listeners], self._services.wall()
                )
            except DatabaseTrouble as error:  # listeners admitted before stay connected
                log.warning(
                    "logins of live listeners cannot be checked now", why=in_plain_words(error), detail=str(error)
                )
                continue
            for listener in listeners:
                now = sessions.get(listener.session.digest)
                if now is not None and now.person.grants == listener.person.grants:
                    continue
                if listener.may_go_on:  # once: a socket that is being closed is still in the list
                    asyncio.get_running_loop().call_later(_CLOSING_S, listener.cut_off)
                listener.may_go_on = False
                listener.over = now is None
                listener.behind = "its login has ended" if now is None else "its roles have changed"

    def _offer(self, message: Message, site: str | None) -> None:
        for listener in self._listeners:
            listener.offer(message, site)

    # -- one listener ----------------------------------------------------------------------------------

    async def serve(self, request: web.Request, session: Session) -> web.WebSocketResponse:
        """Answer `GET /live`."""
        socket = web.WebSocketResponse(heartbeat=20, compress=False)
        await socket.prepare(request)
        listener = _Listener(session, partial(_cut_off, request))
        self._listeners.add(listener)
        sending = asyncio.create_task(self._send(socket, listener), name=f"live_feed.send[{session.person.username}]")
        try:
            async for _ in socket:  # listeners send nothing; this ends when the connection closes
                continue
        finally:
            self._listeners.discard(listener)
            sending.cancel()
            with contextlib.suppress(asyncio.CancelledError, ConnectionError):
                await sending
        return socket

    async def _send(self, socket: web.WebSocketResponse, listener: _Listener) -> None:
        try:
            # Changes are queued from here on, so none is lost between the snapshot and the first of them.
            async with asyncio.timeout(SNAPSHOT_S):
                await _send(socket, await self._snapshot(listener.person, seq=1))
            body = ready_body(self._services.components())
            listener.offer(LiveSystem(0, body.ready, body.components), None)
            waiting = await self._services.people.approvals.waiting(self._services.wall())
            self._offer_approvals(waiting, [listener])
            for flood in self._floods.values():
                listener.offer(flood, flood.site)
            await self._send_changes(socket, listener)
        except ConnectionError:
            await socket.close()
            return
        except Exception as error:  # noqa: BLE001 - a socket that sends nothing more would look alive
            listener.behind = f"no snapshot: {reason_of(error)}"
        self.dropped += listener.behind == _TOO_SLOW
        log.warning("live listener closed", user=listener.person.id, why=listener.behind)
        if listener.over:
            await socket.close(code=WSCloseCode.POLICY_VIOLATION, message=b"the login has ended")
        else:
            await socket.close(code=WSCloseCode.TRY_AGAIN_LATER, message=b"take a new snapshot")

    async def _send_changes(self, socket: web.WebSocketResponse, listener: _Listener) -> None:
        """Send changes, and a heartbeat after each second, until the listener is behind."""
        number, beat_at = 1, time.monotonic() + _BEAT_S
        while not listener.behind:
            number += 1
            message: Message | Beat | None = None
            while message is None and time.monotonic() < beat_at and not listener.behind:
                message = await _next_until(min(beat_at, time.monotonic() + _LOGINS_S), listener.waiting)
            if listener.behind:
                return
            if message is None:
                beat_at = time.monotonic() + _BEAT_S
                message = Beat(0, to_datetime(self._services.clock()))
            await _send(socket, msgspec.structs.replace(message, seq=number))

    async def _snapshot(self, person: Person, seq: int) -> Snapshot:
        services = self._services
        watched = _sites(person, services, Permission.WATCH)
        return Snapshot(
            seq=seq,
            at=to_datetime(services.clock()),
            sites=[
                site_body(site) for site in services.ledger.sites.values() if watched is None or site.code in watched
            ],
            profiles=profile_bodies(),
            equipment=await equipment_bodies(services, watched),
            alarms=await open_alarm_bodies(services, watched),
            tickets=await open_ticket_bodies(services.database, _sites(person, services, Permission.READ_TICKETS)),
            maintenance=await open_window_bodies(services, watched),
        )


def _sites(person: Person, services: Services, act: Permission) -> frozenset[str] | None:
    """The sites on which a person holds a permission; None for all, including sites not in the ledger."""
    if may({ALL_SITES: person.grants.get(ALL_SITES, ())}, act).permitted:
        return None
    return frozenset(code for code in services.ledger.sites if may(person.grants, act, code).permitted)


def _cut_off(request: web.Request) -> None:
    if request.transport is not None:
        request.transport.abort()


async def _next_until(deadline: float, waiting: asyncio.Queue[Message]) -> Message | None:
    """The next message, or None at the deadline, even if messages are queued."""
    left = deadline - time.monotonic()
    if left <= 0:
        return None
    if not waiting.empty():
        return waiting.get_nowait()
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(left):
            return await waiting.get()
    return None


async def _send(socket: web.WebSocketResponse, message: msgspec.Struct) -> None:
    await socket.send_str(_encoder.encode(message).decode())


Note = Callable[[Sequence[Reading]], None]
"""See `LiveFeed.note`."""
