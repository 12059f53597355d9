"""Self-supervision: the findings are a reading of the kind `system`, evaluated by rules like any other."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Final

import structlog

from collectors.disk.damaged_files import kept_aside
from collectors.wire.fields import Channel, Kind
from collectors.wire.reading import Reading, Value
from collectors.wire.topics import Topic
from collectors.write_buffer import WriteBuffer
from gateway.equipment.ledger import PLATFORM, Equipment, Site

log = structlog.get_logger(__name__)

EVERY_S: Final = 5.0
CODE: Final = "gengfu"
_TOPIC: Final = Topic(PLATFORM, Kind.SYSTEM, CODE, Channel.TELEMETRY)
_NANOSECONDS: Final = 1_000_000


def platform(time_zone: str) -> tuple[Site, Equipment]:
    """The platform as an entry of the ledger."""
    site = Site(PLATFORM, {"en": "Platform", "zh-CN": "平台"}, time_zone)
    return site, Equipment(PLATFORM, CODE, Kind.SYSTEM.value, {"en": "Gengfu service", "zh-CN": "更夫服务"})


class SelfSupervision:
    """Collects the findings about the platform."""

    def __init__(
        self, folder: Path, buffer: WriteBuffer, notices: Callable[[], str], *findings: Callable[[], dict[str, Value]]
    ) -> None:
        """Monitor a data folder, the history, notices and further findings."""
        self._folder = folder
        self._buffer = buffer
        self._notices = notices
        self._findings = findings
        self._lost_before = 0

    def look(self, now: int) -> Reading:
        """The current findings; `now` in epoch milliseconds."""
        lost = self._buffer.lost - self._lost_before
        self._lost_before += lost
        found: dict[str, Value] = {
            "history_reachable": not self._buffer.trouble,
            "spool_used": round(100 * self._buffer.spool_used, 1),
            "disk_free": self._disk_free(),
            "losing_readings": lost > 0,
            "work_set_aside": bool(self._notices()),
            "damaged_file_kept": bool(kept_aside(self._folder)),
        }
        for find in self._findings:
            found |= find()
        return Reading(_TOPIC, found, measured_at=now, received_at=now, key=now * _NANOSECONDS)

    def _disk_free(self) -> float:
        """Percent; a disk that does not answer has none."""
        try:
            disk = shutil.disk_usage(self._folder)
        except OSError as error:
            log.error("the disk does not answer", folder=str(self._folder), why=str(error))
            return 0.0
        return round(100 * disk.free / disk.total, 1)
