"""The page of the equipment in a real browser: another code, another device, taken away; in both languages."""

import os
from pathlib import Path
from typing import Any

from playwright.async_api import Browser, Locator, Page, expect

from gateway.people.permissions import Role
from gateway.storage.database import Database
from tests.builders.alarms import PUMP, T0, panel_event, sample
from tests.builders.equipment_scene import AT, open_scene
from tests.pages.test_control_room import browser, open_page, require_page
from tests.paths import ROOT
from tests.servers.api_server import COOKIE, ApiServer, open_api_server

__all__ = ["browser"]

DIST = ROOT / "web/dist"
HOT = {"bearing_temperature": 88.0, "running": True}


async def open_as(browser: Browser, api: ApiServer, role: Role, language: str) -> tuple[Page, list[str]]:
    """The page of the equipment, by somebody who is logged in."""
    address = str(api.client.make_url("/equipment"))
    page, complaints = await open_page(browser, str(api.client.make_url("/healthz")), language)
    await page.context.add_cookies([{"name": COOKIE, "value": f"login-of-{role}", "url": address}])
    await page.goto(address)
    return page, complaints


def entry(page: Page, identity: str) -> Locator:
    return page.locator(f"[data-test=equipment][data-id='{identity}']")


async def picture(page: Page, name: str) -> None:
    """For whoever looks at the page, where GENGFU_PICTURES names a folder."""
    if folder := os.environ.get("GENGFU_PICTURES"):
        await page.screenshot(path=Path(folder) / f"{name}.png", full_page=True)


async def fill(form: Locator, **values: str) -> None:
    for name, value in values.items():
        await form.locator(f"input[name={name.replace('_', '-')}]").fill(value)
    await form.locator("button[type=submit]").click()


async def test_equipment_is_renamed_replaced_and_retired_on_the_page(
    browser: Any, database: Database, tmp_path: Path
) -> None:
    require_page()
    async with open_api_server(database, tmp_path, web_app=DIST) as api:
        scene = await open_scene(api)
        await scene.say(sample(PUMP, HOT, T0), sample(PUMP, HOT, T0 + 120_000), panel_event(T0 + 121_000))
        page, complaints = await open_as(browser, api, Role.ADMIN, "en-US")
        await entry(page, "HQ:P-1").get_by_test_id("open-equipment").click()
        await picture(page, "open-en")
        await fill(entry(page, "HQ:P-1").get_by_test_id("rename-form"), code="CW-01")
        await expect(entry(page, "HQ:CW-01")).to_contain_text("Former codes: P-1")
        assert ("CW-01", "pump.bearing_hot") in await scene.names()

        await entry(page, "HQ:CW-01").get_by_test_id("open-equipment").click()
        replacing = entry(page, "HQ:CW-01").get_by_test_id("replace-form")
        await fill(replacing, new_code="CW-02", why_replaced="motor burnt")
        await expect(entry(page, "HQ:CW-02")).to_contain_text("Replaces HQ:CW-01")
        await expect(entry(page, "HQ:CW-01")).to_have_count(0)
        assert [of for of, _ in await scene.names()] == ["FP-1"], "the old pump's alarm ended, the fire stands"

        await entry(page, "HQ:FP-1").get_by_test_id("open-equipment").click()
        await fill(entry(page, "HQ:FP-1").get_by_test_id("retire-form"), reason="new panel")
        await expect(page.locator(".el-notification").last).to_contain_text("HQ:FP-1: waits for approval")
        assert (scene.ledger.equipment["HQ", "FP-1"].retired_at, len(await scene.names())) == (None, 1)
        await picture(page, "waits-en")

        await entry(page, "B:P-1").get_by_test_id("open-equipment").click()
        await fill(entry(page, "B:P-1").get_by_test_id("retire-form"), reason="scrapped")
        await expect(entry(page, "B:P-1")).to_have_count(0)
        await page.locator("input[name=retired]").check()
        await expect(entry(page, "HQ:CW-01")).to_contain_text("Replaced by HQ:CW-02")
        await expect(entry(page, "HQ:CW-01").get_by_test_id("open-equipment")).to_have_count(0)
        await entry(page, "B:P-1").get_by_test_id("open-equipment").click()
        await picture(page, "retired-en")
        await entry(page, "B:P-1").get_by_test_id("adopt").click()
        await expect(entry(page, "B:P-1")).to_have_count(0)
        api.log_in(Role.ADMIN)
        assert (await api.get(AT + "B:P-1"))[1]["retired_at"] is None
        assert complaints == []

        page, complaints = await open_as(browser, api, Role.SHIFT_LEADER, "zh-CN")
        await entry(page, "HQ:CW-02").get_by_test_id("open-equipment").click()
        await expect(entry(page, "HQ:CW-02").get_by_test_id("retire-form")).to_contain_text("未结束的报警随之结束")
        await expect(entry(page, "HQ:CW-02").get_by_test_id("rename-form")).to_have_count(0)
        await picture(page, "open-zh")
        assert complaints == []
