"""Search in a store: filters, both ways of finding, what is brought up to date, and what older databases lack."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient

from nlp.errors import InputError
from nlp.taxonomy import Taxonomy
from nlp.themes import search_terms
from service.cases import Cases
from service.database import StoreError
from service.duplicates import Duplicates
from service.engine import Engine, Models, reindex, require_vectors
from service.search import Filters, Index, advice, matching, read_filters, set_words, without_words, words_of
from service.store import Store, Submission
from service.tables import terms
from tests.service.conftest import Run
from tests.service.test_store import ENCODER, analysis

pytestmark = pytest.mark.both_engines
LAMP = "小区门口的路灯坏了半个月没人修。"


@pytest.fixture
def engine(models: Models) -> Iterator[Engine]:
    opened = Engine(models, 4)
    yield opened
    opened.close()


def keep(engine: Engine, store: Store, *items: Submission) -> None:
    duplicates = Duplicates(engine, store)
    engine.run(lambda: duplicates.receive(items, lambda answer: {}, "t"))


def found(engine: Engine, store: Store, text: str, limit: int, filters: Filters | None = None) -> list[int]:
    [(document, encoding)] = engine.read([("", text)])
    return [item.stored.id for item in engine.similar(store, document, encoding, limit, filters)]


def forget_words(store: Store) -> None:
    """As a database of an earlier version is after its migration."""
    with store.writing() as connection:
        connection.execute(terms.delete())


# Filters


def test_filters_pass_exactly_what_they_say(store: Store, another: Callable[[str], Store]) -> None:
    base = Submission("12345", "", LAMP)
    items = [
        (replace(base, external_id="1", district="云岩区", received_at="2024-05-06T23:30:00+08:00"), "urban"),
        (replace(base, external_id="2", district="云岩", received_at="2024-05-06T17:00:00+00:00"), "urban"),
        (replace(base, external_id="3", district="修文县", received_at="2024-05-08T00:00:00+08:00"), "ecology"),
        (replace(base, external_id="4", source="网上留言"), "ecology"),
    ]
    named = {"district": "修文县"}  # what the text names counts where there is nothing else
    store.add([(s, replace(analysis(theme), result=named)) for s, theme in items], ENCODER, "t")
    Cases(store).merge(1, [1, 3], "a", "b")

    def passing(**conditions: Any) -> list[int]:
        return matching(store, Filters(**conditions)).tolist()

    assert passing() == [1, 2, 3, 4]
    assert (passing(theme="ecology"), passing(matter="roads_municipal"), passing(matter="education")) == (
        [3, 4], [1, 2, 3, 4], [],
    )  # fmt: skip
    assert passing(source="网上留言") == [4]
    assert passing(district="云岩") == passing(district="云岩区") == [1, 2]
    assert (passing(district="修文"), passing(district="白云区")) == ([3, 4], [])
    assert (passing(in_case=True), passing(in_case=False)) == ([1, 3], [2, 4])
    # 17:00 in Greenwich is the next day in China: compared as time, not as text.
    day = datetime.fromisoformat("2024-05-07T00:00:00+08:00")
    assert (passing(received_from=day), passing(received_to=day)) == ([2, 3], [1])
    assert passing(received_from=day, theme="urban", district="云岩区", in_case=False) == [2]
    assert matching(another("other"), Filters(theme="urban")).tolist() == []


def test_filters_are_read_from_what_people_write(taxonomy: Taxonomy) -> None:
    assert read_filters({}, taxonomy) == Filters()
    assert not read_filters({"text": LAMP, "limit": 5, "theme": None}, taxonomy)
    read = read_filters(
        {"theme": " urban ", "received_from": "2024年5月6日", "received_to": "2024/5/6", "in_case": False}, taxonomy
    )
    assert read
    assert (read.theme, read.in_case) == ("urban", False)
    assert read.received_from == datetime.fromisoformat("2024-05-06T00:00:00+08:00")
    assert read.received_to == datetime.fromisoformat("2024-05-06T23:59:59.999999+08:00")
    exact = read_filters({"received_to": "2024-05-06 00:00:00"}, taxonomy)
    assert exact.received_to == datetime.fromisoformat("2024-05-06T00:00:00+08:00")


@pytest.mark.parametrize(
    ("values", "field", "message"),
    [
        ({"theme": "ubran"}, "theme", "分类体系中没有 'ubran'"),
        ({"matter": "urban"}, "matter", "分类体系中没有 'urban'"),
        ({"source": ""}, "source", "内容为空"),
        ({"state": "办好了"}, "state", "'办好了' 无效，应为 待审核、"),
        ({"district": "长" * 101}, "district", "100"),
        ({"received_from": "昨天"}, "received_from", "日期无法识别：'昨天'"),
        ({"received_to": "5月"}, "received_to", "日期无法识别：'5月'"),
        ({"received_from": "2024-05-07", "received_to": "2024-05-06"}, "received_to", "不能早于 received_from"),
    ],
)
def test_a_wrong_filter_is_named(values: dict[str, Any], field: str, message: str, taxonomy: Taxonomy) -> None:
    with pytest.raises(InputError) as caught:
        read_filters(values, taxonomy)
    assert caught.value.field == field
    assert message in caught.value.detail


def test_a_filter_yields_as_many_as_asked_for_where_so_many_pass(engine: Engine, store: Store) -> None:
    """The far ones are found though a hundred others are nearer: the mask comes before the ranking."""
    near = [Submission("近", str(i), LAMP) for i in range(100)]
    far = [Submission("远", str(i), "孩子上学学位不够怎么办，学校收补课费。") for i in range(12)]
    keep(engine, store, *near, *far)
    assert set(found(engine, store, LAMP, 10)) <= set(range(1, 101))
    filtered = found(engine, store, LAMP, 10, Filters(source="远"))
    assert len(filtered) == 10
    assert set(filtered) <= set(range(101, 113))
    assert len(found(engine, store, LAMP, 50, Filters(source="远"))) == 12
    assert found(engine, store, LAMP, 10, Filters(source="无")) == []


# Vectors and words


def test_what_shares_only_a_rare_word_is_found_by_it(engine: Engine, store: Store) -> None:
    """An estate's name in a text about something else, behind eighty that are nearer in what they say."""
    others = [Submission("s", str(i), f"路灯坏了晚上黑灯瞎火没人修，第{i}次反映。") for i in range(80)]
    keep(engine, store, *others, Submission("s", "x", "翡翠湾幼儿园收费太贵。"))
    query = "翡翠湾路灯坏了晚上黑灯瞎火没人修。"
    [(document, encoding)] = engine.read([("", query)])
    index = engine.index.follow(store)
    assert 81 not in [n.key for n in index.vectors.rank(encoding.vector, 50)]
    assert 81 in index.candidates(encoding.vector, search_terms(document))


