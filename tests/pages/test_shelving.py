"""Shelving in a real browser, over the running demo: an operator puts an alarm aside, sees it there, takes it back."""

import pytest
from playwright.async_api import Browser, expect

from tests.pages.test_control_room import FIRST_FAULT_MS, browser, demo, log_in, mqtt_port, open_page

__all__ = ["browser", "demo", "mqtt_port"]

pytestmark = pytest.mark.server


async def test_an_operator_puts_an_alarm_aside_and_takes_it_back(demo: str, browser: Browser) -> None:
    page, complaints = await open_page(browser, demo)
    await log_in(page, "operator")
    row = page.get_by_test_id("alarm-row").filter(has=page.get_by_test_id("shelve")).first
    await row.wait_for(timeout=2 * FIRST_FAULT_MS)
    identity = await row.get_attribute("data-alarm-id")
    await page.locator(f"[data-alarm-id='{identity}']").get_by_test_id("shelve").click()
    dialog = page.get_by_test_id("shelve-dialog")
    await dialog.locator("button[type=submit]").click()
    await expect(dialog.get_by_role("alert")).to_be_visible()
    await dialog.locator("input[name=reason]").fill("loose plug")
    await dialog.locator("button[type=submit]").click()
    aside = page.locator(f"[data-test=set-aside-alarm][data-alarm-id='{identity}']")
    await expect(aside).to_have_count(1)
    await expect(page.locator(f"[data-test=alarm-row][data-alarm-id='{identity}']")).to_have_count(0)
    await expect(aside).not_to_be_visible()  # folded
    await page.get_by_test_id("set-aside").locator("summary").click()
    await expect(aside).to_contain_text("loose plug")
    await aside.get_by_test_id("take-back").click()
    await expect(aside).to_have_count(0)
    assert complaints == []
