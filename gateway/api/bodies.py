"""The JSON that goes in and out: every request, answer and live message as a typed structure.

These structures are the contract with the web app and with other programs: OpenAPI is made from them.
Times are RFC 3339 UTC. Texts for people come in both languages.
"""

from datetime import datetime
from typing import Annotated, Any, Generic, Literal, TypeVar

import msgspec

from collectors.device_clocks import Doubt
from collectors.fields import FieldType, Kind
from collectors.reading import Value
from gateway.alarms.watchdog import Code

Item = TypeVar("Item")
Note = Annotated[str, msgspec.Meta(max_length=2000)]
"""What a person writes beside an act."""


class Texts(msgspec.Struct, frozen=True, rename={"zh": "zh-CN"}):
    """One text in both languages."""

    en: str
    zh: str


class Page(msgspec.Struct, Generic[Item], frozen=True):
    """A list; `next` is the cursor of the following page, null on the last."""

    items: list[Item]
    next: str | None = None


class Problem(msgspec.Struct, frozen=True, omit_defaults=True):
    """RFC 9457 problem details. `code` is stable and what the web translates; `detail` says what to do."""

    title: str
    status: int
    code: str
    detail: str = ""
    type: str = "about:blank"


class SiteBody(msgspec.Struct, frozen=True):
    code: str
    name: Texts
    time_zone: str
    version: int


class FieldValue(msgspec.Struct, frozen=True):
    """The newest value of a field."""

    value: Value
    at: datetime


class FieldBody(msgspec.Struct, frozen=True):
    """What a field of a kind means: for labels, units and formats on the page."""

    name: str
    label: Texts
    type: FieldType
    unit: str = ""
    plausible: list[float] | None = None
    """Lowest and highest value that can be true, ends included; null where every value can."""
    sentinels: list[float] = []
    """Values between them that stand for "no value"."""


class ProfileBody(msgspec.Struct, frozen=True):
    """A kind of equipment and its fields, in the order in which a tile shows them."""

    kind: Kind
    name: Texts
    fields: list[FieldBody]


def payload_text(payload: bytes) -> tuple[str, str]:
    """A payload for JSON: as text where it is text (the last character may be cut), else in hex; and which of both."""
    try:
        return payload.decode("utf-8"), "utf-8"
    except UnicodeDecodeError as error:
        cut = error.reason == "unexpected end of data"
        return (payload[: error.start].decode("utf-8"), "utf-8") if cut else (payload.hex(), "hex")


class LastMessageBody(msgspec.Struct, frozen=True):
    """What equipment that is not in use sent last: at most the first 1 KiB, as text where it is text, else hex."""

    topic: str
    received_at: datetime
    payload: str
    encoding: str
    size: int
    count: int = 1
    """Messages since it was heard first, or retired."""


class OutageBody(msgspec.Struct, frozen=True):
    """An equipment, or a part of it ("" is the whole), that somebody has taken out of service."""

    part: str
    since: datetime
    planned_end: datetime
    """It lasts until it is returned; later than this, that is an alarm of its own."""
    person: Texts
    second_person: Texts | None
    """Who has agreed; null: alarms of life safety are annunciated all the same."""
    reason: str


class EquipmentBody(msgspec.Struct, frozen=True):
    """`id` is `{site}:{code}`. `online` is null until the equipment has said so. `adopted` is false while unknown."""

    id: str
    site: str
    code: str
    kind: Kind
    name: Texts
    place: Texts
    adopted: bool
    version: int
    online: bool | None = None
    last_seen: datetime | None = None
    """When the last sample was received that was news; null where only what a broker has kept is known."""
    clock: Doubt = Doubt.NONE
    """What is wrong with its clock: "", ahead, behind or never_set."""
    latest: dict[str, FieldValue] = {}
    out_of_service: list[OutageBody] = []
    last_message: LastMessageBody | None = None
    """Of equipment that is not in use and still sends, in lists and for those who may adopt it."""
    retired_at: datetime | None = None
    replaced_by: str | None = None
    """Id of what took its place."""
    replaces: str | None = None
    former_codes: list[str] = []
    former_kinds: list[Kind] = []
    shares_code_with: str | None = None
    """Id of the equipment of another kind whose code it sends: correct the kind, or give one of them another code."""


