"""."""


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
    """What unknown equipment sent last: at most the first 1 KiB of it, as text where it is text, else hex."""

    topic: str
    received_at: datetime
    payload: str
    encoding: str
    size: int


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
    """Of equipment that is not adopted, in lists and for those who may adopt it."""


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
