"""What a request must pass before any route: it comes from this machine, and its body is not too large.

Without API keys the service answers loopback only. A request whose Host is foreign, or that was forwarded, came from
elsewhere by way of a proxy or a rebound DNS name, and is refused.
"""

from __future__ import annotations

from typing import Any

from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.problems import problem

LOOPBACK = frozenset({"127.0.0.1", "localhost", "[::1]", "::1"})
_FORWARDED = ("forwarded", "via", "x-forwarded-for", "x-forwarded-host", "x-forwarded-proto", "x-real-ip")


class Guard:
    """ASGI middleware; answers 403 and 413 itself."""

    def __init__(self, app: ASGIApp, max_body_bytes: int) -> None:
        self.app = app
        self.max_body_bytes = max_body_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or refuse it."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        refusal = self._refusal(Request(scope))
        if refusal is not None:
            await refusal(scope, receive, send)
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

    def _refusal(self, request: Request) -> Any:
        host = request.headers.get("host", "").lower()
        name = host if host.startswith("[") and host.endswith("]") else host.rsplit(":", 1)[0]
        if name not in LOOPBACK or any(header in request.headers for header in _FORWARDED):
            return problem("forbidden", 403, "拒绝访问", "未设置访问密钥时只接受本机请求（127.0.0.1 或 localhost）")
        length = request.headers.get("content-length", "0")
        if not length.isdigit() or int(length) > self.max_body_bytes:
            return self._too_large()
        return None

    def _too_large(self) -> Any:
        return problem("body-too-large", 413, "请求体过大", f"请求体最多 {self.max_body_bytes} 字节")
