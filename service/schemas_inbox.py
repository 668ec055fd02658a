"""Response shapes of the inbox."""

from __future__ import annotations

from pydantic import BaseModel, Field

from service.schemas import ConflictOut, GradesOut, Relation, SharedOut
from service.schemas_lifecycle import StandingOut


class WaitingOut(BaseModel):
    """收件箱中的一件；个人信息已遮盖。"""

    id: int
    external_id: str
    source: str
    title: str
    summary: str = Field(description="正文的开头")
    received_at: str | None
    district: str | None
    district_named: str | None = Field(description="由正文识别的区（市、县）")
    primary: str | None
    matter: str | None
    confidence: float | None = Field(description="人判定过的为 null")
    decision: str | None
    corrected: bool
    urgent: str | None = Field(description="疑似紧急的句子")
    case: int | None = Field(description="所在的并案")
    lead: int | None = Field(description="该并案的主件")
    standing: StandingOut


class InboxOut(BaseModel):
    """最需要人看的在前。"""

    items: list[WaitingOut]
    total: int = Field(description="符合条件的共多少件")
    counts: dict[str, int] = Field(description="各状态的件数，另有临期、超期")
    categories: list[str] = Field(description="转办时可填的诉求类型")
    advice: str | None = Field(description="工作日历快到头时，说明要补哪一年")


class NearOut(BaseModel):
    """判为重复或相关的一件；个人信息已遮盖。shared 中 a 在这件的正文中，b 在该件的正文中。"""

    id: int
    external_id: str
    source: str
    title: str
    text: str
    received_at: str | None
    score: float
    relation: Relation
    probability: GradesOut
    conflicts: list[ConflictOut]
    shared: list[SharedOut]
    case: int | None = Field(description="它所在的并案")
    same_submitter: bool = Field(description="同一反映人：宜登记续报，不是并案")
    standing: StandingOut


class NearPage(BaseModel):
    """重复的在前。"""

    items: list[NearOut]


class ShareOut(BaseModel):
    """人保留与改正的件数、保留的占比及其 95% 区间（Wilson）；没有判过的为 null。"""

    confirmed: int
    corrected: int
    share: float | None
    low: float | None
    high: float | None


class AgreementRowOut(BaseModel):
    """一月一主题；month 或 theme 为 null 表示合计。"""

    month: str | None = Field(examples=["2026-03"])
    theme: str | None = Field(description="机器当时判的主题")
    themes: ShareOut = Field(description="主题")
    units: ShareOut = Field(description="主办单位")


class ShareDriftOut(BaseModel):
    """一个月收到的材料的一项占比，与往月的范围。"""

    month: str
    submissions: int
    share: float
    band: tuple[float, float] | None = Field(description="往月的范围；往月不足三个（各 20 件）时为 null")
    outside: bool


class DriftOut(ShareDriftOut):
    """一个月收到的材料中需人工复核的占比，与往月的范围。"""

    review: int


class AgreementOut(BaseModel):
    """人机一致与漂移。"""

    agreement: list[AgreementRowOut]
    drift: list[DriftOut]
    unknown_words: list[ShareDriftOut] = Field(description="各件中模型不认识的词的占比，按月平均；没有这一项的不计")
