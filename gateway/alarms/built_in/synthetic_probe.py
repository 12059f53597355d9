"""The watchdog's beat: a made-up alarm that goes the whole way of a real one, for somebody outside to see.

    begin -> broker -> collector -> read -> rules -> transaction -> fact -> live feed -> told

The rule raises and returns within one transaction. What it decides is committed as a fact and never as an alarm: no
list, journal, audit or figure knows of it. Every process hears the fact, so each can answer for the way as a whole.
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
from gateway.alarms.rules.rule import BEAT, Priority, Rule, RuleType
from gateway.clocks import steady_s
from gateway.equipment.ledger import PLATFORM
from gateway.storage.outbox.outbox import Fact
from gateway.storage.records import NewFact

BEAT_TOPIC: Final = "gengfu-watchdog"
"""Outside of `gengfu/`, where devices speak: only the service's account may write it."""
BEAT_FACT: Final = "watchdog.beat"
_OF_EACH: Final = 3
"""Beats within the time allowed: one that is lost is no failure yet."""
_REMEMBERED: Final = 16
_HIGHEST: Final = 2**52
"""A number of the beat has to be guessed by whoever wants to fake one, and stands in a float64."""
_NS_PER_MS: Final = 1_000_000
_TOPIC: Final = Topic(PLATFORM, Kind.SYSTEM, "watchdog", Channel.TELEMETRY)
BEAT_RULE: Final = Rule(
    id=BEAT,
    kind=Kind.SYSTEM,
    type=RuleType.LIMIT,
    equipment=(_TOPIC.equipment,),
    field="beat",
    above=0.0,
    title={"en": "Beat of the watchdog", "zh-CN": "看门狗心跳"},
    advice={"en": "Nothing to do.", "zh-CN": "无需处理。"},
    priority=Priority.LOW,
    source="Not from a file: nobody may change it or take it away.",
)
_KEY: Final = Key(_TOPIC.site, _TOPIC.equipment, "", BEAT_RULE.id)


class Code(StrEnum):
    """How far the beats come. What an outside watchdog is told: no more than this."""

    OK = "ok"
    STARTING = "starting"
    BROKER_UNREACHABLE = "broker_unreachable"
    NOT_RECEIVED = "not_received"
    """Sent to the broker, and not come back to the collector."""
    NOT_DECIDED = "not_decided"
    """Come back, and not judged and committed."""
    NOT_TOLD = "not_told"
    """Committed, and not come to the live feed."""
    OWNER_SILENT = "owner_silent"
    """This process stands by, and has heard of no beat of the one that owns the alarms."""


class Finding(msgspec.Struct, frozen=True):
    """Whether the way was gone in time, and since when not: `age_s` is infinite before the first time."""

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


