"""Who may do what: roles, the table of routes, the acting person, rate limits.

MinshengError
└── AccessError           carries ``headers``
    ├── Foreign           without a key only this machine is answered
    ├── Unauthenticated   no key, or one that is unknown, expired or revoked
    ├── RoleTooLow        a key whose role does not reach
    ├── CrossSite         a changing request by cookie that another site may have sent
    └── TooManyRequests   over the limit of a key or an address
"""

from __future__ import annotations

import math
import threading
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal, get_args

from fastapi import Request

from nlp.errors import InputError, MinshengError

Role = Literal["viewer", "operator", "admin"]
Clock = Callable[[], datetime]
ROLES: tuple[Role, ...] = get_args(Role)
ROLE_NAMES: dict[Role, str] = {"viewer": "查看", "operator": "经办", "admin": "管理"}

# Method and path → the least role; None is anyone. A query part means the request with exactly that parameter. What is
# not listed is for admins; a test fails where a route is missing.
ROUTES: dict[str, Role | None] = {
    "GET /healthz": None,
    "GET /login": None,
    "GET /inbox": None,
    "POST /login": None,
    "POST /logout": "viewer",
    "GET /readyz": "viewer",
    "GET /metrics": "viewer",
    "GET /openapi.json": "viewer",
    "GET /v1/me": "viewer",
    "GET /v1/taxonomy": "viewer",
    "POST /v1/classify": "viewer",
    "POST /v1/compare": "viewer",
    "POST /v1/route": "viewer",
    "GET /v1/units": "viewer",
    "POST /v1/similar": "viewer",
    "GET /v1/submissions": "viewer",
    "GET /v1/submissions/{number}": "viewer",
    "GET /v1/submissions/{number}/similar": "viewer",
    "GET /v1/inbox": "viewer",
    "GET /v1/agreement": "viewer",
    "GET /v1/submissions/{number}/routing/notice": "viewer",
    "POST /v1/submissions?dry_run=true": "viewer",
    "POST /v1/submissions": "operator",
    "POST /v1/submissions/{number}/contact": "operator",
    "POST /v1/submissions/{number}/follows": "operator",
    "POST /v1/submissions/{number}/follows/undo": "operator",
    "POST /v1/submissions/{number}/events": "operator",
    "POST /v1/submissions/{number}/correction": "operator",
    "PATCH /v1/submissions/{number}": "operator",
    "GET /v1/corrections": "operator",
    "GET /v1/cases": "viewer",
    "GET /v1/cases/suggestions": "viewer",
    "GET /v1/cases/{number}": "viewer",
    "GET /v1/cases/{number}/notice": "viewer",
    "POST /v1/cases": "operator",
    "POST /v1/cases/{number}/members": "operator",
    "POST /v1/cases/{number}/undo": "operator",
    "GET /v1/bulletins": "viewer",
    "GET /v1/bulletins/{number}": "operator",
    "GET /v1/bulletins/{number}/versions/{version}": "operator",
    "GET /v1/bulletins/{number}/diff": "operator",
    "GET /v1/bulletins/{number}/docx": "viewer",
    "POST /v1/bulletins": "operator",
    "POST /v1/bulletins/{number}/versions": "operator",
    "POST /v1/bulletins/{number}/issue": "operator",
    "POST /v1/bulletins/{number}/withdraw": "operator",
    "POST /v1/bulletins/{number}/adoption": "operator",
    "POST /v1/bulletins/{number}/adoption/undo": "operator",
    "GET /v1/roster": "viewer",
    "GET /v1/results/report": "viewer",
    "GET /v1/results/members": "viewer",
    "GET /v1/imports": "viewer",
    "GET /v1/imports/{number}": "viewer",
    "GET /v1/imports/{number}/rejects": "operator",
    "POST /v1/imports": "operator",
    "POST /v1/imports/preview": "operator",
    "POST /v1/imports/{number}/cancel": "operator",
    "DELETE /v1/imports/{number}": "operator",
    "GET /v1/export": "viewer",
    "GET /topics": None,
    "GET /v1/topics": "viewer",
    "GET /v1/topics/candidates": "viewer",
    "GET /v1/topics/{number}/history": "viewer",
    "GET /v1/statistics": "viewer",
    "POST /v1/topics/check": "viewer",
    "POST /v1/topics/regroup": "operator",
    "POST /v1/topics/{number}/rename": "operator",
    "POST /v1/topics/{number}/merge": "operator",
    "POST /v1/topics/{number}/pin": "operator",
    "POST /v1/topics/{number}/dismiss": "operator",
    "POST /v1/topics/{number}/restore": "operator",
    "DELETE /v1/submissions/{number}": "admin",
    "GET /v1/audit": "admin",
    "GET /v1/keys": "admin",
    "POST /v1/keys": "admin",
    "POST /v1/keys/{prefix}/revoke": "admin",
}


