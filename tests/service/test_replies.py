"""Replies that come with an import: stored once, shown masked, and their submissions are nobody's work any more."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from nlp.errors import InputError
from nlp.taxonomy import Taxonomy
from service import exports
from service.engine import Engine, Models
from service.erasure import erase
from service.imports import Imports, Runner
from service.inbox import tally
from service.intake import report, to_reply, understand
from service.lifecycle import Lifecycle
from service.replies import Reply
from service.search import Filters
from service.sheets import Row
from service.steps import fold
from service.store import Store
from service.timeline import timeline
from tests.service.conftest import Run
from tests.service.test_imports import ended
from tests.service.test_lifecycle import RULES

HEADER = "编号,反映人,内容,答复内容,答复时间\n"
LAMP = "W-1,王小芳,小区门口的路灯坏了半个月没人修,王小芳您好：路灯已于昨晚修好，咨询请拨13812345678。,2024年5月8日\n"
HOLE = "W-2,,井盖松动路面塌陷,办理中。,\n"


@pytest.fixture
def runner(models: Models, store: Store) -> Iterator[Runner]:
    engine = Engine(models, 4)
    yield Runner(engine, Imports(store, 1000))
    engine.close()


@pytest.fixture
def life(store: Store) -> Lifecycle:
    return Lifecycle(store, RULES)


def bring(runner: Runner, *lines: str, header: str = HEADER) -> tuple[int, int, int]:
    """Import these lines; how many were new, revised and unchanged, as the report foretold."""
    content = (header + "".join(lines)).encode()
    told = report(understand("a.csv", content, {}, "热线", "auto", 1000), runner.jobs.store)
    job = runner.jobs.submit("a.csv", content, {}, "热线", "auto", "import")
    assert runner.run_one()
    done = runner.jobs.get(job.id)
    assert (done.state, done.rejected) == ("done", 0)
    assert (done.new, done.revised, done.unchanged) == (told["new"], told["revised"], told["unchanged"])
    return done.new, done.revised, done.unchanged


def kinds(life: Lifecycle, number: int = 1) -> list[str]:
    return [event.kind for event in life.events(number)]


@pytest.mark.both_engines
def test_what_was_answered_elsewhere_comes_in_closed_and_only_what_is_open_waits(
    runner: Runner, life: Lifecycle, store: Store, taxonomy: Taxonomy
) -> None:
    assert bring(runner, LAMP, HOLE) == (2, 0, 0)
    assert tally(life) == {"已办结": 1, "待审核": 1, "临期": 0, "超期": 0}
    standing = life.standing([1])[1]
    assert (standing.state, standing.replied_at, standing.number) == ("已办结", "2024-05-08T00:00:00+08:00", None)
    assert standing == fold(life.events(1))
    assert kinds(life) == ["received", "analysed", "replied"]
    assert "修好" not in str(store.history(1))
    last = timeline(life.events(1), {})[-1]
    assert (last["actor"], last["what"]) == ("导入", "来源已答复（2024-05-08）")
    assert life.replies(2) == []
    first, second = exports.table(store, Filters(), taxonomy, life.standing, ledger=True).rows
    assert (first["状态"], first["编号"], second["办理结果"]) == ("已办结", "W-1", None)
    assert first["办理结果"] == "王**您好：路灯已于昨晚修好，咨询请拨***********。"


@pytest.mark.both_engines
def test_the_same_row_changes_nothing_and_another_reply_is_one_more_step(runner: Runner, life: Lifecycle) -> None:
    bring(runner, LAMP, HOLE)
    stamp = life.store.stamp()
    assert bring(runner, LAMP, HOLE) == (0, 0, 2)
    assert bring(runner, LAMP.replace("2024年5月8日", "")) == (0, 0, 1)  # says less, but nothing else
    assert bring(runner, "W-1,王小芳,小区门口的路灯坏了半个月没人修,,\n") == (0, 0, 1)
    assert life.store.stamp() == stamp
    assert bring(runner, LAMP.replace("已于昨晚修好", "下周修好"), HOLE.replace("办理中。", "已加固")) == (0, 2, 0)
    assert (kinds(life)[2:], kinds(life, 2)[2:]) == (["replied"] * 2, ["replied"])
    assert [text[6:] for text in life.replies(1)] == [
        "路灯已于昨晚修好，咨询请拨13812345678。", "路灯下周修好，咨询请拨13812345678。",
    ]  # fmt: skip
    assert timeline(life.events(2), {})[-1]["what"] == "来源已答复（日期不详）"
    assert bring(runner, LAMP) == (0, 1, 0)  # what was said first is news again
    assert bring(runner, LAMP.replace("修好", "换好"), LAMP.replace("修好", "换好"), LAMP) == (0, 2, 1)


def test_what_people_do_here_is_not_undone_by_a_reply(runner: Runner, life: Lifecycle) -> None:
    bring(runner, HOLE)
    life.step(1, "answered", "王芳", "已核实", {"reply": "已派人"})
    assert bring(runner, HOLE.replace("办理中。", "已加固")) == (0, 1, 0)
    assert (life.standing([1])[1].state, life.replies(1)) == ("办理中", ["已派人", "已加固"])
    assert bring(runner, HOLE.replace("办理中。", "已加固")) == (0, 0, 1)


def test_a_closed_one_gets_its_number_with_the_first_step(runner: Runner, life: Lifecycle) -> None:
    bring(runner, LAMP)
    life.step(1, "reopened", "王芳", "来电说又坏了")
    standing = life.standing([1])[1]
    assert (standing.state, standing.number is not None) == ("办理中", True)
    life.step(1, "closed", "王芳", "已核实", {"result": "已解决"})
    assert kinds(life)[3:] == ["registered", "reopened", "closed"]
    assert life.standing([1])[1] == fold(life.events(1))


@pytest.mark.both_engines
def test_erasure_takes_the_reply_and_no_import_brings_it_back(runner: Runner, life: Lifecycle) -> None:
    bring(runner, LAMP)
    erase(life.store, [1], "王芳", "本人要求")
    assert life.replies(1) == []
    stamp = life.store.stamp()
    content = (HEADER + LAMP.replace("修好", "换好")).encode()
    runner.jobs.submit("a.csv", content, {}, "热线", "auto", "import")
    assert runner.run_one()
    assert (life.store.stamp(), life.replies(1)) == (stamp, [])


def test_a_reply_that_was_left_out_before_comes_with_the_next_import(runner: Runner, life: Lifecycle) -> None:
    bring(runner, "W-1,,路灯坏了没人修\n", header="编号,反映人,内容\n")
    assert life.standing([1])[1].state == "待审核"
    assert bring(runner, "W-1,,路灯坏了没人修,已修\n", header="编号,反映人,内容,回复\n") == (0, 1, 0)
    assert (life.standing([1])[1].state, kinds(life)) == ("已办结", ["received", "analysed", "replied"])


@pytest.mark.parametrize(
    ("reply", "at", "expected"),
    [
        ("已修", None, Reply("已修")),
        (" 已修 ", 45419, Reply("已修", "2024-05-07T00:00:00+08:00")),
        (12, None, Reply("12")),
        (None, "昨天", None),
        *((word, None, None) for word in ("", "  ", "无", "暂无。", "—", "/", "办理中", "【待回复】")),
    ],
)
def test_what_is_a_reply(reply: Any, at: Any, expected: Reply | None) -> None:
    assert to_reply(Row(2, {"a": reply, "b": at}), {"reply": "a", "replied_at": "b"}, 100) == expected


@pytest.mark.parametrize(
    ("reply", "at", "message"),
    [
        ("已修", "昨天", "replied_at：日期无法识别"),
        ("修" * 101, None, "reply：最多 100 个字符"),
        ("a\0", None, "reply："),
    ],
)
def test_a_bad_reply_is_named(reply: str, at: str | None, message: str) -> None:
    with pytest.raises(InputError, match=f"^{message}"):
        to_reply(Row(2, {"a": reply, "b": at}), {"reply": "a", "replied_at": "b"}, 100)


def test_by_command_and_over_http(run: Run, client: TestClient, tmp_path: Path) -> None:
    content = (HEADER + LAMP + HOLE + "W-3,,路灯坏了,已修,明天\n").encode()
    (tmp_path / "a.csv").write_bytes(content)
    for counts in ((2, 0, 0), (0, 0, 2)):
        code, out, err = run("import", tmp_path / "a.csv", "--source", "热线")
        told = json.loads(out)
        assert (code, told["new"], told["revised"], told["unchanged"]) == (1, *counts)
        assert "第 4 行未导入：replied_at：日期无法识别" in err
    assert run("list", "--state", "已办结")[1].startswith("1  未登记  已办结")
    client.post("/v1/imports", files={"file": ("a.csv", content)}).raise_for_status()
    ended(client, 1)
    found = client.get("/v1/submissions/1").json()
    assert found["replies"] == ["王**您好：路灯已于昨晚修好，咨询请拨***********。"]
    assert found["standing"]["state"] == "已办结"


def test_a_reply_comes_with_a_submission_over_http_too(client: TestClient, store: Store) -> None:
    item = {
        "external_id": "W-1",
        "source": "热线",
        "text": "小区门口的路灯坏了半个月没人修",
        "reply": "王小芳您好：已修好。",
    }
    bad = [
        {"external_id": "W-2", "text": "井盖松动", "replied_at": "2024-05-08"},
        {"external_id": "W-3", "text": "井盖松动", "reply": "已修", "replied_at": "昨天"},
        {"external_id": "W-4", "text": "井盖松动", "reply": 5},
    ]

    def post(*items: dict[str, Any], dry_run: bool = False) -> list[dict[str, Any]]:
        answer = client.post(f"/v1/submissions?dry_run={dry_run}", json={"items": list(items)})
        return list(answer.raise_for_status().json()["items"])

    told = post(item, dry_run=True)
    first, *refused = post(item, *bad)
    assert (told[0]["outcome"], first["outcome"], store.count()) == ("new", "new", 1)
    assert [one["error"]["field"] for one in refused] == ["reply", "replied_at", "reply"]
    detail = client.get("/v1/submissions/1").json()
    assert (detail["standing"]["state"], detail["replies"]) == ("已办结", ["王**您好：已修好。"])
    assert [event["kind"] for event in detail["events"]] == ["received", "analysed", "replied"]
    assert detail["events"][-1]["actor"] == "api"
    assert post(item)[0]["outcome"] == "unchanged"
    later = {**item, "reply": "又坏了，再修", "replied_at": "2024-05-09 10:00:00"}
    assert (post(later, dry_run=True)[0]["outcome"], post(later)[0]["outcome"]) == ("revised", "revised")
    assert post(later)[0]["outcome"] == "unchanged"
    assert client.get("/v1/submissions/1").json()["standing"]["replied_at"] == "2024-05-09T10:00:00+08:00"
