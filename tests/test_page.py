"""The page in a real browser, over the running demo: broker, service, simulated estate and web app together.

Each test opens its own page; the demo is shared by the tests of one worker, because it needs most of a minute for its
faults to appear.
"""

import os
import shutil
import subprocess
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from playwright.async_api import Browser, Page, async_playwright, expect

from tests.mosquitto import free_port
from tests.service import GENGFU, wait_until

pytestmark = pytest.mark.server

CHROMIUM = shutil.which("chromium") or "/usr/bin/chromium"
FIRST_FAULT_MS = 60_000
"""The demo promises a simulated fault, as alarm and ticket, within a minute of the address being printed."""
PASSWORD = "gengfu-demo"


def require_page() -> None:
    missing = [
        what
        for what, there in (
            ("chromium (apt-get install chromium)", Path(CHROMIUM).exists()),
            (
                "the built page (make test builds it)",
                (Path(__file__).parent.parent / "web/dist/index.html").is_file(),
            ),
        )
        if not there
    ]
    if missing and os.environ.get("CI") == "true":
        pytest.fail(f"missing: {', '.join(missing)}")
    if missing:
        pytest.skip(f"missing: {', '.join(missing)}")


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The demo's address."""
    require_page()
    http, mqtt = free_port(), free_port()
    log = tmp_path_factory.mktemp("demo") / "demo.log"
    command = [GENGFU, "demo", "--http-port", str(http), "--mqtt-port", str(mqtt)]
    with log.open("wb") as output, subprocess.Popen(command, stdout=output, stderr=output) as process:
        try:
            wait_until(lambda: "Gengfu demo: http" in log.read_text(encoding="utf-8"), "the demo tells its address")
            yield f"http://127.0.0.1:{http}"
        finally:
            process.terminate()
            process.wait(15)


@pytest.fixture
async def browser() -> AsyncIterator[Browser]:
    async with async_playwright() as playwright:
        playwright.selectors.set_test_id_attribute("data-test")
        arguments = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update",
                     "--disable-sync", "--no-first-run"]  # fmt: skip
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=arguments)
        yield browser
        await browser.close()


async def open_page(browser: Browser, address: str, language: str = "en-US") -> tuple[Page, list[str]]:
    """A fresh page, and what it complains of."""
    context = await browser.new_context(locale=language, viewport={"width": 1366, "height": 768})
    page = await context.new_page()
    complaints: list[str] = []
    page.on("pageerror", lambda error: complaints.append(str(error)))
    await page.goto(address)
    return page, complaints


async def log_in(page: Page, username: str, password: str = PASSWORD) -> None:
    form = page.get_by_test_id("login-form")
    await form.locator("input").nth(0).fill(username)
    await form.locator("input").nth(1).fill(password)
    await form.locator("button[type=submit]").click()


async def test_a_fault_becomes_alarm_and_ticket_on_the_page_within_a_minute(demo: str, browser: Browser) -> None:
    page, complaints = await open_page(browser, demo)
    await log_in(page, "operator")
    await expect(page.get_by_test_id("connection")).to_have_attribute("data-state", "live")
    await expect(page.get_by_test_id("equipment-tile").first).to_be_visible()
    await expect(page.get_by_test_id("alarm-row").first).to_be_visible(timeout=FIRST_FAULT_MS)
    await expect(page.get_by_test_id("ticket-row").first).to_be_visible(timeout=5_000)
    assert complaints == []


async def test_values_on_a_tile_follow_the_equipment(demo: str, browser: Browser) -> None:
    page, _ = await open_page(browser, demo)
    await log_in(page, "operator")
    tile = page.locator("[data-test=equipment-tile][data-equipment='demo:P-1']")
    before = await tile.inner_text()
    await expect(tile).not_to_have_text(before, timeout=10_000, use_inner_text=True)


async def test_an_operator_acknowledges_and_the_page_shows_the_new_state(demo: str, browser: Browser) -> None:
    page, _ = await open_page(browser, demo)
    await log_in(page, "operator")
    button = page.get_by_test_id("acknowledge").first
    await expect(button).to_be_visible(timeout=FIRST_FAULT_MS)
    row = page.get_by_test_id("alarm-row").filter(has=button).first
    identity = await row.get_attribute("data-alarm-id")
    await button.click()
    same = page.locator(f"[data-test=alarm-row][data-alarm-id='{identity}']")
    await expect(same.get_by_test_id("acknowledge")).to_have_count(0)


async def test_the_page_speaks_chinese_and_english_and_remembers(demo: str, browser: Browser) -> None:
    page, _ = await open_page(browser, demo, "zh-CN")
    await log_in(page, "viewer")
    await expect(page.get_by_text("更夫").first).to_be_visible()
    await expect(page.get_by_text("报警").first).to_be_visible()
    await page.get_by_test_id("language").click()
    await expect(page.get_by_text("Tickets").first).to_be_visible()
    await page.reload()
    await expect(page.get_by_text("Tickets").first).to_be_visible()


async def test_who_may_only_watch_is_offered_no_button_that_would_refuse(demo: str, browser: Browser) -> None:
    page, _ = await open_page(browser, demo)
    await log_in(page, "viewer")
    await expect(page.get_by_test_id("alarm-row").first).to_be_visible(timeout=FIRST_FAULT_MS)
    await expect(page.get_by_test_id("acknowledge")).to_have_count(0)


async def test_a_wrong_password_is_told_in_words(demo: str, browser: Browser) -> None:
    page, _ = await open_page(browser, demo)
    await log_in(page, "operator", "guess")
    await expect(page.get_by_test_id("login-form")).to_contain_text("wrong", ignore_case=True)
    await expect(page.get_by_test_id("equipment-tile")).to_have_count(0)
