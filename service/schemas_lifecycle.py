"""Request and response shapes of steps, corrections and changed particulars."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, Field

from service.schemas import MatterScoreOut, StoredDetail, StoredOut, Strict, SubmitterIn, ThemeScoreOut
from service.schemas_cases import Signed


class PartIn(Strict):
    """分办中的一件事。"""

    matter: str = Field(description="细类编号或一句话", examples=["fumes_odour"])
    unit: str = Field(description="主办单位", examples=["云岩区综合行政执法局"])


class StepRequest(Signed):
    """办理中的一步；各步需要哪些字段见 docs/api.md。"""

    kind: str = Field(description="哪一步", examples=["routed"])
    members: bool = Field(False, description="这件是并案的主件时，各件一并办理")
    unit: str | None = Field(None, description="主办单位", examples=["云岩区综合行政执法局"])
    support: list[str] | None = Field(None, description="协办单位")
    parts: list[PartIn] | None = Field(None, description="分办：各件事与其主办单位，至少两件")
    category: str | None = Field(None, description="诉求类型", examples=["投诉"])
    days: int | None = Field(None, description="办理时限（工作日），不给则按诉求类型")
    override: str | None = Field(None, description="仍派回退过单的单位的理由")
    reviewer: str | None = Field(None, description="审核人")
    due: str | None = Field(None, description="延期到哪一天", examples=["2026-10-20"])
    approved_by: str | None = Field(None, description="批准延期的人")
    reply: str | None = Field(None, description="答复全文；不写入经过")
    result: str | None = Field(None, description="办理结果", examples=["已解决"])
    rating: str | None = Field(None, description="满意度", examples=["满意"])
    level: str | None = Field(None, description="采用或批示的层级", examples=["省"])
    form: str | None = Field(None, description="单篇、综合或转送")
    issue: str | None = Field(None, description="期号")
    note: str | None = Field(None, description="备注")
    happened_on: str | None = Field(None, description="采用、批示、采纳是哪一天，不给则为今天", examples=["2026-03-01"])
    event: int | None = Field(None, description="要撤销的记录的号码，见经过的 id")
    persons: list[int] | None = Field(None, description="名册中的编号；空列表为不是名册中的人", examples=[[3]])


class CorrectionRequest(Signed):
    """更正：至少给出一项。"""

    theme: str | None = Field(None, description="主题编号", examples=["ecology"])
    matter: str | None = Field(None, description="细类编号；主题随之而定", examples=["fumes_odour"])
    unit: str | None = Field(None, description="承办单位；正在办理的随即改派")
    override: str | None = Field(None, description="仍派回退过单的单位的理由")


class PatchRequest(Signed):
    """修改登记事项：只给要改的；给 null 则清空。"""

    title: str | None = None
    district: str | None = None
    address: str | None = None
    received_at: str | None = Field(None, description="写法同登记")
    submitter: SubmitterIn | None = Field(None, description="整个换掉")


class PossibleOut(BaseModel):
    """现在可以走的一步。"""

    kind: str
    name: str


class StandingOut(BaseModel):
    """办理到哪一步。"""

    state: str = Field(examples=["已转办"])
    number: str | None = Field(description="登记编号", examples=["2026-000123"])
    category: str | None = Field(description="诉求类型")
    lead_unit: str | None = Field(description="主办")
    support_units: list[str] = Field(description="协办")
    parts: list[PartIn] = Field(description="分办的各件事")
    routed_at: str | None
    due: str | None = Field(description="办理时限，含当天")
    result: str | None = Field(description="办理结果")
    replied_at: str | None
    adoption: str | None = Field(description="采用情况与期号")
    instruction: str | None = Field(description="批示")
    implemented: str | None = Field(description="采纳落实的时间")
    satisfaction: str | None
    handler: str | None = Field(description="经办人")
    reviewer: str | None = Field(description="审核人")
    note: str | None
    returned_by: list[str] = Field(description="退过单的单位")
    possible: list[PossibleOut] = Field(description="现在可以走的各步")


class SteppedOut(BaseModel):
    """走了一步之后；applied 为走了这一步的各件。"""

    id: int
    applied: list[int]
    standing: StandingOut


class ListedOut(StoredOut):
    """列表中的一件。"""

    standing: StandingOut


class StoredPage(BaseModel):
    """一页材料；next 为下一页的 after，没有更多时为 null。"""

    items: list[ListedOut]
    next: int | None


class TimelineOut(BaseModel):
    """经过中的一条：号码、何时（北京时间）、谁、做了什么、为什么。"""

    id: int
    at: str = Field(examples=["2026-03-05 09:30"])
    actor: str
    kind: str
    what: str
    reason: str


class MarkOut(BaseModel):
    """原文中的一段。"""

    field: str
    start: int
    end: int
    text: str


class EvidenceMarkOut(MarkOut):
    """一条依据：去掉这一段，主题的对数几率减少 weight。"""

    theme: str
    weight: float


class AnalysisOut(BaseModel):
    """机器的判断与依据；人判定过的仍照原样。个人信息已遮盖。"""

    primary: str | None
    confidence: float | None
    decision: str | None
    reason: str | None
    matter: str | None
    secondary: list[str]
    themes: list[ThemeScoreOut]
    matters: list[MatterScoreOut]
    evidence: list[EvidenceMarkOut]
    urgent: MarkOut | None
    request_type: str | None = Field(description="诉求类型；旧版分析的没有")


class SubmissionDetail(StoredDetail):
    """一件材料的全部。"""

    analysis: AnalysisOut

    standing: StandingOut
    replies: list[str] = Field(description="历次答复")
    timeline: list[TimelineOut]


class CorrectionOut(BaseModel):
    """人工判断，可作训练数据；没有判断过的为 null。"""

    id: int
    external_id: str
    title: str
    text: str
    theme: str | None
    matter: str | None
    unit: str | None
    actor: str
    reason: str
    at: str


class CorrectionsPage(BaseModel):
    """一页更正；next 为下一页的 after，没有更多时为 null。"""

    items: list[CorrectionOut]
    next: int | None


def fields_of(body: StepRequest) -> dict[str, Any]:
    """The fields of the kind: all but who, why, which and for whom."""
    return body.model_dump(exclude={"kind", "actor", "reason", "members"}, exclude_none=True)
