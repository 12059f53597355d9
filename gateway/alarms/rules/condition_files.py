"""Reads the conditions of a combination from a rule file."""

import math

import msgspec

from gateway.alarms.rules.conditions import All, Condition, Either, Imbalance, Leaf, Limit, Membership, Not

_DEEPEST = 20


class WrittenCondition(
    msgspec.Struct,
    forbid_unknown_fields=True,
    rename={"every": "all", "either": "any", "opposite": "not", "inside": "in", "outside": "not_in"},
):
    """A condition as written in a file: exactly one of its forms."""

    every: list["WrittenCondition"] | None = None
    either: list["WrittenCondition"] | None = None
    opposite: "WrittenCondition | None" = None
    field: str = ""
    imbalance_of: tuple[str, ...] = ()
    inside: list[float | bool | str] = []
    outside: list[float | bool | str] = []
    above: float | None = None
    below: float | None = None
    than: str = ""
    deadband: float = 0.0


def read_condition(written: WrittenCondition, depth: int = 1) -> Condition:
    """A condition with all its parts. Raises ValueError if it does not have exactly one form, or is nested too deep."""
    if depth > _DEEPEST:
        raise ValueError(f"conditions can be nested at most {_DEEPEST} deep")
    forms = [written.every is not None, written.either is not None, written.opposite is not None,
             bool(written.field), bool(written.imbalance_of)]  # fmt: skip
    if sum(forms) != 1:
        raise ValueError("a condition has exactly one of 'all', 'any', 'not', 'field' and 'imbalance_of'")
    if written.opposite is not None:
        return Not(read_condition(written.opposite, depth + 1))
    parts = written.every if written.every is not None else written.either
    if parts is None:
        return _leaf(written)
    if not parts:
        raise ValueError("'all' and 'any' need at least one condition")
    of = tuple(read_condition(part, depth + 1) for part in parts)
    return Either(of) if written.every is None else All(of)


def _leaf(written: WrittenCondition) -> Leaf:
    limits = [limit for limit in (written.above, written.below) if limit is not None]
    if not all(map(math.isfinite, (*limits, written.deadband))) or written.deadband < 0:
        raise ValueError("limit and deadband must be finite numbers, the deadband not negative")
    if written.inside or written.outside:
        if limits or written.imbalance_of or (written.inside and written.outside):
            raise ValueError(f"{written.field or 'a condition'} has one of 'in', 'not_in', 'above' and 'below'")
        return Membership(
            field=written.field, values=frozenset(written.inside or written.outside), inverted=bool(written.outside)
        )
    if len(limits) != 1:
        raise ValueError(f"{written.field or 'a condition'} has one of 'in', 'not_in', 'above' and 'below'")
    if written.imbalance_of:
        if written.above is None or written.above <= written.deadband or len(set(written.imbalance_of)) < 2:
            raise ValueError("'imbalance_of' names two fields or more and has 'above', more than its deadband")
        return Imbalance(fields=written.imbalance_of, above=written.above, deadband=written.deadband)
    return Limit(
        field=written.field,
        above=math.inf if written.above is None else written.above,
        below=-math.inf if written.below is None else written.below,
        deadband=written.deadband,
        than=written.than,
    )