def test_candidates_hold_the_nearest_by_brute_force(engine: Engine, store: Store) -> None:
    rng = np.random.default_rng(1)
    stock = list("路灯坏了小区门口油烟烧烤学位孩子上学井盖马路坑洼停车物业电梯噪声施工工地垃圾河道公交站台")
    texts = ["".join(rng.choice(stock, 25)) for _ in range(150)]
    keep(engine, store, *(Submission("s", str(i), text) for i, text in enumerate(texts)))
    index = engine.index.follow(store)
    keys, matrix = store.vectors(engine.models.encoder.encoder_id)
    hits = total = 0
    for text in texts[::5]:
        [(document, encoding)] = engine.read([("", text)])
        nearest = {keys[i] for i in np.argsort(-(matrix @ encoding.vector))[:10]}
        candidates = index.candidates(encoding.vector, search_terms(document))
        assert len(candidates) <= 15
        assert candidates == pytest.approx({k: float(matrix[keys.index(k)] @ encoding.vector) for k in candidates})
        hits += len(nearest & set(candidates))
        total += 10
        own = texts.index(text) + 1
        assert own not in index.candidates(encoding.vector, search_terms(document), without=own)
    assert hits / total >= 0.99


def test_the_demand_is_searched_for_not_the_greeting(engine: Engine, store: Store) -> None:
    polite = "尊敬的市长您好！感谢您百忙之中看这封信。"
    long = f"{polite}我是退休工人，在这里住了十年。门前那口窨井盖翘起来了。此致敬礼。"
    keep(engine, store, Submission("s", "1", long), Submission("s", "2", f"{polite}孩子上学学位不够。"))
    [(document, _)] = engine.read([("", "窨井盖翘起来了")])
    assert engine.index.follow(store).terms.rank(search_terms(document), 5)[0].key == 1
    [(greeting, _)] = engine.read([("", f"{polite}地铁什么时候开通")])
    assert not {"尊敬", "市长", "您好"} & set(search_terms(greeting))


