"""Every setting of the service, read from environment variables with the prefix ``MINSHENG_``."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

ROOT = Path(__file__).resolve().parent.parent
PAGES = Path(__file__).resolve().parent / "pages"


class Settings(BaseSettings):
    """Defaults suit one office on one machine. The README table is checked against this class."""

    model_config = SettingsConfigDict(env_prefix="MINSHENG_", extra="ignore", frozen=True)

    database_url: str = Field(
        default="sqlite:///minsheng.db", description="数据库地址（SQLite 文件，或 postgresql+psycopg://…）"
    )
    encoder: Path = Field(
        default=ROOT / "models" / "encoder", description="编码器目录（任何 sentence-transformers 目录）"
    )
    encoder_delta: Path = Field(
        default=ROOT / "models" / "encoder-delta-v1", description="构建编码器时合并的适配增量；目录不存在则不合并"
    )
    theme_model: Path = Field(default=ROOT / "models" / "themes-v1", description="主题模型目录")
    pair_model: Path = Field(default=ROOT / "models" / "pairs-v1", description="查重模型目录")
    screening_model: Path = Field(default=ROOT / "models" / "screening-v1", description="筛查模型目录")
    routing_model: Path | None = Field(default=None, description="转办模型目录；不设则只按职责表")
    corpora: Path = Field(default=ROOT / "corpora", description="词表、地名表与主题分类所在目录")
    office_id: str = Field(default="default", min_length=1, max_length=64, description="单位代号，写入每一条记录")
    max_chars: int = Field(default=20_000, ge=1, le=1_000_000, description="单条标题或正文的字符上限")
    max_items: int = Field(default=256, ge=1, le=10_000, description="一次请求的条数上限")
    max_body_bytes: int = Field(default=16 * 1024 * 1024, ge=1024, description="请求体字节上限")
    queue_size: int = Field(default=16, ge=1, le=1024, description="排队等待分析的请求数上限，超出返回 429")
    rate_limit: int = Field(default=0, ge=0, description="每个密钥（无密钥时每个地址）每分钟的请求数上限，0 为不限")
    login_rate_limit: int = Field(default=10, ge=0, description="每个地址每分钟密钥不对的次数上限，0 为不限")
    threads: int = Field(default=0, ge=0, le=256, description="编码器使用的线程数，0 为自动")
    limit_days: int = Field(default=15, ge=1, le=250, description="没有填诉求类型时的办理时限（工作日）")
    soon_days: int = Field(default=3, ge=0, le=60, description="离时限还有几个工作日算临期")
    ratings: str = Field(default="满意,基本满意,不满意", min_length=1, description="满意度的各档，用逗号分隔")
