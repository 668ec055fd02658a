"""Request and response shapes, for validation of envelopes and for the published OpenAPI document.

Items of a batch are checked one by one in the analysis, so that a bad one fails alone; their shapes stand in the
document but are not enforced on the envelope.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, WithJsonSchema

_TEXT = "花果园R区2栋楼下烧烤店每天营业到凌晨两点，油烟直往楼上灌，窗户都不敢开，希望管一管。"


class Strict(BaseModel):
    """Unknown members of an envelope are refused: a misspelt option must not be ignored."""

    model_config = ConfigDict(extra="forbid")


class ClassifyItem(Strict):
    """一条待分类的材料。"""

    id: str | int | None = Field(None, description="调用方的编号，原样返回", examples=["12345-0001"])
    title: str | None = Field(None, description="标题", examples=["夜宵店油烟扰民"])
    text: str = Field(description="正文", examples=[_TEXT])


class SubmitterIn(Strict):
    """反映人。"""

    name: str | None = None
    phone: str | None = None
    party: str | None = Field(None, description="党派")
    sector: str | None = Field(None, description="界别")
    kind: str | None = Field(None, description="市民、委员、单位等")


class SubmissionItem(Strict):
    """一条待登记的材料。(source, external_id) 是它的身份；缺 external_id 时视为新的一条。"""

    id: str | int | None = Field(None, description="调用方的编号，原样返回")
    external_id: str | None = Field(None, description="来源系统中的编号", examples=["WO-2024-000123"])
    source: str | None = Field("api", description="来源", examples=["12345"])
    title: str | None = None
    text: str = Field(examples=[_TEXT])
    received_at: str | None = Field(None, description="收到时间，不带时区按北京时间", examples=["2024-05-06 09:30:00"])
    district: str | None = None
    address: str | None = None
    submitter: SubmitterIn | None = None
    reply: str | None = Field(None, description="来源已有的答复；记入经过，没有办理过的登记为已办结")
    replied_at: str | None = Field(None, description="答复时间，写法同 received_at", examples=["2024-05-08 16:00:00"])


def batch_of(model: type[BaseModel]) -> Any:
    """The published shape of an item that is checked on its own, so that a bad one fails alone."""
    schema = model.model_json_schema()
    schema.pop("$defs", None)
    return Annotated[Any, WithJsonSchema(schema)]


class ClassifyRequest(Strict):
    """一批待分类的材料。"""

    items: list[batch_of(ClassifyItem)]  # type: ignore[valid-type]


class SubmissionsRequest(Strict):
    """一批待登记的材料。"""

    items: list[batch_of(SubmissionItem)]  # type: ignore[valid-type]


class CompareItem(Strict):
    """一对待比较的材料。"""

    id: str | int | None = Field(None, description="调用方的编号，原样返回", examples=["P-1"])
    a: str = Field(examples=["金狮苑7栋客梯一月困人三次，求停用检修"])
    b: str = Field(examples=["金狮苑9栋的电梯近一个月困人三次，要求检修"])


class CompareRequest(Strict):
    """一批待比较的材料。"""

    items: list[batch_of(CompareItem)]  # type: ignore[valid-type]


class SimilarRequest(Strict):
    """查找与一段文字相似的已登记材料。"""

    text: Any = Field(description="正文", json_schema_extra={"type": "string", "examples": [_TEXT]})
    title: Any = Field(None, description="标题", json_schema_extra={"type": "string"})
    limit: int = Field(10, ge=1, le=100, description="返回条数")
    theme: str | None = Field(None, description="只要这个主题", examples=["urban"])
    matter: str | None = Field(None, description="只要这个细类", examples=["roads_municipal"])
    district: str | None = Field(None, description="只要这个区（市、县），写不写“区”字都可以", examples=["云岩区"])
    source: str | None = Field(None, description="只要这个来源", examples=["12345"])
    received_from: str | None = Field(None, description="收到时间不早于，写法同登记", examples=["2024-05-01"])
    received_to: str | None = Field(None, description="收到时间不晚于，只给日期时含当天", examples=["2024-05-31"])
    in_case: bool | None = Field(None, description="true 只要在有效并案中的，false 只要不在的")
    state: str | None = Field(None, description="只要这个状态", examples=["已办结"])


class ThemeScoreOut(BaseModel):
    """主题及其概率。"""

    theme: str = Field(examples=["ecology"])
    probability: float


class MatterScoreOut(BaseModel):
    """细类、所属主题及其概率。"""

    matter: str = Field(examples=["fumes_odour"])
    theme: str
    probability: float


class SpanOut(BaseModel):
    """原文中的一段；偏移按 Unicode 码点计。"""

    field: Literal["title", "text"]
    start: int
    end: int
    text: str
    label: str
    canonical: str | None = None
    district: str | None = None


class EvidenceOut(BaseModel):
    """证据：去掉这一段，theme 的对数几率减少 weight。"""

    field: Literal["title", "text"]
    start: int
    end: int
    text: str
    theme: str
    weight: float


class UrgentOut(BaseModel):
    """紧急情形所在的句子。"""

    span: SpanOut


class RequestTypeOut(BaseModel):
    """诉求类型、把握与最能说明它的一句。"""

    kind: Literal["咨询", "求助", "投诉", "举报", "建议", "表扬"]
    confidence: float
    span: SpanOut


class FlagOut(BaseModel):
    """宜走其他渠道的提示：类别、建议渠道与最能说明它的一句。"""

    kind: Literal["涉法涉诉", "指名举报", "个人事项", "内容空泛"]
    channel: str = Field(examples=["纪检监察机关"])
    span: SpanOut


class ClassificationOut(BaseModel):
    """一条材料的分类结果。"""

    id: str | int | None = None
    primary: str = Field(description="主题；其他为 other", examples=["ecology"])
    confidence: float = Field(description="主题的概率")
    decision: Literal["accept", "review"] = Field(description="accept 建议采纳；review 需人工复核")
    reason: str | None = Field(None, description="需人工复核的原因")
    matter: str = Field(description="细类", examples=["fumes_odour"])
    secondary: list[str] = Field(description="次主题，至多两个")
    themes: list[ThemeScoreOut] = Field(description="全部主题，按概率降序，合计为 1")
    matters: list[MatterScoreOut] = Field(description="概率最高的五个细类")
    evidence: list[EvidenceOut]
    district: str | None = Field(description="正文中的地点所在的区（市、县）；没有提到、或提到不止一个的为 null")
    entities: list[SpanOut]
    pii: list[SpanOut] = Field(description="个人信息所在位置")
    keywords: list[str]
    urgent: UrgentOut | None
    request_type: RequestTypeOut = Field(description="诉求类型")
    flags: list[FlagOut] = Field(description="涉法涉诉、指名举报、个人事项、内容空泛；没有则为空")
    model: str = Field(description="模型名与权重摘要")


class ErrorOut(BaseModel):
    """一条材料的错误。"""

    type: str = Field(examples=["empty"])
    field: str = Field(examples=["text"])
    detail: str = Field(examples=["内容为空"])


class FailedOut(BaseModel):
    """没有处理成的一条。"""

    id: str | int | None
    error: ErrorOut


class ClassifyResponse(BaseModel):
    """与请求同序的结果；没有处理成的一条带 error。"""

    items: list[ClassificationOut | FailedOut]


Relation = Literal["duplicate", "related", "unrelated"]


class GradesOut(BaseModel):
    """各等级的概率，合计为 1。"""

    duplicate: float
    related: float
    unrelated: float


class ConflictOut(BaseModel):
    """冲突：类别，以及两段文字中各自的说法。"""

    kind: Literal["place", "object", "polarity", "number", "time"]
    a: str
    b: str


class DuplicateOut(BaseModel):
    """一件判为重复的已登记材料；个人信息已遮盖。"""

    id: int
    external_id: str
    title: str
    relation: Literal["duplicate", "related", "unrelated"]
    probability: float = Field(description="判为重复的概率")
    conflicts: list[ConflictOut] = Field(description="冲突之处：kind 为类别，a、b 为两件中的说法")
    score: float = Field(description="余弦相似度，-1 到 1")
    case: int | None = Field(description="它所在的并案")


class StoredOutcome(BaseModel):
    """登记结果：new 新登记，revised 内容有变已更新，unchanged 已有且相同，erased 已删除、不再登记。

    dry_run 时为登记后会得到的结果。
    """

    id: str | int | None
    submission_id: int | None = Field(description="编号；dry_run 且尚未登记过时为 null")
    external_id: str
    outcome: Literal["new", "revised", "unchanged", "erased"]
    duplicates: list[DuplicateOut] = Field(description="其他人的重复材料，至多五件，概率高的在前")
    follows: DuplicateOut | None = Field(description="同一反映人此前的同一件事，建议登记为续报")


class SubmissionsResponse(BaseModel):
    """与请求同序的登记结果。"""

    items: list[StoredOutcome | FailedOut]


class SharedOut(BaseModel):
    """两段文字中相互对应的句子：a 在查询正文中，b 在已登记材料正文中。"""

    a: tuple[int, int]
    b: tuple[int, int]
    a_text: str
    b_text: str
    score: float


class SimilarOut(BaseModel):
    """一条相似的已登记材料；个人信息已遮盖。"""

    id: int
    external_id: str
    source: str
    title: str
    text: str
    received_at: str | None
    score: float = Field(description="余弦相似度，-1 到 1")
    relation: Relation | None = Field(description="重复、相关或无关；只给前十条，其余为 null")
    probability: GradesOut | None = Field(description="各等级的概率，合计为 1")
    conflicts: list[ConflictOut] = Field(description="使两者不是一回事的冲突：a 在查询中，b 在已登记材料中")
    shared: list[SharedOut] = Field(description="相互对应的句子")


class SimilarResponse(BaseModel):
    """按语义与用词两个名次合并后的次序，最相近的在前。"""

    items: list[SimilarOut]


class PairSpansOut(BaseModel):
    """两段文字中相互对应的句子的偏移。"""

    a: tuple[int, int]
    b: tuple[int, int]


class ComparisonOut(BaseModel):
    """一对材料的等级：重复（建议并案）、相关（供参阅）或无关。"""

    id: str | int | None = None
    relation: Relation
    probability: GradesOut
    conflicts: list[ConflictOut] = Field(description="使两者不是一回事的冲突")
    shared: list[PairSpansOut] = Field(description="相互对应的句子，至多三处")


class CompareResponse(BaseModel):
    """与请求同序的结果；没有处理成的一条带 error。"""

    items: list[ComparisonOut | FailedOut]


class StoredOut(BaseModel):
    """一条已登记的材料；个人信息已遮盖。"""

    id: int
    source: str
    external_id: str
    title: str
    text: str
    received_at: str | None
    district: str | None
    district_named: str | None = Field(description="由正文识别的区（市、县）；没有填写 district 时按它统计和筛选")
    address: str | None
    submitter: SubmitterIn
    primary: str | None
    confidence: float | None
    decision: str | None
    matter: str | None
    secondary: list[str] | None
    model: str | None
    corrected: bool = Field(description="主题与细类是否由人判定；是则把握程度不适用，为 null")


class EventOut(BaseModel):
    """一件事：谁、何时、做了什么。"""

    kind: str
    actor: str
    at: str
    detail: dict[str, Any]


class RevisionOut(BaseModel):
    """修改前的内容；个人信息已遮盖。"""

    revision: int = Field(description="第几次修改前的内容，从 1 起")
    replaced_at: str = Field(description="何时被新的内容取代")
    title: str
    text: str
    received_at: str | None
    district: str | None
    address: str | None
    submitter: SubmitterIn


class ErasedOut(BaseModel):
    """已彻底删除的一条。"""

    id: int
    erased_at: str
    purged: bool = Field(description="数据库文件中已无残留；false 时请稍后重复同样的请求")


class StoredDetail(StoredOut):
    """一条已登记的材料、所在并案、续报关系及其经过。"""

    erased_at: str | None = Field(description="何时删除；删除后只剩编号、来源与经过")
    revisions: list[RevisionOut] = Field(description="历次修改前的内容，最早的在前")
    case: int | None = Field(description="所在的并案")
    follows: int | None = Field(description="它是这一件的续报")
    followed_by: list[int] = Field(description="它的续报")
    events: list[EventOut]


class Problem(BaseModel):
    """RFC 9457 问题说明。"""

    type: str = Field(examples=["urn:minsheng:problem:invalid-request"])
    title: str
    status: int
    detail: str
    errors: list[dict[str, Any]] | None = None