class AccessError(MinshengError):
    """A request that is not let through; ``headers`` go with the answer."""

    headers: dict[str, str] = {}  # noqa: RUF012  (never changed: an error that needs its own sets its own)


class Foreign(AccessError):
    """Not from this machine, while no key is set."""


class Unauthenticated(AccessError):
    """No valid key."""

    headers = {"WWW-Authenticate": 'Bearer realm="minsheng"'}  # noqa: RUF012


class RoleTooLow(AccessError):
    """The role of the key does not reach; the message names the one needed."""


class CrossSite(AccessError):
    """Sent by a browser with our cookie, but not from our pages."""


class TooManyRequests(AccessError):
    """Over the limit; ``Retry-After`` tells when there is room again."""

    def __init__(self, detail: str, seconds: int) -> None:
        super().__init__(f"{detail}，请 {seconds} 秒后再试")
        self.headers = {"Retry-After": str(seconds)}


@dataclass(frozen=True)
class Caller:
    """Who asks. ``key``: number of the key, None for this machine without keys; ``page``: logged in on the pages."""

    name: str
    role: Role
    key: int | None = None
    page: bool = False


LOCAL = Caller("本机", "admin")


def utc_now() -> datetime:
    """The clock of the service; tests bring their own."""
    return datetime.now(UTC)


def require(role: Role) -> Callable[[Request], Awaitable[None]]:
    """A dependency that lets through callers of at least ``role``; raises RoleTooLow."""

    async def check(request: Request) -> None:
        caller: Caller = request.state.caller
        if ROLES.index(caller.role) < ROLES.index(role):
            own = f"密钥“{caller.name}”是 {caller.role}（{ROLE_NAMES[caller.role]}）"
            raise RoleTooLow(f"需要 {role}（{ROLE_NAMES[role]}）角色，{own}")

    return check


async def authorise(request: Request) -> None:
    """The dependency of the whole app: what ``ROUTES`` says of the route that was matched."""
    line = f"{request.method} {request.scope['route'].path}"
    asked = f"{line}?dry_run=true"
    if asked in ROUTES and request.query_params.getlist("dry_run") == ["true"]:
        line = asked
    role = ROUTES.get(line, "admin")
    if role is not None:
        await require(role)(request)


def acting(request: Request, given: str | None) -> str:
    """Who is to be recorded as having acted; raises InputError.

    ``given``: the person named in the body. Without keys that is all there is; with one, the name of the key answers
    for it, and a backend that acts for somebody is recorded as both.
    """
    caller: Caller = request.state.caller
    if caller.key is None:
        if given is None:
            raise InputError("missing_field", "actor", "缺少该字段（使用密钥时可不填）")
        return given
    named = (given or "").strip()
    return caller.name if named in {"", caller.name} else f"{named}（经 {caller.name}）"


class Limiter:
    """A token bucket for each key or address: ``per_minute`` at once, refilled evenly; 0 is no limit. Thread-safe.

    Counts in this process only: several processes allow several times as much.
    """

    _MOST = 10_000

    def __init__(self, per_minute: int, what: str, clock: Clock) -> None:
        self.per_minute, self.what, self.clock = per_minute, what, clock
        self._left: dict[str, tuple[float, datetime]] = {}
        self._lock = threading.Lock()

    def take(self, who: str) -> None:
        """Use one up; raises TooManyRequests where none is left."""
        self.check(who, use=1)

    def check(self, who: str, *, use: int = 0) -> None:
        """Raises TooManyRequests where none is left."""
        if not self.per_minute:
            return
        with self._lock:
            moment = self.clock()
            left = self._level(who, moment)
            if left < 1:
                seconds = math.ceil((1 - left) * 60 / self.per_minute)
                raise TooManyRequests(f"{self.what}：每分钟至多 {self.per_minute} 次", seconds)
            self._left[who] = (left - use, moment)
            if len(self._left) > self._MOST:  # what is full again need not be remembered
                self._left = {k: v for k, v in self._left.items() if self._level(k, moment) < self.per_minute}

    def _level(self, who: str, moment: datetime) -> float:
        left, since = self._left.get(who, (float(self.per_minute), moment))
        return min(self.per_minute, left + (moment - since).total_seconds() * self.per_minute / 60)
