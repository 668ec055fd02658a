"""Roster, points and results over a store, without models; the clock stands on 2 March 2026, 10:00 in China."""

from __future__ import annotations

import io
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from docx import Document
from openpyxl import Workbook, load_workbook

from nlp.errors import DataError, InputError
from service import papers, render_results, roster
from service.archives import IntakeError
from service.bulletins import Bulletins, read_text
from service.lifecycle import Lifecycle
from service.points import Happening, PointsMissing, PointsTable
from service.results import Results, read_scope, results
from service.roster import Credit, Member, Person, Roster, RosterError, read_roster, read_sheet, understand
from service.settings import ROOT
from service.store import Store, Submission, Submitter
from tests.service.test_lifecycle import RULES, WHO, at
from tests.service.test_store import ENCODER, analysis

SHIPPED = ROOT / "corpora" / "points" / "points.tsv"
HEADER = "valid_from\tvalid_to\tkind\tlevel\tform\tpoints\tcap\tjoint\tseveral\tnote"
ROSTER = """姓名/单位名称,类别,界别,党派,专委会,届次,编号
张三,委员,经济界,民建,经济委,十四届,A01
李四,委员,教育界,民进,教科委,十四届,A02
王伟,委员,教育界,,教科委,十四届,A03
王伟,委员,医卫界,,社法委,十四届,A04
赵六,常委,医卫界,农工党,社法委,十四届,A05
民革市委,单位,,民革,,十四届,D01
民建市委,单位,,民建,,十四届,D02
"""


def people(text: str = ROSTER, **given: Any) -> list[Person]:
    return read_roster(read_sheet("名册.csv", text.encode()), **given)


# The roster


def test_a_roster_is_read_by_its_headers(tmp_path: Path) -> None:
    found = people()
    assert found[0] == Person("委员", "张三", "A01", "委员", "经济界", "民建", "经济委", "十四届")
    assert [(p.kind, p.name) for p in found[-3:]] == [("委员", "赵六"), ("单位", "民革市委"), ("单位", "民建市委")]
    book = Workbook()
    book.active.append(["市政协委员名册"])
    book.active.append(["姓 名", "编号", "任职起", "任职止"])
    book.active.append(["张　三", 12, "2022-01-01", date(2024, 6, 30)])
    book.save(tmp_path / "a.xlsx")
    [one] = read_roster(read_sheet("a.xlsx", (tmp_path / "a.xlsx").read_bytes()), "十三届")
    assert one == Person("委员", "张三", "12", term="十三届", first_day="2022-01-01", last_day="2024-06-30")
    assert one.serves("2024-06-30", "2024-12-31")
    assert not one.serves("2024-07-01", "2024-12-31")
    assert [p.kind for p in people("单位名称,编号\n民革市委,1\n")] == ["单位"]


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (
            "张三,,,,,十四届,\n张三,,,,,十四届,\n",
            "第 2 行：name：与第 3 行同名“张三”，编号与界别都分不开，请补编号或界别；第 3 行：name：与第 2 行同名",
        ),
        ("张三,,经济界,,,十四届,\n张三,,,,,十四届,\n", "第 2 行：name：与第 3 行同名“张三”"),
        ("张三,,经济界,,,十四届,A1\n李四,,,,,十四届,A1\n", "第 2 行：code：编号 A1 与第 3 行重复；第 3 行"),
        ("张三,,,,,,\n,,经济界,,,,\n", "第 3 行：name：内容为空"),
        ("张三,,,,,,\n李四\n", "第 3 行：row：应有 7 列，实有 1 列"),
    ],
)
def test_a_roster_that_leaves_doubt_is_refused_whole(rows: str, message: str) -> None:
    with pytest.raises(RosterError, match="名册没有导入：" + message):
        people(ROSTER.splitlines()[0] + "\n" + rows)


