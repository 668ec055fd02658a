from __future__ import annotations

import json
import logging
import os
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import openpyxl
import pytest
from fastapi.testclient import TestClient

from nlp.errors import InputError
from service import access, cli, render
from service.access import ROLES, ROUTES, Limiter, TooManyRequests, Unauthenticated
from service.app import create_app
from service.cases import Conflict, NotFound
from service.database import StoreError
from service.engine import Models
from service.guard import COOKIE
from service.keys import IDLE, LONGEST, Keys
from service.settings import PAGES, ROOT, Settings
from service.store import Store, Stored, Submission, Submitter
from tests.service.conftest import Run

GUIDE = ROOT / "docs" / "operations.md"
LAMP = "小区门口的路灯坏了半个月没人修。"
CALLERS = ("none", *ROLES, "expired", "revoked")
# A valid body, or one that is refused for what it says, not for who says it.
BODIES = {
    "POST /v1/classify": {"items": []},
    "POST /v1/compare": {"items": []},
    "POST /v1/submissions": {"items": []},
    "POST /v1/submissions?dry_run=true": {"items": []},
}


class Hand:
    """A clock that is moved by hand."""

    def __init__(self) -> None:
        self.at = datetime(2026, 5, 6, 9, 0, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.at

    def forward(self, **by: float) -> None:
        self.at += timedelta(**by)


@dataclass(frozen=True)
class Keyed:
    """A service with one key of each kind: name → secret."""

    app: Any
    keys: Keys
    clock: Hand
    secrets: dict[str, str]

    def client(self, caller: str = "none") -> TestClient:
        headers = {"Authorization": f"Bearer {self.secrets[caller]}"} if caller != "none" else {}
        return TestClient(self.app, base_url="http://minsheng.example", headers=headers, raise_server_exceptions=False)


def _open(settings: Settings, models: Models) -> Iterator[Keyed]:
    store, clock = Store(settings.database_url, settings.office_id), Hand()
    keys = Keys(store, clock)
    secrets = {role: keys.add(f"{role} 密钥", role, "王芳")[1] for role in ROLES}
    secrets["expired"] = keys.add("过期", "admin", "王芳", clock() + timedelta(days=1))[1]
    revoked, secrets["revoked"] = keys.add("撤销", "admin", "王芳")
    keys.revoke(revoked.prefix, "王芳")
    clock.forward(days=2)
    app = create_app(settings, models, store, clock)
    with TestClient(app, base_url="http://localhost"):
        yield Keyed(app, keys, clock, secrets)
    store.close()


@pytest.fixture
def keyed(settings: Settings, models: Models) -> Iterator[Keyed]:
    yield from _open(settings.model_copy(update={"login_rate_limit": 3, "rate_limit": 0}), models)


@pytest.fixture(scope="module")
def shared(models: Models, module_database_url: str) -> Iterator[Keyed]:
    """One service for the whole table; nothing in it is changed."""
    yield from _open(Settings(database_url=module_database_url, login_rate_limit=0), models)


def problem(response: Any) -> tuple[int, str]:
    return response.status_code, response.json()["type"].rpartition(":")[2]


# The table


def _routes(routes: Any) -> Iterator[str]:
    for route in routes:
        if hasattr(route, "original_router"):
            yield from _routes(route.original_router.routes)
        elif getattr(route, "methods", None):
            yield from (f"{method} {route.path}" for method in route.methods - {"HEAD"})


def test_every_route_has_a_role_and_every_row_a_route(shared: Keyed) -> None:
    there = set(_routes(shared.app.routes))
    assert len(there) > 20
    assert {line.partition("?")[0] for line in ROUTES} == there


def _expected(line: str, caller: str) -> int | None:
    """401, 403, or None: let through."""
    role = ROUTES[line]
    if role is None:
        return None
    if caller not in ROLES:
        return 401
    return None if ROLES.index(caller) >= ROLES.index(role) else 403


@pytest.mark.parametrize("line", ROUTES)
def test_each_role_may_do_what_the_table_says(line: str, shared: Keyed) -> None:
    method, _, path = line.partition(" ")
    for caller in CALLERS:
        response = shared.client(caller).request(method, path.replace("{number}", "7"), json=BODIES.get(line, {}))
        expected = _expected(line, caller)
        assert (response.status_code if response.status_code in {401, 403} else None) == expected, (line, caller)
        assert response.status_code < 500
        if expected == 403:
            assert response.json()["detail"].startswith(f"需要 {ROUTES[line]}（")
        if expected == 401:
            assert response.headers["www-authenticate"] == 'Bearer realm="minsheng"'


def test_a_route_that_nobody_listed_is_for_admins(keyed: Keyed, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(access, "ROUTES", {k: v for k, v in ROUTES.items() if k != "GET /v1/taxonomy"})
    assert keyed.client("operator").get("/v1/taxonomy").status_code == 403
    assert keyed.client("admin").get("/v1/taxonomy").status_code == 200


def test_only_a_plain_dry_run_is_for_viewers(shared: Keyed) -> None:
    for query in ("dry_run=true&dry_run=false", "dry_run=false&dry_run=true", "dry_run=false", "dry_run=1"):
        assert shared.client("viewer").post(f"/v1/submissions?{query}", json={"items": []}).status_code == 403


def test_the_document_tells_how_to_show_who_asks(shared: Keyed) -> None:
    document = shared.client("viewer").get("/openapi.json").json()
    kept = {
        name: (s["type"], s.get("scheme") or s["name"]) for name, s in document["components"]["securitySchemes"].items()
    }
    assert kept == {"key": ("http", "bearer"), "session": ("apiKey", COOKIE)}
    assert document["security"] == [{"key": []}, {"session": []}]
    operations = {f"{m.upper()} {path}": o for path, found in document["paths"].items() for m, o in found.items()}
    assert {line for line, o in operations.items() if o.get("security") == []} == {"GET /healthz", "POST /login"}
    assert all(ROUTES[line] is not None for line, o in operations.items() if "security" not in o)


def test_the_table_in_the_guide_is_this_one() -> None:
    """After a change on purpose: MINSHENG_UPDATE=1 pytest tests/service/test_access.py -k guide."""
    rows = ["| 接口 | 无有效密钥 | viewer 查看 | operator 经办 | admin 管理 |", "|---|---|---|---|---|"]
    for line in ROUTES:
        cells = ["可" if (code := _expected(line, caller)) is None else str(code) for caller in ("none", *ROLES)]
        rows.append(f"| `{line.replace('{number}', '{id}')}` | {' | '.join(cells)} |")
    text = GUIDE.read_text(encoding="utf-8")
    pattern = re.compile(r"\| 接口 \| 无有效密钥.*?(?=\n\n|\Z)", re.DOTALL)
    if os.environ.get("MINSHENG_UPDATE"):
        text = pattern.sub("\n".join(rows), text)
        GUIDE.write_text(text, encoding="utf-8")
    assert pattern.findall(text) == ["\n".join(rows)]


# With and without keys


def test_without_keys_this_machine_is_the_admin(client: TestClient) -> None:
    assert client.get("/v1/me").json() == {"name": "本机", "role": "admin", "page": False}
    assert client.get("/v1/audit").json() == {"items": [], "next": None}


def test_without_keys_a_made_up_host_does_not_help(settings: Settings, models: Models, store: Store) -> None:
    """The connection itself must have come in at a loopback address."""
    app = create_app(settings, models, store)
    for server, status in (("127.0.0.1", 200), ("127.9.9.9", 200), ("::1", 200), ("192.168.1.7", 403), ("", 403)):
        with TestClient(app, base_url=f"http://{server or 'x'}" if ":" not in server else "http://[::1]") as client:
            assert client.get("/v1/me", headers={"Host": "127.0.0.1"}).status_code == status, server


def test_the_first_key_closes_and_revoking_the_last_opens(
    client: TestClient, store: Store, another: Callable[[str], Store]
) -> None:
    elsewhere = another(store.office_id)  # as another process does it
    key, secret = Keys(elsewhere).add("OA系统", "operator", "王芳")
    assert problem(client.get("/v1/taxonomy")) == (401, "unauthenticated")
    with_key = {"Authorization": f"Bearer {secret}"}
    assert client.get("/v1/me", headers=with_key).json() == {"name": "OA系统", "role": "operator", "page": False}
    Keys(elsewhere).revoke(key.prefix, "王芳")
    assert client.get("/v1/taxonomy").status_code == 200
    assert problem(client.get("/v1/taxonomy", headers={"Host": "minsheng.example"})) == (403, "forbidden")
    elsewhere.close()


def test_a_key_that_runs_out_opens_nothing(settings: Settings, models: Models, store: Store) -> None:
    clock = Hand()
    keys = Keys(store, clock)
    keys.add("短期", "viewer", "王芳", clock() + timedelta(hours=1))
    clock.forward(hours=1)
    assert (keys.demanded(), keys.active()) == (True, False)
    with TestClient(create_app(settings, models, store, clock), base_url="http://localhost") as client:
        assert problem(client.get("/v1/taxonomy")) == (401, "unauthenticated")


@pytest.mark.parametrize(
    ("header", "detail"),
    [
        (None, "需要密钥：请登录，或给出 Authorization: Bearer 密钥"),
        ("Bearer", "密钥无效"),
        ("Bearer ms_00000000_x", "密钥无效"),
        ("Bearer 密钥".encode(), "密钥无效"),
        ("Basic eDp5", "应为 Authorization: Bearer 密钥"),
        ("expired", "密钥已过期"),
        ("revoked", "密钥已撤销"),
    ],
)
def test_what_is_wrong_with_a_key_is_said(header: Any, detail: str, keyed: Keyed) -> None:
    client = keyed.client(header) if header in keyed.secrets else keyed.client()
    extra = {} if header is None or header in keyed.secrets else {"Authorization": header}
    response = client.get("/v1/me", headers=extra)
    assert (response.status_code, response.json()["detail"]) == (401, detail)


def test_a_changed_secret_is_no_key(keyed: Keyed) -> None:
    secret = keyed.secrets["admin"]
    with pytest.raises(Unauthenticated, match="密钥无效"):
        keyed.keys.find(secret[:-1] + ("A" if secret[-1] != "A" else "B"))


def test_what_stays_open_with_keys(keyed: Keyed) -> None:
    client = keyed.client()
    pages = ["/", *(f"/{path.name}" for path in PAGES.iterdir())]
    assert len(pages) > 5
    for path in ("/healthz", "/login", *pages):
        assert client.get(path, headers={"X-Forwarded-For": "10.0.0.1"}).status_code == 200, path
    for path in ("/readyz", "/metrics", "/openapi.json", "/nothing.html", "/v1/nothing"):
        assert client.get(path).status_code == 401, path
    assert keyed.client("viewer").get("/v1/nothing").status_code == 404


def test_refusals_are_counted_and_carry_the_safe_headers(keyed: Keyed) -> None:
    response = keyed.client().get("/v1/me")
    assert response.headers["x-content-type-options"] == "nosniff"
    assert 'status="401"' in keyed.client("viewer").get("/metrics").text


def test_a_bind_elsewhere_needs_an_active_key(store: Store) -> None:
    keys = Keys(store)
    with pytest.raises(cli.MinshengError, match=r"未设置有效的访问密钥.*不能监听 0\.0\.0\.0；先用 minsheng keys add"):
        cli._listening("0.0.0.0", 0, keys).__enter__()
    key, _ = keys.add("OA系统", "viewer", "王芳")
    with cli._listening("0.0.0.0", 0, keys) as listener:
        assert listener.getsockname()[0] == "0.0.0.0"
    keys.revoke(key.prefix, "王芳")
    with pytest.raises(cli.MinshengError, match="未设置有效的访问密钥"):
        cli._listening("0.0.0.0", 0, keys).__enter__()


# Keys


@pytest.mark.sqlite_file
def test_the_secret_is_nowhere(store: Store) -> None:
    keys = Keys(store)
    key, secret = keys.add("OA系统", "viewer", "王芳")
    assert secret.startswith(f"{key.prefix}_")
    assert len(secret.removeprefix(f"{key.prefix}_")) == 43  # 256 bits
    assert keys.find(secret).name == "OA系统"
    path = Path(store.url.removeprefix("sqlite:///"))
    written = b"".join(file.read_bytes() for file in path.parent.glob(f"{path.name}*"))
    assert key.prefix.encode() in written
    assert secret.partition("_")[2].partition("_")[2].encode() not in written


def test_use_is_recorded_to_the_hour(keyed: Keyed) -> None:
    def used() -> str | None:
        return keyed.keys.all()[0].last_used_at

    assert used() is None
    keyed.keys.find(keyed.secrets["viewer"])
    first = used()
    assert first == keyed.clock().isoformat(timespec="seconds")
    keyed.clock.forward(minutes=59)
    keyed.keys.find(keyed.secrets["viewer"])
    assert used() == first
    keyed.clock.forward(minutes=1)
    keyed.keys.find(keyed.secrets["viewer"])
    assert used() == keyed.clock().isoformat(timespec="seconds")


def test_a_database_that_cannot_be_written_still_lets_a_key_read(keyed: Keyed, monkeypatch: pytest.MonkeyPatch) -> None:
    def full() -> Any:
        raise StoreError("磁盘已满")

    monkeypatch.setattr(keyed.keys.store, "writing", full)
    assert keyed.client("viewer").get("/v1/me").status_code == 200
    assert problem(keyed.client("operator").post("/v1/cases", json={"lead": 1, "members": [1, 2], "reason": "x"})) == (
        503, "store-unavailable",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"name": " "}, "name：内容为空"),
        ({"name": "字" * 41}, "name：最多 40 个字符，实为 41 个"),
        ({"name": "王芳（经 OA系统）"}, "name：名称 '王芳（经 OA系统）' 不能含“（经”或不可见字符"),
        ({"name": "a\nb"}, r"name：名称 'a\nb' 不能含“（经”或不可见字符"),
        ({"role": "root"}, "role：应为 viewer、operator、admin 之一，实为 'root'"),
        ({"expires": datetime(2026, 5, 6, 9, 0, tzinfo=UTC)}, "expires：到期时间 2026-05-06T09:00:00+00:00 已过"),
    ],
)
def test_a_key_that_cannot_be_made(arguments: dict[str, Any], message: str, store: Store) -> None:
    keys = Keys(store, Hand())
    with pytest.raises(InputError) as refused:
        keys.add(**{"name": "x", "role": "viewer", "actor": "王芳"} | arguments)
    assert str(refused.value) == message
    assert keys.all() == []


