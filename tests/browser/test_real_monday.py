"""A whole Monday: sixty real messages, the shipped models, everything by keyboard; screenshots for a person to look at.

Takes minutes, so it runs only where a folder for the screenshots is named, and the real messages lie beside the project:

    MINSHENG_MONDAY=/tmp/monday python -m pytest tests/browser/test_real_monday.py -s
"""

from __future__ import annotations

import csv
import io
import os
import random
import re
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import openpyxl
import pytest

from service.engine import load_models
from service.settings import Settings
from service.store import Store
from tests.browser.test_inbox import Clerk
from tests.browser.test_page import browser  # noqa: F401
from tests.conftest import serving

SHOTS = os.environ.get("MINSHENG_MONDAY")
pytestmark = pytest.mark.skipif(not SHOTS, reason="MINSHENG_MONDAY names no folder for the screenshots")
SEED = 20261127
MESSAGES, TWICE = 60, 3
MINUTES = 600
CORRECTED = 3
HEADERS = ("工单编号", "来电人", "标题", "收到日期", "诉求内容")


@pytest.fixture
def address(settings: Settings) -> Iterator[str]:
    store = Store(settings.database_url, settings.office_id)
    store.now = lambda: "2026-11-27T02:00:00+00:00"  # so that the calendar does not end on these tests
    with serving(settings, load_models(settings), store) as found:
        yield found
    store.close()


@pytest.fixture
def messages(real_data: Path) -> list[list[str]]:
    """Sixty drawn at random, some of them with the one that begins with the same words."""
    with (real_data / "messages.csv").open(encoding="utf-8-sig", newline="") as stream:
        rows = [list(row.values())[:5] for row in csv.DictReader(stream)]
    alike: dict[str, list[list[str]]] = {}
    for row in rows:
        alike.setdefault(re.sub(r"\W", "", row[4])[:120], []).append(row)
    chance = random.Random(SEED)
    pairs = chance.sample([group for group in alike.values() if len({row[1] for row in group}) > 1], TWICE)
    single = [group[0] for group in alike.values() if len(group) == 1]
    return [row for pair in pairs for row in pair[:2]] + chance.sample(single, MESSAGES - 2 * TWICE)


def test_a_monday_on_real_messages(
    browser: Any,  # noqa: F811
    address: str,
    messages: list[list[str]],
    tmp_path: Path,
) -> None:
    clerk = Clerk(browser, address)
    begun = time.monotonic()
    _imported(clerk, messages, tmp_path)
    print(f"\n导入并列出 {MESSAGES} 件：{time.monotonic() - begun:.0f} 秒")
    done: Counter[str] = Counter()
    _merged(clerk, done)
    presses = _worked_through(clerk, done)
    print(f"逐件处理：{dict(done)}，按键 {presses} 次，共 {time.monotonic() - begun:.0f} 秒")
    assert done["转办"] >= MESSAGES / 2
    _ledger_agrees(clerk, done)


def _shot(clerk: Clerk, name: str) -> None:
    folder = Path(str(SHOTS))
    folder.mkdir(parents=True, exist_ok=True)
    clerk.browser.save_screenshot(str(folder / f"{name}.png"))


def _imported(clerk: Clerk, messages: list[list[str]], folder: Path) -> None:
    book = openpyxl.Workbook()
    for row in (HEADERS, *messages):
        book.active.append(row)
    path = folder / "周一.xlsx"
    book.save(path)
    clerk.browser.get(f"{clerk.address}/inbox")
    clerk.wait(lambda: clerk.find("#empty").is_displayed())
    clerk.find("#import").click()
    clerk.find("#upload [name=file]").send_keys(str(path))
    clerk.wait(lambda: f"读到 {MESSAGES} 件：新增 {MESSAGES}" in clerk.text("#preview"))
    _shot(clerk, "1-preview")
    clerk.find("#go").click()
    clerk.fill("naming", actor="王芳")
    clerk.wait(lambda: f"已导入：新增 {MESSAGES}" in clerk.text("#message"), MINUTES)
    clerk.ready(MINUTES)
    assert len(clerk.listed()) == MESSAGES
    _shot(clerk, "2-list")


def _taken(clerk: Clerk, step: Callable[[], None]) -> str:
    """Take a step and wait till the page has said what came of it, and reads on; what it said."""
    before = clerk.text("#message")
    step()
    clerk.wait(lambda: clerk.text("#message") not in {"", before})
    return clerk.text("#message")


def _merged(clerk: Clerk, done: Counter[str]) -> None:
    """Merge what the list marks as a duplicate, after looking at the two side by side."""
    while done["并案"] < TWICE:
        clerk.ready(MINUTES)
        marked = [row for row in clerk.rows() if "重复" in row["text"] and "并案" not in row["text"]]
        if not marked:
            return
        clerk.open(marked[0]["title"])
        _shot(clerk, f"3-side-by-side-{done['并案']}")
        clerk.press("m")
        told = _taken(clerk, lambda: clerk.fill("merging"))
        assert "2 件）" in told
        done["并案"] += 1


def _worked_through(clerk: Clerk, done: Counter[str]) -> int:
    """From the top: what has a unit is confirmed as proposed; the others are kept or returned; three are corrected."""
    presses = 0
    while rows := clerk.rows():
        title = rows[0]["title"]
        clerk.open(title)
        presses += 1
        if "人工判断" in clerk.row(title):
            kept = done["留存"] <= done["退回"]
            clerk.press("c" if kept else "r")
            reason = "供参阅，暂不转办" if kept else "内容空泛，请补充时间、地点"
            told = _taken(clerk, lambda reason=reason: clerk.fill("returning", reason=reason))  # type: ignore[misc]
            done["留存" if kept else "退回"] += 1
            assert ("已留存" if kept else "已退回") in told
            presses += 1
            continue
        if done["修改"] < CORRECTED and "需人工复核" in clerk.row(title):
            _shot(clerk, f"4-open-{done['修改']}")
            clerk.press("e")
            _taken(clerk, lambda: clerk.fill("correcting", reason="看过原文，机器判断无误"))
            clerk.open(title)
            done["修改"] += 1
            presses += 1
        clerk.press("a")
        clerk.dialog("confirming")
        if not done["转办"]:
            _shot(clerk, "5-confirm")
        told = _taken(clerk, lambda: clerk.fill("confirming"))
        assert "已转办至" in told
        done["转办"] += 1
        presses += 2
    _shot(clerk, "6-done")
    return presses


def _ledger_agrees(clerk: Clerk, done: Counter[str]) -> None:
    content = httpx.get(clerk.find("#ledger").get_attribute("href")).content
    (Path(str(SHOTS)) / "台账.xlsx").write_bytes(content)
    sheet = openpyxl.load_workbook(io.BytesIO(content)).active
    assert sheet is not None
    head, *lines = sheet.iter_rows(values_only=True)
    table = [dict(zip(head, line, strict=True)) for line in lines]
    assert len(table) == MESSAGES
    states = Counter(line["状态"] for line in table)
    assert states.keys() == {
        "已转办",
        "留存",
        "已退回",
    }  # nothing waits; what was kept may have gone with its case since
    assert states["已退回"] == done["退回"]
    assert all(
        line["主办"] and line["办理时限"] and line["经办人"] == "王芳" for line in table if line["状态"] == "已转办"
    )
    assert len({line["并案编号"] for line in table if line["并案编号"]}) == done["并案"]
    print("主办：", Counter(line["主办"] for line in table).most_common(8))
