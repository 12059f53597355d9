"""The page in a real browser, over the running demo: broker, service, simulated estate and web app together.

Each test opens its own page; the demo is shared by the tests of one worker, because it needs most of a minute for its
faults to appear.
"""

import asyncio
import contextlib
import os
import shutil
import subprocess
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pyotp
import pytest
from playwright.async_api import Browser, Page, async_playwright, expect

from tests.paths import ROOT
from tests.servers.mosquitto import free_port
from tests.servers.service import GENGFU, wait_until

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
                (ROOT / "web/dist/index.html").is_file(),
            ),
        )
        if not there
    ]
    if missing and os.environ.get("CI") == "true":
        pytest.fail(f"missing: {', '.join(missing)}")
    if missing:
        pytest.skip(f"missing: {', '.join(missing)}")


@pytest.fixture(scope="module")
def mqtt_port() -> int:
    """Of the demo's broker."""
    return free_port()


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory, mqtt_port: int) -> Iterator[str]:
    """The demo's address."""
    require_page()
    http = free_port()
    log = tmp_path_factory.mktemp("demo") / "demo.log"
    command = [GENGFU, "demo", "--http-port", str(http), "--mqtt-port", str(mqtt_port)]
    with log.open("wb") as output, subprocess.Popen(command, stdout=output, stderr=output) as process:
        try:
            wait_until(lambda: "Gengfu demo: http" in log.read_text(encoding="utf-8"), "the demo tells its address")
            yield f"http://127.0.0.1:{http}"
        finally:
            process.terminate()
            process.wait(15)


@contextlib.asynccontextmanager
async def open_browser(*arguments: str) -> AsyncIterator[Browser]:
    quiet = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update",
             "--disable-sync", "--no-first-run"]  # fmt: skip
    async with async_playwright() as playwright:
        playwright.selectors.set_test_id_attribute("data-test")
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=[*quiet, *arguments])
        yield browser
        await browser.close()


@pytest.fixture
async def browser() -> AsyncIterator[Browser]:
    async with open_browser() as browser:
        yield browser


async def open_page(browser: Browser, address: str, language: str = "en-US") -> tuple[Page, list[str]]:
    """A fresh page, and what it complains of."""
    context = await browser.new_context(locale=language, viewport={"width": 1366, "height": 768})
    page = await context.new_page()
    complaints: list[str] = []
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("console", lambda said: complaints.append(said.text) if "Content Security Policy" in said.text else None)
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


@pytest.mark.parametrize(
    ("policy", "sound"),
    [
        ("no-user-gesture-required", "on"),  # a kiosk: nobody is there to click after a restart
        ("document-user-activation-required", "needsClick"),
    ],
)
async def test_after_a_reload_the_page_sounds_without_a_click_where_the_browser_permits_it(
    policy: str, sound: str, demo: str
) -> None:
    async with open_browser(f"--autoplay-policy={policy}") as browser:
        page, _ = await open_page(browser, demo)
        await log_in(page, "viewer")
        switch = page.get_by_test_id("sound")
        await expect(switch).to_have_attribute("data-state", "on")  # who logs in has clicked
        await page.reload()
        await expect(switch).to_have_attribute("data-state", sound)
        await page.get_by_test_id("connection").click()
        await expect(switch).to_have_attribute("data-state", "on")


async def test_values_on_a_tile_follow_the_equipment(demo: str, browser: Browser) -> None:
    page, _ = await open_page(browser, demo)
    await log_in(page, "operator")
    tile = page.locator("[data-test=equipment-tile][data-equipment='demo:P-1']")
    before = await tile.inner_text()
    await expect(tile).not_to_have_text(before, timeout=10_000, use_inner_text=True)


async def test_a_clock_that_cannot_be_believed_is_marked_on_the_tile(
    demo: str, mqtt_port: int, browser: Browser
) -> None:
    topic, payload = "gengfu/demo/pump/P-CLOCK/telemetry", '{"at": 60000, "flow": 1}'
    publish = ["mosquitto_pub", "-p", str(mqtt_port), "-i", "clock-test", "-q", "1", "-t", topic, "-m", payload]
    await asyncio.to_thread(subprocess.run, publish, check=True, timeout=20)
    page, _ = await open_page(browser, demo, "zh-CN")
    await log_in(page, "operator")
    tile = page.locator("[data-test=equipment-tile][data-equipment='demo:P-CLOCK']")
    await expect(tile.get_by_test_id("clock-doubt")).to_have_text("时钟未设置", timeout=20_000)


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


# -- accounts ------------------------------------------------------------------------------------------


async def test_the_page_obeys_its_own_policy_wherever_one_goes(demo: str, browser: Browser) -> None:
    """No inline script or style: a browser that had to refuse something would say so."""
    page, complaints = await open_page(browser, demo)
    await log_in(page, "admin")
    await expect(page.get_by_test_id("connection")).to_have_attribute("data-state", "live")
    await page.get_by_test_id("account").click()
    await expect(page.get_by_test_id("own-login").first).to_be_visible()
    await page.get_by_test_id("to-people").click()
    await expect(page.get_by_test_id("person")).to_have_count(9)
    await page.goto(f"{demo}/api/docs")
    await expect(page.get_by_text("OpenAPI 3.1")).to_be_visible()
    assert complaints == []


