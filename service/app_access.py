"""Routes of log-in and log-out, of the caller, of opening personal data, and of the audit."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import FileResponse, JSONResponse

from service import audit, render, schemas_access
from service.access import Caller, Limiter, Unauthenticated, acting
from service.guard import COOKIE, address_of, require_own_page
from service.keys import LONGEST, Keys
from service.search import read_moment
from service.settings import PAGES

doors = APIRouter(tags=["登录"])
router = APIRouter(prefix="/v1")


@doors.get("/login", include_in_schema=False)
def login_page() -> FileResponse:
    """登录页。"""
    return FileResponse(PAGES / "login.html")


@doors.post("/login", response_model=schemas_access.CallerOut, summary="登录")
def log_in(body: schemas_access.LoginRequest, request: Request) -> JSONResponse:
    """用密钥登录网页，得到一个 HttpOnly 的 Cookie。多次失败后暂不受理。"""
    require_own_page(request)
    keys: Keys = request.app.state.keys
    failures: Limiter = request.app.state.failures
    failures.check(address_of(request))
    try:
        key, token = keys.log_in(body.key.strip())
    except Unauthenticated:
        failures.take(address_of(request))
        raise
    response = JSONResponse({"name": key.name, "role": key.role, "page": True})
    secure = request.url.scheme == "https"
    age = int(LONGEST.total_seconds())
    response.set_cookie(COOKIE, token, max_age=age, httponly=True, samesite="strict", secure=secure)
    return response


@doors.post("/logout", status_code=204, response_class=Response, summary="退出登录")
def log_out(request: Request) -> Response:
    """结束本次登录。"""
    keys: Keys = request.app.state.keys
    caller: Caller = request.state.caller
    if caller.page:
        keys.log_out(request.cookies[COOKIE])
    response = Response(status_code=204)
    response.delete_cookie(COOKIE, httponly=True, samesite="strict")
    return response


@router.get("/me", response_model=schemas_access.CallerOut, tags=["登录"], summary="当前是谁")
def me(request: Request) -> JSONResponse:
    """当前密钥的名称与角色；page 表示经网页登录。"""
    caller: Caller = request.state.caller
    return JSONResponse({"name": caller.name, "role": caller.role, "page": caller.page})


@router.post(
    "/submissions/{number}/contact", response_model=schemas_access.ContactOut, tags=["材料"], summary="查看反映人与原文"
)
def open_contact(number: int, body: schemas_access.ContactRequest, request: Request) -> JSONResponse:
    """未遮盖的反映人、地址与原文。谁、为什么查看，记入该材料的经过与审计。"""
    found = audit.open_contact(request.app.state.store, number, acting(request, body.actor), body.reason)
    return JSONResponse(render.opened(found))


@router.get("/keys", response_model=schemas_access.KeyList, tags=["密钥"], summary="全部密钥")
def list_keys(request: Request) -> JSONResponse:
    """名称、角色、前缀、到期、最近使用与状态；不含密钥本身。"""
    keys: Keys = request.app.state.keys
    moment = keys.clock()
    return JSONResponse({"items": [key.plain(moment) for key in keys.all()]})


@router.post("/keys", response_model=schemas_access.NewKeyOut, status_code=201, tags=["密钥"], summary="新增密钥")
def add_key(body: schemas_access.KeyRequest, request: Request) -> JSONResponse:
    """密钥本身只在这时给出。有了第一个密钥，此后的请求都要带密钥。"""
    keys: Keys = request.app.state.keys
    expires = read_moment("expires", body.expires, end=True)
    key, secret = keys.add(body.name, body.role, acting(request, body.actor), expires)
    return JSONResponse(key.plain(keys.clock()) | {"key": secret}, 201, {"Cache-Control": "no-store"})


@router.post("/keys/{prefix}/revoke", response_model=schemas_access.KeyOut, tags=["密钥"], summary="撤销密钥")
def revoke_key(prefix: str, body: schemas_access.RevokeRequest, request: Request) -> JSONResponse:
    """立即失效，用它登录的网页也随即退出；不能恢复。撤销最后一个之后，服务又只回答本机。"""
    keys: Keys = request.app.state.keys
    return JSONResponse(keys.revoke(prefix, acting(request, body.actor)).plain(keys.clock()))


@router.get("/audit", response_model=schemas_access.AuditPage, tags=["审计"], summary="审计")
def list_audit(
    request: Request,
    after: Annotated[int, Query(ge=0, le=2**31, description="从这个编号之后开始")] = 0,
    limit: Annotated[int, Query(ge=1, le=200, description="每页条数")] = 50,
) -> JSONResponse:
    """密钥的新增与撤销、登录与退出、个人信息的查看，按编号升序。"""
    found = audit.page(request.app.state.store, after=after, limit=limit)
    following = found[-1]["id"] if len(found) == limit else None
    return JSONResponse({"items": render.events(found), "next": following})