def test_what_else_a_roster_may_lack() -> None:
    with pytest.raises(
        IntakeError, match="找不到姓名或单位名称所在的列，请用 --map name=列名 指定；文件的列为：代号、界别"
    ):
        people("代号,界别\n1,2\n")
    with pytest.raises(RosterError, match="第 2 行：last_day：2023-01-01 早于任职起 2024-01-01"):
        people("姓名,任职起,任职止\n张三,2024-01-01,2023-01-01\n")
    with pytest.raises(RosterError, match="第 2 行：first_day：日期无法识别：'昨天'"):
        people("姓名,任职起\n张三,昨天\n")
    with pytest.raises(RosterError, match="；另有 2 处") as caught:
        people("姓名,界别\n" + ",x\n" * 12)
    assert len(caught.value.problems) == 12
    # The same name in two terms, with two sectors, or with two numbers, is two people.
    both = "姓名,界别,届次,编号\n张三,,十三届,\n张三,,十四届,\n李四,甲,,\n李四,乙,,\n王五,,,1\n王五,,,2\n"
    assert len(people(both)) == 6


def test_rows_at_fault_are_named_and_the_others_read() -> None:
    text = "姓名,界别,届次,编号\n张三,甲,,1\n王五,,,\n王五,,,\n赵六,,,\n,乙,,\n钱七,,,2\n孙八,,,2\n周九,,,2\n吴十\n"
    good, bad = understand(read_sheet("名册.csv", text.encode()), {}, "十四届")
    assert [(person.name, person.term) for _, person in good] == [("张三", "十四届"), ("赵六", "十四届")]
    assert [(one.row.number, one.field) for one in bad] == [
        (3, "name"), (4, "name"), (6, "name"), (7, "code"), (8, "code"), (9, "code"), (10, "row")
    ]  # fmt: skip
    assert bad[4].detail == "编号 2 与第 7、9 行重复"


def test_a_second_import_knows_who_is_there(store: Store) -> None:
    store.now = at("2026-03-02T02:00:00+00:00")
    assert roster.keep(store, people(), *WHO) == {"new": 7, "revised": 0, "unchanged": 0, "ended": 0}
    assert roster.keep(store, people(), *WHO)["unchanged"] == 7
    store.now = at("2026-03-03T02:00:00+00:00")
    fewer = people(ROSTER.replace("经济委", "提案委").replace("民建市委,单位,,民建,,十四届,D02\n", ""))
    assert roster.keep(store, fewer, *WHO, replace=True) == {"new": 0, "revised": 1, "unchanged": 5, "ended": 1}
    with store.reading() as connection:
        now, then = roster.load(store, connection), roster.load(store, connection, "2026-03-02T23:00:00+00:00")
        assert roster.load(store, connection, "2026-03-01T00:00:00+00:00") == []
    assert (len(now), now[0].person.committee) == (6, "提案委")
    assert (len(then), then[0].person.committee, then[0].id) == (7, "经济委", now[0].id)
    with pytest.raises(RosterError, match="“王伟”与名册中的 3、4 号都相符，请补编号"):
        roster.keep(store, people("姓名,届次\n刘七,十四届\n王伟,十四届\n"), *WHO)
    with store.reading() as connection:
        assert roster.load(store, connection) == now  # 刘七 is not there either
    outcomes = roster.add(store, people("姓名,届次\n刘七,十四届\n王伟,十四届\n张三,十四届\n"), "import")
    assert (outcomes[0], outcomes[2]) == ("new", "revised")
    assert str(outcomes[1]) == "name：“王伟”与名册中的 3、4 号都相符，请补编号"
    with store.reading() as connection:
        assert len(roster.load(store, connection)) == len(now) + 1


