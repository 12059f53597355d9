"""The figures of the alarm system as JSON, each with its band, its source and the verdict."""

from datetime import datetime

import msgspec

from gateway.api.http.bodies import Texts


class FigureBody(msgspec.Struct, frozen=True):
    """One figure. `good` and `most` are its band, null if no standard names one; then there is no verdict."""

    name: str
    value: float | None
    """null if there was nothing to measure."""
    unit: str
    good: float | None = None
    most: float | None = None
    verdict: str | None = None
    """good | to_be_reduced | unmanageable"""
    source: str = ""


class FrequentBody(msgspec.Struct, frozen=True):
    """`key` is site/equipment/part/rule; `share` of all activations, 0 to 1."""

    key: str
    activations: int
    share: float


class ProposalBody(msgspec.Struct, frozen=True):
    """How many activations there were, and how many there would have been with this off-delay."""

    off_delay_s: int
    activations: int
    would_have_been: int
    text: Texts


class ChatteringBody(msgspec.Struct, frozen=True):
    key: str
    activations: int
    proposal: ProposalBody | None


class OpcUaMetrics(msgspec.Struct, frozen=True, rename="pascal"):
    """AlarmMetricsType of OPC 10000-9, 9.2, by its own names. Durations in ms; rates per `Rate` minutes."""

    alarm_count: int
    start_time: datetime
    maximum_active_state: float
    maximum_un_ack: float
    current_alarm_rate: float
    maximum_alarm_rate: float
    maximum_re_alarm_count: int
    average_alarm_rate: float
    rate: int


class PositionBody(msgspec.Struct, frozen=True):
    """One duty position: the figures of everything that it is responsible for, on the sites that may be seen."""

    position: str
    figures: list[FigureBody]
    most_frequent: list[FrequentBody]
    chattering: list[ChatteringBody]
    stale: list[str]
    by_priority: dict[str, float]
    opc_ua: OpcUaMetrics


class SetAsideBody(msgspec.Struct, frozen=True):
    """What is not annunciated now, why, and by whom. `rule` is "" if all alarms of the equipment are suppressed."""

    site: str
    equipment: str
    part: str
    rule: str
    reason: str
    by: Texts
    """A person's name; for a window or a cause its id."""
    since: datetime
    until: datetime | None
    why: str


class PerformanceBody(msgspec.Struct, frozen=True):
    """`drills` and `disproved` activations are left out of every figure."""

    start: datetime
    end: datetime
    positions: list[PositionBody]
    set_aside: list[SetAsideBody]
    """The current state, whatever the period."""
    drills: int
    disproved: int
