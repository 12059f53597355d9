"""A route of the table from which the HTTP routes, their permissions and OpenAPI are made."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import IO, Any, NamedTuple, TypeVar

import msgspec
from prometheus_client import CollectorRegistry

from collectors.timeseries.store import Store
from gateway.alarms.built_in.synthetic_probe import SyntheticProbe
from gateway.alarms.performance.duty_positions import ONE_DESK, DutyPositions
from gateway.alarms.rules.rule import Rule
from gateway.alarms.whatif.rule_tests import RuleTests
from gateway.clocks import Clock, wall_ms
from gateway.equipment.ledger import Ledger
from gateway.people.accounts import Accounts, Person
from gateway.people.approvals.rules import WITH_SECRETS
from gateway.people.audit.entry import Cause, Via
from gateway.people.authentication.logins import ClientInfo, Session, Way
from gateway.people.people import People
from gateway.people.permissions import ALL_SITES, Permission, may
from gateway.settings import AlarmSettings
from gateway.storage.database import Database
from gateway.tickets.attachments.files import AttachmentFiles

Body = TypeVar("Body")


class Services(NamedTuple):
    """The services that handlers use; made once in `app.py`."""

    database: Database
    ledger: Ledger
    store: Store
    people: People
    registry: CollectorRegistry
    components: Callable[[], dict[str, str]]
    """Each component of the service and "ready", or what it is waiting for."""
    clock: Clock
    """The service's clock in epoch milliseconds, for decisions and records."""
    watchdog: SyntheticProbe
    """Whether the alarm path works."""
    rule_tests: RuleTests
    """Tests rules on the history."""
    attachments: AttachmentFiles
    """The files attached to tickets."""
    wall: Clock = wall_ms
    """The wall clock, for the expiry of logins."""
    longest_shelves: Mapping[str, int] = AlarmSettings().longest_shelves_ms
    """Priority -> longest shelving time in ms."""
    rules: Sequence[Rule] = ()
    """The rules of the files."""
    duty: DutyPositions = ONE_DESK
    """The duty position that is responsible for each site."""
    longest_maintenance_ms: int = 24 * 3_600_000
    """Longest maintenance window."""

    @property
    def accounts(self) -> Accounts:
        """All accounts and the names of their people."""
        return self.people.accounts


class Call(msgspec.Struct):
    """One checked request: caller, address, and content."""

    services: Services
    session: Session | None
    place: ClientInfo
    path: Mapping[str, str]
    query: Any
    body: Any
    second_person: str | None = None
    """Id of the person who approved it; None before approval."""
    why: str = ""
    """The cause: the approval, if there is one."""
    routes: "Mapping[tuple[str, str], Route]" = {}
    """By method and path: an approved request is carried out by its own route."""

    @property
    def person(self) -> Person | None:
        """The caller; None without a login."""
        return self.session.person if self.session else None

    @property
    def cause(self) -> Cause:
        """For journal and audit."""
        if self.person is None:
            return Cause("nobody", Via.WEB, self.place.address[:64])
        via = Via.TOKEN if self.session and self.session.way is Way.TOKEN else Via.WEB
        return Cause(self.person.id, via, self.place.address[:64], self.why, grants=self.person.grants)

    def sites(self, act: Permission) -> frozenset[str] | None:
        """The sites on which the caller holds a permission; None for all."""
        grants = self.person.grants if self.person else {}
        if may({ALL_SITES: grants.get(ALL_SITES, ())}, act).permitted:
            return None
        return frozenset(site for site in grants if may(grants, act, site).permitted)


class NeedsSecondPerson(Exception):
    """This needs the approval of a second person. The text says why.

    A handler may raise it if `call.second_person` is None. It is then run again with a placeholder as second person,
    up to the end of its first transaction, which is rolled back, to find out what it would change. Until then it must
    change nothing but the database.
    """


class Upload(NamedTuple):
    """An upload as the body of a call: its declared type, and a function that reads on (empty at its end)."""

    content_type: str
    read: Callable[[int], Awaitable[bytes]]


class FileAnswer(NamedTuple):
    """An open file as an answer, at its beginning: to be saved, never shown, by a browser."""

    file: IO[bytes]
    media_type: str
    disposition: str


class Reply(NamedTuple):
    """An answer with a body and cookies of the login and of the device to set ("" deletes one)."""

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
    """Further statuses with the same body, such as 503 of health checks."""
    ends_silence: bool = False
    """It only ends a suppression, so it never needs approval, whatever `approval.permissions` says."""
    takes: tuple[str, ...] = ()
    """Media types of an uploaded file as the request's body; the handler reads it in chunks."""
    gives: tuple[str, ...] = ()
    """Media types of a file as the answer."""

    @property
    def may_wait(self) -> bool:
        """Whether it may be answered with 202 and stay pending until a second person approves it."""
        if self.ends_silence or self.takes:  # a file is never kept pending
            return False
        return self.method not in {"GET", "HEAD"} and self.act not in WITH_SECRETS | {Permission.SIGNED_IN}
