"""The deadband: how far a value must come back over its limit before the alarm returns to normal (ISA-18.2). Pure.

    above 80, deadband 5:   normal ──► alarm at > 80 ──► normal at <= 75

The only place that adds or subtracts one. `hold` is 1 while the alarm is active, 0 while it is not, and -1 for a
condition whose opposite keeps the alarm active.
"""


def upper_edge(above: float, deadband: float, hold: int) -> float:
    """The value above which an upper limit is exceeded."""
    return above - hold * deadband


def lower_edge(below: float, deadband: float, hold: int) -> float:
    """The value below which a lower limit is exceeded."""
    return below + hold * deadband


def is_beyond(value: float, above: float, below: float, deadband: float, active: bool) -> bool:
    """Whether a value exceeds its upper or its lower limit.

    Args:
        value: in the unit of the limits.
        above: infinity where there is no upper limit.
        below: minus infinity where there is no lower limit.
        deadband: 0 or more, in the same unit.
        active: whether the alarm is active.
    """
    hold = int(active)
    return value > upper_edge(above, deadband, hold) or value < lower_edge(below, deadband, hold)
