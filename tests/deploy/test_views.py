"""Metrics, dashboards and warnings: every name in them is one that the code or the wire contract has."""

import asyncio
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import yaml
from prometheus_client import CollectorRegistry, generate_latest

from collectors.timeseries.influx.access import Access
from collectors.timeseries.influx.line_protocol import stored_name
from collectors.timeseries.influx.store import InfluxStore
from collectors.wire.fields import FIELDS, Channel, FieldType, Kind
from collectors.wire.reading import Reading, Value
from collectors.wire.topics import Topic
from gateway.app import Application
from gateway.component_metrics import ComponentStates
from gateway.settings import load_settings
from tests.deploy.deployed import DEPLOY, ROOT
from tests.servers.influxdb import InfluxDB
from tests.servers.mosquitto import free_port

DASHBOARDS = DEPLOY / "grafana" / "dashboards"
PLATFORM, EQUIPMENT = (json.loads((DASHBOARDS / f"{name}.json").read_text()) for name in ("platform", "equipment"))
ALERTS = yaml.safe_load((DEPLOY / "prometheus" / "alerts.yml").read_text(encoding="utf-8"))["groups"][0]["rules"]
PROMETHEUS_OWN = {"up", "ALERTS"}
SAMPLES = {"counter": ("_total",), "gauge": ("",), "histogram": ("_bucket", "_sum", "_count")}
WORDS = {"by", "or", "le", "job", "sum", "rate", "increase", "histogram_quantile", "absent", "time"}
PYTHON_TYPES = {FieldType.NUMBER: float, FieldType.BOOLEAN: bool, FieldType.TEXT: str}
VALUES: dict[FieldType, Value] = {FieldType.NUMBER: 1.0, FieldType.BOOLEAN: True, FieldType.TEXT: "text"}
T0 = 1_790_000_000_000


