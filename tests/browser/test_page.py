"""The page as a person uses it, in headless Chromium against a real server with the small models."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from service.engine import Models
from service.settings import Settings
from service.store import Store
from tests.conftest import serving

CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
pytestmark = pytest.mark.skipif(not (CHROMIUM and DRIVER), reason="chromium is not installed")
TEXT = "𠮷🙂领导您好！观山湖区小区门口的路灯坏了半个月，2024年5月6日打12345反映，电话13812345678，请派人修。"


@pytest.fixture(scope="module")
def address(models: Models, module_database_url: str) -> Iterator[str]:
    settings = Settings(database_url=module_database_url)
    store = Store(settings.database_url, settings.office_id)
    store.now = lambda: "2026-11-27T02:00:00+00:00"  # so that the calendar does not end on these tests
    with serving(settings, models, store) as address:
        yield address
    store.close()


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    from selenium.webdriver import Chrome, ChromeOptions
    from selenium.webdriver.chrome.service import Service

    options = ChromeOptions()
    options.binary_location = str(CHROMIUM)
    for argument in (
        "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
        "--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage",
        "--window-size=1280,1400", f"--user-data-dir={tmp_path_factory.mktemp('profile')}",
    ):  # fmt: skip
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = Chrome(options=options, service=Service(str(DRIVER)))
    yield driver
    driver.quit()


def _wait(browser: Any, condition: Any, seconds: int = 90) -> Any:
    from selenium.common.exceptions import StaleElementReferenceException
    from selenium.webdriver.support.ui import WebDriverWait

    # What the page draws again between being found and being read is looked for again.
    return WebDriverWait(browser, seconds, ignored_exceptions=[StaleElementReferenceException]).until(condition)


def _find(browser: Any, selector: str) -> Any:
    return browser.find_element("css selector", selector)


def _analyse(browser: Any, text: str, title: str = "") -> None:
    # Typing goes through the BMP only; set the value as a paste would, and tell the page.
    script = (
        "for (const [id, value] of [['title', arguments[0]], ['text', arguments[1]]]) {"
        "const e = document.getElementById(id); e.value = value; e.dispatchEvent(new Event('input')); }"
    )
    done = int(_find(browser, "#result").get_attribute("data-done") or 0)
    browser.execute_script(script, title, text)
    _find(browser, "button[type=submit]").click()
    _wait(browser, lambda b: int(_find(b, "#result").get_attribute("data-done") or 0) == done + 1
          or _find(b, "#error").is_displayed())  # fmt: skip


def test_paste_analyse_read(browser: Any, address: str, tmp_path: Path) -> None:
    import httpx

    stored = [
        {"text": "我家门口路灯坏了一直没人修", "external_id": "WO-1", "title": "路灯不亮"},
        {"text": "烧烤店油烟"},
    ]
    httpx.post(f"{address}/v1/submissions", json={"items": stored}).raise_for_status()
    browser.get(address)
    _wait(browser, lambda b: "已登记 2 件" in _find(b, "#state").text)
    _analyse(browser, TEXT, "路灯坏了")

    assert _find(browser, "#primary").text == "强城镇"
    assert _find(browser, "#matter").text == "道路与市政设施"
    assert _find(browser, "#decision").text in {"建议采纳", "需人工复核"}
    bars = browser.find_elements("css selector", "#themes li")
    assert len(bars) == 9
    assert bars[0].text.startswith("强城镇")
    assert _find(browser, "#count").text == f"{len(TEXT)} 字"

    # Marks stand exactly on their words although 𠮷 and 🙂 take two units each in the browser.
    assert _find(browser, "#marked").text.endswith(TEXT)
    assert "观山湖区" in [e.text for e in browser.find_elements("css selector", "#marked .PLACE")]
    assert "路灯" in [e.text for e in browser.find_elements("css selector", "#marked .FACILITY")]
    assert "".join(e.text for e in browser.find_elements("css selector", "#marked .pii")) == "13812345678"
    assert any("路灯" in e.text for e in browser.find_elements("css selector", "#marked mark.evidence"))
    assert "WO-1" in _find(browser, "#similar li").text
    assert any(grade in _find(browser, "#similar .grade").text for grade in ("重复 ", "相关 ", "无关 "))
    browser.save_screenshot(str(tmp_path / "page.png"))
    assert (tmp_path / "page.png").stat().st_size > 20_000


def test_markup_in_a_submission_stays_text(browser: Any, address: str) -> None:
    browser.get(address)
    text = "<img src=x onerror=alert(1)><b>路灯</b>坏了没人修"
    _analyse(browser, text)
    assert _find(browser, "#marked").text == text
    assert browser.find_elements("css selector", "#marked img, #marked b") == []


def test_errors_are_said_and_the_form_can_be_cleared(browser: Any, address: str) -> None:
    browser.get(address)
    _analyse(browser, "字" * 20_001)
    assert "最多 20000 个字符" in _find(browser, "#error").text
    _find(browser, "button[type=reset]").click()
    assert not _find(browser, "#error").is_displayed()


def test_nothing_foreign_is_asked_for(browser: Any, address: str) -> None:
    browser.get(address)
    _analyse(browser, TEXT)
    names = browser.execute_script("return performance.getEntriesByType('resource').map((e) => e.name)")
    assert names
    assert all(name.startswith(address) for name in names)
    assert [e for e in browser.get_log("browser") if e["level"] == "SEVERE"] == []


def test_narrow_screen_needs_no_sideways_scrolling(browser: Any, address: str) -> None:
    browser.set_window_size(500, 900)
    browser.get(address)
    _analyse(browser, TEXT)
    assert browser.execute_script("return document.documentElement.scrollWidth <= window.innerWidth")
    browser.set_window_size(1280, 1400)
