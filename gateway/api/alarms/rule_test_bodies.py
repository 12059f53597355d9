"""The JSON of a rule's test on the history."""

from datetime import datetime
from typing import Any

import msgspec

from collectors.wire.reading import Value
from gateway.api.equipment.bodies import Bucket, Change


class RuleTest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Either `rule`, whole as in a rule file, or `rule_id` of a known one with `changes` to some of its keys.

    `start` and `end` are RFC 3339 with a zone; without them the last seven days.
    """

    equipment: str
    """`{site}:{code}`; the rule is tried on it whatever its own patterns say."""
    rule: dict[str, Any] | None = None
    rule_id: str | None = None
    changes: dict[str, Any] = {}
    start: datetime | None = None
    end: datetime | None = None
    shorter_than_s: float = 60.0
    """Alarms that end sooner are counted: most of them ask nobody to do anything."""
    points: int = 300
    """Buckets of each chart."""
    propose: bool = True
    """Look for a deadband and a delay with fewer alarms; takes as long again."""


class TestedActivation(msgspec.Struct, frozen=True):
    """An alarm that would have been. `end` is null where it stands at the end of the time."""

    start: datetime
    end: datetime | None
    duration_s: float
    part: str
    value: Value | None
    disproved: bool


class ChartLine(msgspec.Struct, frozen=True):
    """What is drawn across a chart: `above` or `below` begins the alarm, `returns` ends it."""

    means: str
    value: float


class RuleChart(msgspec.Struct, frozen=True):
    """What one field was: numbers as buckets, text and booleans as changes; and the limits that the rule has for it."""

    field: str
    unit: str
    buckets: list[Bucket]
    changes: list[Change]
    lines: list[ChartLine]


class ProposalBody(msgspec.Struct, frozen=True):
    """Changes with which there would have been fewer alarms, and none hidden that lasted longer than the delay."""

    changes: dict[str, float | str]
    alarms: int


class RuleTestBody(msgspec.Struct, frozen=True):
    """What a rule would have done from `start` to `end`."""

    equipment: str
    rule: dict[str, Any]
    """As it would stand in a rule file."""
    start: datetime
    end: datetime
    known_from: datetime | None
    """The first reading; nothing is known of before. Null where there was none at all."""
    readings: int
    alarms: int
    shorter: int
    shorter_than_s: float
    in_alarm_s: float
    share_in_alarm: float
    """Of the time from `known_from` to `end`; 0 to 1."""
    activations: list[TestedActivation]
    """The first thousand."""
    left_out: int
    charts: list[RuleChart]
    proposal: ProposalBody | None
    failures: list[str]
    """Where the rule could not be applied, in service neither."""
    notes: list[str]
    """What this test cannot know."""
