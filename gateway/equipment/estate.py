"""Renamed, retired and re-classified equipment, for the rules. Pure."""

from collections.abc import Iterable, Mapping
from typing import NamedTuple, Protocol

Who = tuple[str, str]
"""(site, code)."""


class Past(Protocol):
    """The columns of a ledger row about its past."""

    @property
    def site(self) -> str: ...
    @property
    def code(self) -> str: ...
    @property
    def retired_at(self) -> int | None: ...
    @property
    def former_codes(self) -> list[str]: ...
    @property
    def former_kinds(self) -> list[str]: ...
    @property
    def replaces(self) -> str: ...


class Estate(NamedTuple):
    """Retired equipment, former codes, and former kinds."""

    retired: frozenset[Who] = frozenset()
    renamed: Mapping[Who, str] = {}
    """(site, former code) -> current code."""
    left: frozenset[tuple[str, str, str]] = frozenset()
    """(site, code, former kind)."""
    earlier_codes: Mapping[Who, frozenset[str]] = {}
    """(site, code) -> its former codes, and those of the devices that it replaces."""


def former_codes_of(items: Iterable[Past]) -> dict[Who, str]:
    """(site, former code) -> current code."""
    return {(item.site, former): item.code for item in items for former in item.former_codes}


def estate_of(items: Iterable[Past]) -> Estate:
    """The estate of the rows of a ledger."""
    known = list(items)
    return Estate(
        frozenset((item.site, item.code) for item in known if item.retired_at is not None),
        former_codes_of(known),
        frozenset((item.site, item.code, kind) for item in known for kind in item.former_kinds),
        _earlier_codes(known),
    )


def _earlier_codes(items: Iterable[Past]) -> dict[Who, frozenset[str]]:
    by_code = {(item.site, item.code): item for item in items}
    found: dict[Who, frozenset[str]] = {}
    for who, item in by_code.items():
        codes: set[str] = set()
        one: Past | None = item
        while one is not None:
            codes.update(one.former_codes)
            one = by_code.get((one.site, one.replaces)) if one.replaces and one.replaces not in codes else None
            if one is not None:
                codes.add(one.code)
        if codes - {item.code}:
            found[who] = frozenset(codes - {item.code})
    return found
