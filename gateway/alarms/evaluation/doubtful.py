"""Values that cannot be true are kept away from all rules but one: `doubtful`, which says so. Pure."""

from typing import Final

import msgspec

from collectors.plausible import implausible_in
from collectors.wire.fields import fields_of
from collectors.wire.reading import Quality, Reading, Value
from gateway.alarms.evaluation.channel_state import ChannelState

DOUBTFUL: Final = "doubtful"
"""The field under which rules see which values are in doubt: "" while none is."""
IMPLAUSIBLE: Final = int(Quality.IMPLAUSIBLE)
UNKNOWN_YET: Final = {"": ""}
"""What is in doubt after a start, where the alarm stands: the first sample tells."""


def judged_part(channel_state: ChannelState, reading: Reading) -> Reading:
    """What rules are to see of a sample of which a value is in doubt, or was until now.

    A value stays in doubt until the same field says something that can be true.
    """
    names = implausible_in(reading.topic.kind, reading.fields) if reading.quality & IMPLAUSIBLE else []
    fields = {name: value for name, value in reading.fields.items() if name not in names}
    still = {name: said for name, said in channel_state.doubtful.items() if name and name not in fields}
    channel_state.doubtful = still | {name: _said(reading, name) for name in names}
    fields[DOUBTFUL] = "; ".join(channel_state.doubtful.values())
    return msgspec.structs.replace(reading, fields=fields)


def _said(reading: Reading, name: str) -> str:
    value: Value = reading.fields[name]
    number = f"{value:.6g}" if isinstance(value, float) else str(value)
    unit = fields_of(reading.topic.kind, reading.topic.channel)[name].unit
    return f"{name} {number} {unit}".rstrip()
