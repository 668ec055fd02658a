"""Response shapes of imports and exports, for the published OpenAPI document."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, Field

from service.documents import Split
from service.schemas import SubmitterIn


class UploadQuery(BaseModel):
    """以文件本身为请求体时，表单里的各项写在查询串中。"""

    name: str | None = Field(None, description="文件名", max_length=200)
    mapping: str = Field("", description="字段=列名，用逗号分隔")
    source: str | None = Field(None, description="来源名称，写入每一条")
    split: Split = Field("auto", description="DOCX 与文字怎样分成几件")
    actor: str | None = Field(None, description="经办人；使用密钥时可不填")
    dry_run: bool = Field(False, description="只报告会怎样，同预览")


class UnderstoodOut(BaseModel):
    """一行（一件）读出来的样子。"""

    row: int = Field(description="行号；DOCX 与文字为第几件")
    source: str
    external_id: str
    title: str
    text: str
    received_at: str | None
    district: str | None
    address: str | None
    submitter: SubmitterIn
    reply: str = Field(description="来源已有的答复；没有则为空")
    replied_at: str | None = Field(description="来源答复的时间；不详为 null")


class RepeatOut(BaseModel):
    """文件中与前面某一行相同的一行。"""

    row: int
    earlier: int
    same: Literal["external_id", "text"] = Field(description="编号相同，或标题与正文相同")


class RejectOut(BaseModel):
    """不能导入的一行及原因。"""

    row: int
    field: str
    detail: str


class ReportOut(BaseModel):
    """导入会怎样；什么也没有登记。"""

    file: str
    kind: Literal["table", "text"]
    read: int
    new: int
    revised: int
    unchanged: int
    rejected: int
    columns: dict[str, str] = Field(description="字段 → 列名：猜出的和指定的")
    unmapped: list[str] = Field(description="没有用到的列")
    received_from: str | None
    received_to: str | None
    undated: int = Field(description="没有收到时间的行数")
    repeats: list[RepeatOut] = Field(description="至多 20 个")
    repeated: int
    notes: list[str] = Field(description="读取时的说明：怎样分开、哪些没有读")
    first: list[UnderstoodOut] = Field(description="表格为前五行，DOCX 与文字为前 200 件")
    rejects: list[RejectOut] = Field(description="至多 200 行")


class JobOut(BaseModel):
    """一次导入及其进度。"""

    id: int
    name: str
    source: str | None
    actor: str
    state: Literal["queued", "running", "done", "cancelled", "failed"]
    total: int
    done: int = Field(description="已登记或已退回的行数")
    new: int
    revised: int
    unchanged: int
    rejected: int
    error: str | None
    created_at: str
    finished_at: str | None


class JobPage(BaseModel):
    """一页导入；next 为下一页的 after，没有更多时为 null。"""

    items: list[JobOut]
    next: int | None
