"""A clerk's Monday in miniature, in headless Chromium against a real server: a file comes in, a ledger goes out."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import openpyxl
import pytest

from tests.browser.test_page import _find, _wait, address, browser, pytestmark  # noqa: F401

LAMP = "青云路小学门口的路灯坏了半个月没人修，晚上黑灯瞎火"
HEADERS = ("工单编号", "标题", "收到日期", "诉求内容", "来电人", "联系电话", "所属区县", "备用")
MONDAY = (
    ("G-1", "路灯不亮", "2026/11/20", f"{LAMP}，请派人来看。", "张三", "13800001111", "云岩区", "甲"),
    ("G-2", "路灯又不亮", "2026/11/21", f"{LAMP}，老人摔了一跤。", "李四", "13800002222", "云岩区", "乙"),
    ("G-3", "油烟呛人", "2026/11/22", "楼下烧烤店油烟很大不敢开窗，餐馆油烟直排熏得人头疼。", "王五", "13800003333", "南明区", ""),
    ("G-4", "学位不够", "2026/11/22", "孩子上小学学位不够怎么办，幼儿园入学报名学位紧张。", "赵六", "13800004444", "花溪区", ""),
    ("G-5", "仓库着火", "2026/11/23", "楼下仓库着火了快来，起火了救人，大火烧来了！", "钱七", "13800005555", "乌当区", ""),
    ("G-6", "测试", "2026/11/23", "测试", "孙八", "13800006666", "", ""),
    ("G-7", "补课费", "2026/11/23", "学校收补课费家长有意见，初中学区划分不公平。", "周九", "13800007777", "白云区", ""),
    ("G-8", "没有正文", "2026/11/23", "", "吴十", "13800008888", "", ""),
)  # fmt: skip


@pytest.fixture(scope="module")
def monday(tmp_path_factory: pytest.TempPathFactory) -> Path:
    book = openpyxl.Workbook()
    for row in (HEADERS, *MONDAY):
        book.active.append(row)
    path = tmp_path_factory.mktemp("monday") / "周一.xlsx"
    book.save(path)
    return path


ROWS = """return [...document.querySelectorAll('#rows tr')].filter((row) => !row.hidden).map((row) => ({
  number: row.cells[0].firstChild.textContent, title: row.querySelector('.title').textContent, text: row.innerText,
  selected: row.classList.contains('selected') }))"""


class Clerk:
    """Does by keyboard what a clerk would, and reads what the page says."""

    def __init__(self, browser: Any, address: str) -> None:  # noqa: F811
        self.browser, self.address = browser, address

    def wait(self, condition: Callable[[], Any], seconds: int = 90) -> Any:
        return _wait(self.browser, lambda _: condition(), seconds)

    def find(self, selector: str) -> Any:
        return _find(self.browser, selector)

    def text(self, selector: str) -> str:
        """What stands there, "" where nothing does: read at once, as the page may be drawing it again."""
        script = "const e = document.querySelector(arguments[0]); return e ? e.innerText.trim() : ''"
        return str(self.browser.execute_script(script, selector))

    def all(self, selector: str) -> list[Any]:
        return list(self.browser.find_elements("css selector", selector))

    def properties(self, selector: str, name: str) -> list[Any]:
        """One property of all that the selector finds: read at once, as the page may be drawing them again."""
        script = "return [...document.querySelectorAll(arguments[0])].map((e) => e[arguments[1]])"
        return list(self.browser.execute_script(script, selector, name))

    def rows(self) -> list[dict[str, Any]]:
        """The rows shown: read at once, as the page may be filling them in."""
        return list(self.browser.execute_script(ROWS))

    def listed(self) -> list[str]:
        """The numbers of the rows shown, as the sources gave them, or as registered."""
        return [row["number"] for row in self.rows()]

    def row(self, title: str) -> str:
        """All that the row of this title says, "" where there is none."""
        return next((row["text"] for row in self.rows() if row["title"] == title), "")

    def ready(self, seconds: int = 90) -> None:
        """The list is there, with proposals and duplicates."""
        self.wait(lambda: self.all("#rows tr") and not self.text("#filling"), seconds)

    def open(self, title: str) -> None:
        """Move with j and k till the row is selected, and open it."""
        rows = self.rows()
        now = next(i for i, row in enumerate(rows) if row["selected"])
        steps = [row["title"] for row in rows].index(title) - now
        for _ in range(abs(steps)):
            self.press("j" if steps > 0 else "k")
        self.press("\ue007")  # Enter
        self.wait(lambda: self.find("#panel").is_displayed() and self.text("#panel h2") == title)
        self.wait(lambda: "正在查找" not in self.text("#near"))

    def press(self, key: str) -> None:
        self.find("body").send_keys(key)

    def dialog(self, name: str) -> Any:
        self.wait(lambda: self.find(f"#{name}").is_displayed())
        return self.find(f"#{name}")

    def fill(self, name: str, **values: str) -> None:
        """Fill in a dialog and confirm it."""
        dialog = self.dialog(name)
        for field, value in values.items():
            entry = dialog.find_element("css selector", f"[name={field}]")
            if entry.tag_name != "select":
                entry.clear()
            entry.send_keys(value)
        dialog.find_element("css selector", "button[value=ok]").click()
        self.wait(lambda: not dialog.is_displayed())

    def told(self, text: str) -> str:
        """Wait till the page says so; all that it says."""
        self.wait(lambda: text in self.text("#message"))
        return self.text("#message")


@pytest.fixture
def clerk(browser: Any, address: str) -> Clerk:  # noqa: F811
    return Clerk(browser, address)


def test_a_monday(clerk: Clerk, monday: Path) -> None:
    clerk.browser.get(f"{clerk.address}/inbox")
    clerk.wait(lambda: clerk.find("#empty").is_displayed())
    _import(clerk, monday)
    _confirm_and_take_back(clerk)
    _correct_and_return(clerk)
    _merge_and_send_together(clerk)
    _somebody_was_faster(clerk)
    _ledger(clerk)


def _import(clerk: Clerk, monday: Path) -> None:
    clerk.find("#import").click()
    clerk.find("#upload [name=file]").send_keys(str(monday))
    clerk.wait(lambda: clerk.find("#preview").is_displayed())
    assert "读到 8 件：新增 7，更新 0，已有 0，不能导入 1" in clerk.text("#preview")
    selects = "#preview .columns select"
    guessed = dict(zip(clerk.properties(selects, "name"), clerk.properties(selects, "value"), strict=True))
    assert (guessed["text"], guessed["phone"], guessed["party"]) == ("诉求内容", "联系电话", "")
    assert "缺少该字段" in clerk.properties("#preview .scroll", "innerText")[-1]
    clerk.find("#preview select[name=party]").send_keys("备用")  # a column put right is read again
    clerk.wait(lambda: clerk.properties("#preview select[name=party]", "value") == ["备用"])
    clerk.wait(lambda: clerk.find("#go").is_enabled())
    clerk.find("#go").click()
    clerk.fill("naming", actor="王芳")  # asked once
    clerk.wait(lambda: "已导入：新增 7" in clerk.text("#job"))
    assert "/v1/imports/1/rejects" in clerk.find("#job a").get_attribute("href")
    clerk.find("#leave").click()
    clerk.ready()
    assert len(clerk.listed()) == 7
    assert clerk.listed()[0] == "G-5"  # urgent
    assert "紧急" in clerk.row("仓库着火")
    assert "重复 1" in clerk.row("路灯不亮")
    assert "王芳" in clerk.text("#clerk")


def _confirm_and_take_back(clerk: Clerk) -> None:
    clerk.open("仓库着火")
    assert clerk.text("#panel .urgent").startswith("可能紧急：")
    assert clerk.all("#panel .alarm")
    clerk.press("a")
    clerk.fill("confirming", unit="市消防救援支队", support="", category="求助", reason="火情在先")
    assert "市消防救援支队，时限" in clerk.told("已转办至")
    assert not clerk.row("仓库着火")
    clerk.press("u")
    clerk.told("回到待审核")
    clerk.wait(lambda: clerk.text("#panel h2") == "仓库着火")
    assert "重办（撤销上一步）" in clerk.text("#panel .timeline")
    clerk.press("a")
    clerk.fill("confirming", unit="市消防救援支队", support="", reason="火情在先")
    clerk.told("已转办至")


def _correct_and_return(clerk: Clerk) -> None:
    clerk.open("学位不够")
    clerk.press("e")
    clerk.fill("correcting", theme="强人才", reason="说的是引进人才子女入学")
    clerk.told("已修改")
    clerk.wait(lambda: "强人才" in clerk.row("学位不够") and "人工判定" in clerk.row("学位不够"))
    clerk.press("u")
    clerk.told("已改回强民生")
    clerk.wait(lambda: "强民生" in clerk.row("学位不够"))
    clerk.open("测试")
    clerk.press("r")
    clerk.dialog("returning").find_elements("css selector", ".chips button")[0].click()
    clerk.fill("returning")
    clerk.told("已退回")
    assert not clerk.row("测试")


def _merge_and_send_together(clerk: Clerk) -> None:
    clerk.open("路灯又不亮")
    assert "重复" in clerk.text("#near .near")
    assert clerk.all("#near .pair")
    for last in (False, True):
        clerk.press("m")
        clerk.fill("merging")
        assert "并案" in clerk.told("2 件）")
        clerk.wait(lambda: "并案" in clerk.row("路灯又不亮"))
        if not last:
            clerk.press("u")
            clerk.told("已撤出并案 1")
            clerk.open("路灯又不亮")
    clerk.open("路灯不亮")  # the lead: received first
    clerk.press("a")
    assert clerk.dialog("confirming").find_element("css selector", ".members").is_displayed()
    clerk.fill("confirming", unit="市综合行政执法局", support="", reason="路灯归其管养")
    clerk.told("（并案 2 件）")
    assert not any("路灯" in row["title"] for row in clerk.rows())


def _somebody_was_faster(clerk: Clerk) -> None:
    clerk.open("油烟呛人")
    [number] = [data["id"] for data in clerk.properties("#rows .selected", "dataset")]
    note = {"kind": "noted", "actor": "李强", "reason": "电话", "note": "已联系"}
    httpx.post(f"{clerk.address}/v1/submissions/{number}/events", json=note).raise_for_status()
    clerk.press("c")
    clerk.fill("returning", reason="供参阅")
    clerk.told("已重新读取")
    clerk.wait(lambda: "已联系" in clerk.text("#panel .timeline"))
    clerk.press("c")
    clerk.fill("returning", reason="供参阅")
    clerk.told("已留存")


def _ledger(clerk: Clerk) -> None:
    content = httpx.get(clerk.find("#ledger").get_attribute("href")).content
    sheet = openpyxl.load_workbook(io.BytesIO(content)).active
    assert sheet is not None
    head, *lines = sheet.iter_rows(values_only=True)
    table = {line[head.index("标题")]: dict(zip(head, line, strict=True)) for line in lines}
    assert len(table) == 7
    states = {title: line["状态"] for title, line in table.items()}
    assert states == {
        "路灯不亮": "已转办", "路灯又不亮": "已转办", "油烟呛人": "留存", "学位不够": "待审核", "仓库着火": "已转办",
        "测试": "已退回", "补课费": "待审核",
    }  # fmt: skip
    fire, lamp = table["仓库着火"], table["路灯又不亮"]
    assert (fire["主办"], fire["诉求类型"] is not None, fire["经办人"]) == ("市消防救援支队", True, "王芳")
    assert (lamp["主办"], lamp["并案编号"]) == ("市综合行政执法局", table["路灯不亮"]["并案编号"])
    assert "13800005555" not in str(table)


def test_views_filters_and_agreement(clerk: Clerk) -> None:
    clerk.browser.get(f"{clerk.address}/inbox")
    clerk.ready()
    assert clerk.text("#advice").startswith("工作日历只到 2026-12-31")
    assert len(clerk.listed()) == 2
    next(view for view in clerk.all("#views button") if view.text.startswith("已转办")).click()
    clerk.wait(lambda: len(clerk.listed()) == 3)
    unit = clerk.find("#filters [name=unit]")
    unit.send_keys("消防")
    assert [row["title"] for row in clerk.rows()] == ["仓库着火"]
    unit.send_keys("a")  # a letter typed is no command
    assert clerk.all("dialog[open]") == []
    assert clerk.listed() == []
    assert clerk.text("#empty") == "没有符合条件的材料。"
    clerk.find("#agreement summary").click()
    clerk.wait(lambda: "合计" in clerk.text("#kept"))
    assert "不认识的词" in clerk.text("#kept")
    clerk.press("?")
    assert "撤销自己刚才的一步" in clerk.dialog("help").text


def test_pasted_text_and_what_cannot_be_read(clerk: Clerk, tmp_path: Path) -> None:
    clerk.browser.get(f"{clerk.address}/inbox")
    clerk.ready()
    wrong = tmp_path / "甲.csv"
    wrong.write_text("甲,乙\n一,二\n", encoding="utf-8")
    clerk.find("#import").click()
    clerk.find("#upload [name=file]").send_keys(str(wrong))
    clerk.wait(lambda: "找不到正文所在的列" in clerk.text("#import-error"))
    clerk.find("#upload [name=column]").send_keys("乙")
    clerk.find("#upload button").click()
    clerk.wait(lambda: "新增 1" in clerk.text("#preview"))
    clerk.find("#leave").click()
    clerk.find("#import").click()
    clerk.find("#upload [name=text]").send_keys("人行道地砖松动，雨天一踩一脚泥，请维修。")
    clerk.find("#upload button").click()
    clerk.wait(lambda: "新增 1" in clerk.text("#preview"))


def test_markup_stays_text_and_nothing_foreign_is_asked_for(clerk: Clerk) -> None:
    text = "<img src=x onerror=alert(1)><b>路灯</b>坏了没人修𠮷🙂，电话13812345678"
    item = {"external_id": "X-1", "title": "<i>标记</i>", "text": text}
    httpx.post(f"{clerk.address}/v1/submissions", json={"items": [item]}).raise_for_status()
    clerk.browser.get(f"{clerk.address}/inbox")
    clerk.ready()
    clerk.open("<i>标记</i>")
    assert clerk.text("#panel .text").endswith(text.replace("13812345678", "*" * 11))
    assert clerk.all("#panel img, #panel i, #rows img") == []
    names = clerk.browser.execute_script("return performance.getEntriesByType('resource').map((e) => e.name)")
    assert names
    assert all(name.startswith(clerk.address) for name in names)
    severe = [entry["message"] for entry in clerk.browser.get_log("browser") if entry["level"] == "SEVERE"]
    assert [message for message in severe if "412" not in message and "422" not in message] == []


def test_narrow_screens_need_no_sideways_scrolling(clerk: Clerk, tmp_path: Path) -> None:
    clerk.browser.set_window_size(500, 900)
    clerk.browser.get(f"{clerk.address}/inbox")
    clerk.ready()
    fits = "return document.documentElement.scrollWidth <= window.innerWidth"
    assert clerk.browser.execute_script(fits)
    clerk.all("#rows tr")[0].click()
    clerk.wait(lambda: clerk.find("#panel").is_displayed())
    assert clerk.browser.execute_script(fits)
    assert not clerk.find("#rows").is_displayed()  # the panel has the whole screen
    clerk.browser.save_screenshot(str(tmp_path / "narrow.png"))
    clerk.browser.set_window_size(1280, 1400)
