"""Request and response shapes of log-in, personal data and the audit."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, Field

from service.schemas import Strict, SubmitterIn
from service.schemas_cases import Signed


class LoginRequest(Strict):
    """登录用的密钥。"""

    key: str = Field(description="minsheng keys add 给出的密钥", max_length=200)


class CallerOut(BaseModel):
    """当前是谁。"""

    name: str
    role: Literal["viewer", "operator", "admin"]
    page: bool = Field(description="经网页登录")


class ContactRequest(Signed):
    """谁、为什么要看个人信息。"""


class ContactOut(BaseModel):
    """一件材料中未遮盖的内容。"""

    id: int
    external_id: str
    title: str
    text: str
    address: str | None
    submitter: SubmitterIn


class AuditOut(BaseModel):
    """审计中的一条。"""

    id: int
    at: str
    actor: str
    action: Literal["key_added", "key_revoked", "logged_in", "logged_out", "opened"]
    subject: str
    detail: dict[str, Any]


class AuditPage(BaseModel):
    """一页审计；next 为下一页的 after，没有更多时为 null。"""

    items: list[AuditOut]
    next: int | None