def test_a_key_is_revoked_once(store: Store) -> None:
    keys = Keys(store, Hand())
    key, _ = keys.add("OA系统", "viewer", "王芳")
    with pytest.raises(NotFound, match="prefix：没有前缀为 ms_x 的密钥，见 minsheng keys list"):
        keys.revoke("ms_x", "王芳")
    assert keys.revoke(key.prefix, "李雷").revoked_at == "2026-05-06T09:00:00+00:00"
    with pytest.raises(Conflict, match=f"prefix：密钥 {key.prefix} 已于 2026-05-06T09:00:00\\+00:00 撤销"):
        keys.revoke(key.prefix, "李雷")


def test_keys_over_http(keyed: Keyed) -> None:
    admin = keyed.client("admin")
    asked = {"name": "OA系统", "role": "viewer", "expires": "2026-12-31", "actor": "王芳"}
    made = admin.post("/v1/keys", json=asked)
    assert (made.status_code, made.headers["cache-control"]) == (201, "no-store")
    key = made.json()
    secret = key.pop("key")
    assert secret.startswith(key["prefix"])
    assert (key["state"], key["expires_at"], key["last_used_at"]) == ("有效", "2026-12-31T15:59:59+00:00", None)
    listed = admin.get("/v1/keys")
    assert listed.json()["items"][-1] == key
    assert [item["state"] for item in listed.json()["items"]] == ["有效"] * 3 + ["密钥已过期", "密钥已撤销", "有效"]
    assert secret not in listed.text
    reader = TestClient(keyed.app, base_url="http://minsheng.example", headers={"Authorization": f"Bearer {secret}"})
    assert reader.get("/v1/me").json()["name"] == "OA系统"
    revoked = admin.post(f"/v1/keys/{key['prefix']}/revoke", json={})
    assert (revoked.status_code, revoked.json()["state"]) == (200, "密钥已撤销")
    assert reader.get("/v1/me").json()["detail"] == "密钥已撤销"
    rows = [(row["actor"], row["action"], row["subject"]) for row in admin.get("/v1/audit").json()["items"]]
    subject = f"key {key['prefix']}"
    assert rows[-2:] == [("王芳（经 admin 密钥）", "key_added", subject), ("admin 密钥", "key_revoked", subject)]