def test_the_index_reads_only_what_changed(engine: Engine, store: Store) -> None:
    keep(engine, store, *(Submission("s", str(i), LAMP + "快" * i) for i in range(3)))
    index = engine.index.follow(store)
    read: list[int] = []
    put, engine.index.terms.put = index.terms.put, lambda key, words: (read.append(key), put(key, words))[1]  # type: ignore[method-assign]
    keep(engine, store, Submission("s", "1", "烧烤店油烟"), Submission("s", "9", "孩子上学难"))
    index.follow(store)
    assert sorted(set(read)) == [2, 4]
    assert [n.key for n in index.terms.rank(["烧烤店", "油烟"], 5)] == [2]
    assert len(index.terms) == len(index.vectors.keys) == 4


def test_words_are_stored_with_the_analysis_and_follow_a_revision(engine: Engine, store: Store) -> None:
    keep(engine, store, Submission("s", "1", "翡翠湾路灯坏了，电话13812345678"))
    [(document, _)] = engine.read([("", "翡翠湾路灯坏了，电话13812345678")])
    assert words_of(store, [1, 2]) == {1: search_terms(document)}
    assert "13812345678" not in str(words_of(store, [1]))
    keep(engine, store, Submission("s", "1", "孩子上学"))
    assert "路灯" not in words_of(store, [1])[1]
    keep(engine, store, Submission("s", "2", "🙂🙂"))
    assert words_of(store, [2]) == {2: []}
    assert (without_words(store), advice(store)) == ([], None)


# Older databases


def test_what_was_stored_before_words_were_kept_is_found_by_vector_until_reindexed(
    engine: Engine, store: Store
) -> None:
    keep(engine, store, *(Submission("s", str(i), t) for i, t in enumerate([LAMP, "翡翠湾幼儿园收费太贵"])))
    before = words_of(store, [1, 2])
    forget_words(store)
    assert without_words(store) == [1, 2]
    assert advice(store) == "有 2 件材料没有检索用词，目前只按语义查找，请执行 minsheng reindex 补上"
    fresh = Engine(engine.models, 4)
    assert found(fresh, store, LAMP, 10) == [1, 2]
    assert len(fresh.index.terms) == 0
    assert engine.run(lambda: list(reindex(fresh, store, lambda answer: {}))) == [2]
    assert words_of(store, [1, 2]) == before
    assert len(fresh.index.follow(store).terms) == 2  # told by the event, without a restart
    assert [e["kind"] for e in store.history(1)] == ["received", "analysed", "indexed"]
    assert advice(store) is None
    fresh.close()