@pytest.mark.parametrize(
    ("submitter", "expected"),
    [
        (Submitter("张三", kind="委员"), Credit((1,))),
        (Submitter("张　三", sector="经济界"), Credit((1,))),
        (Submitter("张三", party="民建"), Credit((1,))),
        (Submitter("张三（A01）"), Credit((1,))),
        (Submitter("张三", kind="市民"), Credit()),
        (Submitter("张三"), Credit((), "与名册中的“张三”同名，没有写明是不是委员", (1,))),
        (Submitter("张三", sector="教育界", kind="委员"), Credit((), "“张三”的界别与名册不符（名册：经济界）", (1,))),
        (Submitter("王伟", kind="委员"), Credit((), "名册中有 2 个“王伟”相符", (3, 4))),
        (Submitter("王伟", sector="医卫界", kind="委员"), Credit((4,))),
        (Submitter("王伟(教科委)", kind="委员"), Credit((3,))),
        (Submitter("张三、李四", kind="委员"), Credit((1, 2))),
        (Submitter("张三，民革市委", kind="委员"), Credit((1, 6))),
        (Submitter("张三、王伟", kind="委员"), Credit((), "名册中有 2 个“王伟”相符", (3, 4))),
        (Submitter("张三等5名委员", kind="委员"), Credit((), "联名人没有写全（张三等5名委员）", (1,))),
        (Submitter("张三、钱七", kind="委员"), Credit((), "联名人中有不在名册的：钱七", (1,))),
        (Submitter("钱七", kind="委员"), Credit(unlisted=("钱七",))),
        (Submitter("钱七"), Credit()),
        (Submitter(None, kind="委员"), Credit()),
        (Submitter("U0008488", kind="市民"), Credit()),
    ],
)
def test_whose_a_submission_is_is_never_guessed(submitter: Submitter, expected: Credit) -> None:
    known = Roster(Member(number, person) for number, person in enumerate(people(), 1))
    assert known.credit(submitter, "2026-03-02") == expected


def test_terms_are_told_apart_by_their_days() -> None:
    old = Person("委员", "张三", term="十三届", last_day="2022-12-31")
    new = Person("委员", "张三", term="十四届", first_day="2023-01-01")
    known = Roster([Member(1, old), Member(2, new)])
    days = ("2022-12-31", "2023-01-01")
    assert [known.credit(Submitter("张三", kind="委员"), day).members for day in days] == [(1,), (2,)]


# Points


def table(tmp_path: Path, *rows: str) -> PointsTable:
    path = tmp_path / "points.tsv"
    path.write_text("\n".join((HEADER, *(row.replace(" ", "\t") for row in rows))) + "\n", encoding="utf-8")
    return PointsTable(path)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (("2024-01-01 2024-12-31 received * * 1  full sum n", "2025-01-02  received * * 1  full sum n"),
         "points.tsv 第 3 行：日期中断：received \\* \\*：第 2 行到 2024-12-31，第 3 行从 2025-01-02 起"),
        (("2024-01-01 2024-12-31 received * * 1  full sum n", "2024-12-31  received * * 2  full sum n"),
         "第 3 行：日期重叠：received \\* \\*：第 2 行到 2024-12-31，第 3 行从 2024-12-31 起"),
        (("2024-01-01 2024-12-31 received * * 1  full sum n", "2025-02-01  issued * * 2  full sum n"),
         "第 3 行：日期中断：第 2 行到 2024-12-31 为止，第 3 行从 2025-02-01 起"),
        (("2024-01-01  adopted 街道 * 1  full sum n",), "第 2 行：采用的 level 是 '街道'，应为 全国、省、市、区（市、县）、\\* 之一"),
        (("2024-01-01  adopted 省 整篇 1  full sum n",), "第 2 行：采用的 form 是 '整篇'"),
        (("2024-01-01  received 省 * 1  full sum n",), "第 2 行：只有采用分形式、只有采用与批示分层级"),
        (("2024-01-01  praised * * 1  full sum n",), "第 2 行：kind 是 'praised'，应为 received、registered"),
        (("2024-01-01  received * * 1  half sum n",), "第 2 行：joint 是 'half'，应为 full、split 之一"),
        (("2024-01-01  received * * 一  full sum n",), "第 2 行：points 是 '一'，应为 0 以上、至多两位小数的数"),
        (("2024-01-01  received * * 1 -1 full sum n",), "第 2 行：cap 是 '-1'"),
        (("2024-01-01  received * * 0.125  full sum n",), "第 2 行：points 是 '0.125'"),
        (("2024-13-01  received * * 1  full sum n",), "第 2 行：valid_from 是 '2024-13-01'，应如 2026-01-01"),
        (("2024-02-01 2024-01-01 received * * 1  full sum n",), "第 2 行：valid_to 2024-01-01 早于 valid_from 2024-02-01"),
        (("2024-01-01  adopted 省 * 1  full sum n", "2024-01-01  adopted 市 * 1  full highest n"),
         "第 3 行：第 2、3 行都是 adopted，several 不一致"),
        ((), "计分表没有一行"),
    ],
)  # fmt: skip
def test_a_table_that_leaves_doubt_is_refused(rows: tuple[str, ...], message: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=message):
        table(tmp_path, *rows)


