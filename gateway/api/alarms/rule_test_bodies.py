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
    """`{site}:{code}`; the rule is tested on it even if its patterns do not match it."""
    rule: dict[str, Any] | None = None
    rule_id: str | None = None
    changes: dict[str, Any] = {}
    start: datetime | None = None
    end: datetime | None = None
    shorter_than_s: float = 60.0
    """Shorter alarms are counted separately: most of them need no operator action."""
    points: int = 300
    """Buckets of each chart."""
    propose: bool = True
    """Search for a deadband and a delay with fewer alarms; doubles the duration of the request."""


class TestedActivation(msgspec.Struct, frozen=True):
    """An alarm that would have been raised. `end` is null if it is active at the end of the period."""

    start: datetime
    end: datetime | None
    duration_s: float
    part: str
    value: Value | None
    disproved: bool


class ChartLine(msgspec.Struct, frozen=True):
    """A line across a chart: `above` or `below` raises the alarm, `returns` is the return to normal."""

    means: str
    value: float


class RuleChart(msgspec.Struct, frozen=True):
    """The history of one field: numbers as buckets, text and booleans as changes; and the rule's limits for it."""

    field: str
    unit: str
    buckets: list[Bucket]
    changes: list[Change]
    lines: list[ChartLine]


class ProposalBody(msgspec.Struct, frozen=True):
    """Changes that give fewer alarms and hide none that lasted longer than the delay."""

    changes: dict[str, float | str]
    alarms: int


class RuleTestBody(msgspec.Struct, frozen=True):
    """The alarms that a rule would have raised from `start` to `end`."""

    equipment: str
    rule: dict[str, Any]
    """The rule in the format of a rule file."""
    start: datetime
    end: datetime
    known_from: datetime | None
    """The first reading; nothing is known of the time before. Null if there was none."""
    readings: int
    alarms: int
    shorter: int
    shorter_than_s: float
    in_alarm_s: float
    share_in_alarm: float
    """Share of the time from `known_from` to `end`; 0 to 1."""
    activations: list[TestedActivation]
    """The first thousand."""
    left_out: int
    charts: list[RuleChart]
    proposal: ProposalBody | None
    failures: list[str]
    """Why the rule could not be applied; it would fail in service too."""
    notes: list[str]
    """The limits of this test."""
