"""Bounds what is remembered of equipment that nobody has adopted: anybody who may publish can make it up. Pure.

The least recently heard is forgotten first, in heaps, so that each message costs little. What is forgotten is judged
anew when it is heard again: no message is refused for it, and an alarm that stands is remembered on.
"""

from collections.abc import Callable, Iterator
from typing import Final

from collectors.wire.topics import Topic

Who = tuple[str, str]
"""(site, code)."""
IsAdopted = Callable[[str, str], bool]
"""(site, code) -> whether somebody has said that it belongs here."""
MOST_UNKNOWN: Final = 1_000
_SLACK: Final = 8
"""An eighth more than permitted is kept until the next heap goes."""


def all_adopted(_site: str, _code: str) -> bool:
    """Where only equipment of the ledger is judged."""
    return True


class UnknownEquipment:
    """Which equipment nobody has adopted, least recently heard first, and on which channels it was heard."""

    def __init__(self, is_adopted: IsAdopted = all_adopted, most: int = MOST_UNKNOWN) -> None:
        self.forgotten = 0
        """How many equipments were forgotten since the start."""
        self._is_adopted = is_adopted
        self._most = most
        self._channels: dict[Who, list[Topic]] = {}

    def __len__(self) -> int:
        return len(self._channels)

    def meet(self, topic: Topic) -> bool:
        """A channel is watched for the first time. Returns whether nobody has adopted its equipment."""
        who = (topic.site, topic.equipment)
        if self._is_adopted(*who):
            return False
        self._channels.setdefault(who, []).append(topic)
        return True

    def hear(self, topic: Topic) -> None:
        """It was heard again: now it is the most recently heard."""
        who = (topic.site, topic.equipment)
        channels = self._channels.pop(who, None)
        if channels is not None:
            self._channels[who] = channels

    def surplus(self, keeps: Callable[[list[Topic]], bool]) -> Iterator[Topic]:
        """The channels to forget now, if there are many too many; none of what `keeps` says must stay.

        What was adopted meanwhile is not unknown any more, and never comes back here.
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
