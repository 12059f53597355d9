"""Conditions on several fields: and, or, not over conditions on single fields. Pure.

A field that was never reported fulfils nothing: under `all` it prevents the alarm, under `not` it does not. The
deadband of a number always makes it harder to leave the alarm than to enter it; under `not` it is on the other side.
"""

import math
from collections.abc import Iterator, Mapping
from typing import Final, TypeAlias

import msgspec

from collectors.wire.reading import Value
from gateway.alarms.rules.deadband import lower_edge, upper_edge

Band: TypeAlias = tuple[float, float]
"""Lowest and highest value, ends included, at which nothing would change; empty if the first is higher."""
EVERYTHING: Final[Band] = (-math.inf, math.inf)
NOTHING: Final[Band] = (math.inf, -math.inf)


class Limit(msgspec.Struct, frozen=True, kw_only=True):
    """A number beyond a limit, or beyond another field plus an offset."""

    field: str
    above: float = math.inf
    below: float = -math.inf
    deadband: float = 0.0
    than: str = ""
    """The other field; then `above` or `below` is what is added to it."""


class Membership(msgspec.Struct, frozen=True, kw_only=True):
    """A value in a set, or with `inverted` not in it."""

    field: str
    values: frozenset[Value]
    inverted: bool = False


class Imbalance(msgspec.Struct, frozen=True, kw_only=True):
    """The largest distance of several fields from their average, in percent of the average (NEMA MG-1)."""

    fields: tuple[str, ...]
    above: float
    deadband: float = 0.0


class All(msgspec.Struct, frozen=True):
    """Every one of them."""

    of: tuple["Condition", ...]


class Either(msgspec.Struct, frozen=True):
    """At least one of them."""

    of: tuple["Condition", ...]


class Not(msgspec.Struct, frozen=True):
    """The opposite."""

    of: "Condition"


Leaf: TypeAlias = Limit | Membership | Imbalance
Condition: TypeAlias = Leaf | All | Either | Not


def leaves_of(condition: Condition) -> Iterator[Leaf]:
    """The conditions on single fields, in the order of writing."""
    if isinstance(condition, Limit | Membership | Imbalance):
        yield condition
        return
    for part in (condition.of,) if isinstance(condition, Not) else condition.of:
        yield from leaves_of(part)


def names_in(leaf: Leaf) -> tuple[str, ...]:
    """The fields that a leaf uses."""
    if isinstance(leaf, Imbalance):
        return leaf.fields
    return (leaf.field, leaf.than) if isinstance(leaf, Limit) and leaf.than else (leaf.field,)


def is_fulfilled(condition: Condition, values: Mapping[str, Value], hold: int) -> bool:
    """Whether the values fulfil it.

    Args:
        condition: the condition.
        values: newest values of the equipment.
        hold: 1 if the alarm is active and the condition keeps it, -1 if its opposite does, else 0.
    """
    if isinstance(condition, All):
        return all(is_fulfilled(part, values, hold) for part in condition.of)
    if isinstance(condition, Either):
        return any(is_fulfilled(part, values, hold) for part in condition.of)
    if isinstance(condition, Not):
        return not is_fulfilled(condition.of, values, -hold)
    return _is_leaf_fulfilled(condition, values, hold)


def _is_leaf_fulfilled(condition: Leaf, values: Mapping[str, Value], hold: int) -> bool:
    if isinstance(condition, Membership):
        value = values.get(condition.field)
        return value is not None and (value in condition.values) is not condition.inverted
    if isinstance(condition, Imbalance):
        percent = imbalance(condition, values)
        return percent is not None and percent > upper_edge(condition.above, condition.deadband, hold)
    value, edge = values.get(condition.field), _edge(condition, values, hold)
    if edge is None or not isinstance(value, float):
        return False
    return value > edge if condition.above < math.inf else value < edge


def imbalance(leaf: Imbalance, values: Mapping[str, Value]) -> float | None:
    """In percent of the average; None if a field is missing, 0 if the average is 0."""
    found = [value for name in leaf.fields if isinstance(value := values.get(name), float)]
    if len(found) < len(leaf.fields):
        return None
    average = sum(found) / len(found)
    return 100 * max(abs(value - average) for value in found) / abs(average) if average else 0.0


