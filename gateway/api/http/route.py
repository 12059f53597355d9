"""The shape of a route: from one table come the HTTP routes, the permission each asks for, and OpenAPI."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import IO, Any, NamedTuple, TypeVar

import msgspec
from prometheus_client import CollectorRegistry

from collectors.timeseries.store import Store
from gateway.alarms.built_in.synthetic_probe import SyntheticProbe
from gateway.alarms.performance.duty_positions import ONE_DESK, DutyPositions
from gateway.alarms.rules.rule import Rule
from gateway.alarms.suppression.shelving import LONGEST_MS
from gateway.alarms.whatif.rule_tests import RuleTests
from gateway.clocks import Clock, wall_ms
from gateway.equipment.ledger import Ledger
from gateway.people.accounts import Accounts, Person
from gateway.people.approvals.rules import WITH_SECRETS
from gateway.people.audit.entry import Cause, Via
from gateway.people.authentication.logins import ClientInfo, Session, Way
from gateway.people.people import People
from gateway.people.permissions import ALL_SITES, Permission, may
from gateway.storage.database import Database
from gateway.tickets.attachments.files import AttachmentFiles

Body = TypeVar("Body")


class Services(NamedTuple):
    """What handlers work with; made once in `app.py`."""

    database: Database
    ledger: Ledger
    store: Store
    people: People
    registry: CollectorRegistry
    parts: Callable[[], dict[str, str]]
    """Each part of the service and "ready", or what it is waiting for."""
    clock: Clock
    """Now for the service, in epoch milliseconds: what is decided and recorded goes by it."""
    watchdog: SyntheticProbe
    """Whether the way of an alarm is open."""
    rule_tests: RuleTests
    """Tries rules on the history."""
    attachments: AttachmentFiles
    """The files that are attached to tickets."""
    wall: Clock = wall_ms
    """Now outside, by which logins end."""
    longest_shelves: Mapping[str, int] = LONGEST_MS
    """Priority -> for how many ms an alarm may be shelved."""
    rules: Sequence[Rule] = ()
    """As the files have them."""
    duty: DutyPositions = ONE_DESK
    """Which desk answers the alarms of which site."""
    longest_maintenance_ms: int = 24 * 3_600_000
    """How long a maintenance window may last."""

    @property
    def accounts(self) -> Accounts:
        """Who has an account, and what everybody is called."""
        return self.people.accounts


class Call(msgspec.Struct):
    """One request, checked: who asks, from where, with what."""

    services: Services
    session: Session | None
    place: ClientInfo
    path: Mapping[str, str]
    query: Any
    body: Any
    second_person: str | None = None
    """Who has approved it, by id; None while nobody else has looked at it."""
    why: str = ""
    """From what it follows: the approval, where there is one."""
    routes: "Mapping[tuple[str, str], Route]" = {}
    """By method and path: what was approved is carried out by its own route."""

    @property
    def person(self) -> Person | None:
        """Who asks; None for somebody who is not logged in."""
        return self.session.person if self.session else None

    @property
    def cause(self) -> Cause:
        """For journal and audit."""
        if self.person is None:
            return Cause("nobody", Via.WEB, self.place.address[:64])
        via = Via.TOKEN if self.session and self.session.way is Way.TOKEN else Via.WEB
        return Cause(self.person.id, via, self.place.address[:64], self.why, grants=self.person.grants)

    def sites(self, act: Permission) -> frozenset[str] | None:
        """The sites on which the person may do something; None for all."""
        grants = self.person.grants if self.person else {}
        if may({ALL_SITES: grants.get(ALL_SITES, ())}, act).permitted:
            return None
        return frozenset(site for site in grants if may(grants, act, site).permitted)


class NeedsSecondPerson(Exception):
    """One person alone may not do this: it has to be asked for, and another has to approve. The text says why.

    A handler may raise it where `call.second_person` is None. It is then run once more with somebody else's name, up to
    the end of its first transaction, which is undone: so that what it would change can be shown. Until then it must
    change nothing but the database.
    """


class Upload(NamedTuple):
    """A file on its way, as the body of a call: what it is said to be, and how to read on (empty at its end)."""

    content_type: str
    read: Callable[[int], Awaitable[bytes]]


class FileAnswer(NamedTuple):
    """A file that is answered with, open at its beginning: to be saved, never to be shown by a browser."""

    file: IO[bytes]
    media_type: str
    disposition: str


class Reply(NamedTuple):
    """An answer that is more than a body: cookies of the login and of the device to set ("" takes one away)."""

    body: msgspec.Struct | None
    status: int = 200
    cookie: str | None = None
    device: str | None = None


Answer = msgspec.Struct | Reply | FileAnswer
Handler = Callable[[Call], Awaitable[Answer]]


class Route(NamedTuple):
    """One line of the table. `request`, `query` and `response` are structures of `bodies.py`."""

    method: str
    path: str
    act: Permission
    handler: Handler
    summary: str
    response: Any
    request: type[msgspec.Struct] | None = None
    query: type[msgspec.Struct] | None = None
    status: int = 200
    also: tuple[int, ...] = ()
    """Further statuses that come with the same body: 503 of what watches the service."""
    ends_silence: bool = False
    """All it does is let alarms be heard again: that waits for nobody, whatever `approval.permissions` says."""
    takes: tuple[str, ...] = ()
    """Media types of the file that is the request's body; it is read by the handler, a piece at a time."""
    gives: tuple[str, ...] = ()
    """Media types of the file that is the answer."""

    @property
    def may_wait(self) -> bool:
        """Whether it may be answered by 202: put aside until a second person has approved it."""
        if self.ends_silence or self.takes:  # a file is not put aside
            return False
        return self.method not in {"GET", "HEAD"} and self.act not in WITH_SECRETS | {Permission.SIGNED_IN}
