"""Routes of topics (议题), candidates for study (选题) and statistics (统计)."""

from __future__ import annotations

from typing import Annotated, Literal
from urllib.parse import quote

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import JSONResponse

from service import render_inbox, render_topics, schemas_topics, topic_files
from service.access import acting
from service.candidates import select
from service.dates import CHINA
from service.schemas_cases import Signed
from service.statistics import read_moment, read_period, statistics
from service.topic_checks import check
from service.topic_views import overview
from service.topics import Topics

router = APIRouter(prefix="/v1", tags=["议题"])
AsOf = Annotated[str | None, Query(max_length=40, description="截至哪一天（按收到日期），默认为最近有材料的一天")]
MEDIA = {
    "xlsx": "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
    "docx": "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
}


def _topics(request: Request) -> Topics:
    found: Topics = request.app.state.topics
    return found


def _history(request: Request, number: int) -> JSONResponse:
    return JSONResponse({"id": number, "events": _topics(request).history(number)})


@router.get("/topics", response_model=schemas_topics.TopicsOut, summary="议题列表")
def list_topics(request: Request, as_of: AsOf = None) -> JSONResponse:
    """全部议题：件数、反映人数、升降、区县与代表材料。新到的材料先归入议题。"""
    topics = _topics(request)
    return JSONResponse(render_topics.topics(overview(topics, as_of), topics.store))


@router.get(
    "/topics/candidates",
    response_model=schemas_topics.SelectionOut,
    responses={200: {"content": {media: {} for media in MEDIA.values()}}},
    summary="候选选题",
)
def candidates(
    request: Request,
    as_of: AsOf = None,
    limit: Annotated[int, Query(ge=1, le=100, description="至多给出多少个")] = 10,
    format: Annotated[Literal["json", "xlsx", "docx"], Query(description="docx 为选题建议表")] = "json",
) -> Response:
    """给议题打分：每一项都写明依据，附所依据的材料；此前研究过的另列。"""
    found = select(_topics(request), as_of, limit)
    if format == "json":
        return JSONResponse(render_topics.selection(found))
    content = topic_files.workbook(found) if format == "xlsx" else topic_files.document(found)
    name = quote(f"选题建议表-{found.as_of or '无日期'}.{format}")
    return Response(
        content, media_type=MEDIA[format], headers={"Content-Disposition": f"attachment; filename*=UTF-8''{name}"}
    )


@router.post("/topics/check", response_model=schemas_topics.CheckOut, summary="领导点题查新")
def check_topic(body: schemas_topics.CheckRequest, request: Request) -> JSONResponse:
    """一个题目与已登记的材料、已有的议题、以往课题与提案逐一比对。"""
    title, text = (body.title, body.text) if body.text else (None, body.title)
    return JSONResponse(render_topics.check(check(_topics(request), title, text)))


@router.post("/topics/regroup", response_model=schemas_topics.TopicsOut, summary="重新归类")
def regroup(body: Signed, request: Request) -> JSONResponse:
    """全部重新归类；研究人员改过的议题不动，其余的尽量沿用原编号。"""
    topics = _topics(request)
    topics.regroup(acting(request, body.actor), body.reason)
    return JSONResponse(render_topics.topics(overview(topics), topics.store))


@router.get("/topics/{number}/history", response_model=schemas_topics.TopicHistory, summary="议题经过")
def history(number: int, request: Request) -> JSONResponse:
    """一个议题何时形成、谁改过、为什么。"""
    return _history(request, number)


@router.post("/topics/{number}/rename", response_model=schemas_topics.TopicHistory, summary="给议题定名")
def rename(number: int, body: schemas_topics.RenameRequest, request: Request) -> JSONResponse:
    """改名后机器不再改。"""
    _topics(request).rename(number, body.name, acting(request, body.actor), body.reason)
    return _history(request, number)


@router.post("/topics/{number}/merge", response_model=schemas_topics.TopicHistory, summary="合并议题")
def merge(number: int, body: schemas_topics.MergeTopicRequest, request: Request) -> JSONResponse:
    """并入另一个同级议题；材料不动，可以恢复。"""
    _topics(request).merge(number, body.into, acting(request, body.actor), body.reason)
    return _history(request, number)


@router.post("/topics/{number}/pin", response_model=schemas_topics.TopicHistory, summary="置顶议题")
def pin(number: int, body: schemas_topics.PinRequest, request: Request) -> JSONResponse:
    """置顶，或以 pinned=false 取消。"""
    _topics(request).pin(number, body.pinned, acting(request, body.actor), body.reason)
    return _history(request, number)


@router.post("/topics/{number}/dismiss", response_model=schemas_topics.TopicHistory, summary="搁置议题")
def dismiss(number: int, body: Signed, request: Request) -> JSONResponse:
    """不再列为候选；可以恢复。"""
    _topics(request).dismiss(number, acting(request, body.actor), body.reason)
    return _history(request, number)


@router.post("/topics/{number}/restore", response_model=schemas_topics.TopicHistory, summary="恢复议题")
def restore(number: int, body: Signed, request: Request) -> JSONResponse:
    """撤销合并或搁置。"""
    _topics(request).restore(number, acting(request, body.actor), body.reason)
    return _history(request, number)


@router.get("/statistics", response_model=schemas_topics.StatisticsOut, tags=["统计"], summary="统计")
def get_statistics(
    request: Request,
    month: Annotated[str | None, Query(max_length=20, description="月份，如 2024-05；默认本月")] = None,
    first: Annotated[str | None, Query(alias="from", max_length=40, description="起始日期，与 to 同用")] = None,
    last: Annotated[str | None, Query(alias="to", max_length=40, description="结束日期，含当天")] = None,
    cut_off: Annotated[int | None, Query(ge=1, le=28, description="每月截止日；25 指上月 26 日至本月 25 日")] = None,
    as_of: Annotated[str | None, Query(max_length=40, description="按当时所知；默认现在。报出的统计凭它可复现")] = None,
) -> JSONResponse:
    """一个时期的总数、同比环比、主题与细类逐月、区县与主题、单位与状态、采用、满意度、界别。"""
    topics = _topics(request)
    moment = read_moment(as_of)
    period = read_period(month, first, last, cut_off, moment.astimezone(CHINA).date())
    found = statistics(topics.store, topics.engine.models.taxonomy, period, moment)
    now = {"drift": None, "unknown_words": None} if as_of else render_inbox.drift(request.app.state.agreement.report())
    return JSONResponse(render_topics.statistics(found) | now)
