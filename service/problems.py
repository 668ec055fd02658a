"""Every error of the HTTP interface, as RFC 9457 problem details with a stable ``type``; no internals."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse

from nlp.errors import ArtefactError, DataError, InputError, MinshengError
from nlp.pii import mask
from service.access import AccessError, CrossSite, RoleTooLow, TooManyRequests, Unauthenticated
from service.archives import ClassifiedFile, IntakeError
from service.cases import CaseError, NotFound
from service.database import StoreError
from service.engine import QueueFull
from service.imports import JobError
from service.lifecycle import MatchMissing, Stale, StepRefused
from service.points import PointsMissing
from service.roster import RosterError
from service.workdays import CalendarEnds

MEDIA_TYPE = "application/problem+json"
_LOG = logging.getLogger("minsheng")

# Error class → (type, status, title). The message of these errors is written for users and may be shown.
TABLE: dict[type[MinshengError], tuple[str, int, str]] = {
    InputError: ("invalid-item", 422, "内容无法处理"),
    NotFound: ("not-found", 404, "没有找到"),
    Stale: ("stale", 412, "材料已有新的变动"),
    MatchMissing: ("if-match-required", 428, "需要 If-Match"),
    CalendarEnds: ("calendar-ends", 409, "工作日历不够用"),
    RosterError: ("roster", 409, "名册不能用"),
    PointsMissing: ("points-missing", 409, "计分表不够用"),
    CaseError: ("conflict", 409, "与已登记的情况冲突"),
    AccessError: ("forbidden", 403, "拒绝访问"),
    Unauthenticated: ("unauthenticated", 401, "需要密钥"),
    RoleTooLow: ("role-too-low", 403, "权限不足"),
    CrossSite: ("cross-site", 403, "拒绝访问"),
    TooManyRequests: ("too-many-requests", 429, "请求过于频繁"),
    JobError: ("conflict", 409, "与已登记的情况冲突"),
    ClassifiedFile: ("classified-file", 422, "文件带有密级标志"),
    IntakeError: ("unreadable-file", 422, "文件无法读取"),
    QueueFull: ("busy", 429, "请求过多"),
    StoreError: ("store-unavailable", 503, "数据库不可用"),
    ArtefactError: ("model-unavailable", 503, "模型不可用"),
    DataError: ("data-unavailable", 503, "词表或分类数据不可用"),
}
_HTTP = {
    404: ("not-found", "没有找到"),
    405: ("method-not-allowed", "不支持的方法"),
    400: ("malformed", "请求格式错误"),
}
_RETRY_SECONDS = 2


def problem(kind: str, status: int, title: str, detail: str, errors: Sequence[Any] | None = None) -> JSONResponse:
    """A problem response; ``kind`` becomes the stable type ``urn:minsheng:problem:<kind>``.

    Personal data is starred out: details quote what was sent, and problems end up in the logs of those who sent it.
    """
    body: dict[str, Any] = {"type": f"urn:minsheng:problem:{kind}", "title": title, "status": status}
    body["detail"] = mask(detail)
    if errors is not None:
        body["errors"] = [{**error, "field": mask(error["field"])} for error in errors]
    headers = {"Retry-After": str(_RETRY_SECONDS)} if status in {429, 503} else None
    return JSONResponse(body, status, headers, MEDIA_TYPE)


def install(app: FastAPI) -> None:
    """Register the handlers of ``TABLE``, of envelope errors, of HTTP errors, and of everything unforeseen."""
    app.add_exception_handler(MinshengError, answer)
    app.add_exception_handler(RequestValidationError, _envelope)
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(Exception, unforeseen)


def answer(_request: Request, error: Exception) -> JSONResponse:
    """The problem of an error in ``TABLE``; of any other, 500."""
    entry = next((TABLE[cls] for cls in type(error).__mro__ if cls in TABLE), None)
    if entry is None:
        return unforeseen(_request, error)
    kind, status, title = entry
    detail = "数据库暂时不可用，请联系管理员查看日志" if isinstance(error, StoreError) else str(error)
    if status >= 500:
        _LOG.error("%s", error)
    errors: list[dict[str, Any]] | None = None
    if isinstance(error, InputError | CaseError):
        errors = [{"field": error.field, "type": error.type if isinstance(error, InputError) else kind}]
    if isinstance(error, StepRefused):
        errors = [{"field": error.field, "type": kind, "state": error.state, "possible": list(error.possible)}]
    response = problem(kind, status, title, detail, errors)
    if isinstance(error, AccessError):
        response.headers.update(error.headers)
    return response


def _envelope(_request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)  # noqa: S101  (narrowing for the type checker)
    found = error.errors()
    if any(e["type"] == "json_invalid" for e in found):
        return problem("malformed", 400, "请求格式错误", "请求体不是有效的 JSON")
    errors = [{"field": ".".join(str(part) for part in e["loc"]), "type": e["type"]} for e in found]
    named = "、".join(e["field"] for e in errors)
    return problem("invalid-request", 422, "请求内容不符合要求", f"以下字段缺失或无效：{named}", errors)


def _http(_request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)  # noqa: S101
    kind, title = _HTTP.get(error.status_code, ("http-error", "请求无法完成"))
    detail = error.detail if kind == "not-found" and error.detail != "Not Found" else title
    response = problem(kind, error.status_code, title, detail)
    response.headers.update(error.headers or {})
    return response


def unforeseen(_request: Request, error: Exception) -> JSONResponse:
    """500 without internals; the trace goes to the log."""
    _LOG.error("unforeseen error", exc_info=error)
    return problem("internal", 500, "内部错误", "服务内部出错，已记入日志")
