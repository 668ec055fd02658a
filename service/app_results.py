"""Routes of bulletins (编发), the roster, the 采用通报 and the 履职."""

from __future__ import annotations

from typing import Annotated, Any, Literal
from urllib.parse import quote

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import JSONResponse

from service import papers, render_results, roster
from service import schemas_results as schemas
from service.access import acting
from service.bulletins import Bulletin, Bulletins, State, difference, read_text
from service.points import PointsTable
from service.results import Results, read_scope, results
from service.schemas_cases import Signed
from service.settings import Settings
from service.store import Store

router = APIRouter(prefix="/v1", tags=["编发与采用"])
From = Annotated[str, Query(alias="from", description="起（含），如 2026-01-01")]
To = Annotated[str, Query(alias="to", description="止（含）")]
AsOf = Annotated[str | None, Query(description="只看到这时为止的记录，如 2026-01-05T18:00:00；不给为现在")]
Term = Annotated[str | None, Query(description="届次，不给为全部")]
_FILES: dict[int | str, dict[str, Any]] = {200: {"content": {media: {} for media in papers.MEDIA.values()}}}


def _bulletins(request: Request) -> Bulletins:
    return Bulletins(request.app.state.lifecycle)


def _answer(request: Request, found: Bulletin, status: int = 200) -> JSONResponse:
    return JSONResponse(render_results.bulletin_detail(_bulletins(request), found), status)


def _file(content: bytes, format: str, name: str) -> Response:
    disposition = f"attachment; filename*=UTF-8''{quote(f'{name}.{format}')}"
    return Response(content, media_type=papers.MEDIA[format], headers={"Content-Disposition": disposition})


@router.post("/bulletins", response_model=schemas.BulletinDetail, status_code=201, summary="新建编发")
def create(body: schemas.BulletinCreate, request: Request) -> JSONResponse:
    """把几件材料编成一份，先为草稿；每次保存都是一个版本。"""
    text = read_text(body.title, body.body, body.recipients, body.sources)
    actor = acting(request, body.actor)
    return _answer(request, _bulletins(request).create(body.series, text, actor, body.reason), 201)


@router.get("/bulletins", response_model=schemas.BulletinPage, summary="编发列表")
def list_bulletins(
    request: Request,
    after: Annotated[int, Query(ge=0, le=2**31, description="从这个编号之后开始")] = 0,
    limit: Annotated[int, Query(ge=1, le=200, description="每页条数")] = 50,
    state: Annotated[State | None, Query(description="草稿、已编发、已撤回；不给则全部")] = None,
    series: Annotated[str | None, Query(description="刊名")] = None,
) -> JSONResponse:
    """按编号升序。"""
    found = _bulletins(request).page(after=after, limit=limit, state=state, series=series)
    following = found[-1].id if len(found) == limit else None
    return JSONResponse({"items": [render_results.bulletin(one) for one in found], "next": following})


@router.get("/bulletins/{number}", response_model=schemas.BulletinDetail, summary="一份编发")
def get_bulletin(number: int, request: Request) -> JSONResponse:
    """供编辑的全文（不遮盖，pii 指出其中的个人信息）与经过。"""
    return _answer(request, _bulletins(request).get(number))


@router.post("/bulletins/{number}/versions", response_model=schemas.BulletinDetail, summary="存一版")
def save(number: int, body: schemas.BulletinSave, request: Request) -> JSONResponse:
    """草稿存一个新版本；base 不是最新一版时 409，免得冲掉别人的修改。"""
    text = read_text(body.title, body.body, body.recipients, body.sources)
    actor = acting(request, body.actor)
    return _answer(request, _bulletins(request).save(number, body.base, text, actor, body.reason))


@router.get("/bulletins/{number}/versions/{version}", response_model=schemas.VersionOut, summary="某一版")
def get_version(number: int, version: int, request: Request) -> JSONResponse:
    """某一版的内容。"""
    return JSONResponse(render_results.version(number, version, _bulletins(request).version(number, version)))


@router.get("/bulletins/{number}/diff", response_model=schemas.DiffOut, summary="两版的差别")
def diff(
    number: int,
    request: Request,
    a: Annotated[int, Query(description="旧的一版")],
    b: Annotated[int, Query(description="新的一版")],
) -> JSONResponse:
    """逐句比较两版。"""
    texts = [_bulletins(request).version(number, one) for one in (a, b)]
    return JSONResponse({"id": number, "a": a, "b": b, "changes": [vars(one) for one in difference(*texts)]})


