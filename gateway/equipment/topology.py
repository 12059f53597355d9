"""Power and network links between equipment of one site. Pure.

Links form no loop, whatever their relations: otherwise two causes could suppress each other's alarms.
"""

from collections import defaultdict
from collections.abc import Iterable
from enum import StrEnum
from typing import NamedTuple


class Relation(StrEnum):
    """What the parent provides for the child."""

    POWER = "power"
    """Power: without the parent's mains the child has none."""
    NETWORK = "network"
    """Network: the child's messages pass through the parent."""


class Link(NamedTuple):
    """One equipment depends on another of the same site; both by their code."""

    site: str
    child: str
    parent: str
    relation: Relation


class Ancestor(NamedTuple):
    """An equipment on which another one depends, by links of one relation."""

    code: str
    relation: Relation


class Topology:
    """All links of all sites, and the dependencies that follow from them."""

    def __init__(self, links: Iterable[Link] = ()) -> None:
        self.links = frozenset(links)
        self._above: defaultdict[tuple[str, str], list[Link]] = defaultdict(list)
        self._below: defaultdict[tuple[str, str], list[Link]] = defaultdict(list)
        for link in sorted(self.links):
            self._above[link.site, link.child].append(link)
            self._below[link.site, link.parent].append(link)
        self._ancestors: dict[tuple[str, str], tuple[Ancestor, ...]] = {}

    def parents(self, site: str, code: str) -> list[Link]:
        """The links to an equipment's parents."""
        return list(self._above.get((site, code), ()))

    def children(self, site: str, code: str) -> list[Link]:
        """The links to an equipment's children."""
        return list(self._below.get((site, code), ()))

    def ancestors(self, site: str, code: str) -> tuple[Ancestor, ...]:
        """All ancestors of an equipment, for each relation separately; the nearest first."""
        who = (site, code)
        if who not in self._above:
            return ()
        if who not in self._ancestors:
            self._ancestors[who] = tuple(self._climb(site, code))
        return self._ancestors[who]

    def below(self, site: str, code: str) -> frozenset[str]:
        """All descendants of an equipment, by links of any relation."""
        reached: set[str] = set()
        level = [code]
        while level:
            level = [
                link.child for at in level for link in self._below.get((site, at), ()) if link.child not in reached
            ]
            reached.update(level)
        return frozenset(reached)

    def _climb(self, site: str, code: str) -> Iterable[Ancestor]:
        for relation in Relation:
            reached, level = {code}, [code]
            while level:
                above = (link.parent for at in level for link in self._above.get((site, at), ())
                         if link.relation is relation)  # fmt: skip
                level = [parent for parent in dict.fromkeys(above) if parent not in reached]
                reached.update(level)
                for parent in level:
                    yield Ancestor(parent, relation)

    def loop_with(self, wanted: Link) -> list[str]:
        """The codes of the loop that a further link would close, from its child back to it; [] if there is none.

        A link to itself is a loop too.
        """
        came_from: dict[str, str] = {}
        level = [wanted.parent]
        while level and wanted.child not in (wanted.parent, *came_from):
            following = []
            for code in level:
                for link in self._above.get((wanted.site, code), ()):
                    if link.parent not in came_from and link.parent != wanted.parent:
                        came_from[link.parent] = code
                        following.append(link.parent)
            level = following
        if wanted.child != wanted.parent and wanted.child not in came_from:
            return []
        way = [wanted.child]
        while way[-1] != wanted.parent:
            way.append(came_from[way[-1]])
        return [wanted.child, *reversed(way)]
