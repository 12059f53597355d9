"""An alarm is entered at its limit and left only beyond the deadband."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.alarms.rules.deadband import is_beyond

NUMBERS = st.floats(-1e6, 1e6)
NONE = math.inf


@pytest.mark.parametrize(
    ("value", "active", "beyond"),
    [
        (80.0, False, False),  # at the limit: not above it
        (80.1, False, True),
        (75.1, True, True),  # within the deadband the alarm goes on
        (75.0, True, False),
        (75.1, False, False),  # and does not begin
    ],
)
def test_an_upper_limit_of_80_with_a_deadband_of_5(value: float, active: bool, beyond: bool) -> None:
    assert is_beyond(value, 80.0, -NONE, 5.0, active) is beyond
    assert is_beyond(-value, NONE, -80.0, 5.0, active) is beyond, "a lower limit is its mirror image"


@given(value=NUMBERS, above=NUMBERS, below=NUMBERS, deadband=st.floats(0, 1e6))
def test_whatever_begins_an_alarm_also_keeps_it_active(
    value: float, above: float, below: float, deadband: float
) -> None:
    assert is_beyond(value, above, below, deadband, active=True) or not is_beyond(
        value, above, below, deadband, active=False
    )