@pytest.mark.parametrize(
    ("path", "body", "expected"),
    [
        ("/v1/keys", {"name": "x", "role": "root"}, (422, "invalid-request")),
        ("/v1/keys", {"name": "x", "role": "viewer", "expires": "明年"}, (422, "invalid-item")),
        ("/v1/keys", {"name": "x", "role": "viewer", "expires": "2026-05-07"}, (422, "invalid-item")),
        ("/v1/keys", {"name": " ", "role": "viewer"}, (422, "invalid-item")),
        ("/v1/keys/ms_x/revoke", {}, (404, "not-found")),
        ("/v1/keys/ms_x%00/revoke", {}, (422, "invalid-item")),
        ("/v1/keys/revoked/revoke", {}, (409, "conflict")),
    ],
)
def test_what_cannot_be_done_to_a_key_is_said(
    path: str, body: dict[str, Any], expected: tuple[int, str], keyed: Keyed
) -> None:
    path = path.replace("/revoked/", f"/{keyed.secrets['revoked'][:11]}/")
    assert problem(keyed.client("admin").post(path, json=body)) == expected
    assert len(keyed.keys.all()) == 5


def test_without_keys_whoever_makes_the_first_is_named(client: TestClient) -> None:
    asked = {"name": "OA系统", "role": "admin"}
    assert client.post("/v1/keys", json=asked).json()["errors"] == [{"field": "actor", "type": "missing_field"}]
    made = client.post("/v1/keys", json=asked | {"actor": "王芳"}).json()
    assert problem(client.get("/v1/keys")) == (401, "unauthenticated")
    own = {"Authorization": f"Bearer {made['key']}"}
    assert client.post(f"/v1/keys/{made['prefix']}/revoke", json={}, headers=own).status_code == 200
    assert [item["state"] for item in client.get("/v1/keys").json()["items"]] == ["密钥已撤销"]