def got(points: PointsTable, *happenings: Happening) -> list[tuple[float, str]]:
    return [(float(entry.points), entry.why) for entry in points.entries(happenings)]


def test_the_table_of_the_day_counts(tmp_path: Path) -> None:
    points = table(
        tmp_path, "2024-01-01 2024-12-31 adopted 省 * 10  full sum 旧", "2025-01-01  adopted 省 单篇 20  full sum 新",
        "2025-01-01  adopted * * 1  full sum 其余",
    )  # fmt: skip
    days = [date(2024, 12, 31), date(2025, 1, 1)]
    single = [Happening(n, n, "adopted", day, "省", "单篇") for n, day in enumerate(days)]
    assert got(points, *single) == [(10, "旧"), (20, "新")]
    assert got(points, Happening(1, 1, "adopted", days[1], "省")) == [(1, "其余")]
    assert got(points, Happening(1, 1, "adopted", days[0], "市", "单篇")) == [(0, "计分表没有这一项（市 单篇）")]
    assert got(points, Happening(1, 1, "received", days[0])) == []  # of a kind that is not counted at all
    with pytest.raises(PointsMissing, match="7 号材料的“采用”（5 号记录）在 2023-12-31，计分表只有 2024-01-01 至今"):
        got(points, Happening(7, 5, "adopted", date(2023, 12, 31), "省"))
    ended = table(tmp_path, "2024-01-01 2024-12-31 adopted 省 * 10  full sum 旧")
    with pytest.raises(PointsMissing, match="计分表只有 2024-01-01 至 2024-12-31"):
        got(ended, single[1])


def test_joint_authors_share_and_a_cap_holds(tmp_path: Path) -> None:
    points = table(
        tmp_path, "2024-01-01  received * * 1 2 full sum 提交", "2024-01-01  adopted * * 10  split sum 采用",
    )  # fmt: skip
    day = date(2024, 5, 1)
    received = [Happening(n, n, "received", day, authors=3) for n in range(1, 5)]
    assert got(points, *received) == [(1, "提交"), (1, "提交"), (0, "提交，至多 2 分"), (0, "提交，至多 2 分")]
    assert got(points, Happening(1, 9, "adopted", day, "省", authors=3)) == [(3.33, "采用，3 人平分")]


def test_the_same_adoption_counts_once(tmp_path: Path) -> None:
    rows = [
        "2024-01-01  adopted 全国 * 20  full {} 国",
        "2024-01-01  adopted 省 * 10  full {} 省",
        "2024-01-01  adopted 市 * 5  full {} 市",
    ]
    day = date(2024, 5, 1)
    twice = [Happening(1, 1, "adopted", day, "省", issue="第1期"), Happening(1, 2, "adopted", day, "省", issue="第1期")]
    higher = Happening(1, 3, "adopted", day, "全国")
    joined = [Happening(n, 10 + n, "adopted", day, "市", bulletin=7) for n in (1, 2)]
    highest = table(tmp_path, *(row.format("highest") for row in rows))
    repeat, best = "同一次，已计过", "已按最高的一次计"
    assert got(highest, *twice, higher, *joined) == [(0, best), (0, repeat), (20, "国"), (0, best), (0, repeat)]
    assert got(highest, *joined) == [(5, "市"), (0, repeat)]
    both = table(tmp_path, *(row.format("sum") for row in rows))
    assert got(both, *twice, higher, *joined) == [(10, "省"), (0, repeat), (20, "国"), (5, "市"), (0, repeat)]


def test_two_instructions_of_one_level_add_up_but_the_same_one_does_not(tmp_path: Path) -> None:
    points = table(tmp_path, "2024-01-01  instructed 市 * 8  full sum 批")
    days = [date(2024, 5, 1), date(2024, 5, 1), date(2024, 6, 1)]
    told = [Happening(1, n, "instructed", day, "市委主要领导") for n, day in enumerate(days, 1)]
    assert got(points, *told) == [(8, "批"), (0, "同一次，已计过"), (8, "批")]


def test_the_shipped_table_knows_every_level() -> None:
    points = PointsTable(SHIPPED)
    for level in ("全国", "省", "市", "区（市、县）"):
        for form in ("单篇", "综合", "转送", ""):
            [entry] = points.entries([Happening(1, 1, "adopted", date(2026, 1, 1), level, form)])
            assert entry.points > 0, (level, form)


