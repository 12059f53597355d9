"""Sends the synthetic probe to the broker, and logs when no probe comes through."""

from typing import Final

import structlog

from collectors.mqtt.broker import Broker
from gateway.alarms.built_in.synthetic_probe import PROBE_TOPIC, Code, SyntheticProbe
from gateway.clocks import steady_s

log = structlog.get_logger(__name__)

LOOK_S: Final = 0.5


class ProbeSender:
    """The leader's side of the watchdog."""

    def __init__(self, watchdog: SyntheticProbe, broker: Broker) -> None:
        self._watchdog = watchdog
        self._broker = broker
        self._logged = Code.OK
        self._since = steady_s()

    async def turn(self) -> None:
        """Check once, and send a probe if one is due."""
        code = self._watchdog.finding().code
        if code is not self._logged and steady_s() - self._since > self._watchdog.within_s:
            self._logged = code
            if code is Code.OK:
                log.info("alarms come through again")
            else:
                log.error("no synthetic probe comes through; real alarms may not either", code=code.value)
        if not self._watchdog.is_due:
            return
        if self._broker.connected:
            self._broker.publish(PROBE_TOPIC, self._watchdog.begin())
        else:
            self._watchdog.cut_off()