def test_offices_have_their_own_keys(settings: Settings, store: Store) -> None:
    _, secret = Keys(store).add("OA系统", "admin", "王芳")
    other = Store(settings.database_url, "other")
    assert not Keys(other).demanded()
    with pytest.raises(Unauthenticated):
        Keys(other).find(secret)
    other.close()


def test_keys_by_command(run: Run) -> None:
    code, out, err = run("keys", "add", "OA系统", "--role", "operator", "--expires", "2099-12-31", "--actor", "王芳")
    made = json.loads(out)
    assert (code, made["role"], made["expires_at"]) == (
        0,
        "operator",
        "2099-12-31T15:59:59+00:00",
    )  # the end of that day
    assert "无法再次显示" in err
    code, out, _ = run("keys", "list")
    assert (code, json.loads(out)["state"], made["key"] in out) == (0, "有效", False)
    assert run("keys", "revoke", made["prefix"])[0] == 0
    assert json.loads(run("keys", "list")[1])["state"] == "密钥已撤销"
    assert run("keys", "revoke", made["prefix"])[::2][0] == 2
    assert "expires：日期无法识别" in run("keys", "add", "x", "--role", "viewer", "--expires", "明年")[2]


# The pages


SAME = {"Origin": "http://minsheng.example"}


def _logged_in(keyed: Keyed, caller: str) -> TestClient:
    client = keyed.client()
    response = client.post("/login", json={"key": keyed.secrets[caller]}, headers=SAME)
    assert response.json() == {"name": f"{caller} 密钥", "role": caller, "page": True}
    cookie = response.headers["set-cookie"].lower()
    assert all(part in cookie for part in ("httponly", "samesite=strict", "path=/"))
    assert "secure" not in cookie  # over plain HTTP a browser would throw it away
    return client


