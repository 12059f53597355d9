"""Hides implausible values from all rules except `doubtful`, which reports them. Pure."""

from typing import Final

import msgspec

from collectors.plausible import implausible_in
from collectors.wire.fields import fields_of
from collectors.wire.reading import Quality, Reading, Value
from gateway.alarms.evaluation.channel_state import ChannelState

DOUBTFUL: Final = "doubtful"
"""The field that lists the values in doubt for rules: "" while there are none."""
IMPLAUSIBLE: Final = int(Quality.IMPLAUSIBLE)
UNKNOWN_YET: Final = {"": ""}
"""Values in doubt after a start while the alarm is active: not known until the first sample."""


def judged_part(channel_state: ChannelState, reading: Reading) -> Reading:
    """A sample as rules see it when one of its values is in doubt, or was until now.

    A value stays in doubt until the same field has a plausible value.
    """
    names = implausible_in(reading.topic.kind, reading.fields) if reading.quality & IMPLAUSIBLE else []
    fields = {name: value for name, value in reading.fields.items() if name not in names}
    still = {name: shown for name, shown in channel_state.doubtful.items() if name and name not in fields}
    channel_state.doubtful = still | {name: _shown(reading, name) for name in names}
    fields[DOUBTFUL] = "; ".join(channel_state.doubtful.values())
    return msgspec.structs.replace(reading, fields=fields)


def _shown(reading: Reading, name: str) -> str:
    value: Value = reading.fields[name]
    number = f"{value:.6g}" if isinstance(value, float) else str(value)
    unit = fields_of(reading.topic.kind, reading.topic.channel)[name].unit
    return f"{name} {number} {unit}".rstrip()
