"""Shifts remembered times when the service's clock is set: the step is not elapsed time. Pure.

Times of receipt are always by the service's clock. Times of measurement are by it where a device sends none, or none
that is plausible; otherwise they are by the device's clock, which is not set with ours. When our clock is set back, all
remembered times would lie in the future and new samples would look too late to count: then those are shifted too.
"""

from collections.abc import Iterable
from typing import Final

import msgspec

from collectors.wire.reading import Reading
from gateway.alarms.evaluation.channel_state import ChannelState, RuleInstance
from gateway.alarms.rules.rule import Memory

_DISTINGUISHABLE_MS: Final = 120_000
"""A message may have waited for up to half of this: a smaller step forward cannot be distinguished from waiting."""


def moved_memory(memory: Memory, by: int, *, measured: bool) -> Memory:
    """A rule's memory after a step of `by` ms; its times of measurement are shifted if `measured`."""
    times = ("pending_received", "seen_at", *(("changed_at", "known_at", "pending_since") if measured else ()))
    known = {name: getattr(memory, name) for name in times}
    moved = {name: time + by for name, time in known.items() if time}
    points = tuple((at + by, value) for at, value in memory.points) if measured else memory.points
    return msgspec.structs.replace(memory, **moved, points=points)


def not_after(memory: Memory, now: int) -> Memory:
    """A memory loaded at a start, with no time later than `now` (epoch ms; 0: not known yet)."""
    if not now:
        return memory
    moved = {
        name: now
        for name in ("changed_at", "known_at", "pending_since", "pending_received", "seen_at")
        if (getattr(memory, name) or 0) > now
    }
    points = memory.points
    if points and points[-1][0] > now:
        points = tuple((at - (points[-1][0] - now), value) for at, value in points)
    return msgspec.structs.replace(memory, **moved, points=points) if moved or points is not memory.points else memory


def move_channel_state(channel_state: ChannelState, by: int) -> None:
    """Shift the times of a channel and its rule instances by a step of `by` ms."""
    measured = by < 0 or channel_state.newest_at == channel_state.received_at
    if channel_state.received_at:
        channel_state.received_at += by
    if channel_state.behind_since:
        channel_state.behind_since += by
    if measured and channel_state.newest_at:
        channel_state.newest_at += by
        channel_state.complete_at += by if channel_state.complete_at else 0
        channel_state.times = {name: at + by for name, at in channel_state.times.items()}
    for instance in channel_state.instances.values():
        _move_instance(instance, by, measured=measured)


def _move_instance(instance: RuleInstance, by: int, *, measured: bool) -> None:
    # No data and absence are dated by the service's clock, whatever clock the equipment has.
    of_ours = instance.silence is not None or instance.seen_at is not None
    instance.memory = moved_memory(instance.memory, by, measured=measured or of_ours)
    if measured:
        instance.points = [(at + by, value) for at, value in instance.points]
    if instance.silence is not None:
        instance.silence.clock_was_set(by)
    instance.counted_until = 0
    if instance.settle_at:
        instance.settle_at += by
    if instance.seen_at is not None:
        instance.seen_at += by


def by_new_clock(readings: Iterable[Reading], now: int, by: int) -> None:
    """Correct the time of receipt of readings that were received before a step of the clock and are judged after it.

    Args:
        readings: judged soon after a step; changed in place.
        now: epoch ms, by the clock as it is set.
        by: the step in ms, below 0 where the clock was set back.
    """
    for reading in readings:
        waited = now - reading.received_at
        if waited < 0 if by < 0 else by > _DISTINGUISHABLE_MS and waited > by // 2:
            reading.received_at = min(reading.received_at + by, now)
        elif waited < 0:  # set forward and back between two ticks: it cannot be received later than now
            reading.received_at = now
