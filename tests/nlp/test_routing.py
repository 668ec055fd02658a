"""Routing: matter × place × text gives a unit with a reason, or an honest 人工; history answers where it is sure."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import date
from pathlib import Path

import numpy as np
import pytest

from nlp.contracts import MatterScore
from nlp.corpus import Labelled
from nlp.document import Analyser
from nlp.errors import ArtefactMismatch
from nlp.routing import Proposal, Router
from nlp.routing_model import REST, HistoryModel, RoutingParameters, load_history_model, spread, table_opinion
from nlp.routing_table import locate
from nlp.routing_training import MIN_TEXTS, TrainedRouting, save_routing, score_routing, train_routing
from nlp.taxonomy import Matter, Taxonomy, Theme
from nlp.themes import search_terms
from nlp.training import Features, TrainingError
from nlp.units import DISTRICT, OFFICE, Units, load_units
from service.settings import ROOT
from tests.conftest import CharacterEncoder
from tests.nlp.test_units import DUTIES, REFERRALS, UNITS

DAY = date(2026, 1, 1)
TAXONOMY = Taxonomy("1", (Theme("t", "主题"),), (Matter("m", "街面", "t"), Matter("n", "环境", "t")))
Propose = Callable[..., Proposal]


def unit(identity: str, name: str, level: str = "city", district: str = "", until: str = "") -> str:
    return f"{identity}\t{name}\t\t{level}\t{district}\t管这件事\t某法\t2024-01-01\t{until}\t约定\n"


def duty(matter: str, variant: str, cues: str, rule: str, lead: str, support: str = "") -> str:
    reason = f"{variant}由某某负责，因为如此。"
    return f"{matter}\t{variant}\t{cues}\t\t{rule}\t{lead}\t{support}\t《{variant}条例》\t{reason}\t2024-01-01\t约定\n"


MINI_UNITS = (
    unit("urban", "市城管局") + unit("police", "市公安局") + unit("env", "市环保局")
    + unit("yunyan", "云岩区政府", "district", "云岩区") + unit("huaxi", "花溪区政府", "district", "花溪区")
    + unit("jingkai", "经开区管委会", "zone", "经开区") + unit("sl", "双龙管委会", "zone")
)  # fmt: skip
MINI_DUTIES = (
    duty("m", "一般情形", "", "city", "urban", "district") + duty("m", "一般情形", "", "zone", "zone", "urban")
    + duty("m", "路灯", "路灯|街灯|灯杆", "district", "district", "urban|police")
    + duty("m", "喇叭", "喇叭|叫卖|促销", "city", "police", "urban|district")
    + duty("n", "一般情形", "", "city", "env") + duty("n", "感谢", "感谢", "city", "office")
)  # fmt: skip
MINI_REFERRALS = (
    "外省\t\t重庆市|成都市\t经验\t当地热线\t由事发地管辖。\n银行\tm\t银行|信用卡\t\t先找银行\t由金融监管。\n"
)


@pytest.fixture(scope="module")
def mini(tmp_path_factory: pytest.TempPathFactory) -> Units:
    folder = tmp_path_factory.mktemp("units")
    (folder / "units.tsv").write_text(UNITS + MINI_UNITS, encoding="utf-8")
    (folder / "responsibility.tsv").write_text(DUTIES + MINI_DUTIES, encoding="utf-8")
    (folder / "out_of_remit.tsv").write_text(REFERRALS + MINI_REFERRALS, encoding="utf-8")
    return load_units(folder, ["m", "n"])


@pytest.fixture(scope="module")
def shipped(taxonomy: Taxonomy) -> Router:
    return Router(load_units(ROOT / "corpora" / "units", list(taxonomy.matter_by_id)), taxonomy)


@pytest.fixture(scope="module")
def propose(mini: Units, analyser: Analyser) -> Propose:
    def by_mini(text: str, where: str = "", title: str = "", history: HistoryModel | None = None, **matters: float):  # type: ignore[no-untyped-def]
        scores = [MatterScore(m, "t", p) for m, p in (matters or {"m": 1.0}).items()]
        vector = np.zeros(2, dtype=np.float32) if history else None
        place = analyser(where) if where else None
        return Router(mini, TAXONOMY, history).propose(analyser(text, title), vector, scores, DAY, place)

    return by_mini


def lead(proposal: Proposal) -> str | None:
    return proposal.lead.id if proposal.lead else None


def test_the_reason_quotes_the_text_and_names_matter_place_and_basis(propose: Propose) -> None:
    found = propose("云岩区的路灯坏了，街灯也不亮。")
    assert lead(found) == "yunyan"
    assert [u.id for u in found.support] == ["urban", "police"]
    assert found.reason == (
        "材料写到“路灯”、“街灯”，属“街面”中的“路灯”，地点在云岩区。路灯由某某负责，因为如此。"
        "此件即由云岩区政府主办。依据：《路灯条例》。"
    )
    assert (found.source, found.matter, found.variant, found.basis) == ("table", "m", "路灯", "《路灯条例》")
    assert [(c.field, c.start, c.end, c.text) for c in found.cues] == [
        ("text", 4, 6, "路灯"),
        ("text", 9, 11, "街灯"),
    ]
    assert (found.confidence, round(found.probability, 2)) == (
        "高",
        0.81,
    )  # two cues: 9 to 1, and the table is not always right


def test_place_comes_from_the_field_before_the_text(propose: Propose) -> None:
    assert lead(propose("云岩区的路灯、街灯坏了", where="花溪区")) == "huaxi"
    assert lead(propose("云岩区的路灯、街灯坏了", where="不知道哪里")) == "yunyan"
    assert propose("花溪区的喇叭叫卖").place.names == ("花溪区",)


def test_an_unknown_place_gives_the_municipal_unit_and_says_so(propose: Propose) -> None:
    found = propose("路灯坏了，街灯也不亮。")
    assert lead(found) == "urban"
    assert "没有写明在哪个区（市、县），先由市城管局接办，查明后转属地。" in found.reason
    assert [u.id for u in found.support] == ["police"]
    several = propose("云岩区和花溪区的路灯、街灯都坏了。")
    assert lead(several) == "urban"
    assert "提到云岩区、花溪区几处，不能确定属地" in several.reason


def test_a_zone_governs_its_own(propose: Propose) -> None:
    found = propose("经开区的街面乱")
    assert (lead(found), found.basis) == ("jingkai", "《一般情形条例》")
    assert lead(propose("街面乱")) == "urban"  # the row for zones holds only there
    assert lead(propose("花溪区经开区的路灯、街灯坏了")) == "jingkai"  # a zone stands before its district
    assert lead(propose("双龙管委会门口的路灯、街灯坏了")) == "sl"  # no district in the gazetteer: by its name


def test_the_most_mentioned_district_counts(mini: Units, analyser: Analyser) -> None:
    place = locate(mini, analyser("花溪区来电：云岩区中华北路、云岩区延安中路的事"))
    assert place.unit is not None
    assert (place.unit.id, place.names) == ("yunyan", ("云岩区", "花溪区"))
    assert locate(mini, analyser("有件事")).names == ()


def test_one_weak_cue_against_another_goes_to_a_person(propose: Propose) -> None:
    found = propose("云岩区路灯下有人用喇叭")
    assert (found.lead, found.source, found.confidence, found.probability) == (None, "manual", "低", 0.0)
    assert found.reason.startswith("拿不准：")
    assert "市公安局（街面—喇叭“喇叭”，39%）" in found.reason
    assert {a.unit.id for a in found.alternatives} == {"yunyan", "police", "urban"}
    assert lead(propose("云岩区路灯下有人用喇叭叫卖促销")) == "police"
    assert lead(propose("云岩区路灯下有人用喇叭", title="喇叭太吵")) == "police"  # a word of the title counts twice


def test_likely_matters_with_different_leads_go_to_a_person(propose: Propose) -> None:
    found = propose("一件说不清的事", m=0.45, n=0.4)
    assert found.lead is None
    assert [(a.unit.id, round(a.probability, 2)) for a in found.alternatives] == [("urban", 0.41), ("env", 0.36)]
    assert lead(propose("一件说不清的事", m=0.7, n=0.2)) == "urban"
    none = propose("一件说不清的事", other=1.0)
    assert (none.lead, none.reason) == (None, "职责表中没有这类事项，请人工判断主办单位。")


def test_what_the_office_handles_itself_goes_to_a_person(propose: Propose) -> None:
    found = propose("感谢感谢", n=1.0)
    assert (found.lead, found.variant, found.basis) == (None, "感谢", "《感谢条例》")
    assert "请人工留存、退回或答复" in found.reason


def test_out_of_remit_says_whom_to_ask(propose: Propose) -> None:
    found = propose("信用卡被银行冻结")
    assert found.lead is None
    assert found.reason == ("疑似不属本级办理（银行）：由金融监管。可告知：先找银行。是否退回由经办人决定。")
    assert propose("信用卡被银行冻结", n=1.0).referral is None  # not a matter where it may be proposed
    strong = propose("银行门口的喇叭叫卖促销")  # more is said of something else
    assert lead(strong) == "police"
    assert strong.referral is not None
    assert strong.referral.kind == "银行"
    assert propose("重庆市有件事").lead is None
    assert lead(propose("学重庆市的经验")) == "urban"
    assert lead(propose("从重庆市来云岩区")) == "urban"  # another town does not count where a place here is known


def test_the_table_of_the_day_counts(mini: Units, analyser: Analyser) -> None:
    router = Router(mini, TAXONOMY)
    document, matters = analyser("有件事"), [MatterScore("m", "t", 1.0)]
    assert lead(router.propose(document, None, matters, DAY)) == "urban"
    assert router.propose(document, None, matters, date(2023, 1, 1)).lead is None


@pytest.mark.parametrize(
    ("matter", "text", "where", "expected"),
    [
        ("community_noise", "坝坝舞音响开到晚上十点，跳舞的大妈不听劝", "云岩区", "police"),
        ("community_noise", "楼上装修，电钻敲墙砸墙没完没了", "南明区", "nanming"),
        ("industrial_traffic_noise", "工地凌晨打桩浇筑混凝土，施工不停", "", "urban"),
        ("industrial_traffic_noise", "隔壁工厂车间的冲床机器整夜响", "", "env"),
        ("industrial_traffic_noise", "改装摩托炸街飙车，轰鸣声吓人", "", "traffic"),
        ("fumes_odour", "烧烤店油烟直排，没有净化器", "", "urban"),
        ("fumes_odour", "化工厂区废气刺鼻", "", "env"),
        ("labour_rights", "工地包工头拖欠农民工工资", "", "hr"),
        ("labour_rights", "公司老板跑了，拖欠工资", "", "hr"),
        ("property_management", "物业乱收费，物业费又涨价", "观山湖区", "guanshanhu"),
        ("property_management", "物业乱收费，物业费又涨价", "", "market"),
        ("industrial_parks", "标准厂房招租难", "贵安新区", "guian"),
        ("industrial_parks", "标准厂房招租难", "清镇市", "qingzhen"),
        ("litigation", "对判决不服，法院不执行", "", None),
        ("consumer_rights", "运营商乱扣话费，流量套餐取消不了", "", None),
        ("utilities", "公用设施老是出问题", "", None),
        ("unrelated", "今天天气不错", "", None),
    ],
)
def test_shipped_table(
    shipped: Router, analyser: Analyser, matter: str, text: str, where: str, expected: str | None
) -> None:
    place = analyser(where) if where else None
    found = shipped.propose(analyser(text), None, [MatterScore(matter, "t", 0.95)], DAY, place)
    assert lead(found) == expected, found.reason
    assert found.reason.endswith("。")
    assert found.source == ("table" if expected else "manual")


def test_construction_wages_bring_in_the_builders(shipped: Router, analyser: Analyser) -> None:
    def support(text: str) -> list[str]:
        found = shipped.propose(analyser(text), None, [MatterScore("labour_rights", "t", 0.95)], DAY)
        return [u.id for u in found.support]

    assert "housing" in support("工地包工头拖欠农民工工资")
    assert "housing" not in support("公司老板跑了，拖欠工资")


# ── history ────────────────────────────────────────────────────────────────────────────────────────────────────────


def history(threshold: float = 0.6, pool: tuple[float, ...] = (0.0, 1.0, 1.0)) -> HistoryModel:
    """「路灯」 speaks for police, 「别的」 for nobody it knows; the table counts as much."""
    labels = (DISTRICT, OFFICE, "police", "urban", REST)
    terms = np.zeros((2, 5), dtype=np.float32)
    terms[0, 2] = 6.0
    terms[1, 4] = 6.0
    zero = np.zeros(5, dtype=np.float32)
    parameters = RoutingParameters(
        np.zeros((2, 5), dtype=np.float32), zero, terms, zero, np.ones(2, dtype=np.float32), np.array(pool)
    )
    return HistoryModel(labels, ["路灯", "别的"], parameters, threshold, "mini@0")


def test_history_answers_where_it_is_sure(propose: Propose) -> None:
    found = propose("路灯，喇叭", history=history(), m=0.9)
    assert (lead(found), found.source) == ("police", "history")
    assert found.reason.startswith("以往类似的材料由市公安局主办（把握 ")
    assert "依据：《喇叭条例》。" in found.reason
    assert found.alternatives[0].unit.id == "police"


def test_history_says_where_the_table_differs(propose: Propose) -> None:
    found = propose("路灯", history=history(pool=(0.0, 1.0, 0.0)), n=0.9)
    assert (lead(found), found.source, found.support, found.cues) == ("police", "history", (), ())
    assert "职责表则指向市环保局，请核对。其职责：管这件事。依据：某法。" in found.reason


def test_below_the_threshold_the_table_answers_unless_history_rules_it_out(propose: Propose) -> None:
    unsure = propose("街面乱", history=history(threshold=1.1), m=0.9)
    assert (lead(unsure), unsure.source) == ("urban", "table")
    unknown = propose("别的", history=history(threshold=1.1), n=0.9)  # env is too rare for it to know
    assert (lead(unknown), unknown.source) == ("env", "table")
    against = history(threshold=1.1, pool=(1.0, 0.0, 0.0))
    bias = np.array([0.0, -1.0, -2.0, -9.0, -5.0])
    against = HistoryModel(
        against.labels, against.vocabulary, replace(against.parameters, encoder_bias=bias), 1.1, "mini@0"
    )
    assert lead(propose("街面乱", history=against, n=0.9)) == "env"  # it cannot rule out what it never learned
    doubt = propose("街面乱", history=against, m=0.9)
    assert doubt.lead is None
    assert "拿不准：职责表指向市城管局，以往类似的材料却多由别的单位主办（市公安局" in doubt.reason


def test_history_needs_the_place_for_a_district(propose: Propose) -> None:
    bias = np.array([9.0, 0.0, 0.0, 0.0, 0.0])
    base = history(pool=(1.0, 0.0, 0.0))
    model = HistoryModel(base.labels, base.vocabulary, replace(base.parameters, encoder_bias=bias), 0.5, "mini@0")
    assert lead(propose("云岩区的事", history=model)) == "yunyan"
    nowhere = propose("没有地点的事", history=model)
    assert nowhere.lead is None
    assert "由属地主办（把握 100%），但不能确定在哪个区（市、县）" in nowhere.reason
    assert lead(propose("路灯、街灯坏了", history=model)) == "urban"  # it stands in by the table
    office = HistoryModel(
        base.labels, base.vocabulary, replace(base.parameters, encoder_bias=bias[[1, 0, 2, 3, 4]]), 0.5, "x"
    )
    told = propose("一件事", history=office)
    assert told.lead is None
    assert told.reason.startswith("以往类似的材料由本单位直接处理")


def test_rare_units_share_what_the_table_says_of_them() -> None:
    labels = ("a", "b", REST)
    table = {"a": 0.5, "c": 0.3, "d": 0.1}
    assert np.allclose(np.exp(table_opinion(labels, table)), [0.51, 0.01, 0.41])
    found = spread(labels, np.array([0.2, 0.1, 0.7]), table)
    assert list(found) == ["c", "a", "d", "b"]
    assert found["c"] == pytest.approx(0.525)
    assert spread(labels, np.array([0.2, 0.1, 0.7]), {"a": 1.0}) == {"a": 0.2, "b": 0.1}


TOPICS = {
    "hr": ("工资", "欠薪", "劳动", "合同", "社保", "加班"),
    "edu": ("学校", "学位", "老师", "课程", "校车", "招生"),
    "water": ("水管", "河道", "停水", "污水", "水压", "泵房"),
}


def train_on(extra: list[Labelled], analyser: Analyser) -> TrainedRouting:
    items = [
        Labelled(f"{label}-{i}-{j}", "", f"{a}和{b}的问题第{i}{j}次反映{a}了", label)
        for label, words in TOPICS.items()
        for i, a in enumerate(words)
        for j, b in enumerate(words)
        if i < j
    ]
    items += extra
    documents = [analyser(item.text) for item in items]
    vectors = np.stack([e.vector for e in CharacterEncoder().encode([item.text for item in items])])
    tables = [{"hr": 0.4, "rare": 0.2} for _ in items]
    return train_routing(items, Features(vectors, [search_terms(d) for d in documents]), tables, "t", lambda *_: None)


@pytest.fixture(scope="module")
def trained(analyser: Analyser) -> TrainedRouting:
    rare = [Labelled(f"r{i}", "", text, "rare") for i, text in enumerate(("山上有野猪", "树倒在路边了"))]
    return train_on(rare, analyser)


def test_training_learns_the_common_and_lists_the_rare(trained: TrainedRouting) -> None:
    assert trained.model.labels == ("edu", "hr", "water", REST)
    assert trained.rare == {"rare": 2}
    assert trained.scores.n == 47
    assert trained.scores.top1.value > 0.9
    assert trained.scores.top1.low <= trained.scores.top1.value <= trained.scores.top1.high
    assert trained.scores.top3.value >= trained.scores.top1.value
    assert trained.scores.accepted_error is not None
    assert trained.scores.accepted_error <= 0.05
    assert trained.scores.coverage.value == pytest.approx(trained.scores.accepted_share, abs=1e-9)


def test_a_saved_model_answers_the_same(trained: TrainedRouting, analyser: Analyser, tmp_path: Path) -> None:
    save_routing(trained, tmp_path / "routing", encoder_id="characters", papers={"created": "x"})
    loaded = load_history_model(tmp_path / "routing", "characters")
    [encoding] = CharacterEncoder().encode(["水管停水"])
    terms = search_terms(analyser("水管停水"))
    before, after = (m.scores(encoding.vector, terms, {"hr": 0.5}) for m in (trained.model, loaded))
    assert next(iter(after)) == "water"
    assert after == pytest.approx(before, abs=1e-3)
    assert loaded.threshold == trained.model.threshold
    with pytest.raises(ArtefactMismatch, match="转办模型是用编码器 characters 训练的，当前编码器是 other"):
        load_history_model(tmp_path / "routing", "other")


def test_too_little_history_is_refused() -> None:
    items = [
        Labelled(str(i), "", text, "hr")
        for i, text in enumerate(("工资没发", "社保断缴", "加班太多", "合同不给", "工伤没人管"))
    ]
    features = Features(np.eye(MIN_TEXTS, dtype=np.float32), [["词"]] * MIN_TEXTS)
    with pytest.raises(TrainingError, match=f"至少要有 2 个单位各有 {MIN_TEXTS} 条互不重复的材料，实有 1 个"):
        train_routing(items, features, [{}] * MIN_TEXTS, "t", lambda *_: None)


def test_scores_can_be_counted_by_hand() -> None:
    answers = [{"a": 0.9, "b": 0.1}, {"b": 0.8, "a": 0.2}, {"c": 0.4, "b": 0.3, "d": 0.2, "a": 0.1}, {}]
    scores = score_routing(answers, ["a", "a", "a", "a"], [(), ("b",), (), ()], threshold=0.85)
    assert (scores.top1.value, scores.acceptable.value, scores.top3.value) == (0.25, 0.5, 0.5)
    assert (scores.coverage.value, scores.acceptable_coverage.value) == (0.25, 0.5)
    assert (scores.accepted_share, scores.accepted_error) == (0.25, 0.0)
