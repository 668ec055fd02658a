"""The page for choosing topics as a person uses it, in headless Chromium against a real server."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.browser.test_page import _find, _wait, address, browser, pytestmark  # noqa: F401
from tests.service.test_topics import items


def _ready(browser: Any, address: str) -> None:  # noqa: F811
    browser.get(f"{address}/topics")
    _wait(browser, lambda b: "已就绪" in _find(b, "#state").text)


def _all(browser: Any, selector: str) -> list[str]:  # noqa: F811
    return [node.text for node in browser.find_elements("css selector", selector)]


def test_an_empty_store_says_so_and_shows_no_chart(browser: Any, address: str) -> None:  # noqa: F811
    _ready(browser, address)
    assert _all(browser, "#notes li") == ["还没有登记任何材料，登记或导入后再看议题。"]
    assert _find(browser, "#candidates").text == "没有达到人数的选题。"
    assert browser.find_elements("css selector", ".trend") == []


def test_topics_candidates_materials_and_steps(browser: Any, address: str, tmp_path: Path) -> None:  # noqa: F811
    import httpx

    year = [f"2024-{month:02}-05" for month in range(1, 13)]
    lately = [f"2024-12-{day:02}" for day in range(8, 24)]
    stored = [*items("fumes", year), *items("lamp", lately)]
    httpx.post(f"{address}/v1/submissions", json={"items": stored}, timeout=120).raise_for_status()
    _ready(browser, address)
    assert "路灯" in _all(browser, "#candidates .head strong")[0]
    assert _all(browser, "#candidates .tag.rising") == ["上升"]
    assert "近 30 天明显上升（16 人）" in _find(browser, "#candidates li").text
    assert _all(browser, "#topics .trend") == ["最多 16 人", "最多 1 人"]
    assert "强旅游只有 0 件" in _find(browser, "#gaps").text
    assert "as_of" not in str(_find(browser, "#docx").get_attribute("href"))

    browser.execute_script("document.querySelector('#candidates details:last-of-type').open = true")
    _find(browser, "#candidates .links button").click()
    _wait(browser, lambda b: _find(b, "#material").is_displayed())
    assert "李*" in _find(browser, "#material-facts").text
    assert "路灯" in _find(browser, "#material-text").text
    _find(browser, "#material button").click()

    browser.execute_script("document.querySelector('#topics details').open = true")
    fields = browser.find_elements("css selector", "#topics li:first-child .step input")
    for field, text in zip(fields, ("路灯失修", "王芳", "统一名称"), strict=True):
        field.send_keys(text)
    _find(browser, "#topics li:first-child .step button").click()
    _wait(browser, lambda b: _all(b, "#topics strong")[:1] == ["路灯失修"] and "已就绪" in _find(b, "#state").text)

    _find(browser, "#title").send_keys("路灯坏了没人修")
    _find(browser, "#check button").click()
    _wait(browser, lambda b: "未导入以往课题与提案" in _find(b, "#checked").text)
    browser.save_screenshot(str(tmp_path / "topics.png"))

    names = browser.execute_script("return performance.getEntriesByType('resource').map((e) => e.name)")
    assert all(name.startswith(address) for name in names)
    assert [e for e in browser.get_log("browser") if e["level"] == "SEVERE"] == []
    for width in (1280, 390):  # a window cannot be as narrow as a telephone
        screen = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
        browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", screen)
        _ready(browser, address)
        assert browser.execute_script("return innerWidth") == width
        assert browser.execute_script("return document.documentElement.scrollWidth <= innerWidth")
    browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def test_errors_are_said(browser: Any, address: str) -> None:  # noqa: F811
    _ready(browser, address)
    browser.execute_script("document.querySelector('#topics details').open = true")
    _find(browser, "#topics li:first-child .step button").click()
    _wait(browser, lambda b: _find(b, "#error").is_displayed())
    assert "内容为空" in _find(browser, "#error").text
