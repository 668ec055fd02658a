"""Request and response shapes of topics, candidates and statistics."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field

from service.schemas import Strict
from service.schemas_cases import BriefOut, Number, Signed
from service.schemas_inbox import DriftOut, ShareDriftOut


class RenameRequest(Signed):
    """给议题定名；重新归类也不变。"""

    name: str = Field(description="议题名称", examples=["渣土车扬尘"])


class MergeTopicRequest(Signed):
    """把一个议题并入另一个同级议题。"""

    into: Number = Field(description="并入的议题编号", examples=[12])


class PinRequest(Signed):
    """置顶或取消置顶。"""

    pinned: Annotated[bool, Field(strict=True)] = Field(True, description="false 为取消置顶")


class CheckRequest(Strict):
    """领导点题：一个题目，可带说明。"""

    title: str = Field(description="题目", examples=["城区无人机配送扰民问题研究"])
    text: str | None = Field(None, description="说明")


class TrendOut(BaseModel):
    """升降。ratio 为近期占比与此前占比之比；q 为校正后的 p 值；样本不足时皆为 null。"""

    verdict: Literal["rising", "steady", "falling", "too_few"]
    label: str
    ratio: float | None
    p: float | None
    q: float | None


class WindowOut(BaseModel):
    """三十天中的反映人数；until 为最后一天。"""

    until: str
    voices: int


class TopicOut(BaseModel):
    """一个议题。size 件数，distinct 去重件数（一个并案计一件，续报不计），voices 反映人数。"""

    id: int
    name: str
    level: Literal["broad", "concrete"]
    parent: int | None
    size: int
    submissions: list[str] = Field(description="各件的 external_id")
    numbers: list[int] = Field(description="各件的编号，与 submissions 同序")
    machine_name: str
    state: Literal["open", "dismissed", "merged"]
    merged_into: int | None
    pinned: bool
    distinct: int
    voices: int
    recent: int = Field(description="最近 window_days 天的反映人数")
    before: int = Field(description="再往前一年的反映人数")
    window_days: int
    trend: TrendOut
    months: list[WindowOut]
    districts: dict[str, int] = Field(description="各区（市、县）的件数；没有填写的按正文提到的那一个")
    districts_by_text: int = Field(description="其中多少件由正文识别")
    themes: dict[str, int]
    representatives: list[BriefOut] = Field(description="有代表性而互不雷同的几件；个人信息已遮盖")


class CoverageOut(BaseModel):
    """总件数，在具体议题中的、至少在大类议题中的、零散的件数。"""

    submissions: int
    concrete: int
    broad: int
    scattered: int


class TopicsOut(BaseModel):
    """截至一天的全部议题：置顶的在前，其后上升的在前。"""

    as_of: str | None
    coverage: CoverageOut
    topics: list[TopicOut]
    notes: list[str]


class TopicStep(BaseModel):
    """议题经过中的一步。"""

    kind: str
    actor: str
    at: str
    detail: dict[str, Any]


class TopicHistory(BaseModel):
    """一个议题的全部经过。"""

    id: int
    events: list[TopicStep]


class PartOut(BaseModel):
    """得分的一项；value 为 null 表示无从得知，不计入总分。"""

    name: str
    label: str
    weight: float
    value: float | None
    note: str


class MatchOut(BaseModel):
    """同类的以往课题、提案或重点任务。"""

    title: str
    year: int | None
    status: str | None
    score: float


class CandidateOut(BaseModel):
    """一个候选选题；score 为各项已知得分的加权平均。"""

    topic: int
    name: str
    score: float
    reason: str
    rising: bool
    parts: list[PartOut]
    voices: int
    size: int
    districts: dict[str, int]
    submissions: list[str]
    numbers: list[int]
    studied: list[MatchOut]
    priorities: list[MatchOut]


class GapOut(BaseModel):
    """反映很少的主题。"""

    theme: str
    count: int
    expected: float
    note: str


class SelectionOut(BaseModel):
    """候选选题、此前已研究的、薄弱主题。"""

    as_of: str | None
    candidates: list[CandidateOut]
    studied: list[CandidateOut]
    gaps: list[GapOut]
    notes: list[str]


class NearTopicOut(BaseModel):
    """题目所属的议题。"""

    topic: int
    name: str
    score: float
    voices: int
    size: int
    trend: TrendOut


class CheckOut(BaseModel):
    """查新结果。"""

    verdict: str
    topics: list[NearTopicOut]
    studied: list[MatchOut]
    priorities: list[MatchOut]
    similar: list[dict[str, Any]]


class PeriodOut(BaseModel):
    """一个时期的件数、去重件数与反映人数。"""

    from_: str = Field(alias="from")
    to: str
    submissions: int
    distinct: int
    voices: int


class TotalsOut(BaseModel):
    """件数、去重件数与反映人数。"""

    submissions: int
    distinct: int
    voices: int


class TableOut(BaseModel):
    """counts[i][j] 属 rows[i] 与 columns[j]。"""

    rows: list[str]
    columns: list[str]
    counts: list[list[int]]


class StatisticsOut(BaseModel):
    """一个时期的统计；before 为环比、year_before 为同比所比的时期，change 为增长率。"""

    as_of: str
    period: PeriodOut
    before: PeriodOut
    year_before: PeriodOut
    change: dict[str, float | None]
    undated: int
    tables: dict[str, TableOut]
    adoption: dict[str, int]
    satisfaction: dict[str, int]
    sectors: dict[str, TotalsOut]
    notes: list[str]
    drift: list[DriftOut] | None = Field(description="各月需人工复核的占比与往月的范围；给出 as_of 时为 null")
    unknown_words: list[ShareDriftOut] | None = Field(description="各月模型不认识的词的占比；同上")
