"""What a request must pass before any route: who it comes from, how often, and how large its body is.

Without API keys the service answers loopback only. A request whose Host is foreign, or that was forwarded, came from
elsewhere by way of a proxy or a rebound DNS name, and is refused. As soon as a key is set, every request but those for
``_OPEN`` and the pages' own files needs one, and may come from anywhere.
"""

from __future__ import annotations

from ipaddress import ip_address
from typing import Any
from urllib.parse import urlsplit

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from nlp.errors import MinshengError
from service.access import LOCAL, ROUTES, Caller, CrossSite, Foreign, Limiter, Unauthenticated
from service.keys import Key, Keys
from service.problems import answer, problem
from service.settings import PAGES

COOKIE = "minsheng_session"
LOOPBACK = frozenset({"127.0.0.1", "localhost", "[::1]", "::1"})
_FORWARDED = ("forwarded", "via", "x-forwarded-for", "x-forwarded-host", "x-forwarded-proto", "x-real-ip")
_SAFE = frozenset({"GET", "HEAD", "OPTIONS"})
_OPEN = frozenset(line for line, role in ROUTES.items() if role is None) | frozenset(
    f"{method} /{name}" for method in ("GET", "HEAD") for name in ("", *(path.name for path in PAGES.iterdir()))
)


class Guard:
    """ASGI middleware: puts the Caller into the request's state, or answers 401, 403, 413 and 429 itself."""

    def __init__(self, app: ASGIApp, max_body_bytes: int, keys: Keys, requests: Limiter, failures: Limiter) -> None:
        self.app = app
        self.max_body_bytes = max_body_bytes
        self.keys, self.requests, self.failures = keys, requests, failures
        self._keyed = False  # at the last look

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or refuse it."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        request = Request(scope)
        length = request.headers.get("content-length", "0")
        try:
            # A sign of life needs neither the database nor a thread.
            if not (_is_open(request) and (self._keyed or _is_local(request))):
                request.state.caller = await run_in_threadpool(self._caller, request)
        except MinshengError as error:
            await answer(request, error)(scope, receive, send)
            return
        if not length.isdigit() or int(length) > self.max_body_bytes:
            await self._too_large()(scope, receive, send)
            return
        # Read here, whole: every route needs all of it, and nothing below may see more than the limit.
        messages: list[Message] = []
        size, more = 0, True
        while more:
            message = await receive()
            messages.append(message)
            size += len(message.get("body", b""))
            more = bool(message.get("more_body", False))
            if size > self.max_body_bytes:
                await self._too_large()(scope, receive, send)
                return
        replay = iter(messages)

        async def replayed() -> Message:
            return next(replay, None) or await receive()

        await self.app(scope, replayed, send)

    def _caller(self, request: Request) -> Caller | None:
        """Who asks, None for anyone at an open door; raises AccessError or StoreError."""
        self._keyed = self.keys.demanded()
        if not self._keyed:
            if not _is_local(request):
                raise Foreign("未设置访问密钥时只接受本机请求（127.0.0.1 或 localhost）")
            caller: Caller | None = LOCAL
        else:
            caller = None if _is_open(request) else self._identified(request)
        if caller is not None:
            self.requests.take(address_of(request) if caller.key is None else f"key {caller.key}")
        return caller

    def _identified(self, request: Request) -> Caller:
        given = request.headers.get("authorization")
        if given is not None:
            scheme, _, secret = given.partition(" ")
            if scheme.lower() != "bearer":
                raise Unauthenticated("应为 Authorization: Bearer 密钥")
            try:
                return _as_caller(self.keys.find(secret.strip()))
            except Unauthenticated:
                self.failures.take(address_of(request))
                raise
        token = request.cookies.get(COOKIE)
        if token is None:
            raise Unauthenticated("需要密钥：请登录，或给出 Authorization: Bearer 密钥")
        key = self.keys.session(token)
        if request.method not in _SAFE:
            require_own_page(request)
        return _as_caller(key, page=True)

    def _too_large(self) -> JSONResponse:
        return problem("body-too-large", 413, "请求体过大", f"请求体最多 {self.max_body_bytes} 字节")


def described(document: dict[str, Any]) -> dict[str, Any]:
    """An OpenAPI document that says how a caller shows who it is, and which operations anyone may ask for."""
    document["components"]["securitySchemes"] = {
        "key": {
            "type": "http", "scheme": "bearer",
            "description": "minsheng keys add 给出的密钥；没有设任何密钥时，本机请求不需要",
        },
        "session": {
            "type": "apiKey", "in": "cookie", "name": COOKIE,
            "description": "网页登录所得；改动数据的请求还须由本服务的页面发出",
        },
    }  # fmt: skip
    document["security"] = [{"key": []}, {"session": []}]
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            if f"{method.upper()} {path}" in _OPEN:
                operation["security"] = []
    return document


def require_own_page(request: Request) -> None:
    """Raises CrossSite where a browser does not say that the request comes from a page of this service."""
    site, origin = request.headers.get("sec-fetch-site"), request.headers.get("origin")
    own = (
        site == "same-origin" if site else origin is not None and urlsplit(origin).netloc == request.headers.get("host")
    )
    if not own:
        raise CrossSite("改动数据的请求须由本服务的页面发出（Origin 或 Sec-Fetch-Site 不符）")


def address_of(request: Request) -> str:
    """The address a request comes from."""
    return request.client.host if request.client else ""


def _is_open(request: Request) -> bool:
    return f"{request.method} {request.url.path}" in _OPEN


def _is_local(request: Request) -> bool:
    """Asked for by a loopback name, not forwarded, and at a loopback address: a Host can be made up."""
    host = request.headers.get("host", "").lower()
    name = host if host.startswith("[") and host.endswith("]") else host.rsplit(":", 1)[0]
    reached = str((request.scope.get("server") or ("", None))[0])
    return (
        name in LOOPBACK
        and (reached in LOOPBACK or _loopback_address(reached))
        and not any(header in request.headers for header in _FORWARDED)
    )


def _loopback_address(address: str) -> bool:
    try:
        return ip_address(address).is_loopback
    except ValueError:
        return False


def _as_caller(key: Key, *, page: bool = False) -> Caller:
    return Caller(key.name, key.role, key.id, page)
