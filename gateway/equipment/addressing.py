"""Which equipment a topic means: a former code means the equipment as it is called now, a second kind its own row.

Pure. Every message passes here, so that answers are remembered until the ledger changes.
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
"""Steps from a topic to its equipment: rename, second kind, rename of that; a loop of rows ends here."""


class Listed(Protocol):
    """What a row of the ledger has to say."""

    @property
    def code(self) -> str: ...
    @property
    def kind(self) -> str: ...
    @property
    def shares_code(self) -> str: ...


class Addresses:
    """Finds the equipment of each topic."""

    def __init__(self, most_strangers: int) -> None:
        self._most_strangers = most_strangers
        self._equipment: Mapping[Who, Listed] = {}
        self._former: Mapping[Who, str] = {}
        self._known: dict[Topic, Topic] = {}
        self._strangers: dict[Who, str] = {}
        """Kind under which equipment was heard first that is not listed yet."""
        self.sharing: dict[Who, str] = {}
        """Second kinds that were heard -> the code that they sent."""

    def go_by(self, equipment: Mapping[Who, Listed], former: Mapping[Who, str]) -> None:
        """Use these rows and former codes (-> the code of today) from now on."""
        self._equipment, self._former = equipment, former
        self._known.clear()
        self._strangers = {who: kind for who, kind in self._strangers.items() if who not in equipment}

    def of(self, topic: Topic) -> Topic:
        """The topic as the equipment that it means would send it; the same object where that is what was sent."""
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

    def _kind_of(self, who: Who, heard: str) -> str:
        """The kind of an equipment; of one that is not listed the kind under which it was heard first."""
        item = self._equipment.get(who)
        if item is not None:
            return item.kind
        if who not in self._strangers and len(self._strangers) >= self._most_strangers:
            return heard
        return self._strangers.setdefault(who, heard)

    def _second(self, site: str, code: str, kind: str) -> str:
        second = second_code(code, kind)
        item = self._equipment.get((site, second))
        if item is not None and item.shares_code != code:  # somebody has given this very code to something else
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
