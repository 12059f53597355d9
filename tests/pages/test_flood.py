"""The control room's page in a flood, in a real browser: folded, critical on top, and unfolded with one click.

An incident is one row too.
"""

import asyncio
from pathlib import Path

import pytest
from playwright.async_api import expect

from tests.pages.test_control_room import browser, open_page, require_page
from tests.servers.mosquitto import Mosquitto
from tests.servers.service import Service
from tests.servers.wire import send

pytestmark = pytest.mark.server
__all__ = ["browser"]


async def test_a_flood_is_told_and_folded_and_a_fire_stands_on_top(browser, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    require_page()
    mosquitto = Mosquitto(tmp_path / "mosquitto").start()
    service = Service(tmp_path / "data", mosquitto.port)
    try:
        await asyncio.to_thread(service.start_ready)
        panels = [
            (f"gengfu/hq/fire_panel/FA-{number}/event", b'{"type":"fault","address":"1"}') for number in range(14)
        ]
        await send(mosquitto.port, [*panels, ("gengfu/hq/fire_panel/FA-99/event", b'{"type":"fire","address":"7"}')])
        page, complaints = await open_page(browser, f"http://127.0.0.1:{service.http_port}")
        await expect(page.get_by_test_id("flood-banner")).to_contain_text("Critical alarms stay on top", timeout=30_000)
        rows = page.get_by_test_id("alarm-row")
        await expect(rows).to_have_count(2)
        await expect(rows.first).to_have_attribute("data-priority", "critical")
        folded = page.get_by_test_id("folded")
        await expect(folded).to_contain_text("13 more")
        await folded.click()
        await expect(rows).to_have_count(15)
        await folded.click()
        await expect(rows).to_have_count(2)
        await send(mosquitto.port, [("gengfu/hq/sensor/S-1/telemetry", b'{"smoke":true,"heat":true}')])
        incident = folded.filter(has_text="1 more of the same incident")
        await expect(incident).to_contain_text("1 unacknowledged", timeout=30_000)
        await expect(rows).to_have_count(3)
        await incident.click()
        await expect(rows).to_have_count(4)
        assert complaints == []
        page, _ = await open_page(browser, f"http://127.0.0.1:{service.http_port}", "zh-CN")
        await expect(page.get_by_test_id("flood-banner")).to_contain_text("报警泛滥", timeout=30_000)
        await expect(page.get_by_test_id("folded").first).to_contain_text("同一事件另有 1 条报警")
    finally:
        service.kill()
        mosquitto.stop()