async def test_whoever_is_logged_out_elsewhere_is_told_so_within_seconds(demo: str, browser: Browser) -> None:
    first, _ = await open_page(browser, demo)
    await log_in(first, "shift_leader")
    await expect(first.get_by_test_id("connection")).to_have_attribute("data-state", "live")
    second, _ = await open_page(browser, demo)
    await log_in(second, "shift_leader")
    await second.get_by_test_id("account").click()
    await expect(second.get_by_test_id("own-login")).to_have_count(2)
    await second.get_by_test_id("end-login").click()
    await expect(second.get_by_test_id("own-login")).to_have_count(1)
    await expect(first.get_by_test_id("login-form")).to_contain_text("ended", timeout=8_000)


async def test_an_administrator_adds_somebody_who_chooses_a_password_of_their_own(demo: str, browser: Browser) -> None:
    begin, own = "nine kettles sing before dawn", "a slow boat climbs the hill"
    admin, _ = await open_page(browser, demo)
    await log_in(admin, "admin")
    await expect(admin.get_by_test_id("connection")).to_have_attribute("data-state", "live")
    await admin.goto(f"{demo}/people")
    form = admin.get_by_test_id("add-person")
    for field, text in (("new-username", "wei"), ("new-name", "张伟"), ("new-password", begin)):
        await form.locator(f"input[name={field}]").fill(text)
    await form.locator("button[type=submit]").click()
    await expect(admin.locator("[data-test=person][data-username=wei]")).to_contain_text("张伟")

    page, _ = await open_page(browser, demo)
    await log_in(page, "wei", begin)
    await page.get_by_test_id("account").click()
    await expect(page.get_by_test_id("account-page")).to_contain_text("Somebody else chose your password")
    form = page.get_by_test_id("password-form")
    for field, text in (("old", begin), ("fresh", own), ("again", own)):
        await form.locator(f"input[name={field}]").fill(text)
    await form.locator("button[type=submit]").click()
    await expect(page.get_by_test_id("account-page")).not_to_contain_text("Somebody else chose your password")

    entry = admin.locator("[data-test=person][data-username=wei]")
    await admin.reload()
    await entry.get_by_test_id("open-person").click()
    await entry.get_by_test_id("switch-person").click()
    await expect(entry).to_contain_text("disabled")
    await expect(page.get_by_test_id("password-form")).to_be_visible()
    await page.reload()
    await expect(page.get_by_test_id("login-form")).to_be_visible()


async def test_a_manager_sets_up_a_second_factor_and_is_asked_for_it(demo: str, browser: Browser) -> None:
    page, _ = await open_page(browser, demo)
    await log_in(page, "manager")
    await page.get_by_test_id("account").click()
    part = page.get_by_test_id("second-factor")
    await part.locator("input[name=factor-password]").fill(PASSWORD)
    await part.locator("button[type=submit]").click()
    drawn = await page.get_by_test_id("factor-image").evaluate(
        "async image => { await image.decode(); return image.width }"
    )
    assert drawn > 100, "the QR code, which the content policy permits"
    secret = await page.get_by_test_id("factor-secret").inner_text()
    await part.locator("input[name=factor-code]").fill(pyotp.TOTP(secret).now())
    await part.locator("button[type=submit]").click()
    codes = (await page.get_by_test_id("recovery-codes").inner_text()).split()
    assert len(codes) == 10

    page, complaints = await open_page(browser, demo)
    await log_in(page, "manager")
    code = page.get_by_test_id("login-code")
    await expect(code).to_be_visible()
    await code.fill(codes[0])
    await page.get_by_test_id("login-form").locator("button[type=submit]").click()
    await expect(page.get_by_test_id("connection")).to_have_attribute("data-state", "live")
    assert complaints == []


async def test_a_second_person_sees_at_once_what_waits_and_approves_it(demo: str, browser: Browser) -> None:
    leader, _ = await open_page(browser, demo)
    await log_in(leader, "shift_leader")
    operator, complaints = await open_page(browser, demo)
    await log_in(operator, "operator")
    await expect(operator.get_by_test_id("connection")).to_have_attribute("data-state", "live")
    await expect(operator.get_by_test_id("approvals")).to_be_hidden()
    alarm = await life_safety(leader, demo)
    body = {"version": alarm["version"], "minutes": 5, "reason": "a drill of the whole api"}
    asked = await leader.request.post(f"{demo}/api/v1/alarms/{alarm['id']}/shelve", data=body)
    assert asked.status == 202, await asked.text()
    strip = operator.get_by_test_id("approvals")
    for text in (alarm["title"]["en"], "a drill of the whole api"):
        await expect(strip.get_by_test_id("approval")).to_contain_text(text)
    await expect(leader.get_by_test_id("approvals").get_by_test_id("withdraw")).to_be_visible()
    await strip.get_by_test_id("approve").click()
    for page in (operator, leader):
        await expect(page.get_by_test_id("approvals")).to_be_hidden()
    shelved = (await (await leader.request.get(f"{demo}/api/v1/alarms/{alarm['id']}")).json())["alarm"]
    assert "shelved" in str(shelved["suppressions"])
    assert complaints == []


async def life_safety(page: Page, demo: str) -> dict[str, Any]:
    """An open alarm over life or death, as soon as the demo has one."""
    for _ in range(600):
        found = (await (await page.request.get(f"{demo}/api/v1/alarms?state=open")).json())["items"]
        for alarm in found:
            if alarm["life_safety"]:
                return dict(alarm)
        await asyncio.sleep(0.2)
    raise AssertionError("the demo raises no alarm of life safety")