def test_log_in_use_and_log_out(keyed: Keyed) -> None:
    client = _logged_in(keyed, "operator")
    assert client.get("/v1/me").json() == {"name": "operator 密钥", "role": "operator", "page": True}
    token = client.cookies["minsheng_session"]
    assert client.post("/logout", headers=SAME).status_code == 204
    assert "minsheng_session" not in client.cookies
    client.cookies.set("minsheng_session", token)  # a copy of the cookie is of no use either
    assert client.get("/v1/me").json()["detail"] == "登录已失效，请重新登录"
    assert keyed.client("viewer").post("/logout").status_code == 204  # nothing to end


def test_over_https_the_cookie_is_for_https(keyed: Keyed) -> None:
    client = TestClient(keyed.app, base_url="https://minsheng.example")
    headers = {"Sec-Fetch-Site": "same-origin"}
    response = client.post("/login", json={"key": keyed.secrets["viewer"]}, headers=headers)
    assert "; secure" in response.headers["set-cookie"].lower()


def test_a_log_in_ends_when_it_idles_when_it_is_old_and_with_its_key(keyed: Keyed) -> None:
    client = _logged_in(keyed, "viewer")
    for _ in range(int(LONGEST / IDLE)):
        keyed.clock.forward(minutes=29)
        assert client.get("/v1/me").status_code == 200
    keyed.clock.forward(minutes=29)
    assert client.get("/v1/me").json()["detail"] == "登录已过期，请重新登录"  # used all the time, but too old

    client = _logged_in(keyed, "viewer")
    keyed.clock.forward(minutes=30)
    assert client.get("/v1/me").json()["detail"] == "登录已过期，请重新登录"

    client = _logged_in(keyed, "viewer")
    keyed.keys.revoke(keyed.keys.all()[0].prefix, "王芳")
    assert client.get("/v1/me").status_code == 401


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 403),
        ({"Origin": "http://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Sec-Fetch-Site": "cross-site", **SAME}, 403),
        ({"Sec-Fetch-Site": "same-site", **SAME}, 403),
        ({"Sec-Fetch-Site": "none"}, 403),
        ({"Sec-Fetch-Site": "same-origin"}, 404),
        (SAME, 404),
    ],
)
def test_a_cookie_alone_changes_nothing(headers: dict[str, str], status: int, keyed: Keyed) -> None:
    client = _logged_in(keyed, "operator")
    response = client.post("/v1/submissions/7/contact", json={"reason": "回访"}, headers=headers)
    assert response.status_code == status
    if status == 403:
        assert problem(response) == (403, "cross-site")
        assert client.get("/v1/me", headers=headers).status_code == 200
        assert problem(keyed.client().post("/login", json={"key": "x"}, headers=headers)) == (403, "cross-site")