# Results


@pytest.fixture
def office(store: Store) -> Bulletins:
    """张三 (1, 2), 李四 with 张三 (3), 王伟 who may be two (4), 民革市委 (5), a citizen (6), somebody unlisted (7)."""
    store.now = at("2026-02-01T02:00:00+00:00")
    roster.keep(store, people(), *WHO)
    names = [("张三", "委员"), ("张三", "委员"), ("李四、张三", "委员"), ("王伟", "委员"), ("民革市委", "单位"),
             ("李小红", "市民"), ("钱七", "委员")]  # fmt: skip
    rows = [
        (
            Submission(
                "政协",
                f"A-{i}",
                "路灯坏了",
                f"路灯{i}",
                "2026-02-10T09:00:00+08:00",
                submitter=Submitter(name, kind=kind),
            ),
            analysis(),
        )
        for i, (name, kind) in enumerate(names, 1)
    ]
    store.add(rows, ENCODER, "import")
    store.now = at("2026-03-02T02:00:00+00:00")
    return Bulletins(Lifecycle(store, RULES))


def report(office: Bulletins, first: str = "2026-01-01", last: str = "2026-03-31", **given: Any) -> Results:
    return results(office.store, PointsTable(SHIPPED), read_scope(office.store, first, last, **given))


def filled(office: Bulletins) -> None:
    """1, 2 and 5 in a bulletin the province adopts; 1 also by the nation; 3 instructed; 4 sent back."""
    number = office.create("社情民意信息", read_text("路灯", "正文", ["市委"], [1, 2, 5]), *WHO).id
    office.issue(number, 1, *WHO)
    office.adopt(number, {"level": "省"}, *WHO)
    office.lifecycle.step(1, "adopted", *WHO, {"level": "全国", "form": "单篇", "happened_on": "2026-02-28"})
    office.lifecycle.step(3, "instructed", *WHO, {"level": "市委主要领导"})
    office.lifecycle.step(4, "returned", *WHO)


@pytest.mark.both_engines
def test_a_report_ranks_everybody_and_lists_zeros(office: Bulletins) -> None:
    filled(office)
    found = report(office)
    # 张三: 3 submitted; issued once (2); the nation's 30 instead of the province's 8 twice; 8 / 2 for the instruction.
    ranked = [(p.rank, p.name, p.people, float(p.points), len(p.tally["submitted"])) for p in found.ranking("member")]
    assert ranked == [
        (1, "张三", 1, 39.0, 3),
        (2, "李四", 1, 5.0, 1),
        (3, "王伟", 1, 0.0, 0),
        (3, "王伟", 1, 0.0, 0),
        (3, "赵六", 1, 0.0, 0),
    ]
    assert [(p.rank, p.name, float(p.points)) for p in found.ranking("unit")] == [
        (1, "民革市委", 11.0),
        (2, "民建市委", 0.0),
    ]
    assert [(p.rank, p.name, p.people, float(p.points)) for p in found.ranking("committee")] == [
        (1, "经济委", 1, 39.0), (2, "教科委", 2, 5.0), (3, "社法委", 2, 0.0),
    ]  # fmt: skip
    assert [p.name for p in found.ranking("sector")] == ["经济界", "教育界", "医卫界"]
    assert {name: len(numbers) for name, numbers in found.everybody.items()} == {
        "submitted": 7, "accepted": 4, "issued": 3, "adopted 全国": 1, "adopted 省": 3, "adopted 市": 0,
        "adopted 区（市、县）": 0, "instructed": 1, "implemented": 0,
    }  # fmt: skip
    assert [(r.id, r.credit.doubt) for r in found.undecided] == [(4, "名册中有 2 个“王伟”相符")]
    assert [(r.id, r.credit.unlisted) for r in found.unlisted] == [(7, ("钱七",))]


