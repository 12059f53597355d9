"""Synthetic probe: an end-to-end test alarm that takes the path of a real one, for an external watchdog.

    begin -> broker -> collector -> read -> rules -> transaction -> fact -> live feed -> delivered

The rule raises and returns within one transaction. The decision is committed as a fact and never as an alarm: it is in
no list, journal, audit or figure. Every process receives the fact, so each can report on the whole path.
"""

import secrets
from collections.abc import Callable, Iterable
from enum import IntEnum, StrEnum
from typing import Final

import msgspec
from prometheus_client import CollectorRegistry, Gauge

from collectors.wire.fields import Channel, Kind
from collectors.wire.reading import Reading
from collectors.wire.topics import Topic
from gateway.alarms.evaluation.outcomes import Decision
from gateway.alarms.key import Key
from gateway.alarms.rules.rule import PROBE_RULE_ID, Priority, Rule, RuleType
from gateway.clocks import steady_s
from gateway.equipment.ledger import PLATFORM
from gateway.storage.outbox.outbox import Fact
from gateway.storage.records import NewFact

PROBE_TOPIC: Final = "gengfu-watchdog"
"""Outside of `gengfu/`, the devices' topics: only the service's account may write it."""
PROBE_FACT: Final = "watchdog.beat"
_PROBES_WITHIN: Final = 3
"""Probes within the permitted time: one lost probe is no failure yet."""
_REMEMBERED: Final = 16
_HIGHEST: Final = 2**52
"""A probe is a random number, hard to guess for anybody who wants to fake one, and exact in a float64."""
_NS_PER_MS: Final = 1_000_000
_TOPIC: Final = Topic(PLATFORM, Kind.SYSTEM, "watchdog", Channel.TELEMETRY)
PROBE_RULE: Final = Rule(
    id=PROBE_RULE_ID,
    kind=Kind.SYSTEM,
    type=RuleType.LIMIT,
    equipment=(_TOPIC.equipment,),
    field="beat",
    above=0.0,
    title={"en": "Synthetic probe", "zh-CN": "合成探测"},
    advice={"en": "Nothing to do.", "zh-CN": "无需处理。"},
    priority=Priority.LOW,
    source="Built in: it cannot be changed or removed.",
)
_KEY: Final = Key(_TOPIC.site, _TOPIC.equipment, "", PROBE_RULE.id)


class Code(StrEnum):
    """How far the probes get. This is all that an external watchdog receives."""

    OK = "ok"
    STARTING = "starting"
    BROKER_UNREACHABLE = "broker_unreachable"
    NOT_RECEIVED = "not_received"
    """Sent to the broker, and not received by the collector."""
    NOT_DECIDED = "not_decided"
    """Received, and not judged and committed."""
    NOT_TOLD = "not_told"
    """Committed, and not delivered to the live feed."""
    OWNER_SILENT = "owner_silent"
    """This process is a standby, and has received no probe of the leader."""


class Finding(msgspec.Struct, frozen=True):
    """Whether probes get through in time; `age_s` is the age of the last that did, infinite before the first."""

    code: Code
    age_s: float


class _Stage(IntEnum):
    SENT = 0
    RECEIVED = 1
    DECIDED = 2


_STUCK: Final = {
    _Stage.SENT: Code.NOT_RECEIVED,
    _Stage.RECEIVED: Code.NOT_DECIDED,
    _Stage.DECIDED: Code.NOT_TOLD,
}


class _Trip(msgspec.Struct):
    began_at: float
    stage: _Stage = _Stage.SENT


