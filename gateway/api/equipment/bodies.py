"""The JSON of sites, equipment, events and history."""

from datetime import datetime

import msgspec

from collectors.device_clocks import Doubt
from collectors.wire.fields import FieldType, Kind
from collectors.wire.reading import Value
from gateway.api.http.bodies import Texts


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
    """Label, unit and format of a field of a kind, for the page."""

    name: str
    label: Texts
    type: FieldType
    unit: str = ""
    plausible: list[float] | None = None
    """Lowest and highest plausible value, inclusive; null if every value is plausible."""
    sentinels: list[float] = []
    """Values between them that mean "no value"."""


class ProfileBody(msgspec.Struct, frozen=True):
    """A kind of equipment and its fields, in the order of a tile."""

    kind: Kind
    name: Texts
    fields: list[FieldBody]


def payload_text(payload: bytes) -> tuple[str, str]:
    """A payload for JSON: as text if it is text (the last character may be cut), else in hex; and which of both."""
    try:
        return payload.decode("utf-8"), "utf-8"
    except UnicodeDecodeError as error:
        cut = error.reason == "unexpected end of data"
        return (payload[: error.start].decode("utf-8"), "utf-8") if cut else (payload.hex(), "hex")


class LastMessageBody(msgspec.Struct, frozen=True):
    """The last message of equipment that is not in use: at most the first 1 KiB, as text if it is text, else hex."""

    topic: str
    received_at: datetime
    payload: str
    encoding: str
    size: int
    count: int = 1
    """Messages since the first one, or since it was retired."""


class OutageBody(msgspec.Struct, frozen=True):
    """Equipment, or a part of it ("" is the whole), that is out of service."""

    part: str
    since: datetime
    planned_end: datetime
    """It stays out of service until it is returned; after this time a separate alarm is raised."""
    person: Texts
    second_person: Texts | None
    """Who agreed; null: life-safety alarms are annunciated all the same."""
    reason: str


class EquipmentBody(msgspec.Struct, frozen=True):
    """`id` is `{site}:{code}`. `online` is null until the equipment reports it. `adopted` is false while unknown."""

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
    """When the last new sample was received; null if only retained messages are known."""
    clock: Doubt = Doubt.NONE
    """Fault of its clock: "", ahead, behind or never_set."""
    latest: dict[str, FieldValue] = {}
    out_of_service: list[OutageBody] = []
    last_message: LastMessageBody | None = None
    """Only of equipment that is not in use and still sends, in lists, for people who may adopt it."""
    retired_at: datetime | None = None
    replaced_by: str | None = None
    """Id of its replacement."""
    replaces: str | None = None
    former_codes: list[str] = []
    former_kinds: list[Kind] = []
    shares_code_with: str | None = None
    """Id of the equipment of another kind with the same code: correct the kind, or rename one of them."""


class Adopt(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`version` is the version on the screen: if the equipment has changed since, the answer is 409.

    Omitted fields stay as they are.
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
    """Numbers: minimum, mean and maximum of the bucket that starts at `at`, and its number of samples."""

    at: datetime
    min: float
    mean: float
    max: float
    count: int


class Change(msgspec.Struct, frozen=True):
    """Text and booleans: the value from `at` on."""

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
    """There were more changes than requested: these are the newest, without gaps."""


class EventBody(msgspec.Struct, frozen=True):
    """An event that equipment reported. `quality` lists flags of doubt, such as `no_time`; empty: none."""

    id: str
    site: str
    kind: Kind
    equipment: str
    measured_at: datetime
    received_at: datetime
    fields: dict[str, Value]
    quality: list[str]
