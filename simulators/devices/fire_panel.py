"""A fire alarm panel in calm: it reports its power and mode, and no events. Events come from faults."""

from typing import Annotated

import msgspec

from collectors.fields import Channel
from simulators.devices.device import Equipment
from simulators.samples import Sample


class FirePanelSpec(Equipment, frozen=True, kw_only=True, tag="fire_panel"):
    """A panel needs nothing beyond its name and place."""

    every_s: Annotated[float, msgspec.Meta(gt=0)] = 2.0


class FirePanel:
    """A healthy panel in automatic mode."""

    def step(self, now_ms: int, dt_s: float) -> list[Sample]:  # noqa: ARG002 - calm has no history
        """Telemetry of this moment."""
        return [Sample(Channel.TELEMETRY, {"mains": True, "battery": True, "mode": "auto"})]
