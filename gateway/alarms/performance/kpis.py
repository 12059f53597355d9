"""Performance of the alarm system: figures of ISA-18.2 and EEMUA 191 with their bands. Pure.

Activations are counted by duty position, as limits are per person. Averages hide floods, so ten-minute windows are
counted too. Drills and disproved activations count in no figure; shelved or suppressed ones count like any other:
suppressing an alarm must not improve its figures.
"""

from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from enum import StrEnum
from statistics import quantiles
from typing import Final, NamedTuple

import msgspec

from gateway.alarms.lifecycle.chatter import CHATTER, OffDelay, proposed_off_delay
from gateway.alarms.performance.flood import FLOOD_BEGINS, WINDOW_MS, floods

MINUTE_MS: Final = 60_000
HOUR_MS: Final = 60 * MINUTE_MS
DAY_MS: Final = 24 * HOUR_MS
FLEETING_MS: Final = 10_000
"""An activation that ends sooner leaves nobody time to act."""
STALE_MS: Final = DAY_MS
"""Active for longer without a break."""
MOST_FREQUENT: Final = 10


class Activation(msgspec.Struct, frozen=True, gc=False):
    """One activation. Times are epoch ms; `key` names the alarm, `position` the duty position that responds.

    Half a million may be in memory, so the garbage collector does not track them.
    """

    key: str
    position: str
    priority: str
    started_at: int
    ended_at: int | None = None
    acknowledged_at: int | None = None
    received_at: int | None = None
    """When it was received; None: at once. It cannot be acknowledged sooner."""

    @property
    def known_at(self) -> int:
        """From when it could be acknowledged."""
        return self.started_at if self.received_at is None else max(self.started_at, self.received_at)


class Frequent(msgspec.Struct, frozen=True):
    """One of the most frequent alarms, and its share of all activations (0 to 1)."""

    key: str
    activations: int
    share: float


class Chattering(msgspec.Struct, frozen=True):
    """A key with three activations within a minute, and the off-delay that would have prevented it."""

    key: str
    activations: int
    proposal: OffDelay | None
    """None where none of at most ten minutes would have helped."""


class AlarmMetrics(msgspec.Struct, frozen=True, kw_only=True):
    """AlarmMetricsType of OPC 10000-9, 9.2, for one position and period. Durations are ms, rates per 10 min."""

    alarm_count: int
    maximum_active_state: int
    maximum_unack: int
    current_alarm_rate: int
    """In the last ten minutes of the period."""
    maximum_alarm_rate: int
    average_alarm_rate: float


class Figures(msgspec.Struct, frozen=True, kw_only=True):
    """Of one duty position in one period. Shares are 0 to 1, times seconds; None if there is nothing to measure."""

    position: str
    activations: int
    average_per_window: float
    most_per_window: int
    """In the worst ten minutes, wherever they begin."""
    windows_over_limit: float
    """Share of the clock's ten-minute windows with more than ten activations."""
    average_per_hour: float
    most_per_hour: int
    average_per_day: float
    most_per_day: int
    time_in_flood: float
    most_frequent: list[Frequent]
    most_frequent_share: float
    chattering: list[Chattering]
    fleeting: int
    """Over within ten seconds."""
    stale: list[str]
    """Active for more than a day at the period's end."""
    by_priority: dict[str, float]
    answered_p50_s: float | None
    """From the first activation that an acknowledgement covers to the acknowledgement."""
    answered_p95_s: float | None
    metrics: AlarmMetrics


class Verdict(StrEnum):
    """The rating of a figure by its band."""

    GOOD = "good"
    TO_BE_REDUCED = "to_be_reduced"
    UNMANAGEABLE = "unmanageable"


class Band(NamedTuple):
    """Good up to `good`, manageable up to `most`; with the source of both numbers."""

    good: float
    most: float
    source: str


BANDS: Final[Mapping[str, Band]] = {
    "average_per_window": Band(1, 2, "EEMUA 191: one in ten minutes, two at most"),
    "most_per_window": Band(10, 10, "ISA-18.2: ten in ten minutes are no flood yet"),
    "windows_over_limit": Band(0.01, 0.05, "ISA-18.2: less than one percent of the windows"),
    "average_per_hour": Band(6, 12, "ISA-18.2: about six an hour, twelve at most"),
    "most_per_hour": Band(15, 30, "EEMUA 191: 15 in the worst hour; ISA-18.2: hardly an hour with more than 30"),
    "average_per_day": Band(150, 300, "ISA-18.2 (2009): about 150 a day, 300 at most"),
    "most_per_day": Band(150, 300, "ISA-18.2 (2009): about 150 a day, 300 at most"),
    "time_in_flood": Band(0.01, 0.05, "ISA-18.2: less than one percent of the time"),
    "most_frequent_share": Band(0.05, 0.20, "ISA-18.2: the ten most frequent make up five percent at most"),
    "chattering": Band(0, 0, "ISA-18.2: none, and a plan for each"),
    "stale": Band(5, 10, "ISA-18.2: fewer than five on any day"),
}
"""Figure -> its band. For shares, `most` is not from the standard: it is our own multiple of `good`."""
PRIORITY_BANDS: Final[Mapping[str, Band]] = {
    "critical": Band(0.01, 0.02, "EEMUA 191: the highest of four priorities in less than one percent"),
    "high": Band(0.05, 0.10, "EEMUA 191: about five percent high"),
    "medium": Band(0.15, 0.30, "EEMUA 191: about fifteen percent medium, all others low"),
}
"""Priority -> the band of its share. Low has none: a larger share is better."""