def test_reindexing_goes_on_where_it_was_interrupted_and_switches_at_the_end(
    engine: Engine, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    keep(engine, store, *(Submission("s", str(i), LAMP + "快" * i) for i in range(70)))
    monkeypatch.setattr(type(engine.models.encoder), "encoder_id", "another")
    fresh, stamp = Engine(engine.models, 4), store.stamp()
    run = reindex(fresh, store, lambda answer: {})
    assert fresh.run(lambda: next(run)) == 32
    run.close()
    assert (store.stamp(), len(store.vectors("characters")[0]), store.vectors("another")[0]) == (stamp, 70, [])
    with pytest.raises(StoreError, match="有 70 件材料没有当前编码器（another）的向量"):
        require_vectors(store, "another")
    assert fresh.run(lambda: list(reindex(fresh, store, lambda answer: {}))) == [32, 38]
    require_vectors(store, "another")
    assert (store.vectors("characters")[0], len(store.vectors("another")[0])) == ([], 70)
    assert [e["kind"] for e in store.history(1)] == ["received", "analysed", "analysed"]
    assert len(fresh.index.follow(store).terms) == 70
    fresh.close()


def test_what_has_become_too_long_stays_without_words(engine: Engine, store: Store) -> None:
    keep(engine, store, Submission("s", "1", LAMP), Submission("s", "2", LAMP * 3))
    forget_words(store)
    analyser = engine.models.analyser
    before, analyser.max_chars = analyser.max_chars, 20
    try:
        engine.run(lambda: list(reindex(engine, store, lambda answer: {})))
    finally:
        analyser.max_chars = before
    assert without_words(store) == [2]


def test_offices_search_apart(store: Store, another: Callable[[str], Store]) -> None:
    store.add([(Submission("s", "1", LAMP), analysis())], ENCODER, "t")
    other = another("other")
    assert words_of(other, [1]) == {}
    index = Index(ENCODER).follow(other)
    assert (len(index.terms), len(index.vectors.keys)) == (0, 0)
    other.add([(Submission("s", "1", LAMP), analysis())], ENCODER, "t")
    forget_words(store)
    set_words(other, {1: ["油烟"]})
    assert words_of(other, [1]) == {1: ["油烟"]}
    assert words_of(store, [1]) == {}


# By HTTP and by command


def test_similar_over_http_with_filters(client: TestClient) -> None:
    items = [{"text": LAMP, "external_id": str(i), "source": "甲" if i < 3 else "乙", "district": "云岩区",
              "received_at": f"2024-05-0{i + 1}"} for i in range(6)]  # fmt: skip
    theme = client.post("/v1/classify", json={"items": [{"text": LAMP}]}).json()["items"][0]["primary"]
    client.post("/v1/submissions", json={"items": items})
    client.post("/v1/cases", json={"lead": 1, "members": [1, 2], "actor": "王芳", "reason": "同一处"})

    def ask(**body: Any) -> list[int]:
        answer = client.post("/v1/similar", json={"text": LAMP, **body})
        assert answer.status_code == 200, answer.text
        return sorted(item["id"] for item in answer.json()["items"])

    assert ask() == ask(theme=theme, district="云岩") == [1, 2, 3, 4, 5, 6]
    assert ask(source="乙") == [4, 5, 6]
    assert ask(received_from="2024-05-02", received_to="2024年5月4日") == [2, 3, 4]
    assert (ask(in_case=True), ask(in_case=False, source="甲")) == ([1, 2], [3])
    assert ask(matter="education") == []
    for body, field in [
        ({"theme": "无"}, "theme"),
        ({"received_to": "昨天"}, "received_to"),
        ({"matter": " "}, "matter"),
    ]:
        response = client.post("/v1/similar", json={"text": LAMP, **body})
        assert (response.status_code, response.json()["errors"][0]["field"]) == (422, field)
    for body, field in [({"district": 5}, "body.district"), ({"in_case": "也许"}, "body.in_case")]:
        response = client.post("/v1/similar", json={"text": LAMP, **body})
        assert (response.status_code, response.json()["errors"][0]["field"]) == (422, field)
    assert client.post("/v1/similar", json={"text": LAMP, "sourse": "甲"}).status_code == 422


def test_readiness_tells_what_is_lacking(client: TestClient, store: Store) -> None:
    store.now = lambda: "2026-03-02T02:00:00+00:00"
    client.post("/v1/submissions", json={"items": [{"text": LAMP}]})
    assert client.get("/readyz").json()["advice"] is None
    forget_words(store)
    assert "请执行 minsheng reindex" in client.get("/readyz").json()["advice"]


def test_similar_by_command_with_filters_and_the_advice(run: Run, store: Store, tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    rows = [{"external_id": x, "text": LAMP, "source": x, "received_at": "2024-05-06"} for x in ("甲", "乙")]
    path.write_text("\n".join(json.dumps(row) for row in rows), encoding="utf-8")
    assert run("import", path)[0] == 0

    def ask(*options: str) -> list[str]:
        code, out, _ = run("similar", LAMP, "--format", "json", *options)
        assert code == 0
        return [item["external_id"] for item in json.loads(out)["items"]]

    assert ask("--source", "乙") == ["乙"]
    assert ask("--received-from", "2024/5/6", "--received-to", "2024/5/6", "--not-in-case") == ["甲", "乙"]
    assert ask("--in-case") == []
    assert run("step", 2, "kept", "--actor", "王芳", "--reason", "待查")[0] == 0
    assert (ask("--state", "留存"), ask("--state", "待审核"), ask("--state", "已办结")) == (["乙"], ["甲"], [])
    code, out, err = run("similar", LAMP, "--source", "丙")
    assert (code, out) == (0, "")
    assert "没有符合条件的材料" in err
    for option, value in (("--theme", "无"), ("--matter", "无"), ("--received-from", "昨天")):
        code, _, err = run("similar", LAMP, option, value)
        assert code == 2
        assert option.removeprefix("--").replace("-", "_") in err

    forget_words(store)
    code, out, err = run("similar", LAMP)
    assert code == 0
    assert "甲" in out
    assert "提示：有 2 件材料没有检索用词" in err
    assert json.loads(run("reindex")[1]) == {"reindexed": 2}
    assert "提示" not in run("similar", LAMP)[2]
