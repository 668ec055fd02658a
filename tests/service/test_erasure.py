"""Erasure: what goes, what stays, and that no file and no index keeps what was erased."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from random import Random
from types import SimpleNamespace
from typing import Any

import psycopg
import pytest
import sqlalchemy as sa
from fastapi.testclient import TestClient

from nlp.errors import InputError
from nlp.taxonomy import Taxonomy
from service import app, database
from service.backup import backup
from service.cases import Cases, NotFound
from service.database import StoreError
from service.duplicates import Duplicates
from service.engine import Engine, Models, store_batch
from service.erasure import erase
from service.lifecycle import Lifecycle, StepRefused
from service.reanalysis import prepare, switch
from service.search import Index, without_words
from service.statistics import facts, read_period, statistics
from service.store import Store, Submission, Submitter
from service.tables import CONTENT, metadata, submissions
from service.tables import topics as topics_table
from service.topic_views import overview
from service.topics import Topics
from tests.service.conftest import Run
from tests.service.test_store import ENCODER, analysis, submission

pytestmark = pytest.mark.both_engines
SIGNED = ("王芳", "本人要求删除")
# Words that occur nowhere else, in every field that holds content; some long enough to fill pages of their own.
SECRET = Submission(
    "12345", "工单蛟龙零七", "翡翠玛瑙湾第九栋的电梯困人。" + "窨井盖翘起来了琥珀巷。" * 400, "玳瑁花园电梯",
    "2024-05-06T09:30:00+08:00", "云岩区", "珊瑚路八十八弄",
    Submitter("欧阳翠微", "13987654321", "民建琉璃支部", "麒麟界", "市民"),
)  # fmt: skip
REVISED = replace(SECRET, text="改为砗磲湾的电梯。", title="砗磲电梯")
WORDS = (
    "翡翠玛瑙湾",
    "琥珀巷",
    "玳瑁花园",
    "珊瑚路",
    "欧阳翠微",
    "13987654321",
    "琉璃支部",
    "麒麟界",
    "砗磲",
    "蛟龙零七",
)


def answer(words: str) -> Any:
    return replace(analysis(), result={"primary": "urban", "evidence": words}, words=[words, "电梯"])


def fill(store: Store) -> None:
    """Forty others, number 21 the secret one, revised once, and prepared for another encoder."""
    others = [(submission(i, f"第{i}盏路灯坏了" * 30), analysis(seed=i)) for i in range(40)]
    store.add([*others[:20], (SECRET, answer("翡翠玛瑙湾")), *others[20:]], ENCODER, "t")
    store.add([(REVISED, answer("砗磲湾"))], ENCODER, "t")
    prepare(store, [(item, answer("砗磲湾")) for item in store.get_many([21])], "e2")
    Lifecycle(store).step(21, "answered", "王芳", "已核实", {"reply": "砗磲湾的电梯已停用检修。"})


@pytest.fixture
def filled(store: Store) -> Store:
    fill(store)
    return store


def test_content_goes_and_a_tombstone_stays(filled: Store) -> None:
    assert [len(filled.revisions(21)), filled.count()] == [1, 41]
    [done] = erase(filled, [21], *SIGNED)
    found = filled.get(21)
    assert found is not None
    assert done.purged
    assert (found.erased_at, found.analysis) == (done.erased_at, None)
    assert found.submission.external_id.startswith("sha256:")
    assert replace(found.submission, external_id="") == Submission("12345", "", "")
    assert (filled.revisions(21), filled.get_many([20, 21]), filled.count()) == ([], filled.get_many([20]), 40)
    assert 21 not in [s.id for s in filled.everything()]
    assert 21 not in filled.vectors(ENCODER)[0]
    assert (filled.without_vector("e2"), without_words(filled)) == ([n for n in range(1, 42) if n != 21], [])
    last = filled.history(21)[-1]
    assert (last["kind"], last["actor"], last["detail"]) == ("erased", "王芳", {"reason": "本人要求删除"})
    assert switch(filled, "e2") == 0
    lifecycle = Lifecycle(filled)
    assert (lifecycle.replies(21), lifecycle.standing([21])[21].state) == ([], "已删除")
    with pytest.raises(StepRefused, match="现为“已删除”"):
        lifecycle.step(21, "closed", "王芳", "核实", {"result": "已解决"})
    with filled.reading() as connection:
        rows = [tuple(row) for table in metadata.sorted_tables for row in connection.execute(sa.select(table))]
    for word in WORDS:
        assert word not in str(rows)


def test_every_table_that_hangs_on_submissions_is_emptied_or_holds_no_content() -> None:
    """A new table belongs into one of the two: ``CONTENT``, or this list after thought."""
    without_content = {"events", "case_members", "follows", "standings"}
    hanging = {table.name for table in metadata.sorted_tables if "submission_id" in table.c}
    assert hanging == {table.name for table in CONTENT} | without_content


def test_no_import_brings_it_back_and_each_time_it_is_said(filled: Store) -> None:
    erase(filled, [21], *SIGNED)
    stamp = filled.stamp()
    for again in (SECRET, REVISED):
        assert filled.foresee(again)[1] == "erased"
        assert filled.add([(again, None)], ENCODER, "t") == [(21, "erased")]
        assert filled.add([(again, answer("琥珀巷"))], ENCODER, "t") == [(21, "erased")]
    assert filled.stamp() == stamp
    assert filled.foresee(replace(SECRET, external_id="别的"))[1] == "new"
    assert filled.foresee(replace(SECRET, source="别处"))[1] == "new"


def test_erasing_again_records_nothing_and_purges_again(filled: Store) -> None:
    [first] = erase(filled, [21], *SIGNED)
    stamp = filled.stamp()
    assert erase(filled, [21], "李雷", "再清一次") == [first]
    assert filled.stamp() == stamp


@pytest.mark.parametrize("number", [99, 0, 2**31, 2**70])
def test_an_unknown_number_is_said_and_nothing_is_erased(number: int, filled: Store) -> None:
    with pytest.raises(NotFound, match=f"没有编号为 {number} 的材料"):
        erase(filled, [21, number], *SIGNED)
    with pytest.raises(InputError, match="reason：内容为空"):
        erase(filled, [21], "王芳", " ")
    assert filled.count() == 41


# Files


def traces(folder: Path) -> set[str]:
    """Which of the words stand in any file below ``folder``, as UTF-8."""
    content = b"".join(path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file())
    return {word for word in WORDS if word.encode() in content}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "data").mkdir()
    return tmp_path / "data"


def test_no_file_keeps_what_was_erased(folder: Path) -> None:
    """While another connection stays open; in the database, its log, its index, and a backup made afterwards."""
    store = Store(f"sqlite:///{folder / 'test.db'}", "default")
    fill(store)
    other = Store(store.url, "default")
    assert other.get(21) is not None
    assert traces(folder) == set(WORDS)
    assert erase(store, [21], *SIGNED)[0].purged
    assert {path.name for path in folder.iterdir()} == {"test.db", "test.db-wal", "test.db-shm"}
    backup(store.url, folder / "backup.db")
    assert traces(folder) == set()
    assert other.count() == 40
    other.close()
    store.close()
    assert traces(folder) == set()


def test_what_moved_between_pages_leaves_no_copy_behind(folder: Path) -> None:
    """``secure_delete`` overwrites what is deleted, not what was moved before: one of 300 such histories shows it."""
    store, random = Store(f"sqlite:///{folder / 'test.db'}", "default"), Random(112)
    with store.writing() as connection:

        def execute(statement: str, *values: object) -> None:
            connection.exec_driver_sql(statement, values)

        execute("CREATE TABLE t (office TEXT, id INT, text TEXT, PRIMARY KEY (office, id))")
        for i in range(60):
            secret = i == random.randrange(60) or i == 21
            execute(
                "INSERT INTO t VALUES ('d', ?, ?)",
                i,
                "琥珀巷翡翠玛瑙湾珊瑚" if secret else "x" * random.randrange(10, 200),
            )
        for _ in range(40):
            i = random.choice([j for j in range(10, 35) if j != 21])
            execute("UPDATE t SET text = ? WHERE id = ?", "y" * random.randrange(10, 900), i)
        execute("UPDATE t SET text = '' WHERE text LIKE '琥珀巷%'")
    assert store.purge(())
    assert traces(folder) == set()
    store.close()


def test_while_another_reads_what_was_there_before_it_is_said_and_can_be_repeated(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database, "_PATIENCE", 0)
    store = Store(f"sqlite:///{folder / 'test.db'}", "default")
    fill(store)
    other = Store(store.url, "default")
    with other.reading() as connection:
        connection.execute(sa.select(submissions.c.id)).all()
        [done] = erase(store, [21], *SIGNED)
        assert not done.purged
        assert store.count() == 40  # it is erased all the same
        assert traces(folder) == set(WORDS)
    [again] = erase(store, [21], *SIGNED)
    assert (again.erased_at, again.purged) == (done.erased_at, True)
    assert traces(folder) == set()
    with other.writing():
        assert not store.purge(CONTENT)  # another writes: the database is locked
    other.close()
    store.close()


def test_no_table_file_of_postgresql_keeps_what_was_erased(
    postgresql: tuple[str, Path], empty_postgresql: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    address, data = postgresql
    store = Store(empty_postgresql, "default")
    fill(store)

    def execute(*statements: str) -> None:
        with psycopg.connect(address.format("postgres").replace("+psycopg", ""), autocommit=True) as connection:
            for statement in statements:
                connection.execute(statement)

    def on_disk() -> set[str]:
        execute("CHECKPOINT")
        return traces(data / "base")

    with store.writing() as connection:
        connection.exec_driver_sql("ANALYZE")
    assert on_disk()
    assert erase(store, [21], *SIGNED)[0].purged
    assert on_disk() == set()
    assert traces(data / "pg_wal")  # the log of what was written before, until its files are used again
    execute(*("SELECT pg_switch_wal()", "CHECKPOINT") * 10)  # as the guide says
    assert traces(data) == set()
    monkeypatch.setattr(database, "_PATIENCE", 1)
    impatient, other = Store(store.url, "default"), Store(store.url, "default")
    with other.reading() as connection:
        connection.execute(sa.select(submissions.c.id)).all()
        assert not impatient.purge((submissions,))
    for one in (impatient, other, store):
        one.close()


# Memory


@pytest.fixture
def engine(models: Models) -> Iterator[Engine]:
    opened = Engine(models, 4)
    yield opened
    opened.close()


def test_indexes_and_caches_forget_even_what_another_process_erased(
    engine: Engine, store: Store, another: Callable[[str], Store]
) -> None:
    duplicates = Duplicates(engine, store)
    batch = [SECRET, replace(SECRET, external_id="2"), submission(3)]
    engine.run(lambda: duplicates.receive(batch, lambda answered: {}, "t"))
    assert {key[0] for key in duplicates._profiles._kept} >= {1}
    assert 1 in duplicates.voices._of
    erase(another(store.office_id), [1], *SIGNED)
    engine.run(duplicates.forget)
    assert 1 not in duplicates.voices._of
    assert 1 not in {key[0] for key in duplicates._profiles._kept}
    assert duplicates._profiles._tokens == sum(len(p.encoding.tokens) for p in duplicates._profiles._kept.values())
    assert engine.index.vectors.keys.tolist() == [2, 3]
    assert engine.index.vectors.get(1) is None
    assert len(engine.index.terms) == 2
    erase(store, [2], *SIGNED)
    index = engine.index.follow(store)
    assert "玛瑙" not in str(index.terms._terms)
    [found] = engine.run(lambda: duplicates.ask([replace(SECRET, external_id="4")]))
    assert (found.duplicates, found.follows) == ((), None)
    assert Index(engine.models.encoder.encoder_id).follow(store).vectors.keys.tolist() == [3]


def test_the_regular_check_forgets_and_outlives_trouble(
    engine: Engine, store: Store, another: Callable[[str], Store], monkeypatch: pytest.MonkeyPatch
) -> None:
    duplicates = Duplicates(engine, store)
    engine.run(lambda: duplicates.receive([SECRET, submission(2)], lambda answered: {}, "t"))
    topics = Topics(engine, store, Lifecycle(store).standing)
    topics.refresh()
    erase(another(store.office_id), [1], *SIGNED)
    forget, troubles = duplicates.forget, [StoreError("数据库暂时不可用")]

    def troubled() -> None:
        if troubles:
            raise troubles.pop()
        forget()

    monkeypatch.setattr(duplicates, "forget", troubled)
    turns = iter([False, False, True])
    app._check_regularly(duplicates, topics, SimpleNamespace(wait=lambda seconds: next(turns)))  # type: ignore[arg-type]
    assert troubles == []
    assert topics._space is None
    assert topics.space()[0] == [2]
    assert engine.index.vectors.keys.tolist() == [2]
    assert 1 not in {key[0] for key in duplicates._profiles._kept}


# Cases


def test_a_case_keeps_the_number_and_counts_no_voice(filled: Store) -> None:
    cases = Cases(filled)
    cases.merge(1, [1, 2, 21], "王芳", "同一处")
    filled.add([(replace(SECRET, external_id="再报"), answer("电梯"))], ENCODER, "t")
    cases.follow(42, 21, "王芳", "再次反映")
    erase(filled, [21], *SIGNED)
    outline = cases.outline(cases.get(1))
    assert (outline.case.lead, outline.case.members, outline.erased) == (1, (1, 2, 21), (21,))
    assert (outline.voices, outline.follow_ups) == (2, (42,))
    last = cases.history(1)[-1]
    assert (last["kind"], last["submission_id"]) == ("erased", 21)
    assert last["detail"] == {"reason": "本人要求删除", "case": 1, "lead": 1}
    for step in (lambda: cases.join(1, [21], "a", "b"), lambda: cases.merge(3, [3, 21], "a", "b"),
                 lambda: cases.follow(21, 3, "a", "b"), lambda: cases.follow(3, 21, "a", "b")):  # fmt: skip
        with pytest.raises(NotFound, match="21 号材料已于 .* 删除"):
            step()
    assert Lifecycle(filled).step(1, "kept", "a", "b", members=True) == (1, 2)
    assert cases.undo(1, "a", "b", member=21).members == (1, 2)


def test_statistics_count_it_as_of_a_day_before_and_no_more(filled: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(filled, "now", lambda: "2099-05-02T00:00:00+00:00")
    erase(filled, [21], *SIGNED)
    for moment, there in (("2099-05-01T00:00:00+00:00", True), ("2099-05-03T00:00:00+00:00", False)):
        found = {fact.id: fact for fact in facts(filled, datetime.fromisoformat(moment))}
        assert (21 in found, len(found)) == (there, 40 + there)


def test_a_filed_report_counts_it_still_but_no_longer_tells_whose_it_was(
    filled: Store, taxonomy: Taxonomy, monkeypatch: pytest.MonkeyPatch
) -> None:
    day = datetime.fromisoformat("2099-05-01T00:00:00+00:00")
    period = read_period("2024-05", None, None, None, day.date())
    filed = statistics(filled, taxonomy, period, day)
    monkeypatch.setattr(filled, "now", lambda: "2099-05-02T00:00:00+00:00")
    erase(filled, [21], *SIGNED)
    again = statistics(filled, taxonomy, period, day)
    assert (filed.sectors.keys(), again.sectors.keys()) == ({"麒麟界", "不详"}, {"不详"})
    assert (again.now, again.tables, again.adoption) == (filed.now, filed.tables, filed.adoption)
    assert again.tables["unit_state"].counts == ((1,),)
    later = statistics(filled, taxonomy, period, datetime.fromisoformat("2099-05-03T00:00:00+00:00"))
    assert (later.now.submissions, later.tables["unit_state"].counts) == (40, ())


def test_a_topic_is_named_anew_by_what_is_left(engine: Engine, store: Store) -> None:
    same = "楼下的电梯三天两头困人没人管，孩子在里面哭了半个小时，物业的电话打不通"
    batch = [replace(SECRET, external_id=str(i), text=same + mark, title="电梯") for i, mark in enumerate("。！？…")]
    engine.run(lambda: list(store_batch(engine, store, batch, lambda answered: {}, "t")))
    topics = Topics(engine, store)
    numbers = {view.id for view in overview(topics).topics}
    with store.writing() as connection:
        connection.execute(topics_table.update().values(name="翡翠玛瑙湾", given_name="电梯困人"))
    erase(store, [1, 2], *SIGNED)
    assert {row.name for row in topics.rows().values()} == {""}
    after = {view.id: view for view in overview(topics).topics}
    assert after.keys() == numbers != set()
    assert all((view.size, view.name) == (2, "电梯困人") for view in after.values())
    assert all(view.machine_name not in {"", "翡翠玛瑙湾"} for view in after.values())
    erase(store, [3, 4], *SIGNED)
    assert overview(topics).topics == ()
    assert {row.name for row in topics.rows().values()} == {f"议题 {number}" for number in numbers}


def test_another_member_leads_where_the_lead_is_erased_and_a_case_of_nothing_is_closed(filled: Store) -> None:
    cases = Cases(filled)
    cases.merge(21, [21, 7, 5], "王芳", "同一处")
    erase(filled, [21], *SIGNED)
    assert (cases.get(1).lead, cases.get(1).members, cases.get(1).state) == (5, (5, 7, 21), "open")
    assert cases.memberships() == {5: (1, 5), 7: (1, 5), 21: (1, 5)}
    erase(filled, [5, 7], *SIGNED)
    assert (cases.get(1).state, cases.outline(cases.get(1)).erased) == ("undone", (7, 5, 21))
    assert cases.memberships() == {}
    assert filled.history(7)[-1]["detail"]["lead"] is None


# By HTTP and by command


def test_erasure_over_http(client: TestClient, store: Store) -> None:
    item = {"external_id": "机密", "source": "12345", "title": "翡翠电梯", "text": "翡翠玛瑙湾的电梯困人，找欧阳翠微。",
            "submitter": {"name": "欧阳翠微", "phone": "13987654321"}}  # fmt: skip
    lamps = [{"external_id": str(i), "text": "小区门口的路灯坏了半个月没人修。"} for i in range(2)]
    client.post("/v1/submissions", json={"items": [item, *lamps]})
    client.post("/v1/submissions", json={"items": [{**item, "text": "改为琥珀巷，找欧阳翠微，电话13987654321。"}]})
    seen = client.get("/v1/submissions/1").json()
    [former] = seen["revisions"]
    assert (former["revision"], former["text"]) == (1, "翡翠玛瑙湾的电梯困人，找欧阳**。")
    assert (former["submitter"]["name"], former["submitter"]["phone"]) == ("欧阳**", "*******4321")
    assert seen["erased_at"] is None
    client.post("/v1/cases", json={"lead": 1, "members": [1, 2, 3], "actor": "王芳", "reason": "同一处"})

    signed = {"actor": "王芳", "reason": "本人要求删除"}
    gone = client.request("DELETE", "/v1/submissions/1", json=signed)
    assert gone.status_code == 200, gone.text
    assert gone.json() == {"id": 1, "erased_at": gone.json()["erased_at"], "purged": True}
    assert client.request("DELETE", "/v1/submissions/1", json=signed).json() == gone.json()
    refused = client.request("DELETE", "/v1/submissions/99", json=signed)
    assert (refused.status_code, refused.json()["detail"]) == (404, "id：没有编号为 99 的材料")
    assert client.request("DELETE", "/v1/submissions/2", json={"actor": "王芳"}).status_code == 422
    assert client.request("DELETE", "/v1/submissions/2", json={**signed, "reason": "\0"}).status_code == 422

    seen = client.get("/v1/submissions/1").json()
    assert (seen["title"], seen["text"], seen["revisions"]) == ("", "", [])
    assert (seen["erased_at"], seen["events"][-1]["kind"]) == (gone.json()["erased_at"], "erased")
    refused = client.post("/v1/submissions/1/contact", json=signed)
    assert (refused.status_code, "1 号材料已于" in refused.json()["detail"]) == (404, True)
    case = client.get("/v1/cases/1").json()
    assert (case["erased"], case["lead"], case["count"], case["voices"]) == ([1], 2, 3, 2)
    assert [material["id"] for material in case["materials"]] == [2, 3]
    for format in ("text", "html"):
        page = client.get("/v1/cases/1/notice", params={"format": format}).text
        assert "3 件（其中 1 件内容已删除）" in page
    [again] = client.post("/v1/submissions", json={"items": [item]}).json()["items"]
    assert (again["submission_id"], again["outcome"]) == (1, "erased")
    everything = [client.get(path).text for path in ("/v1/submissions", "/v1/submissions/1", "/v1/cases/1")]
    everything.append(client.post("/v1/similar", json={"text": "路灯"}).text)
    assert not [word for word in ("翡翠", "琥珀", "欧阳", "4321", "机密") if word in json.dumps(everything)]
    for number in (2, 3):
        client.request("DELETE", f"/v1/submissions/{number}", json=signed)
    assert client.get("/v1/cases/1").json()["materials"] == []
    refused = client.get("/v1/cases/1/notice")
    assert (refused.status_code, refused.json()["detail"]) == (404, "case：并案 1 的材料均已删除，没有可以说明的内容")
    assert client.get("/v1/cases/suggestions").json()["items"] == []


def test_erasure_by_command(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text(
        "\n".join(json.dumps({"external_id": x, "text": "路灯坏了没人修"}) for x in "ABC"), encoding="utf-8"
    )
    assert run("import", path)[0] == 0
    code, out, err = run("erase", 1, 3, "--actor", "王芳", "--reason", "本人要求")
    assert (code, [json.loads(line)["id"] for line in out.splitlines()], err) == (0, [1, 3], "")
    code, out, err = run("import", path)
    assert code == 0
    assert {k: json.loads(out)[k] for k in ("new", "unchanged", "erased", "rejected")} == {
        "new": 0, "unchanged": 1, "erased": 2, "rejected": 0,
    }  # fmt: skip
    assert "第 1 行未导入：1 号材料已删除，不再登记" in err
    assert [json.loads(line)["external_id"] for line in run("export")[1].splitlines()] == ["B"]
    code, _, err = run("erase", 9, "--actor", "王芳", "--reason", "本人要求")
    assert (code, "没有编号为 9 的材料" in err) == (2, True)
    monkeypatch.setattr(Store, "purge", lambda self, tables: False)
    assert "文件中可能仍有残留；请稍后再执行一次" in run("erase", 1, "--actor", "王芳", "--reason", "再清")[2]