class Adopt(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`version` is the one on the screen: if the equipment has changed since, the answer is 409.

    What is left out stays as it is.
    """

    version: int
    name: Texts | None = None
    place: Texts | None = None


class LatestBody(msgspec.Struct, frozen=True):
    id: str
    online: bool | None
    last_seen: datetime | None
    clock: Doubt
    latest: dict[str, FieldValue]


class Bucket(msgspec.Struct, frozen=True):
    """Numbers: least, mean and greatest of the bucket that starts at `at`, and how many samples it holds."""

    at: datetime
    min: float
    mean: float
    max: float
    count: int


class Change(msgspec.Struct, frozen=True):
    """Text and booleans: the value that holds from `at` on."""

    at: datetime
    value: Value


class HistoryBody(msgspec.Struct, frozen=True):
    """`raw` is true when each bucket is one sample. Exactly one of `buckets` and `changes` is filled."""

    id: str
    field: str
    unit: str
    start: datetime
    end: datetime
    raw: bool
    buckets: list[Bucket]
    changes: list[Change]
    older_left_out: bool
    """There were more changes than asked for: these are the newest, and none is missing between them."""


class SuppressionBody(msgspec.Struct, frozen=True):
    """Why an alarm is not annunciated. `reason`: shelved, out_of_service, maintenance, parent or rule."""

    reason: str
    person: Texts | None
    """Who did it; null where it is no person's act."""
    second_person: Texts | None
    source: str
    """Id of the maintenance window, or of the alarm that is the cause; "" where a person did it."""
    since: datetime
    until: datetime | None
    """When it ends by itself; null: when its cause ends."""
    why: str


class AlarmBody(msgspec.Struct, frozen=True):
    """One alarm. `state` is an ISA-18.2 process state; `version` rises with each change (send it back to act)."""

    id: str
    site: str
    equipment: str
    """The equipment's id, `{site}:{code}`."""
    kind: str
    part: str
    zone: str
    """Where in the building, as a fire panel names it; "" where it does not say."""
    rule: str
    title: Texts
    advice: Texts
    priority: str
    life_safety: bool
    state: str
    active: bool
    raised_at: datetime
    received_at: datetime
    returned_at: datetime | None
    acknowledged_at: datetime | None
    acknowledged_by: Texts | None
    """Name of the person, or of the part of the platform, that did."""
    closed_at: datetime | None
    silenced_at: datetime | None
    """When somebody stopped its sound; null while it may sound."""
    silenced_by: Texts | None
    re_alarm_at: datetime | None
    """When it asks again if it still stands then; null if it does not, or waits anyway."""
    activations: int
    field: str
    """The field that the rule looks at, "" for an event; `value` is what it was when the alarm was raised."""
    value: Value | None
    unit: str
    drill: bool
    chattering: bool
    """It comes and goes so fast that it is damped: it stays active until it has been quiet."""
    ticket: str | None
    """Number of the newest ticket of this alarm, if there was one; it may be over."""
    annunciated: bool
    """Whether it sounds and waits for people; false while one of `suppressions` applies. Its state goes on."""
    suppressions: list[SuppressionBody]
    version: int


class WindowBody(msgspec.Struct, frozen=True):
    """Planned work. It covers an equipment (or a part or zone of it), or with `equipment` "" all of `kind` on the site.

    `phase` is `upcoming`, `on`, `over` or `cancelled`. Alarms of life safety are kept quiet only with `life_safety`.
    """

    id: str
    site: str
    kind: str
    equipment: str
    """`{site}:{code}`, or ""."""
    part: str
    zone: str
    starts_at: datetime
    ends_at: datetime
    phase: str
    reason: str
    person: Texts
    """Who has planned it."""
    second_person: Texts | None
    """Who has agreed that life safety is kept quiet too."""
    life_safety: bool
    version: int


class JournalEntry(msgspec.Struct, frozen=True):
    at: datetime
    event: str
    before: str
    after: str
    actor: Texts
    note: str


class AlarmDetail(msgspec.Struct, frozen=True):
    alarm: AlarmBody
    journal: list[JournalEntry]
    caused: int
    """How many open alarms it explains, which are kept quiet for that; `GET /alarms?under=` lists them."""


class AlarmAct(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`version` is the one on the screen: if the alarm has changed since, the answer is 409."""

    version: int
    note: Note = ""


class Comment(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What to write into the journal."""

    note: Annotated[str, msgspec.Meta(min_length=1, max_length=2000, pattern=r"\S")]


class EventBody(msgspec.Struct, frozen=True):
    """What an equipment said happened. `quality` are flags of doubt, such as `no_time`; none: nothing is doubtful."""

    id: str
    site: str
    kind: Kind
    equipment: str
    measured_at: datetime
    received_at: datetime
    fields: dict[str, Value]
    quality: list[str]


class ActivationBody(msgspec.Struct, frozen=True):
    id: str
    alarm: str
    site: str
    equipment: str
    part: str
    rule: str
    priority: str
    started_at: datetime
    ended_at: datetime | None
    value: Value | None
    disproved: bool
    drill: bool


class TicketBody(msgspec.Struct, frozen=True):
    """`type` is `repair` or `emergency`; `alarm` the id of the alarm that it is about: of a fire, the first one."""

    number: str
    type: str
    site: str
    equipment: str
    title: Texts
    priority: str
    state: str
    opened_at: datetime
    alarm: str | None
    alarms: list[str]
    """Ids of all its alarms, by zone and time: a fire gathers the points of its building."""
    playbook: str
    drill: bool
    version: int


class AttachmentBody(msgspec.Struct, frozen=True):
    """A file that is attached to a ticket; `GET /attachments/{id}` answers with its bytes."""

    id: str
    ticket: str
    name: str
    """As it was given, with an ending of its kind; to be shown, and to save it by."""
    media_type: str
    size: int
    sha256: str
    """Of what is kept, in hex: a photo differs from what was sent by the data that was taken out."""
    position: bool
    """Whether it was asked for that a photo keeps where it was taken."""
    person: Texts
    at: datetime


class TicketAct(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`version` is the one on the screen: if the ticket has changed since, the answer is 409."""

    version: int
    note: str = ""


class TicketDetail(msgspec.Struct, frozen=True):
    """`alarms` are the ticket's, in its order."""

    ticket: TicketBody
    alarms: list[AlarmBody]
    journal: list[JournalEntry]


class QuarantineBody(msgspec.Struct, frozen=True):
    """A message that could not be read: at most the first 8 KiB of it, as text where it is text, else hex."""

    id: int
    received_at: datetime
    topic: str
    reason: str
    detail: str
    payload: str
    encoding: str
    size: int
    site: str
    """"" where nobody can say of which site it is."""


class AuditBody(msgspec.Struct, frozen=True):
    """One change: who, by what way, what was before and after. Rows name people by id; `actor_name` is looked up."""

    id: int
    at: datetime
    site: str
    actor: str
    actor_name: Texts
    role: list[str]
    via: str
    origin: str
    act: str
    thing: str
    before: dict[str, Any] | None
    after: dict[str, Any] | None
    cause: str
    seq: int | None
    """Place in the chain; null in the first second."""
    hash: str | None


class HealthBody(msgspec.Struct, frozen=True):
    """`clock` is "wall", or "data" where the service's now is the newest time in replayed data."""

    status: str
    clock: Literal["wall", "data"]


class ReadyBody(msgspec.Struct, frozen=True):
    """`parts` maps each part to "ready", to "ready; " and what people should know, or to what it is waiting for."""

    ready: bool
    parts: dict[str, str]


class WatchdogBody(msgspec.Struct, frozen=True):
    """`code` is "ok", or how far the watchdog's beats come; docs/production.md explains each."""

    ok: bool
    code: Code


# Live feed. Each message carries `seq`, one more than the one before; a client that misses one reconnects.


class Snapshot(msgspec.Struct, frozen=True, tag_field="type", tag="snapshot"):
    seq: int
    at: datetime
    sites: list[SiteBody]
    profiles: list[ProfileBody]
    equipment: list[EquipmentBody]
    alarms: list[AlarmBody]
    """Open alarms."""
    tickets: list[TicketBody]
    """Open tickets."""
    maintenance: list[WindowBody]
    """Planned work that is on or to come."""


class LiveReading(msgspec.Struct, frozen=True, tag_field="type", tag="reading"):
    """New values of one equipment, at most once a second; only the fields that came since the last one."""

    seq: int
    equipment: str
    online: bool | None
    last_seen: datetime | None
    clock: Doubt
    latest: dict[str, FieldValue]


class LiveEquipment(msgspec.Struct, frozen=True, tag_field="type", tag="equipment"):
    """An equipment that is new or was changed."""

    seq: int
    equipment: EquipmentBody


class LiveAlarm(msgspec.Struct, frozen=True, tag_field="type", tag="alarm"):
    seq: int
    alarm: AlarmBody


class GroupBody(msgspec.Struct, frozen=True):
    """Alarms by id: the first and probable cause, and what is folded under it."""

    cause: str
    members: list[str]


class FloodBody(msgspec.Struct, frozen=True):
    """A flood that goes on at a duty position, and the groups of one of its sites."""

    position: str
    site: str
    since: datetime
    activations: int
    """In the last ten minutes, on this site; the position's are the sum of those sites that somebody may see."""
    groups: list[GroupBody]


class LiveFlood(msgspec.Struct, frozen=True, tag_field="type", tag="flood"):
    """A site's flood whenever it changes, and after each snapshot; null when it is over."""

    seq: int
    site: str
    flood: FloodBody | None


class LiveTicket(msgspec.Struct, frozen=True, tag_field="type", tag="ticket"):
    seq: int
    ticket: TicketBody


class LiveMaintenance(msgspec.Struct, frozen=True, tag_field="type", tag="maintenance"):
    """Planned work that is new, has changed, begins, ends or is called off: the notice to those who watch."""

    seq: int
    window: WindowBody


class LiveSystem(msgspec.Struct, frozen=True, tag_field="type", tag="system"):
    """The state of the platform itself: as `/readyz` says it, whenever it changes."""

    seq: int
    ready: bool
    parts: dict[str, str]


class Beat(msgspec.Struct, frozen=True, tag_field="type", tag="beat"):
    seq: int
    at: datetime