def panels(dashboard: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for panel in dashboard["panels"]:
        if panel["type"] != "row":
            yield panel


def targets(dashboard: dict[str, Any]) -> list[dict[str, Any]]:
    return [target for panel in panels(dashboard) for target in panel["targets"]]


def promql() -> dict[str, str]:
    """Where a query stands -> the query."""
    asked = {f"panel {panel['title']} {target['refId']}": target["expr"]
             for panel in panels(PLATFORM) for target in panel["targets"]}  # fmt: skip
    return asked | {f"warning {rule['alert']}": rule["expr"] for rule in ALERTS}


def influxql() -> dict[str, str]:
    return {f"{panel['id']} {panel['title']} {target['refId']}": target["query"]
            for panel in panels(EQUIPMENT) for target in panel["targets"]}  # fmt: skip


# -- metrics -------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Name -> type of every metric that a running service has."""

    async def run() -> dict[str, str]:
        storage = {"data_dir": tmp_path_factory.mktemp("data")}
        settings = load_settings(None, {"storage": storage, "http": {"port": 0}, "broker": {"port": free_port()}})
        application = Application(settings)
        task = asyncio.create_task(application.run())
        started = asyncio.create_task(application.started.wait())
        await asyncio.wait({task, started}, return_when=asyncio.FIRST_COMPLETED)
        found = {metric.name + ("_total" if metric.type == "counter" else ""): metric.type
                 for metric in application.registry.collect()}  # fmt: skip
        application.stop()
        await task
        return found

    return asyncio.run(run())


def documented() -> dict[str, tuple[str, str]]:
    """Name -> type and unit in docs/metrics.md."""
    rows = [
        [cell.strip() for cell in line.strip("|").split(" | ")]
        for line in (ROOT / "docs" / "metrics.md").read_text(encoding="utf-8").splitlines()
        if line.startswith("| `")
    ]
    assert all(len(row) == 5 and all(row) for row in rows), "name, type, unit, what it says, when it is wrong"
    return {row[0].strip("`"): (row[1], row[2]) for row in rows}


def test_the_document_has_every_metric_and_no_other(registry: dict[str, str]) -> None:
    assert {name: kind for name, (kind, _) in documented().items()} == registry


def test_a_metrics_name_and_its_unit_agree() -> None:
    for name, (_, unit) in documented().items():
        stem = name.removesuffix("_total")
        assert (unit.split(" ")[0] == "s") == stem.endswith("_seconds"), name
        assert (unit == "bytes") == stem.endswith("_bytes"), name


# -- what asks Prometheus ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("place", promql())
def test_a_query_names_metrics_that_exist(place: str, registry: dict[str, str]) -> None:
    """Labels, texts and durations away, what is left are functions and metrics."""
    bare = re.sub(r'\{[^}]*\}|"[^"]*"|\[\w+\]|\b\d[\d.]*\b|by \([^)]*\)', " ", promql()[place])
    samples = {name.removesuffix("_total") + end if kind == "counter" else name + end
               for name, kind in registry.items() for end in SAMPLES[kind]}  # fmt: skip
    named = set(re.findall(r"[a-zA-Z_]\w*", bare)) - WORDS
    assert named
    assert named <= samples | PROMETHEUS_OWN


def test_no_metric_of_ours_is_without_a_view(registry: dict[str, str]) -> None:
    """What the service counts and nobody sees is counted in vain."""
    asked = " ".join(promql().values())
    ours = [name for name in registry if name.startswith("gengfu_")]
    assert [name for name in ours if name not in asked] == []


def test_a_warning_says_how_bad_it_is_and_what_to_do() -> None:
    assert len({rule["alert"] for rule in ALERTS}) == len(ALERTS)
    for rule in ALERTS:
        assert rule["labels"]["severity"] in {"critical", "warning"}
        assert set(rule["annotations"]) == {"summary", "do"}
        assert re.fullmatch(r"\d+m", rule["for"]), "nobody is woken by one scrape"


def test_a_part_that_does_not_work_is_zero_and_one_that_works_is_one() -> None:
    registry, components = CollectorRegistry(), {"alarms": "ready", "broker": "not connected"}
    registry.register(ComponentStates(lambda: components, "ready"))
    assert b'gengfu_component_ready{component="broker"} 0.0' in generate_latest(registry)
    components["broker"] = "ready"
    assert b'gengfu_component_ready{component="broker"} 1.0' in generate_latest(registry)


# -- the dashboards ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dashboard", [PLATFORM, EQUIPMENT], ids=["platform", "equipment"])
def test_a_dashboard_is_whole(dashboard: dict[str, Any]) -> None:
    ids = [panel["id"] for panel in dashboard["panels"]]
    assert len(set(ids)) == len(ids)
    taken: set[tuple[int, int]] = set()
    for panel in dashboard["panels"]:
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24, panel["title"]
        cells = {(place["x"] + dx, place["y"] + dy) for dx in range(place["w"]) for dy in range(place["h"])}
        assert not cells & taken, panel["title"]
        taken |= cells
    assert dashboard["uid"]
    assert len({target["refId"] for panel in panels(dashboard) for target in panel["targets"]}) > 0


@pytest.mark.parametrize("dashboard", [PLATFORM, EQUIPMENT], ids=["platform", "equipment"])
def test_a_panel_asks_a_source_that_is_provisioned(dashboard: dict[str, Any]) -> None:
    file = DEPLOY / "grafana" / "provisioning" / "datasources" / "gengfu.yml"
    sources = {source["uid"]: source["type"] for source in yaml.safe_load(file.read_text())["datasources"]}
    asked = [part["datasource"] for panel in panels(dashboard) for part in (panel, *panel["targets"])]
    asked += [variable["datasource"] for variable in dashboard["templating"]["list"]]
    assert [source for source in asked if sources.get(source["uid"]) != source["type"]] == []


@pytest.mark.parametrize("place", influxql())
def test_a_query_names_a_kind_and_a_field_of_the_wire_contract(place: str) -> None:
    (function, name, kind, channel) = re.findall(
        r'^SELECT (\w+)\("(.*?)"\) FROM "(\w+)" .* "channel" = \'(\w+)\' AND', influxql()[place]
    )[0]
    field = FIELDS[Kind(kind), Channel(channel)][name]
    assert stored_name(kind, channel, name, PYTHON_TYPES[field.type]) == name
    assert (function == "last") == (field.type is not FieldType.NUMBER), "only numbers have a mean"


# -- the equipment's queries, asked ------------------------------------------------------------------------------------


async def fill(influxdb: InfluxDB, folder: Path) -> str:
    """A database in which one equipment of each kind has said everything; its query address."""
    database = "dashboards"
    store = InfluxStore(Access(url=influxdb.url, bucket=database), folder / "marks.db")
    await store.open()
    readings = [
        Reading(
            Topic("HQ", kind, "E-1", channel), {name: VALUES[field.type] for name, field in fields.items()},
            T0, T0, T0 * 1_000_000, None, 0,
        )
        for (kind, channel), fields in FIELDS.items()
        if channel is not Channel.EVENT
    ]  # fmt: skip
    await store.write(readings)
    await store.close()
    return f"{influxdb.url}/query?db={database}"


def as_grafana_sends_it(query: str) -> str:
    """Its variables and macros filled in: one site, all equipment, one minute around the readings."""
    filled_in = query.replace("${site:regex}", "HQ").replace("${equipment:regex}", ".*").replace("$__interval", "10s")
    return filled_in.replace("$timeFilter", f"time >= {T0 - 30_000}ms and time <= {T0 + 30_000}ms")


async def series(address: str, query: str) -> list[dict[str, Any]]:
    async with aiohttp.ClientSession() as session, session.post(address, data={"q": query}) as answer:
        (result,) = (await answer.json())["results"]
        assert "error" not in result, result
        return list(result.get("series", ()))


@pytest.mark.server
async def test_every_panel_of_the_equipment_gets_an_answer_from_influxdb(influxdb: InfluxDB, tmp_path: Path) -> None:
    address = await fill(influxdb, tmp_path)
    for place, query in influxql().items():
        found = await series(address, as_grafana_sends_it(query))
        assert [one["tags"] for one in found] == [{"site": "HQ", "equipment": "E-1"}], place
        assert [row for row in found[0]["values"] if row[1] is not None], place
    for variable in EQUIPMENT["templating"]["list"]:
        answers = await series(address, as_grafana_sends_it(variable["query"]))
        value = {"site": "HQ", "equipment": "E-1"}[variable["name"]]
        assert answers
        assert all(one["values"] == [[variable["name"], value]] for one in answers)
