"""Request and response shapes of log-in, personal data and the audit."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, Field

from service.access import Role
from service.schemas import Strict, SubmitterIn
from service.schemas_cases import Signed


class LoginRequest(Strict):
    """登录用的密钥。"""

    key: str = Field(description="minsheng keys add 给出的密钥", max_length=200)


class CallerOut(BaseModel):
    """当前是谁。"""

    name: str
    role: Role
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


class KeyRequest(Strict):
    """一个新密钥。"""

    name: str = Field(description="使用人或系统的名称，记入每一步", examples=["OA系统"])
    role: Role = Field(description="查看、经办或管理")
    expires: str | None = Field(None, description="到期日（含当天）或时间；不给为不到期", examples=["2027-12-31"])
    actor: str | None = Field(None, description="经办人；使用密钥时可不填，即密钥的名称", examples=["王芳"])


class RevokeRequest(Strict):
    """谁要撤销。"""

    actor: str | None = Field(None, description="经办人；使用密钥时可不填，即密钥的名称", examples=["王芳"])


class KeyOut(BaseModel):
    """一个密钥，不含密钥本身。"""

    id: int
    name: str
    role: Role
    prefix: str
    created_at: str
    expires_at: str | None
    revoked_at: str | None
    last_used_at: str | None = Field(description="最近使用，精确到小时")
    state: Literal["有效", "密钥已过期", "密钥已撤销"]


class NewKeyOut(KeyOut):
    """新密钥；只在这时给出。"""

    key: str = Field(description="密钥本身，之后无法再次显示")


class KeyList(BaseModel):
    """全部密钥，含已撤销的，旧的在前。"""

    items: list[KeyOut]


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
