"""Routes of units and of the 转办依据 of a submission."""

from __future__ import annotations

from typing import Annotated, Literal
from urllib.parse import quote

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import JSONResponse

from service import notice, schemas_routing
from service.cases import NotFound
from service.engine import Engine
from service.routing import propose_stored, today, unit_rows
from service.store import Store

router = APIRouter(prefix="/v1", tags=["转办"])


@router.get("/units", response_model=schemas_routing.UnitsOut, summary="单位表")
def units(request: Request) -> JSONResponse:
    """今天有效的单位：名称、别名、层级、职责与依据。"""
    engine: Engine = request.app.state.engine
    return JSONResponse({"items": unit_rows(engine.models)})


@router.get(
    "/submissions/{number}/routing/notice",
    response_class=Response,
    responses={200: {"content": {"text/plain": {}, "text/html": {}}}},
    summary="转办依据",
)
def get_notice(
    number: int,
    request: Request,
    format: Annotated[Literal["text", "html"], Query(description="html 可用 Word 打开、打印")] = "text",
) -> Response:
    """一页转办依据：拟由谁主办、协办，为什么，依据什么；个人信息已遮盖。"""
    store: Store = request.app.state.store
    models = request.app.state.engine.models
    found = store.get(number) if 0 < number < 2**31 else None
    if found is None or found.erased_at:
        raise NotFound("id", f"没有编号为 {number} 的材料" + ("，已删除" if found else ""))
    content = notice.routing_notice(found, propose_stored(models, store, found), models.taxonomy, today(), format)
    if format == "text":
        return Response(content, media_type="text/plain")
    # Downloaded, not shown: its print styles would fall to the pages' Content-Security-Policy.
    name = quote(f"转办依据-{number}.html")
    return Response(
        content, headers={"Content-Disposition": f"attachment; filename*=UTF-8''{name}"}, media_type="text/html"
    )