class SyntheticProbe:
    """Tracks the probes of this process, and receives the facts of those of another one."""

    def __init__(self, within_s: float, wall: Callable[[], int], steady: Callable[[], float] = steady_s) -> None:
        """Expect a probe to get through within some seconds.

        Args:
            within_s: for how long one probe is valid.
            wall: now, in epoch ms, by which probes of another process are dated.
            steady: now, in seconds, by which our own are dated.
        """
        self.within_s = within_s
        self._wall = wall
        self._steady = steady
        self._trips: dict[int, _Trip] = {}
        self._is_leader = False
        self._is_cut_off = False
        self._began_at = -float("inf")
        self._ran_at = -float("inf")
        self._dated_at = 0

    # -- the leader's probes ---------------------------------------------------------------------------

    def own(self) -> None:
        """This process becomes the leader: it sends the probes."""
        self._is_leader, self._is_cut_off = True, False
        self._began_at = -float("inf")
        self._trips.clear()

    def stand_by(self) -> None:
        """This process becomes a standby: another may be the leader."""
        self._is_leader = False
        self._trips.clear()

    @property
    def is_due(self) -> bool:
        """Whether the next probe should be sent."""
        return self._steady() - self._began_at >= self.within_s / _PROBES_WITHIN

    def cut_off(self) -> None:
        """A probe is due, and there is no connection to the broker."""
        self._is_cut_off = True

    def begin(self) -> bytes:
        """Begin a probe. Returns the payload to publish."""
        self._is_cut_off = False
        number = secrets.randbelow(_HIGHEST) + 1
        self._began_at = self._steady()
        self._trips[number] = _Trip(self._began_at)
        while len(self._trips) > _REMEMBERED:
            del self._trips[next(iter(self._trips))]
        return b"%d" % number

    def read(self, payload: bytes, received_ns: int) -> list[Reading]:
        """Two readings by which the rule raises and returns; none for a probe that is not ours.

        They are dated one after the other whatever the clock does: the path is tested, not the clock.
        """
        number = int(payload) if len(payload) <= 16 and payload.isdigit() else 0
        trip = self._trips.get(number)
        if trip is None:
            return []
        trip.stage = max(trip.stage, _Stage.RECEIVED)
        self._dated_at = max(received_ns // _NS_PER_MS, self._dated_at + 2)
        return [_reading(float(number), self._dated_at), _reading(-float(number), self._dated_at + 1)]

    def decided(self, readings: Iterable[Reading]) -> None:
        """The decisions of these readings are committed."""
        for reading in readings:
            if reading.topic != _TOPIC:  # another reading of the platform, such as on a babbling device
                continue
            trip = self._trips.get(int(reading.fields["beat"]))
            if trip is not None:
                trip.stage = _Stage.DECIDED

    # -- every process ---------------------------------------------------------------------------------

    def delivered(self, facts: Iterable[Fact]) -> None:
        """The live feed has delivered these facts."""
        for fact in facts:
            if fact.kind == PROBE_FACT:
                self._ran_at = max(self._ran_at, self._began(fact))

    def _began(self, fact: Fact) -> float:
        """Steady time of a probe's beginning; for another process's the time of its commit, by the wall clock."""
        trip = self._trips.pop(int(fact.thing), None)
        if trip is not None:
            return trip.began_at
        return self._steady() - max(0, self._wall() - fact.at) / 1000

    def finding(self) -> Finding:
        """Whether probes get through in time, and if not how far they get."""
        age_s = self._steady() - self._ran_at
        return Finding(Code.OK if age_s <= self.within_s else self._where(), age_s)

    def _where(self) -> Code:
        if not self._is_leader:
            return Code.OWNER_SILENT
        if self._is_cut_off:
            return Code.BROKER_UNREACHABLE
        since = max(self._ran_at, self._steady() - self.within_s)
        # The oldest probe shows where they are stuck: later ones are not further.
        stuck = next((trip for trip in self._trips.values() if trip.began_at > since), None)
        return Code.STARTING if stuck is None else _STUCK[stuck.stage]


def _reading(number: float, at: int) -> Reading:
    return Reading(_TOPIC, {"beat": number}, measured_at=at, received_at=at, key=at * _NS_PER_MS)


def split_decisions(decisions: Iterable[Decision]) -> tuple[list[Decision], list[Decision]]:
    """Decisions on equipment, and those of the probe."""
    real: list[Decision] = []
    probes: list[Decision] = []
    for decision in decisions:
        (probes if decision.key == _KEY else real).append(decision)
    return real, probes


def proofs(probes: Iterable[Decision], now: int) -> list[NewFact]:
    """A fact for each probe that was raised and has returned; `now` in epoch ms."""
    raised: set[float] = set()
    facts: list[NewFact] = []
    for probe in probes:
        value = probe.value
        if not isinstance(value, float):
            continue
        if probe.change.raised:
            raised.add(value)
        elif -value in raised:
            facts.append(NewFact(now, PLATFORM, PROBE_FACT, str(int(-value))))
    return facts


def show_age(probe: SyntheticProbe, registry: CollectorRegistry) -> None:
    """Export the age of the last probe that got through."""
    age = Gauge("gengfu_watchdog_age_seconds", "Time since the last probe that got through was sent", registry=registry)
    age.set_function(lambda: probe.finding().age_s)