# Limits


def test_failed_log_ins_are_limited_by_address(keyed: Keyed) -> None:
    client = keyed.client()
    statuses = [client.post("/login", json={"key": "x"}, headers=SAME).status_code for _ in range(4)]
    assert statuses == [401, 401, 401, 429]
    right = {"key": keyed.secrets["viewer"]}
    response = client.post("/login", json=right, headers=SAME)
    assert (problem(response), response.headers["retry-after"]) == ((429, "too-many-requests"), "20")
    assert response.json()["detail"] == "密钥不对：每分钟至多 3 次，请 20 秒后再试"
    assert client.get("/v1/me", headers={"Authorization": "Bearer x"}).status_code == 429
    assert keyed.client("viewer").get("/v1/me").status_code == 200  # others at the same address go on
    keyed.clock.forward(seconds=20)
    assert client.post("/login", json=right, headers=SAME).status_code == 200


def test_requests_are_limited_by_key(settings: Settings, models: Models) -> None:
    [opened] = [_open(settings.model_copy(update={"rate_limit": 2}), models)]
    keyed = next(opened)
    statuses = [keyed.client(caller).get("/v1/me").status_code for caller in ("viewer", "viewer", "viewer", "admin")]
    assert statuses == [200, 200, 429, 200]
    assert keyed.client("viewer").get("/v1/me").headers["retry-after"] == "30"
    assert keyed.client().get("/healthz").status_code == 200
    keyed.clock.forward(seconds=30)
    assert keyed.client("viewer").get("/v1/me").status_code == 200
    next(opened, None)


def test_a_bucket_refills_and_is_forgotten_when_full() -> None:
    clock = Hand()
    limiter = Limiter(2, "请求", clock)
    limiter.take("a")
    limiter.take("a")
    with pytest.raises(TooManyRequests, match="请求：每分钟至多 2 次，请 30 秒后再试"):
        limiter.take("a")
    clock.forward(minutes=5)
    limiter.take("a")
    limiter.take("a")
    with pytest.raises(TooManyRequests):
        limiter.check("a")
    clock.forward(minutes=5)
    for number in range(Limiter._MOST + 1):
        limiter.take(str(number))
        clock.forward(minutes=1)
    assert len(limiter._left) < Limiter._MOST
    unlimited = Limiter(0, "请求", clock)
    for _ in range(5):
        unlimited.take("a")


# Who acted


