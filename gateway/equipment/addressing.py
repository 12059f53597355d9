"""Resolves topics to equipment: a former code to the equipment's current code, a second kind to a row of its own.

Pure. Every message passes here, so results are cached until the ledger changes.
"""

import hashlib
from collections.abc import Mapping
from typing import Final, Protocol

from collectors.wire.fields import Kind
from collectors.wire.topics import Topic

Who = tuple[str, str]
"""(site, code)."""
_LONGEST_CODE: Final = 64
_MOST_KNOWN: Final = 50_000
_DEEPEST: Final = 4
"""Maximum steps from a topic to its equipment: rename, second kind, rename of that. Ends loops of rows."""


class Listed(Protocol):
    """The relevant columns of a ledger row."""

    @property
    def code(self) -> str: ...
    @property
    def kind(self) -> str: ...
    @property
    def shares_code(self) -> str: ...


class Addresses:
    """Resolves topics."""

    def __init__(self, most_strangers: int) -> None:
        self._most_strangers = most_strangers
        self._equipment: Mapping[Who, Listed] = {}
        self._former: Mapping[Who, str] = {}
        self._known: dict[Topic, Topic] = {}
        self._strangers: dict[Who, str] = {}
        """First reported kind of equipment that is not listed yet."""
        self.sharing: dict[Who, str] = {}
        """Second kinds that reported -> the code that they sent."""

    def go_by(self, equipment: Mapping[Who, Listed], former: Mapping[Who, str]) -> None:
        """Use these rows and former codes (-> current code) from now on."""
        self._equipment, self._former = equipment, former
        self._known.clear()
        self._strangers = {who: kind for who, kind in self._strangers.items() if who not in equipment}

    def of(self, topic: Topic) -> Topic:
        """The topic with the current code of its equipment; the same object if it has that code already."""
        found = self._known.get(topic)
        if found is None:
            if len(self._known) >= _MOST_KNOWN:
                self._known.clear()
            found = self._known[topic] = topic if topic.kind is Kind.SYSTEM else self._find(topic)
        return found

    def _find(self, topic: Topic) -> Topic:
        code = topic.equipment
        for _ in range(_DEEPEST):
            who = topic.site, code
            code = self._former.get(who, code)
            kind = self._kind_of((topic.site, code), topic.kind.value)
            if kind == topic.kind.value:
                break
            code = self._second(topic.site, code, topic.kind.value)
        return topic if code == topic.equipment else Topic(topic.site, topic.kind, code, topic.channel)

    def _kind_of(self, who: Who, reported: str) -> str:
        """The kind of an equipment; if it is not listed, the kind that it reported first."""
        item = self._equipment.get(who)
        if item is not None:
            return item.kind
        if who not in self._strangers and len(self._strangers) >= self._most_strangers:
            return reported
        return self._strangers.setdefault(who, reported)

    def _second(self, site: str, code: str, kind: str) -> str:
        second = second_code(code, kind)
        item = self._equipment.get((site, second))
        if item is not None and item.shares_code != code:  # this code belongs to other equipment
            second = second_code(code, kind, distinct=True)
        if len(self.sharing) < self._most_strangers:
            self.sharing[site, second] = code
        return second


def second_code(code: str, kind: str, *, distinct: bool = False) -> str:
    """The code under which a second kind is listed: `X.elevator` for an elevator that sends the code of a pump X."""
    plain = f"{code}.{kind}"
    if len(plain) <= _LONGEST_CODE and not distinct:
        return plain
    mark = hashlib.blake2b(plain.encode(), digest_size=4).hexdigest()
    return f"{code[: _LONGEST_CODE - len(kind) - len(mark) - 2]}.{kind}-{mark}"
