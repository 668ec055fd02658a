from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.service.conftest import Run

LAMP = "小区门口的路灯坏了半个月没人修。"
SIGNED = ("--actor", "王芳", "--reason", "同一处路灯")


@pytest.fixture
def stored(run: Run, tmp_path: Path) -> Path:
    """Four submissions about one lamp: 1 and 4 from one telephone."""
    path = tmp_path / "来电.csv"
    phones = ("13800001111", "13800002222", "", "138 0000 1111")
    rows = (f"B-{i},{LAMP}{'井盖也松动了，走路很危险。' if i == 1 else ''},{phone}" for i, phone in enumerate(phones))
    path.write_text("编号,内容,联系电话\n" + "\n".join(rows), encoding="utf-8")
    assert run("import", path)[0] == 0
    return path


def test_a_case_from_suggestion_to_undo(run: Run, stored: Path, tmp_path: Path) -> None:
    code, out, err = run("cases", "suggest")
    assert code == 0
    assert "建议 1：3 件，反映人 3 人，把握 0.62" in out
    assert "  主件 1  B-0  —  " in out
    assert "续报：4 号续 1 号，把握 0.62" in out
    assert "共 1 个并案建议，1 个续报建议。" in err
    suggested = json.loads(run("cases", "suggest", "--format", "json")[1])
    assert [(one["lead"], one["members"]) for one in suggested["items"]] == [(1, [1, 2, 3])]

    assert json.loads(run("cases", "follow", 4, 1, *SIGNED)[1]) == {"id": 4, "follows": 1}
    merged = json.loads(run("cases", "merge", 2, 1, "--lead", 1, *SIGNED)[1])
    assert (merged["id"], merged["members"], merged["voices"], merged["follow_ups"]) == (1, [1, 2], 2, [4])
    assert "并入并案 1" in run("cases", "suggest")[1]
    assert json.loads(run("cases", "join", 1, 3, *SIGNED)[1])["members"] == [1, 2, 3]
    shown = json.loads(run("cases", "show", 1)[1])
    assert [[one["text"] for one in m["added"]] for m in shown["materials"]] == [[], ["井盖也松动了，走路很危险。"], []]
    assert "并入材料：3 件" in run("cases", "notice", 1)[1]
    page = tmp_path / "并案说明.html"
    assert run("cases", "notice", 1, "--format", "html", "--out", page)[0] == 0
    assert "<h1>并案说明</h1>" in page.read_text(encoding="utf-8")

    assert json.loads(run("cases", "undo", 1, "--member", 3, *SIGNED)[1])["left"] == [3]
    assert json.loads(run("cases", "undo", 1, *SIGNED)[1])["state"] == "undone"
    assert [json.loads(line)["id"] for line in run("cases", "list")[1].splitlines()] == [1]
    assert run("cases", "list", "--state", "open")[1] == ""
    assert json.loads(run("cases", "unfollow", 4, *SIGNED)[1]) == {"id": 4, "follows": None}


def test_the_first_member_leads_where_no_lead_is_given(run: Run, stored: Path) -> None:
    assert json.loads(run("cases", "merge", 3, 1, *SIGNED)[1])["lead"] == 3


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("merge", 1, 77, *SIGNED), "错误：members：没有编号为 77 的材料"),
        (("merge", 1, 2, "--actor", "", "--reason", "x"), "错误：actor：内容为空"),
        (("show", 9), "错误：case：没有编号为 9 的并案"),
        (("notice", 9), "错误：case：没有编号为 9 的并案"),
        (("unfollow", 1, *SIGNED), "错误：id：1 号材料不是任何材料的续报"),
    ],
)
def test_what_cannot_be_done_exits_2_and_says_why(
    run: Run, stored: Path, arguments: tuple[object, ...], message: str
) -> None:
    code, out, err = run("cases", *arguments)
    assert (code, out) == (2, "")
    assert message in err