def test_the_key_answers_for_who_acted(keyed: Keyed) -> None:
    client = keyed.client("operator")
    items = [{"text": LAMP, "external_id": str(n)} for n in range(2)]
    assert client.post("/v1/submissions", json={"items": items}).status_code == 200
    for actor in (None, "王芳", "operator 密钥", " "):
        body = {"lead": 1, "members": [1, 2], "reason": "同一处"} | ({"actor": actor} if actor is not None else {})
        case = client.post("/v1/cases", json=body).json()["id"]
        client.post(f"/v1/cases/{case}/undo", json={"reason": "x"})
    events = client.get("/v1/submissions/1").json()["events"]
    assert [e["actor"] for e in events if e["kind"] == "received"] == ["operator 密钥"]
    assert [e["actor"] for e in events if e["kind"] == "merged"] == [
        "operator 密钥", "王芳（经 operator 密钥）", "operator 密钥", "operator 密钥",
    ]  # fmt: skip


def test_without_keys_the_body_names_who_acted(client: TestClient) -> None:
    response = client.post("/v1/cases", json={"lead": 1, "members": [1, 2], "reason": "x"})
    assert (problem(response), response.json()["detail"]) == (
        (422, "invalid-item"), "actor：缺少该字段（使用密钥时可不填）",
    )  # fmt: skip


# Personal data

PLANTED = {
    "CITIZEN_ID": "11010519491231002X", "MOBILE": "13812345678", "LANDLINE": "0851-85865934", "PLATE": "贵A12345",
    "BANK_CARD": "6222020200112230", "EMAIL": "zhangsan@163.com", "NAME": "张三丰", "INTRODUCED": "王小明",
    "HOME": "7栋3单元1902",
}  # fmt: skip
TEXT = (
    "我家住观山湖区云谷花园7栋3单元1902室，身份证11010519491231002X，卡号6222020200112230，车牌贵A12345，"
    "邮箱zhangsan@163.com。小区门口的路灯坏了半个月没人修，张三丰反映多次，联系人：王小明，电话0851-85865934。"
)
SUBMITTER = {"name": "张三丰", "phone": "13812345678"}


def _planted(identity: str) -> dict[str, Any]:
    return {"external_id": identity, "title": "张三丰反映路灯，电话13812345678", "text": TEXT, "source": "12345",
            "address": "云谷花园7栋3单元1902室", "submitter": SUBMITTER}  # fmt: skip


def _clean(output: str) -> None:
    assert [(kind, output) for kind, value in PLANTED.items() if value in output] == []


def test_no_output_shows_personal_data(settings: Settings, models: Models, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)  # before the store is opened: its libraries look at the level only then
    store = Store(settings.database_url, settings.office_id)
    with TestClient(create_app(settings, models, store), base_url="http://localhost") as client:
        _look_everywhere(client)
    store.close()
    # The test's own client logs the addresses it asks for.
    _clean("\n".join(record.getMessage() for record in caplog.records if not record.name.startswith("httpx")))


def _look_everywhere(client: TestClient) -> None:
    outputs = []
    for identity in ("WO-1", "WO-2"):
        response = client.post("/v1/submissions", json={"items": [_planted(identity)]})
        outputs.append(response.text)
    assert response.json()["items"][0]["duplicates"] or response.json()["items"][0]["follows"]
    step = {"actor": "王芳", "reason": "都是张三先生、13812345678、贵A12345 反映的"}
    assert client.post("/v1/cases", json={"lead": 1, "members": [1, 2], **step}).status_code == 201
    paths = ("/v1/submissions", "/v1/submissions/1", "/v1/cases", "/v1/cases/1", "/v1/cases/suggestions",
             "/v1/cases/1/notice", "/v1/cases/1/notice?format=html", "/metrics", "/v1/audit")  # fmt: skip
    outputs += [client.get(path).text for path in paths]
    similar = client.post("/v1/similar", json={"text": LAMP})
    assert similar.json()["items"][0]["text"].startswith("我家住观山湖区云谷花园*")  # the place is still there
    outputs.append(similar.text)
    for bad in ("13812345678", "11010519491231002X"):
        outputs.append(client.post("/v1/similar", json={"text": LAMP, "theme": bad}).text)
        outputs.append(client.post("/v1/submissions", json={"items": [{"text": LAMP, "received_at": bad}]}).text)
        outputs.append(client.post("/v1/classify", json={"items": [], bad: 1}).text)
        outputs.append(client.get(f"/v1/{bad}").text)
    for output in outputs:
        _clean(output)
    shown = client.get("/v1/submissions/1").json()
    assert len(shown["text"]) == len(TEXT)
    assert shown["address"] == "云谷花园" + "*" * 10
    assert shown["submitter"]["name"] == "张**"


