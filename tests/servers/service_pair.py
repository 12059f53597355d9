"""Two real services on one PostgreSQL, one InfluxDB and one broker: an owner, and who stands by."""

import json
import urllib.parse
import urllib.request
from collections import Counter
from pathlib import Path
from typing import Any

from tests.servers.influxdb import InfluxDB
from tests.servers.mosquitto import Mosquitto
from tests.servers.postgres import Postgres
from tests.servers.service import Service, wait_until


class Pair:
    """Two services on one PostgreSQL, one InfluxDB and one broker; each has a folder of its own."""

    def __init__(
        self, folder: Path, server: Postgres, influxdb: InfluxDB, mosquitto: Mosquitto, first_port: int = 0, **more: str
    ) -> None:
        """Prepare both; `first_port` is where the first one finds PostgreSQL, where that is not the server itself."""
        self.server = server
        self.name = server.new_name()
        self.bucket = f"{folder.parent.name}-{folder.name}"
        self._influxdb = influxdb
        environment = {
            "GENGFU_STORAGE__DATABASE_URL": server.create(self.name).replace("+asyncpg", ""),
            "GENGFU_HISTORY__STORE": "influxdb",
            "GENGFU_HISTORY__URL": influxdb.url,
            "GENGFU_HISTORY__BUCKET": self.bucket,
            **more,
        }
        self.services = [Service(folder / name, mosquitto.port, **environment) for name in ("a", "b")]
        if first_port:
            address = environment["GENGFU_STORAGE__DATABASE_URL"].replace(f":{server.port}/", f":{first_port}/")
            self.services[0] = Service(
                folder / "a", mosquitto.port, **{**environment, "GENGFU_STORAGE__DATABASE_URL": address}
            )

    def start(self) -> tuple[Service, Service]:
        """The owner, and who stands by."""
        first, second = self.services
        first.start()
        wait_until(first.owns, "the first service owns the alarms")
        second.start_ready()
        assert second.components()["leader"] == "standing by"
        return first, second

    def rows(self, statement: str) -> list[tuple[Any, ...]]:
        return self.server.run(statement, self.name)

    def count(self, table: str) -> int:
        return int(self.rows(f"SELECT count(*) FROM {table}")[0][0])

    def samples(self) -> Counter[tuple[str, int]]:
        """(pump, turn) of each sample in the history."""
        statement = 'SELECT "bearing_temperature" FROM "pump" GROUP BY "equipment"'
        query = urllib.parse.urlencode({"db": self.bucket, "epoch": "ns", "q": statement})
        with urllib.request.urlopen(f"{self._influxdb.url}/query?{query}", timeout=30) as answer:
            (result,) = json.loads(answer.read())["results"]
        return Counter(
            (series["tags"]["equipment"], at % 1_000_000)
            for series in result.get("series", [])
            for at, _ in series["values"]
        )