def bands(condition: Condition, values: Mapping[str, Value], hold: int) -> dict[str, Band]:
    """For each number that is used, the values with which no leaf would change its result.

    Fields that a number is compared with are not included: the condition is evaluated whenever they differ.
    """
    if isinstance(condition, Not):
        return bands(condition.of, values, -hold)
    if isinstance(condition, All | Either):
        if _is_settled_by_sets(condition, values, hold):
            return dict.fromkeys(_numbers_in(condition), EVERYTHING)
        found: dict[str, Band] = {}
        for part in condition.of:
            for name, band in bands(part, values, hold).items():
                found[name] = _overlap(band, found.get(name, EVERYTHING))
        return found
    if isinstance(condition, Membership):
        return {}
    if isinstance(condition, Imbalance):
        return _balanced_bands(condition, values, hold)
    return {condition.field: _band(condition, values, hold)}


def _is_settled_by_sets(condition: All | Either, values: Mapping[str, Value], hold: int) -> bool:
    """Whether a set alone decides: then no number changes the result, and sets are evaluated whenever they differ."""
    settling = isinstance(condition, Either)
    return any(
        isinstance(part, Membership) and _is_leaf_fulfilled(part, values, hold) is settling for part in condition.of
    )


def _numbers_in(condition: Condition) -> set[str]:
    leaves = tuple(leaves_of(condition))
    return {leaf.field for leaf in leaves if isinstance(leaf, Limit)} | {
        name for leaf in leaves if isinstance(leaf, Imbalance) for name in leaf.fields
    }


def compared_with(condition: Condition) -> set[str]:
    """The fields for which a condition is evaluated whenever they differ: those of sets, and those compared with."""
    leaves = tuple(leaves_of(condition))
    return {leaf.field for leaf in leaves if isinstance(leaf, Membership)} | {
        leaf.than for leaf in leaves if isinstance(leaf, Limit) and leaf.than
    }


def _edge(leaf: Limit, values: Mapping[str, Value], hold: int) -> float | None:
    other: Value | None = values.get(leaf.than) if leaf.than else 0.0
    if not isinstance(other, float):
        return None
    if leaf.above < math.inf:
        return upper_edge(other + leaf.above, leaf.deadband, hold)
    return lower_edge(other + leaf.below, leaf.deadband, hold)


def _band(leaf: Limit, values: Mapping[str, Value], hold: int) -> Band:
    value, edge = values.get(leaf.field), _edge(leaf, values, hold)
    if edge is None:
        return EVERYTHING
    if not isinstance(value, float):
        return NOTHING
    if leaf.above < math.inf:
        return (math.nextafter(edge, math.inf), math.inf) if value > edge else (-math.inf, edge)
    return (-math.inf, math.nextafter(edge, -math.inf)) if value < edge else (edge, math.inf)


def _balanced_bands(leaf: Imbalance, values: Mapping[str, Value], hold: int) -> dict[str, Band]:
    """The bands of all fields; while one is missing only that one can change the result."""
    missing = [name for name in leaf.fields if not isinstance(values.get(name), float)]
    if missing:
        return {**dict.fromkeys(leaf.fields, EVERYTHING), **dict.fromkeys(missing, NOTHING)}
    return dict.fromkeys(leaf.fields, _balanced_band(leaf, values, hold))


def _balanced_band(leaf: Imbalance, values: Mapping[str, Value], hold: int) -> Band:
    """The band within which all fields are so near each other that they cannot be out of balance.

    With every one of n fields within d of a middle m, none is further than 2 d m (n - 1) / n from their average and the
    average is not below m (1 - d). A thousandth is left for rounding.
    """
    found = [value for name in leaf.fields if isinstance(value := values.get(name), float)]
    limit = max(0.0, upper_edge(leaf.above, leaf.deadband, hold)) / 100
    middle, spread = sum(found) / len(found), 2 * (len(found) - 1) / len(found)
    reach = 0.999 * limit / (limit + spread)
    band = (middle * (1 - reach), middle * (1 + reach))
    return band if middle >= 0 and all(band[0] <= value <= band[1] for value in found) else NOTHING


def _overlap(one: Band, other: Band) -> Band:
    return max(one[0], other[0]), min(one[1], other[1])