def test_a_trace_in_the_log_shows_no_personal_data(
    client: TestClient, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any, **__: Any) -> Any:
        raise ValueError(TEXT)

    monkeypatch.setattr(client.app.state.store, "page", broken)  # type: ignore[attr-defined]
    quiet = TestClient(client.app, base_url="http://localhost", raise_server_exceptions=False)
    response = quiet.get("/v1/submissions")
    assert response.status_code == 500
    _clean(response.text)
    assert "ValueError" in caplog.text
    _clean(caplog.text)


@pytest.mark.parametrize("format", ["jsonl", "csv", "xlsx"])
def test_no_export_shows_personal_data(format: str, run: Run, tmp_path: Path) -> None:
    source, out = tmp_path / "in.jsonl", tmp_path / f"out.{format}"
    row = {k: v for k, v in _planted("WO-1").items() if k not in {"submitter", "source"}} | SUBMITTER
    source.write_text(json.dumps(row, ensure_ascii=False) + "\n", encoding="utf-8")
    assert run("import", source, "--source", "12345")[0] == 0
    assert run("export", "--format", format, "--out", out)[0] == 0
    if format == "xlsx":
        rows = openpyxl.load_workbook(out).active.iter_rows(values_only=True)
        content = "\n".join(str(cell) for cells in rows for cell in cells)
    else:
        content = out.read_text(encoding="utf-8-sig")
    assert "云谷花园" in content
    _clean(content)


def test_who_acts_in_public_keeps_the_name() -> None:
    for kind, name in (("委员", "张三丰"), (None, "张**")):
        submission = Submission("s", "1", "本人张三丰，路灯坏了", submitter=Submitter(name="张三丰", kind=kind))
        shown = render.stored(Stored(1, submission, None))
        assert (shown["submitter"]["name"], shown["text"]) == (name, f"本人{name}，路灯坏了")


def test_opening_personal_data_leaves_a_trace(keyed: Keyed) -> None:
    client = keyed.client("operator")
    client.post("/v1/submissions", json={"items": [_planted("WO-1")]})
    opened = client.post("/v1/submissions/1/contact", json={"actor": "王芳", "reason": "回访，13812345678"})
    assert opened.json() == {
        "id": 1, "external_id": "WO-1", "title": "张三丰反映路灯，电话13812345678", "text": TEXT,
        "address": "云谷花园7栋3单元1902室",
        "submitter": {**SUBMITTER, "party": None, "sector": None, "kind": None},
    }  # fmt: skip
    by, reason = "王芳（经 operator 密钥）", "回访，***********"
    event = client.get("/v1/submissions/1").json()["events"][-1]
    assert (event["kind"], event["actor"], event["detail"]) == ("opened", by, {"reason": reason})
    last = keyed.client("admin").get("/v1/audit", params={"limit": 200}).json()["items"][-1]
    assert (last["action"], last["actor"], last["subject"], last["detail"]) == (
        "opened", by, "submission 1", {"reason": reason},
    )  # fmt: skip


@pytest.mark.parametrize(
    ("number", "body", "status", "detail"),
    [
        (7, {"reason": "回访"}, 404, "id：没有编号为 7 的材料"),
        (2**40, {"reason": "回访"}, 404, f"id：没有编号为 {2**40} 的材料"),
        (1, {"reason": " "}, 422, "reason：内容为空"),
        (1, {}, 422, "以下字段缺失或无效：body.reason"),
    ],
)
def test_what_cannot_be_opened(number: int, body: dict[str, str], status: int, detail: str, keyed: Keyed) -> None:
    response = keyed.client("operator").post(f"/v1/submissions/{number}/contact", json=body)
    assert (response.status_code, response.json()["detail"]) == (status, detail)


def test_the_audit_is_read_in_pages(keyed: Keyed) -> None:
    client = keyed.client("admin")
    _logged_in(keyed, "viewer").post("/logout", headers=SAME)
    whole = client.get("/v1/audit").json()
    assert [row["action"] for row in whole["items"]] == [*["key_added"] * 5, "key_revoked", "logged_in", "logged_out"]
    assert whole["next"] is None
    assert {row["actor"] for row in whole["items"]} == {"王芳", "viewer 密钥"}
    first = client.get("/v1/audit", params={"limit": 5}).json()
    assert first["next"] == 5
    rest = client.get("/v1/audit", params={"limit": 5, "after": 5}).json()
    assert first["items"] + rest["items"] == whole["items"]
