"""Bounds the memory for equipment that is not adopted: any client that may publish can invent it. Pure.

The least recently active is forgotten first, in batches, so that each message costs little. Forgotten equipment is
judged again from its next message: no message is refused, and active alarms are kept.
"""

from collections.abc import Callable, Iterator
from typing import Final

from collectors.wire.topics import Topic

Who = tuple[str, str]
"""(site, code)."""
IsAdopted = Callable[[str, str], bool]
"""(site, code) -> whether it is adopted."""
MOST_UNKNOWN: Final = 1_000
_SLACK: Final = 8
"""An eighth more than permitted is kept until the next batch is forgotten."""


def all_adopted(_site: str, _code: str) -> bool:
    """Only equipment of the ledger is judged."""
    return True


class UnknownEquipment:
    """Equipment that is not adopted, least recently active first, and its channels."""

    def __init__(self, is_adopted: IsAdopted = all_adopted, most: int = MOST_UNKNOWN) -> None:
        self.forgotten = 0
        """How many pieces of equipment were forgotten since the start."""
        self._is_adopted = is_adopted
        self._most = most
        self._channels: dict[Who, list[Topic]] = {}

    def __len__(self) -> int:
        return len(self._channels)

    def meet(self, topic: Topic) -> bool:
        """Register a channel. Returns whether its equipment is not adopted."""
        who = (topic.site, topic.equipment)
        if self._is_adopted(*who):
            return False
        self._channels.setdefault(who, []).append(topic)
        return True

    def receive(self, topic: Topic) -> None:
        """Mark equipment as the most recently active."""
        who = (topic.site, topic.equipment)
        channels = self._channels.pop(who, None)
        if channels is not None:
            self._channels[who] = channels

    def leave(self, topic: Topic) -> None:
        """Remove a channel."""
        who = (topic.site, topic.equipment)
        channels = [one for one in self._channels.get(who, ()) if one != topic]
        if channels:
            self._channels[who] = channels
        else:
            self._channels.pop(who, None)

    def surplus(self, keeps: Callable[[list[Topic]], bool]) -> Iterator[Topic]:
        """The channels to forget now, if the limit is exceeded by an eighth; never those for which `keeps` is true.

        Equipment adopted meanwhile is removed from here for good.
        """
        if len(self._channels) <= self._most + self._most // _SLACK:
            return
        for who in list(self._channels):
            if len(self._channels) <= self._most:
                return
            channels = self._channels[who]
            if self._is_adopted(*who):
                del self._channels[who]
            elif not keeps(channels):
                del self._channels[who]
                self.forgotten += 1
                yield from channels
