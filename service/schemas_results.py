"""Request and response shapes of bulletins (编发), the roster and the results."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, Field

from service.bulletins import SERIES
from service.schemas_cases import Number, Signed


class BulletinText(Signed):
    """一版的内容；sources 为来稿的材料编号，按文中次序。"""

    title: str = Field(description="标题", examples=["关于尽快修复青云路路灯的建议"])
    body: str = Field(description="正文")
    recipients: list[str] = Field(default_factory=list, description="报送对象；编发前写明", examples=[["市委办公厅"]])
    sources: list[Number] = Field(description="来稿的材料编号", examples=[[3, 4]])


class BulletinCreate(BulletinText):
    """新建一份编发（草稿）。"""

    series: str = Field(SERIES, description="刊名；期号按刊名与年份各自连续")


class BulletinSave(BulletinText):
    """存一个新版本。"""

    base: Number = Field(description="从第几版改的；不是最新一版时 409")


class BulletinIssue(Signed):
    """编发：给出期号。"""

    base: Number = Field(description="编发第几版；不是最新一版时 409")


class AdoptionIn(Signed):
    """编发被采用：各件来稿各记一条。"""

    level: str = Field(description="全国、省、市、区（市、县）", examples=["省"])
    form: str | None = Field(None, description="不给时几件来稿为综合，一件为单篇")
    issue: str | None = Field(None, description="采用刊物的期号，不给则为本刊期号")
    happened_on: str | None = Field(None, description="采用的日期，不给则为今天")


class AdoptionUndo(Signed):
    """撤销编发的一次采用。"""

    event: Number = Field(description="任一件来稿上这次采用的记录号")


class PiiOut(BaseModel):
    """编发中的个人信息：在 field 的什么位置、是什么；导出时遮盖。"""

    field: Literal["title", "body"]
    start: int
    end: int
    label: str


class BulletinOut(BaseModel):
    """一份编发与它最新的一版。"""

    id: int
    series: str
    state: str = Field(description="草稿、已编发、已撤回")
    version: int
    issue: str | None = Field(description="期号", examples=["2026年第3期"])
    issued_on: str | None
    title: str
    recipients: list[str]
    sources: list[int]


class BulletinDetail(BulletinOut):
    """一份编发的全部。"""

    body: str
    pii: list[PiiOut]
    events: list[dict[str, Any]]


class BulletinPage(BaseModel):
    """一页编发；next 为下一页的 after，没有更多时为 null。"""

    items: list[BulletinOut]
    next: int | None


class VersionOut(BaseModel):
    """一版的内容。"""

    id: int
    version: int
    title: str
    body: str
    recipients: list[str]
    sources: list[int]


class ChangeOut(BaseModel):
    """两版之间的一处：same 相同、removed 删去、added 新增。"""

    field: str
    op: Literal["same", "removed", "added"]
    text: str


class DiffOut(BaseModel):
    """两版的差别，逐句。"""

    id: int
    a: int
    b: int
    changes: list[ChangeOut]


class AppliedOut(BaseModel):
    """记在（或撤自）哪几件来稿上。"""

    id: int
    applied: list[int]


class MemberOut(BaseModel):
    """名册中的一个。"""

    id: int
    kind: str
    name: str
    code: str
    category: str
    sector: str
    party: str
    committee: str
    term: str
    first_day: str
    last_day: str


class RosterOut(BaseModel):
    """名册。"""

    items: list[MemberOut]


class CountsOut(BaseModel):
    """件数；adopted 按层级。"""

    submitted: int
    accepted: int
    issued: int
    adopted: dict[str, int]
    instructed: int
    implemented: int


class PlaceOut(CountsOut):
    """排名中的一行。"""

    rank: int
    name: str
    people: int
    points: float
    member: int | None


class ScopeOut(BaseModel):
    """报告的范围与依据。as_of 原样再给，得到同一份报告。"""

    first: str = Field(alias="from")
    last: str = Field(alias="to")
    as_of: str
    term: str | None
    points_sha256: str


class PointOut(BaseModel):
    """一笔得分与它的记录。"""

    submission: int
    number: str | None
    event: int
    date: str
    kind: str
    level: str
    form: str
    issue: str
    points: float
    note: str


class PerformanceOut(CountsOut):
    """一个委员或单位的履职。"""

    member: MemberOut
    points: float
    entries: list[PointOut]


class OpenOut(BaseModel):
    """反映人待认定的一件。"""

    id: int
    number: str | None
    title: str
    reason: str
    candidates: list[int]


class AdoptedOut(BaseModel):
    """被采用的一件。"""

    id: int
    number: str | None
    title: str
    members: list[int]
    level: str
    form: str
    issue: str
    date: str
    event: int


class ReportOut(BaseModel):
    """采用通报。"""

    scope: ScopeOut
    totals: CountsOut
    rankings: dict[str, list[PlaceOut]]
    adopted: list[AdoptedOut]
    undecided: list[OpenOut]
    unlisted: list[OpenOut]


class MembersOut(BaseModel):
    """履职：名册中的每一个，没有提交的也列出。"""

    scope: ScopeOut
    items: list[PerformanceOut]
    undecided: list[OpenOut]
    unlisted: list[OpenOut]