def test_each_point_names_its_event(office: Bulletins) -> None:
    filled(office)
    found = report(office)
    [one] = [p for p in found.performances if p.member.person.name == "张三"]
    assert sum(entry.points for entry in one.entries) == one.points == Decimal(39)
    for entry in one.entries:
        h = entry.happening
        [event] = [e for e in office.lifecycle.events(h.number) if e.id == h.event]
        assert event.kind == h.kind
    national = next(e for e in one.entries if e.happening.level == "全国")
    assert (national.happening.day, national.why) == (date(2026, 2, 28), "全国单篇采用")
    losers = [e.why for e in one.entries if e.happening.level == "省"]
    assert losers == ["已按最高的一次计", "同一次，已计过"]


def test_what_was_taken_back_or_withdrawn_counts_nowhere(office: Bulletins) -> None:
    filled(office)
    wrong = next(e.id for e in office.lifecycle.events(1) if e.kind == "adopted" and e.detail["level"] == "全国")
    office.lifecycle.step(1, "retracted", *WHO, {"event": wrong})
    office.withdraw(1, *WHO)
    office.lifecycle.step(5, "withdrawn", *WHO)
    found = report(office)
    counts = {name: len(numbers) for name, numbers in found.everybody.items()}
    assert (counts["submitted"], counts["issued"], counts["adopted 全国"], counts["adopted 省"]) == (6, 0, 0, 3)
    [one] = [p for p in found.performances if p.member.id == 1]
    assert one.points == Decimal(3 + 8 + 4)


def test_what_a_person_decides_counts(office: Bulletins) -> None:
    office.lifecycle.step(4, "credited", *WHO, {"persons": [4]})
    office.lifecycle.step(7, "credited", *WHO, {"persons": []})
    office.lifecycle.step(5, "credited", *WHO, {"persons": [6, 7]})
    found = report(office)
    assert (found.undecided, found.unlisted) == ((), ())
    assert {p.member.id: len(p.tally["submitted"]) for p in found.performances} == {
        1: 3,
        2: 1,
        3: 0,
        4: 1,
        5: 0,
        6: 1,
        7: 1,
    }


def test_a_returned_one_that_was_archived_was_not_accepted(office: Bulletins) -> None:
    for kind in ("returned", "archived"):
        office.lifecycle.step(1, kind, *WHO)
    for kind in ("kept", "archived"):
        office.lifecycle.step(2, kind, *WHO)
    assert report(office).everybody["accepted"] == {2}


@pytest.mark.both_engines
def test_a_filed_report_comes_out_the_same_after_later_corrections(office: Bulletins) -> None:
    filled(office)
    filed = render_results.report(report(office)), render_results.members(report(office))
    moment = filed[0]["scope"]["as_of"]
    assert moment == "2026-03-02T02:00:00+00:00"
    office.store.now = at("2026-03-05T02:00:00+00:00")
    wrong = next(e.id for e in office.lifecycle.events(1) if e.kind == "adopted" and e.detail["level"] == "全国")
    office.lifecycle.step(1, "retracted", *WHO, {"event": wrong})
    office.lifecycle.step(4, "credited", *WHO, {"persons": [3]})
    roster.keep(office.store, people(ROSTER.replace("经济委", "提案委")), *WHO)
    for number, text in ((1, "改一"), (1, "改二"), (2, "改三")):  # what the source says has changed, also whose it is
        other = Submitter("李四", kind="委员")
        changed = Submission("政协", f"A-{number}", text, "新标题", "2026-03-01T09:00:00+08:00", submitter=other)
        office.store.add([(changed, analysis())], ENCODER, "import")
    office.store.add(
        [(Submission("政协", "A-8", "新的", submitter=Submitter("张三", kind="委员")), analysis())], ENCODER, "import"
    )
    again = report(office, as_of=moment)
    assert (render_results.report(again), render_results.members(again)) == filed
    assert render_results.report(report(office, as_of="2026-03-04"))["rankings"] == filed[0]["rankings"]
    now = render_results.report(report(office))
    assert {place["name"] for place in now["rankings"]["committee"]} == {"提案委", "教科委", "社法委"}
    assert now["totals"]["adopted"]["全国"] == 0
    assert (now["rankings"]["member"][0]["name"], now["adopted"][0]["title"]) == ("李四", "新标题")