class Watchdog:
    """Follows the beats of this process, and hears of those of another one."""

    def __init__(self, within_s: float, wall: Callable[[], int], steady: Callable[[], float] = steady_s) -> None:
        """RuleInstance that the way is gone within some seconds.

        Args:
            within_s: for how long one beat is good.
            wall: now, in epoch ms, by which beats of another process are dated.
            steady: now, in seconds, by which our own are.
        """
        self.within_s = within_s
        self._wall = wall
        self._steady = steady
        self._trips: dict[int, _Trip] = {}
        self._is_owner = False
        self._is_cut_off = False
        self._began_at = -float("inf")
        self._ran_at = -float("inf")
        self._dated_at = 0

    # -- the owner's beats -----------------------------------------------------------------------------

    def own(self) -> None:
        """This process owns the alarms from now on: it sends the beats."""
        self._is_owner, self._is_cut_off = True, False
        self._began_at = -float("inf")
        self._trips.clear()

    def stand_by(self) -> None:
        """Another process may own the alarms from now on."""
        self._is_owner = False
        self._trips.clear()

    @property
    def is_due(self) -> bool:
        """Whether the next beat should begin."""
        return self._steady() - self._began_at >= self.within_s / _OF_EACH

    def cut_off(self) -> None:
        """A beat is due, and there is no connection to the broker."""
        self._is_cut_off = True

    def begin(self) -> bytes:
        """Begin a beat; what to publish."""
        self._is_cut_off = False
        number = secrets.randbelow(_HIGHEST) + 1
        self._began_at = self._steady()
        self._trips[number] = _Trip(self._began_at)
        while len(self._trips) > _REMEMBERED:
            del self._trips[next(iter(self._trips))]
        return b"%d" % number

    def read(self, payload: bytes, received_ns: int) -> list[Reading]:
        """Two readings by which the rule raises and returns; none for a beat that is not ours.

        They are dated one after the other whatever the clock does: here the way is judged, not the clock.
        """
        number = int(payload) if len(payload) <= 16 and payload.isdigit() else 0
        trip = self._trips.get(number)
        if trip is None:
            return []
        trip.stage = max(trip.stage, _Stage.RECEIVED)
        self._dated_at = max(received_ns // _NS_PER_MS, self._dated_at + 2)
        return [_reading(float(number), self._dated_at), _reading(-float(number), self._dated_at + 1)]

    def decided(self, readings: Iterable[Reading]) -> None:
        """What follows from these is committed."""
        for reading in readings:
            if reading.topic != _TOPIC:  # another finding of the platform, such as a device that babbles
                continue
            trip = self._trips.get(int(reading.fields["beat"]))
            if trip is not None:
                trip.stage = _Stage.DECIDED

    # -- every process ---------------------------------------------------------------------------------

    def told(self, facts: Iterable[Fact]) -> None:
        """The live feed has handed these over."""
        for fact in facts:
            if fact.kind == BEAT_FACT:
                self._ran_at = max(self._ran_at, self._began(fact))

    def _began(self, fact: Fact) -> float:
        """Steady time of a beat's beginning; for another process's the time of its commit, by the wall."""
        trip = self._trips.pop(int(fact.thing), None)
        if trip is not None:
            return trip.began_at
        return self._steady() - max(0, self._wall() - fact.at) / 1000

    def finding(self) -> Finding:
        """Whether the way was gone in time, and if not how far beats come."""
        age_s = self._steady() - self._ran_at
        return Finding(Code.OK if age_s <= self.within_s else self._where(), age_s)

    def _where(self) -> Code:
        if not self._is_owner:
            return Code.OWNER_SILENT
        if self._is_cut_off:
            return Code.BROKER_UNREACHABLE
        since = max(self._ran_at, self._steady() - self.within_s)
        # The oldest shows where it is stuck: those behind it have not even come there.
        stuck = next((trip for trip in self._trips.values() if trip.began_at > since), None)
        return Code.STARTING if stuck is None else _STUCK[stuck.stage]


def _reading(beat: float, at: int) -> Reading:
    return Reading(_TOPIC, {"beat": beat}, measured_at=at, received_at=at, key=at * _NS_PER_MS)


def told_apart(decisions: Iterable[Decision]) -> tuple[list[Decision], list[Decision]]:
    """Decisions about the world, and those of the beat."""
    real: list[Decision] = []
    beats: list[Decision] = []
    for decision in decisions:
        (beats if decision.key == _KEY else real).append(decision)
    return real, beats


def proofs(beats: Iterable[Decision], now: int) -> list[NewFact]:
    """A fact for each beat that was raised and has returned; `now` in epoch ms."""
    raised: set[float] = set()
    facts: list[NewFact] = []
    for beat in beats:
        value = beat.value
        if not isinstance(value, float):
            continue
        if beat.change.raised:
            raised.add(value)
        elif -value in raised:
            facts.append(NewFact(now, PLATFORM, BEAT_FACT, str(int(-value))))
    return facts


def show_age(watchdog: Watchdog, registry: CollectorRegistry) -> None:
    """Let `/metrics` tell since when no beat has come through."""
    age = Gauge("gengfu_watchdog_age_seconds", "Time since a beat that came through began its way", registry=registry)
    age.set_function(lambda: watchdog.finding().age_s)
