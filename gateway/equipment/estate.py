"""What rules have to know of renamed, retired and re-classified equipment. Pure."""

from collections.abc import Iterable, Mapping
from typing import NamedTuple, Protocol

Who = tuple[str, str]
"""(site, code)."""


class Past(Protocol):
    """What a row of the ledger says of its past."""

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


class Estate(NamedTuple):
    """Which equipment is retired, what has another code today, and which kinds an equipment is no more."""

    retired: frozenset[Who] = frozenset()
    renamed: Mapping[Who, str] = {}
    """(site, former code) -> the code of today."""
    left: frozenset[tuple[str, str, str]] = frozenset()
    """(site, code, former kind)."""


def former_codes_of(items: Iterable[Past]) -> dict[Who, str]:
    """(site, former code) -> the code of today."""
    return {(item.site, former): item.code for item in items for former in item.former_codes}


def estate_of(items: Iterable[Past]) -> Estate:
    """What the rows of a ledger say."""
    known = list(items)
    return Estate(
        frozenset((item.site, item.code) for item in known if item.retired_at is not None),
        former_codes_of(known),
        frozenset((item.site, item.code, kind) for item in known for kind in item.former_kinds),
    )
