"""Units and the responsibility table: the shipped data is whole, every mistake names file, line and column."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable
from datetime import date
from pathlib import Path

import pytest

from nlp.errors import DataError, InputError
from nlp.taxonomy import Taxonomy, load_taxonomy
from nlp.units import DISTRICT, OFFICE, ROLES, ZONE, Units, load_units
from service.settings import ROOT

UNITS = "id\tname\taliases\tlevel\tdistrict\tduties\tbasis\tvalid_from\tvalid_to\tsource\n"
DUTIES = "matter\tvariant\tcues\tnot_cues\tplace_rule\tlead\tsupport\tbasis\treason\tvalid_from\tsource\n"
REFERRALS = "kind\tmatters\tcues\tnot_cues\tchannel\treason\n"
UNIT_A = "a\t甲局\t甲\tcity\t\t职责\t依据\t2024-01-01\t\t约定\n"
UNIT_B = "b\t乙局\t\tcity\t\t职责\t依据\t2024-01-01\t2024-12-31\t约定\n"
DEFAULT = "m\t一般情形\t\t\tcity\ta\t\t依据\t由甲局负责，因为。\t2024-01-01\t约定\n"
CUED = "m\t路灯\t路灯|街灯\t\tcity\ta\t\t依据\t由甲局负责，因为。\t2024-01-01\t约定\n"
REFERRAL = "法院\tm\t判决\t\t找法院\t不得干预\n"

Write = Callable[..., Path]


@pytest.fixture(scope="module")
def shipped() -> Units:
    taxonomy = load_taxonomy(ROOT / "corpora" / "taxonomy" / "taxonomy.toml")
    return load_units(ROOT / "corpora" / "units", list(taxonomy.matter_by_id))


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def files(units: str = UNIT_A + UNIT_B, duties: str = DEFAULT, referrals: str = REFERRAL) -> Path:
        (tmp_path / "units.tsv").write_text(UNITS + units, encoding="utf-8")
        (tmp_path / "responsibility.tsv").write_text(DUTIES + duties, encoding="utf-8")
        (tmp_path / "out_of_remit.tsv").write_text(REFERRALS + referrals, encoding="utf-8")
        return tmp_path

    return files


def later(row: str, day: str, lead: str = "a") -> str:
    """The row with another first day and lead."""
    return row.replace("\tcity\ta\t", f"\tcity\t{lead}\t").replace("2024-01-01", day)


@pytest.mark.parametrize(
    ("units", "message"),
    [
        (UNIT_A.replace("甲局", ""), "units.tsv 第 2 行：name 列：不能为空"),
        (UNIT_A.replace("city", "town"), "units.tsv 第 2 行：level 列：是 'town'，应为 city、district"),
        (UNIT_A.replace("2024-01-01", "2024年"), "units.tsv 第 2 行：valid_from 列：是 '2024年'，应为 2024-01-01"),
        (UNIT_B.replace("2024-12-31", "2023-12-31"), "第 2 行：valid_to 列：2023-12-31 早于 valid_from 2024-01-01"),
        (UNIT_A + UNIT_A, "units.tsv 第 3 行：id 列：'a' 重复"),
        (UNIT_A.replace("a\t甲局", "zone\t甲局"), "第 2 行：id 列：'zone' 重复，或与角色 district、zone、office 同名"),
        (UNIT_A + UNIT_B.replace("\t\tcity", "\t甲\tcity"), "第 3 行：aliases 列：“甲”已是 a（甲局）的名称"),
        ("a\t甲局\n", "units.tsv 第 2 行：应有 10 列，实有 2 列"),
    ],
)
def test_a_bad_unit_is_named(write: Write, units: str, message: str) -> None:
    with pytest.raises(DataError) as caught:
        load_units(write(units=units), ["m"])
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("duties", "message"),
    [
        (DEFAULT.replace("依据", ""), "responsibility.tsv 第 2 行：basis 列：不能为空"),
        (DEFAULT.replace("m\t", "x\t"), "第 2 行：matter 列：没有细类 'x'"),
        (DEFAULT.replace("city", "town"), "第 2 行：place_rule 列：是 'town'，应为 city、district、zone 之一"),
        (DEFAULT.replace("city", "zone"), "第 2 行：place_rule 列：是 'zone'，与 lead 'a' 不符"),
        (DEFAULT.replace("\ta\t\t", "\tc\t\t"), "第 2 行：lead 列：没有单位 'c'；应为 units.tsv 的 id，或 district"),
        (DEFAULT.replace("\ta\t\t", "\ta\tc|b\t"), "第 2 行：support 列：没有单位 'c'"),
        (DEFAULT.replace("\ta\t\t", "\ta\ta\t"), "第 2 行：support 列：'a' 已是主办"),
        (
            DEFAULT.replace("city\ta\t\t", "district\tdistrict\t\t"),
            "第 2 行：support 列：由属地主办的，至少写一个市级单位",
        ),
        (DEFAULT + DEFAULT, "第 3 行：valid_from 列：与第 2 行的细类、情形、地点、起始日都相同"),
        (CUED, "responsibility.tsv：细类 m 没有一般情形"),
        (DEFAULT + DEFAULT.replace("一般情形", "别的"), "第 3 行：cues 列：留空，但 m 的一般情形已是“一般情形”"),
        (later(DEFAULT, "2024-02-01") + CUED, "第 2 行：valid_from 列：2024-02-01 晚于 m 的其他行，中间有空档"),
        (DEFAULT + CUED.replace("街灯", "灯"), "第 3 行：cues 列：“灯”太短，至少两个字"),
        (DEFAULT + CUED + CUED.replace("m\t路灯", "m\t照明"), "第 4 行：cues 列：“路灯”已是“路灯”的线索词"),
        (later(DEFAULT, "2023-01-01"), "第 2 行：lead 列：a 从 2024-01-01 才有，此行从 2023-01-01 起"),
        (DEFAULT.replace("city\ta", "city\tb"), "第 2 行：lead 列：b 到 2024-12-31 为止，此后没有新的一行接上，有空档"),
        (DEFAULT.replace("\ta\t\t", "\ta\tb\t"), "第 2 行：support 列：b 到 2024-12-31 为止"),
        (
            DEFAULT.replace("city\ta", "city\tb") + later(DEFAULT, "2025-02-01"),
            "第 2 行：lead 列：b 到 2024-12-31 为止",
        ),
    ],
)
def test_a_bad_duty_is_named(write: Write, duties: str, message: str) -> None:
    with pytest.raises(DataError) as caught:
        load_units(write(duties=duties), ["m"])
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("referrals", "message"),
    [
        (REFERRAL + REFERRAL, "out_of_remit.tsv 第 3 行：kind 列：“法院”重复"),
        (REFERRAL.replace("\tm\t", "\tx\t"), "out_of_remit.tsv 第 2 行：matters 列：没有细类 'x'"),
        (REFERRAL.replace("判决", ""), "out_of_remit.tsv 第 2 行：cues 列：不能为空"),
    ],
)
def test_a_bad_referral_is_named(write: Write, referrals: str, message: str) -> None:
    with pytest.raises(DataError) as caught:
        load_units(write(referrals=referrals), ["m"])
    assert message in str(caught.value)


def test_a_later_row_and_a_closed_unit_take_effect_on_their_day(write: Write) -> None:
    successor = UNIT_A.replace("a\t甲局\t甲", "c\t丙局\t乙局").replace("2024-01-01", "2025-01-01")
    first = DEFAULT.replace("city\ta", "city\tb")
    units = load_units(write(UNIT_A + UNIT_B + successor, first + later(DEFAULT, "2025-01-01", "c")), ["m"])
    assert [d.lead for d in units.at(date(2024, 12, 31)).duties] == ["b"]
    assert [d.lead for d in units.at(date(2025, 1, 1)).duties] == ["c"]
    assert units.at(date(2023, 1, 1)).duties == ()
    assert [u.id for u in units.at(date(2024, 12, 31)).units] == ["a", "b"]
    assert [u.id for u in units.at(date(2025, 1, 1)).units] == ["a", "c"]
    assert units.at(date(2024, 6, 1)).find("乙局").id == "b"
    assert units.find("乙局").id == "c"  # the name went to the successor


def test_most_different_cues_win_then_places_then_the_earlier_row(write: Write) -> None:
    other = CUED.replace("m\t路灯\t路灯|街灯\t\t", "m\t小区\t小区路灯|路灯杆|物业\t主干道\t")
    units = load_units(write(duties=DEFAULT + CUED + other), ["m"])

    def best(text: str) -> tuple[str, tuple[str, ...]]:
        match = units.match("m", text)[0]
        return match.duty.variant, match.cues

    assert best("路灯不亮") == ("路灯", ("路灯",))
    assert best("小区路灯不亮") == ("小区", ("小区路灯",))  # the longer word takes the shorter one's place
    assert best("路灯杆倒了") == ("小区", ("路灯杆",))
    assert best("路灯、街灯，物业，物业，物业") == ("路灯", ("路灯", "街灯"))
    assert best("路灯和物业") == ("路灯", ("路灯",))
    assert best("路灯，物业，物业") == ("小区", ("物业",))
    assert best("主干道的路灯，物业，物业") == ("路灯", ("路灯",))
    assert best("别的事") == ("一般情形", ())
    assert [m.duty.variant for m in units.match("m", "路灯")] == ["路灯", "一般情形"]
    assert units.match("unknown", "路灯") == ()


def test_find_takes_id_name_and_alias_and_suggests(shipped: Units) -> None:
    assert shipped.find("housing").name == shipped.find("住建局").name == "市住房和城乡建设局"
    assert shipped.find(" 城管 ").id == "urban"
    with pytest.raises(InputError, match=r"unit：单位表中没有“市水务局局”，相近的有：市水务局"):
        shipped.find("市水务局局")
    with pytest.raises(InputError, match=r"单位表中没有“zzz”$"):
        shipped.find("zzz")


def test_every_district_of_the_gazetteer_has_its_government(shipped: Units) -> None:
    lines = (ROOT / "corpora" / "gazetteer" / "gazetteer.tsv").read_text(encoding="utf-8").splitlines()
    districts = [line.split("\t")[0] for line in lines if "\tdistrict\t" in line and not line.startswith("#")][1:]
    assert len(districts) == 13
    for name in districts:
        unit = shipped.find(name)
        assert unit.level in ("district", "zone")
        assert unit.district == name


def test_shipped_table_is_whole(shipped: Units, taxonomy: Taxonomy) -> None:
    assert {duty.matter for duty in shipped.duties} == set(taxonomy.matter_by_id)
    assert shipped.at(date(2026, 1, 1)).duties == shipped.duties
    used = {unit for duty in shipped.duties for unit in (duty.lead, *duty.support)}
    local = {unit.id for unit in shipped.units if unit.level in ("district", "zone")}
    assert set(ROLES) <= used
    assert {unit.id for unit in shipped.units} - used <= local  # no municipal unit without a duty
    assert all(
        duty.matter in {"litigation", "thanks", "no_content", "unrelated", "utilities"}
        for duty in shipped.duties
        if duty.lead == OFFICE
    )


def test_meta_describes_the_shipped_tables(shipped: Units) -> None:
    folder = ROOT / "corpora" / "units"
    meta = json.loads((folder / "meta.json").read_text(encoding="utf-8"))
    assert meta["duties"] == len(shipped.duties)
    assert meta["files"] == {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in folder.glob("*.tsv")}


def test_every_reason_names_its_lead(shipped: Units) -> None:
    roles = {DISTRICT: "区（市、县）", ZONE: "开发区管委会", OFFICE: "本单位"}
    for duty in shipped.duties:
        named = re.search(r"由([^，]+?)负责，因为.+。$", duty.reason)
        assert named is not None, duty
        if duty.lead in roles:
            assert roles[duty.lead] in named[1], duty
        else:
            assert shipped.find(re.sub(r"（.*）", "", named[1])).id == duty.lead, duty


@pytest.mark.parametrize(
    ("matter", "text", "variant", "lead"),
    [
        ("community_noise", "楼下坝坝舞音响开到晚上十点，孩子没法写作业", "广场舞与公共场所娱乐", "police"),
        ("community_noise", "楼上早上七点开始电钻敲墙，装修两个月了", "装修", "district"),
        ("industrial_traffic_noise", "对面工地凌晨两点还在浇筑混凝土", "施工噪声", "urban"),
        ("industrial_traffic_noise", "半夜改装摩托炸街，轰鸣声吓醒老人", "炸街与改装车", "traffic"),
        ("industrial_traffic_noise", "隔壁厂房的冲床从早响到晚", "工业噪声", "env"),
        ("fumes_odour", "一楼烧烤店油烟直排，窗户不敢开", "餐饮油烟", "urban"),
        ("water_pollution_rivers", "上游化工厂夜里偷排废水，河里死鱼", "工业排污", "env"),
        ("water_pollution_rivers", "小河发黑发臭，生活污水管往里流", "生活污水直排与黑臭水体", "water"),
        ("roads_municipal", "人民路的路灯坏了一排，晚上看不见", "市政路灯", "urban"),
        ("roads_municipal", "小区里的小区路灯坏了，物业不修", "小区内公共设施", "district"),
        ("roads_municipal", "马路中间的井盖缺了半边", "井盖", "district"),
        ("traffic_parking_order", "门口人行道停车，轮椅过不去", "人行道停车", "urban"),
        ("traffic_parking_order", "消防通道每天被私家车堵死", "占用消防通道", "fire"),
        ("labour_rights", "工地干完活，包工头拖欠农民工工资", "工程建设欠薪", "hr"),
        ("consumer_rights", "健身房关门，健身卡里还有两千", "健身游泳", "sports"),
        ("consumer_rights", "给孩子报的补习班跑路，课时费不退", "学科类培训退费", "edu"),
        ("utilities", "高层水压低，水箱从没清洗，二次供水谁管", "二次供水", "water"),
        ("property_management", "电梯一个月困人三次，没有维保", "电梯运行", "market"),
        ("housing_market", "交房三年了，房产证还办不下来", "不动产登记办证", "land"),
        ("social_insurance", "异地就医医保报销比例太低", "医疗保险", "medins"),
        ("public_transit", "家门口没有公交站，等车要四十分钟", "公交线路站点班次", "transport"),
        ("taxi_passenger", "出租车不打表还拒载", "巡游出租车", "transport"),
        ("education", "幼升小划片不公平，学位不够", "学位学区入学", "district"),
        ("solid_hazardous_waste", "半夜有渣土车到山沟倾倒建筑垃圾", "建筑垃圾与渣土", "urban"),
        ("farmland_homestead", "老屋塌了想在原宅基地建房，一直批不下来", "宅基地与农村建房", "district"),
        ("greening_restoration", "请多关心绿化", "一般情形", "urban"),
    ],
)
def test_texts_select_their_row(shipped: Units, matter: str, text: str, variant: str, lead: str) -> None:
    duty = shipped.match(matter, text)[0].duty
    assert (duty.variant, duty.lead) == (variant, lead)


def test_a_zone_row_stands_before_the_row_for_other_places(shipped: Units) -> None:
    matches = shipped.match("industrial_parks", "标准厂房招租难")
    assert [match.duty.place_rule for match in matches] == [ZONE, "district"]
