"""."""


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
