"""Request and response shapes of cases, follow-ups and suggestions."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field

from service.schemas import StoredOut, Strict, SubmitterIn

Number = Annotated[int, Field(strict=True, ge=1, lt=2**31)]


class Signed(Strict):
    """每一步都记下是谁、为什么。"""

    actor: str | None = Field(None, description="经办人；使用密钥时可不填，即密钥的名称", examples=["王芳"])
    reason: str = Field(description="理由", examples=["同一路段路灯不亮，内容一致"])


class MergeRequest(Signed):
    """并案：lead 为主件，members 为全部成员（含主件）。"""

    lead: Number = Field(description="主件编号", examples=[12])
    members: list[Number] = Field(description="全部成员的编号，含主件", examples=[[12, 15, 18]])


class JoinRequest(Signed):
    """把后来的材料并入已有的并案。"""

    members: list[Number] = Field(description="要并入的材料编号", examples=[[21]])


class UndoRequest(Signed):
    """撤销：给出 member 只撤出这一件，不给则撤销整个并案。"""

    member: Number | None = Field(None, description="只撤出这一件", examples=[15])


class FollowRequest(Signed):
    """登记续报：同一反映人再次反映，或对答复不满意。"""

    earlier: Number = Field(description="此前那一件的编号", examples=[12])


class BriefOut(BaseModel):
    """一件材料的概要；个人信息已遮盖。"""

    id: int
    external_id: str
    source: str
    title: str
    received_at: str | None
    submitter: SubmitterIn


class CaseOut(BaseModel):
    """一个并案。count 为件数，voices 为去重后的反映人数，续报两者都不计。"""

    id: int
    state: Literal["open", "undone"]
    lead: int
    members: list[int] = Field(description="成员编号，主件在前")
    left: list[int] = Field(description="已单独撤出的材料")
    erased: list[int] = Field(description="内容已删除的成员：编号与件数保留，不再计入人数")
    count: int = Field(description="件数；内容相同的也各计一件")
    voices: int = Field(description="反映人数：同一电话计一人，无电话的委员、单位按名称、留言按账号，不明的各计一人")
    follow_ups: list[int] = Field(description="各成员的续报，不计入件数与人数")
    opened_at: str
    closed_at: str | None


class AddedOut(BaseModel):
    """补充诉求：主件中没有说到的一句；偏移指该件原文。"""

    field: Literal["title", "text"]
    start: int
    end: int
    text: str


class MemberOut(StoredOut):
    """并案中的一件：原文、反映人照旧，另列它比主件多说了什么。"""

    added: list[AddedOut]
    follow_ups: list[int]


class StepOut(BaseModel):
    """并案经过中的一步。"""

    kind: Literal["merged", "unmerged", "erased"]
    submission_id: int
    actor: str
    at: str
    detail: dict[str, Any]


class CaseDetail(CaseOut):
    """一个并案、其中每一件与全部经过。"""

    materials: list[MemberOut]
    events: list[StepOut]


class CasePage(BaseModel):
    """一页并案；next 为下一页的 after，没有更多时为 null。"""

    items: list[CaseOut]
    next: int | None


class SuggestionOut(BaseModel):
    """建议并案：其中任意两件都判为重复。case 不为 null 时，建议并入这个已有的并案。"""

    lead: int
    members: list[int]
    count: int
    voices: int
    probability: float = Field(description="各对重复概率中的最小值")
    case: int | None
    materials: list[BriefOut]


class FollowUpOut(BaseModel):
    """建议登记为续报：同一反映人重复反映 earlier 那一件。"""

    id: int
    earlier: int
    probability: float


class SuggestionsOut(BaseModel):
    """件数多的在前；total 为全部建议数。"""

    items: list[SuggestionOut]
    total: int
    follows: list[FollowUpOut]


class FollowOut(BaseModel):
    """一件材料与它所续的那一件；没有时为 null。"""

    id: int
    follows: int | None