def test_the_period_and_the_term_choose(office: Bulletins) -> None:
    filled(office)
    roster.keep(office.store, [Person("委员", "孙八", "B1", term="十三届")], *WHO)
    march = report(office, "2026-03-01")
    [one] = [p for p in march.performances if p.member.id == 1]
    assert (len(one.tally["submitted"]), len(one.tally["adopted 全国"]), len(one.tally["adopted 省"])) == (0, 0, 2)
    assert [p.member.person.name for p in report(office, term="十三届").performances] == ["孙八"]
    assert len(report(office, term="十四届").performances) == 7
    with pytest.raises(InputError, match="term：名册中没有届次 '九届'，有：十三届、十四届"):
        report(office, term="九届")


def test_a_report_that_cannot_be_made(office: Bulletins, store: Store) -> None:
    with pytest.raises(InputError, match="from：2026-04-01 晚于 to 2026-03-31，起止日期写反了"):
        report(office, "2026-04-01")
    with pytest.raises(InputError, match="to：日期应如 2026-01-01，实为 '今天'"):
        report(office, last="今天")
    with pytest.raises(InputError, match="as_of：2026-03-03 还没有到，现在是 2026-03-02T10:00:00"):
        report(office, as_of="2026-03-03")
    with pytest.raises(InputError, match="as_of：应如 2026-01-05 或 2026-01-05T18:00:00，实为 '上周'"):
        report(office, as_of="上周")
    assert report(office, as_of="2026-03-02").scope.as_of == "2026-03-02T02:00:00+00:00"
    with pytest.raises(RosterError, match="名册里没有人，请先用 minsheng roster import 导入"):
        report(office, as_of="2026-01-01T00:00:00")
    early = Submission(
        "政协", "B-1", "旧的", received_at="2022-12-31T09:00:00+08:00", submitter=Submitter("张三", kind="委员")
    )
    store.add([(early, analysis())], ENCODER, "import")
    with pytest.raises(PointsMissing, match="8 号材料的“收到”（.* 号记录）在 2022-12-31，计分表只有 2023-01-01 至今"):
        report(office, "2022-01-01")


# Papers


def sheets(content: bytes) -> dict[str, list[tuple[Any, ...]]]:
    book = load_workbook(io.BytesIO(content))
    return {sheet.title: [tuple(cell.value for cell in row) for row in sheet.iter_rows()] for sheet in book}


def test_the_papers_say_what_the_report_says(office: Bulletins) -> None:
    filled(office)
    found = report(office)
    book = sheets(papers.report_xlsx(found))
    assert list(book) == ["按单位", "按委员", "按专委会", "按界别", "采用明细", "待认定", "说明"]
    assert book["按委员"][0][:5] == ("名次", "名称", "人数", "提交", "受理")
    assert [(row[1], row[-1]) for row in book["按委员"][1:3]] == [("张三", 39), ("李四", 5)]
    assert [row[:4] for row in book["采用明细"][1:3]] == [
        ("2026-000001", "路灯1", "张三", "全国"),
        ("2026-000001", "路灯1", "张三", "省"),
    ]
    assert [row[0] for row in book["待认定"][1:]] == [4, 7]
    book = sheets(papers.members_xlsx(found))
    assert [row[2] for row in book["履职"][1:]] == ["张三", "李四", "王伟", "王伟", "赵六", "民革市委", "民建市委"]
    points = [row for row in book["得分明细"][1:] if row[1] == "张三"]
    assert sum(row[10] for row in points) == 39
    assert all(row[4] and row[5] for row in points)
    page = Document(io.BytesIO(papers.report_docx(found)))
    text = "\n".join(p.text for p in page.paragraphs)
    assert "2026年1月1日至2026年3月31日，提交 7 件，受理 4 件" in text
    assert "另有 1 件的反映人待认定" in text
    assert "2026-03-02 10:00:00" in text
    assert [cell.text for cell in page.tables[1].rows[1].cells][:3] == ["1", "张三", "1"]


def test_no_cell_is_a_formula(office: Bulletins) -> None:
    roster.keep(office.store, [Person("委员", "=1+1", "B1", term="十四届")], *WHO)
    for make in (papers.members_xlsx, papers.report_xlsx):
        book = load_workbook(io.BytesIO(make(report(office))))
        cells = [cell for sheet in book for row in sheet.iter_rows() for cell in row]
        assert any(str(cell.value) == "'=1+1" for cell in cells)
        assert "f" not in {cell.data_type for cell in cells}