@router.post("/bulletins/{number}/issue", response_model=schemas.BulletinDetail, summary="编发")
def issue(number: int, body: schemas.BulletinIssue, request: Request) -> JSONResponse:
    """给出本刊本年的下一个期号（不跳号、不重号），并记入各件来稿的经过。"""
    actor = acting(request, body.actor)
    return _answer(request, _bulletins(request).issue(number, body.base, actor, body.reason))


@router.post("/bulletins/{number}/withdraw", response_model=schemas.BulletinDetail, summary="撤回编发")
def withdraw(number: int, body: Signed, request: Request) -> JSONResponse:
    """作废草稿，或撤回已编发的；期号不再给别的。"""
    return _answer(request, _bulletins(request).withdraw(number, acting(request, body.actor), body.reason))


@router.post("/bulletins/{number}/adoption", response_model=schemas.AppliedOut, summary="编发被采用")
def adopt(number: int, body: schemas.AdoptionIn, request: Request) -> JSONResponse:
    """一次记下各件来稿都被采用（已退回、已撤回的除外）。"""
    given = body.model_dump(include={"level", "form", "issue", "happened_on"})
    applied = _bulletins(request).adopt(number, given, acting(request, body.actor), body.reason)
    return JSONResponse({"id": number, "applied": list(applied)})


@router.post("/bulletins/{number}/adoption/undo", response_model=schemas.AppliedOut, summary="撤销编发的采用")
def unadopt(number: int, body: schemas.AdoptionUndo, request: Request) -> JSONResponse:
    """记错的一次采用，从各件来稿上一并撤销。"""
    undone = _bulletins(request).retract(number, body.event, acting(request, body.actor), body.reason)
    return JSONResponse({"id": number, "applied": list(undone)})


@router.get("/bulletins/{number}/docx", response_class=Response, responses=_FILES, summary="编发（DOCX）")
def get_docx(number: int, request: Request) -> Response:
    """按社情民意信息的样式排好；个人信息已遮盖。"""
    found = _bulletins(request).get(number)
    content = papers.bulletin_docx(found, _bulletins(request).materials(found))
    return _file(content, "docx", f"{found.series}{found.issue or found.id}")


@router.get("/roster", response_model=schemas.RosterOut, summary="名册")
def get_roster(request: Request) -> JSONResponse:
    """委员与单位；用 minsheng roster import 导入。"""
    store: Store = request.app.state.store
    with store.reading() as connection:
        found = roster.load(store, connection)
    return JSONResponse({"items": [render_results.member(one) for one in found]})


def _results(request: Request, first: str, last: str, as_of: str | None, term: str | None) -> Results:
    settings: Settings = request.app.state.settings
    store: Store = request.app.state.store
    scope = read_scope(store, first, last, as_of, term)
    return results(store, PointsTable(settings.corpora / "points" / "points.tsv"), scope)


@router.get("/results/report", response_model=schemas.ReportOut, responses=_FILES, summary="采用通报")
def report(
    request: Request,
    first: From,
    last: To,
    as_of: AsOf = None,
    term: Term = None,
    format: Annotated[Literal["json", "xlsx", "docx"], Query(description="xlsx、docx 为附件")] = "json",
) -> Response:
    """一段时间的件数、采用与得分，按单位、委员、专委会、界别排名。"""
    found = _results(request, first, last, as_of, term)
    if format == "json":
        return JSONResponse(render_results.report(found))
    content = papers.report_xlsx(found) if format == "xlsx" else papers.report_docx(found)
    return _file(content, format, f"采用通报-{first}-{last}")


@router.get("/results/members", response_model=schemas.MembersOut, responses=_FILES, summary="履职")
def members(
    request: Request,
    first: From,
    last: To,
    as_of: AsOf = None,
    term: Term = None,
    format: Annotated[Literal["json", "xlsx"], Query(description="xlsx 为附件")] = "json",
) -> Response:
    """名册中每一个的件数与得分，每一笔得分指明是哪条记录；没有提交的也列出。"""
    found = _results(request, first, last, as_of, term)
    if format == "json":
        return JSONResponse(render_results.members(found))
    return _file(papers.members_xlsx(found), format, f"履职-{first}-{last}")
