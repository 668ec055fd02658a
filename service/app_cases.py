"""Routes of cases (并案) and follow-ups (续报)."""

from __future__ import annotations

from typing import Annotated, Literal
from urllib.parse import quote

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import JSONResponse

from service import notice, render, schemas_cases
from service.access import acting
from service.cases import Case, State
from service.duplicates import Duplicates

router = APIRouter(prefix="/v1", tags=["并案"])


def _duplicates(request: Request) -> Duplicates:
    found: Duplicates = request.app.state.duplicates
    return found


def _answer(request: Request, case: Case, status: int = 200) -> JSONResponse:
    return JSONResponse(render.case(_duplicates(request).cases.outline(case)), status)


@router.post("/cases", response_model=schemas_cases.CaseOut, status_code=201, summary="并案")
def merge(body: schemas_cases.MergeRequest, request: Request) -> JSONResponse:
    """把几件材料并为一案。各件的编号、原文、日期和反映人都不变，随时可以撤销。"""
    case = _duplicates(request).cases.merge(body.lead, body.members, acting(request, body.actor), body.reason)
    return _answer(request, case, 201)


@router.get("/cases", response_model=schemas_cases.CasePage, summary="并案列表")
def list_cases(
    request: Request,
    after: Annotated[int, Query(ge=0, le=2**31, description="从这个编号之后开始")] = 0,
    limit: Annotated[int, Query(ge=1, le=200, description="每页条数")] = 50,
    state: Annotated[State | None, Query(description="open 有效，undone 已撤销；不给则全部")] = None,
) -> JSONResponse:
    """按编号升序列出并案。"""
    duplicates = _duplicates(request)
    found = duplicates.cases.page(after=after, limit=limit, state=state)
    following = found[-1].id if len(found) == limit else None
    return JSONResponse({"items": [render.case(duplicates.cases.outline(case)) for case in found], "next": following})


@router.get("/cases/suggestions", response_model=schemas_cases.SuggestionsOut, summary="建议并案")
def suggestions(
    request: Request,
    limit: Annotated[int, Query(ge=1, le=1000, description="至多给出多少个建议")] = 100,
) -> JSONResponse:
    """在全部材料中找出可以并案的：一组中任意两件都判为重复。首次要比对全部材料，之后只比对新的。"""
    return JSONResponse(render.suggestions(_duplicates(request).suggest(), limit))


@router.get("/cases/{number}", response_model=schemas_cases.CaseDetail, summary="一个并案")
def get_case(number: int, request: Request) -> JSONResponse:
    """一个并案：各件原文、补充诉求、续报与经过；个人信息已遮盖。"""
    return JSONResponse(render.case_detail(_duplicates(request).view(number)))


@router.post("/cases/{number}/members", response_model=schemas_cases.CaseOut, summary="并入已有并案")
def join(number: int, body: schemas_cases.JoinRequest, request: Request) -> JSONResponse:
    """把后来的材料并入已有的并案。"""
    return _answer(
        request, _duplicates(request).cases.join(number, body.members, acting(request, body.actor), body.reason)
    )


@router.post("/cases/{number}/undo", response_model=schemas_cases.CaseOut, summary="撤销并案或撤出一件")
def undo(number: int, body: schemas_cases.UndoRequest, request: Request) -> JSONResponse:
    """撤出一件，或撤销整个并案；只剩主件时并案随之撤销。"""
    return _answer(
        request, _duplicates(request).cases.undo(number, acting(request, body.actor), body.reason, body.member)
    )


@router.get(
    "/cases/{number}/notice",
    response_class=Response,
    responses={200: {"content": {"text/plain": {}, "text/html": {}}}},
    summary="并案说明",
)
def get_notice(
    number: int,
    request: Request,
    format: Annotated[Literal["text", "html"], Query(description="html 可用 Word 打开、打印")] = "text",
) -> Response:
    """一页并案说明；个人信息已遮盖。"""
    content = notice.notice(_duplicates(request).view(number), format)
    if format == "text":
        return Response(content, media_type="text/plain")
    # Downloaded, not shown: its print styles would fall to the pages' Content-Security-Policy.
    name = quote(f"并案说明-{number}.html")
    return Response(
        content, headers={"Content-Disposition": f"attachment; filename*=UTF-8''{name}"}, media_type="text/html"
    )


@router.post("/submissions/{number}/follows", response_model=schemas_cases.FollowOut, summary="登记续报")
def follow(number: int, body: schemas_cases.FollowRequest, request: Request) -> JSONResponse:
    """同一反映人再次反映或对答复不满意：连到此前那一件，不另计人数，也不并掉。"""
    _duplicates(request).cases.follow(number, body.earlier, acting(request, body.actor), body.reason)
    return JSONResponse({"id": number, "follows": body.earlier})


@router.post("/submissions/{number}/follows/undo", response_model=schemas_cases.FollowOut, summary="解除续报")
def unfollow(number: int, body: schemas_cases.Signed, request: Request) -> JSONResponse:
    """解除续报关系。"""
    _duplicates(request).cases.unfollow(number, acting(request, body.actor), body.reason)
    return JSONResponse({"id": number, "follows": None})
