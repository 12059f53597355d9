"""Sends the watchdog's beat to the broker, and says in the log when no beat comes through."""

from typing import Final

import structlog

from collectors.mqtt.broker import Broker
from gateway.alarms.built_in.synthetic_probe import PROBE_TOPIC, Code, SyntheticProbe
from gateway.clocks import steady_s

log = structlog.get_logger(__name__)

LOOK_S: Final = 0.5


class ProbeSender:
    """The owner's side of the watchdog."""

    def __init__(self, watchdog: SyntheticProbe, broker: Broker) -> None:
        self._watchdog = watchdog
        self._broker = broker
        self._told = Code.OK
        self._since = steady_s()

    async def turn(self) -> None:
        """Look once, and send a beat where one is due."""
        code = self._watchdog.finding().code
        if code is not self._told and steady_s() - self._since > self._watchdog.within_s:
            self._told = code
            if code is Code.OK:
                log.info("alarms come through again")
            else:
                log.error("no made-up alarm comes through; real ones may not either", code=code.value)
        if not self._watchdog.is_due:
            return
        if self._broker.connected:
            self._broker.publish(PROBE_TOPIC, self._watchdog.begin())
        else:
            self._watchdog.cut_off()
