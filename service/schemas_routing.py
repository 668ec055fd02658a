"""Request and response shapes of routing."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, Field

from service.schemas import ClassifyItem, FailedOut, SpanOut, Strict, batch_of
from service.schemas_lifecycle import SubmissionDetail


class RouteItem(ClassifyItem):
    """一条待转办的材料。"""

    district: str | None = Field(None, description="所在区（市、县）", examples=["云岩区"])
    address: str | None = Field(None, description="地址")


class RouteRequest(Strict):
    """一批待转办的材料。"""

    items: list[batch_of(RouteItem)]  # type: ignore[valid-type]


class NamedUnitOut(BaseModel):
    """一个单位。"""

    id: str = Field(examples=["urban"])
    name: str = Field(examples=["市综合行政执法局"])


class AlternativeOut(NamedUnitOut):
    """可能的主办单位及其概率。"""

    probability: float


class ReferralOut(BaseModel):
    """疑似不属本级办理：哪一类、该找谁、为什么。"""

    kind: str
    channel: str
    reason: str


class ProposalOut(BaseModel):
    """拟办意见；由经办人决定。"""

    lead: NamedUnitOut | None = Field(description="主办；null 为须人工判断，原因见 reason")
    support: list[NamedUnitOut] = Field(description="协办")
    reason: str = Field(description="办事员看得懂的理由：材料里的话、细类、地点、依据")
    basis: str = Field(description="职责依据")
    matter: str | None = Field(description="据以转办的细类")
    variant: str | None = Field(description="细类中的情形")
    place: str | None = Field(description="据以确定属地的区（市、县）或开发区")
    cues: list[SpanOut] = Field(description="材料中的线索词")
    source: Literal["table", "history", "manual"] = Field(description="职责表、历史数据，或须人工判断")
    confidence: Literal["高", "中", "低"] = Field(description="把握程度")
    probability: float = Field(description="主办的把握，0–1；须人工判断时为 0")
    alternatives: list[AlternativeOut] = Field(description="可能的主办单位，至多三个，概率高的在前")
    referral: ReferralOut | None = Field(description="疑似不属本级办理时该找谁")


class RoutedOut(ProposalOut):
    """一条材料的拟办意见。"""

    id: str | int | None = None


class RouteResponse(BaseModel):
    """与请求同序的拟办意见；没有处理成的一条带 error。"""

    items: list[RoutedOut | FailedOut]


class RoutedDetail(SubmissionDetail):
    """一条已登记的材料及其拟办意见。"""

    routing: ProposalOut | None = Field(description="拟办意见；已删除的为 null")


class UnitOut(NamedUnitOut):
    """单位表中的一个单位。"""

    aliases: list[str]
    level: Literal["city", "district", "zone", "enterprise", "province"]
    district: str
    duties: str
    basis: str
    valid_from: str
    valid_to: str | None
    source: str


class UnitsOut(BaseModel):
    """今天有效的单位。"""

    items: list[UnitOut]