def verdict(figure: str, value: float) -> Verdict:
    """Rate a figure's value; raises KeyError for a figure without a band."""
    return verdict_in(BANDS[figure], value)


def verdict_in(band: Band, value: float) -> Verdict:
    """Rate a value by a band."""
    if value <= band.good:
        return Verdict.GOOD
    return Verdict.TO_BE_REDUCED if value <= band.most else Verdict.UNMANAGEABLE


def measure(activations: Iterable[Activation], start: int, end: int) -> list[Figures]:
    """Figures of each duty position in [start, end), positions by name.

    Args:
        activations: also those that began before `start` and were active in the period.
        start: epoch ms.
        end: epoch ms, after `start`.
    """
    by_position: dict[str, list[Activation]] = {}
    for activation in activations:
        by_position.setdefault(activation.position, []).append(activation)
    return [_figures(name, by_position[name], start, end) for name in sorted(by_position)]


def _figures(position: str, known: Sequence[Activation], start: int, end: int) -> Figures:
    inside = sorted((one for one in known if start <= one.started_at < end), key=lambda one: one.started_at)
    times = [one.started_at for one in inside]
    count, period = len(inside), end - start
    frequent = Counter(one.key for one in inside).most_common(MOST_FREQUENT)
    answers = _answers(inside)
    return Figures(
        position=position,
        activations=count,
        average_per_window=count * WINDOW_MS / period,
        most_per_window=most_within(times, WINDOW_MS),
        windows_over_limit=_windows_over_limit(times, start, end),
        average_per_hour=count * HOUR_MS / period,
        most_per_hour=most_within(times, HOUR_MS),
        average_per_day=count * DAY_MS / period,
        most_per_day=most_within(times, DAY_MS),
        time_in_flood=sum(last - first for first, last in floods(times, end)) / period,
        most_frequent=[Frequent(key, number, number / count) for key, number in frequent],
        most_frequent_share=sum(number for _, number in frequent) / count if count else 0.0,
        chattering=_with_proposals(inside),
        fleeting=sum(one.ended_at is not None and one.ended_at - one.started_at < FLEETING_MS for one in inside),
        stale=sorted({one.key for one in known if is_stale(one, end)}),
        by_priority={name: number / count for name, number in Counter(one.priority for one in inside).items()},
        answered_p50_s=_percentile(answers, 50),
        answered_p95_s=_percentile(answers, 95),
        metrics=AlarmMetrics(
            alarm_count=count,
            maximum_active_state=max((min(one.ended_at or end, end) - one.started_at for one in known), default=0),
            maximum_unack=max((min(one.acknowledged_at or end, end) - one.known_at for one in known), default=0),
            current_alarm_rate=count - bisect_right(times, end - WINDOW_MS),
            maximum_alarm_rate=most_within(times, WINDOW_MS),
            average_alarm_rate=count * WINDOW_MS / period,
        ),
    )


def _answers(inside: Iterable[Activation]) -> list[int]:
    """Response times in ms, sorted: from the first activation that an acknowledgement covers."""
    first: dict[tuple[str, int], int] = {}
    for one in inside:
        if one.acknowledged_at is not None:
            first.setdefault((one.key, one.acknowledged_at), max(0, one.acknowledged_at - one.known_at))
    return sorted(first.values())


def _with_proposals(inside: Sequence[Activation]) -> list[Chattering]:
    stretches: dict[str, list[tuple[int, int | None]]] = {key: [] for key in chattering(inside)}
    for one in inside:
        if one.key in stretches:
            stretches[one.key].append((one.started_at, one.ended_at))
    return [Chattering(key, len(active), proposed_off_delay(active)) for key, active in stretches.items()]


def most_within(times: Sequence[int], length: int) -> int:
    """The most of the sorted `times` that fall within any `length`."""
    return max((index + 1 - bisect_right(times, at - length) for index, at in enumerate(times)), default=0)


def _windows_over_limit(times: Sequence[int], start: int, end: int) -> float:
    windows = range(start, end, WINDOW_MS)
    over = sum(bisect_left(times, at + WINDOW_MS) - bisect_left(times, at) > FLOOD_BEGINS for at in windows)
    return over / len(windows)


def chattering(activations: Iterable[Activation]) -> list[str]:
    """Keys with three or more activations within a minute."""
    times: dict[str, list[int]] = {}
    for one in activations:
        times.setdefault(one.key, []).append(one.started_at)
    return sorted(key for key, moments in times.items() if most_within(sorted(moments), MINUTE_MS) >= CHATTER)


def is_stale(activation: Activation, now: int) -> bool:
    """Whether it has been active for more than a day and still is."""
    over = activation.ended_at is not None and activation.ended_at <= now
    return not over and now - activation.started_at > STALE_MS


def _percentile(sorted_ms: Sequence[int], percent: int) -> float | None:
    if not sorted_ms:
        return None
    if len(sorted_ms) == 1:
        return sorted_ms[0] / 1000
    return quantiles(sorted_ms, n=100, method="inclusive")[percent - 1] / 1000
