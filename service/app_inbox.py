"""Routes of the inbox page: the page, what waits, what is near one submission, agreement of machine and people."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Request
from fastapi.responses import FileResponse, JSONResponse

from service import render_inbox, schemas_inbox
from service.agreement import Agreement
from service.duplicates import Duplicates
from service.inbox import Asked, doubtful_first, tally
from service.lifecycle import Due, Lifecycle
from service.settings import PAGES
from service.steps import State

doors = APIRouter()
router = APIRouter(prefix="/v1", tags=["收件箱"])


@doors.get("/inbox", include_in_schema=False)
def inbox_page() -> FileResponse:
    """收件箱。"""
    return FileResponse(PAGES / "inbox.html")


@router.get("/inbox", response_model=schemas_inbox.InboxOut, summary="收件箱")
def inbox(
    request: Request,
    state: Annotated[State | None, Query(description="只要这个状态；不给则不限")] = None,
    unit: Annotated[str | None, Query(max_length=100, description="只要这个主办单位")] = None,
    due: Annotated[Due | None, Query(description="soon 临期，over 超期；时限近的在前")] = None,
    theme: Annotated[str | None, Query(max_length=100, description="只要这个主题")] = None,
    district: Annotated[str | None, Query(max_length=100, description="只要这个区（市、县）")] = None,
    urgent: Annotated[bool, Query(description="只要疑似紧急的")] = False,
    limit: Annotated[int, Query(ge=1, le=200, description="至多多少件")] = 200,
) -> JSONResponse:
    """最需要人看的在前：疑似紧急，需人工复核，把握低的；人判定过的在后。个人信息已遮盖。"""
    lifecycle: Lifecycle = request.app.state.lifecycle
    found: Duplicates = request.app.state.duplicates
    numbers, total = doubtful_first(lifecycle, Asked(state, unit, due, theme, district, urgent), limit)
    standings, cases = lifecycle.standing(numbers), found.cases.memberships(numbers)
    stored = lifecycle.store.get_many(numbers)
    items = [render_inbox.waiting(item, standings[item.id], cases.get(item.id)) for item in stored]
    advice = lifecycle.rules.calendar.advice(lifecycle.today())
    own = {"counts": tally(lifecycle), "categories": list(lifecycle.rules.limits), "advice": advice}
    return JSONResponse({"items": items, "total": total, **own})


@router.get("/submissions/{number}/similar", response_model=schemas_inbox.NearPage, summary="与这件相近的")
def near(
    number: int,
    request: Request,
    limit: Annotated[int, Query(ge=1, le=20, description="至多多少件")] = 5,
) -> JSONResponse:
    """已登记的材料中判为重复或相关的，附冲突与相互对应的句子，重复的在前；个人信息已遮盖。"""
    duplicates: Duplicates = request.app.state.duplicates
    lifecycle: Lifecycle = request.app.state.lifecycle
    item, found = duplicates.engine.run(lambda: duplicates.near(number, limit))
    standings = lifecycle.standing([one.candidate.stored.id for one in found])
    return JSONResponse({"items": [render_inbox.near(item, one, standings[one.candidate.stored.id]) for one in found]})


@router.get("/agreement", response_model=schemas_inbox.AgreementOut, tags=["收件箱"], summary="人机一致与漂移")
def agreement(request: Request) -> JSONResponse:
    """人保留了多少机器的主题与单位，按月、按主题；需人工复核的、模型不认识的词的占比是否超出往月的范围。"""
    kept: Agreement = request.app.state.agreement
    report = kept.report()
    return JSONResponse({"agreement": report.rows(), **render_inbox.drift(report)})
