"""API keys and the log-ins made with them. A secret is shown once and stored as its sha256 only."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime, timedelta
from typing import Any

import sqlalchemy as sa

from nlp.errors import InputError
from nlp.normalise import validate
from service import audit
from service.access import ROLES, Clock, Role, Unauthenticated, utc_now
from service.cases import Conflict, NotFound
from service.database import StoreError
from service.store import Store
from service.tables import api_keys, sessions

IDLE = timedelta(minutes=30)
LONGEST = timedelta(hours=12)
# How much later than the truth the record of the last use may be: a read should not become a write each time.
_COARSE_KEY = timedelta(hours=1)
_COARSE_SESSION = timedelta(minutes=1)
_PREFIX = "ms_"
_PREFIX_LENGTH = len(_PREFIX) + 8
_MAX_NAME = 40
_INVALID = "密钥无效"


@dataclass(frozen=True)
class Key:
    """A key as it may be shown. Times are ISO 8601, UTC; ``last_used_at`` is right to the hour."""

    id: int
    name: str
    role: Role
    prefix: str
    created_at: str
    expires_at: str | None
    revoked_at: str | None
    last_used_at: str | None

    def problem(self, moment: datetime) -> str | None:
        """Why it is not valid, or None."""
        if self.revoked_at is not None:
            return "密钥已撤销"
        if self.expires_at is not None and datetime.fromisoformat(self.expires_at) <= moment:
            return "密钥已过期"
        return None

    def plain(self, moment: datetime) -> dict[str, Any]:
        """As data, with its ``state`` in words."""
        return asdict(self) | {"state": self.problem(moment) or "有效"}


class Keys:
    """The keys of a store; each call is one transaction. Safe to share between threads."""

    def __init__(self, store: Store, clock: Clock = utc_now) -> None:
        self.store = store
        self.clock = clock

    def add(self, name: str, role: Role, actor: str, expires: datetime | None = None) -> tuple[Key, str]:
        """A new key and its secret, which nobody can show again; raises InputError."""
        name = validate(name, "name", _MAX_NAME).strip()
        if "（经" in name or not name.isprintable():
            raise InputError("invalid_value", "name", f"名称 {name!r} 不能含“（经”或不可见字符")
        if role not in ROLES:
            raise InputError("invalid_value", "role", f"应为 {'、'.join(ROLES)} 之一，实为 {role!r}")
        moment = self.clock()
        if expires is not None and expires <= moment:
            raise InputError("invalid_value", "expires", f"到期时间 {expires.isoformat()} 已过")
        prefix = _PREFIX + secrets.token_hex(4)
        secret = f"{prefix}_{secrets.token_urlsafe(32)}"
        with self.store.writing() as connection:
            number = self.store.next_number(connection, api_keys)
            key = Key(number, name, role, prefix, _text(moment), _text(expires) if expires else None, None, None)
            row = {f.name: getattr(key, f.name) for f in fields(Key)}
            connection.execute(api_keys.insert().values(office_id=self.store.office_id, sha256=_sha256(secret), **row))
            detail = {"name": name, "role": role, "expires_at": key.expires_at}
            audit.record(self.store, connection, actor, "key_added", f"key {prefix}", detail)
        return key, secret

    def all(self) -> list[Key]:
        """Every key there ever was, oldest first."""
        query = sa.select(api_keys).where(self.store.mine(api_keys)).order_by(api_keys.c.id)
        with self.store.reading() as connection:
            return [_key(row) for row in connection.execute(query).mappings()]

    def revoke(self, prefix: str, actor: str) -> Key:
        """End a key and every log-in made with it, at once; raises InputError, NotFound or Conflict."""
        validate(prefix, "prefix", _PREFIX_LENGTH)
        with self.store.writing() as connection:
            row = self._row(connection, api_keys.c.prefix == prefix)
            if row is None:
                raise NotFound("prefix", f"没有前缀为 {prefix} 的密钥，见 minsheng keys list")
            if row["revoked_at"] is not None:
                raise Conflict("prefix", f"密钥 {prefix} 已于 {row['revoked_at']} 撤销")
            here = self.store.mine(api_keys), api_keys.c.id == row["id"]
            ended = _text(self.clock())
            connection.execute(api_keys.update().where(*here).values(revoked_at=ended))
            connection.execute(sessions.delete().where(self.store.mine(sessions), sessions.c.key_id == row["id"]))
            audit.record(self.store, connection, actor, "key_revoked", f"key {prefix}", {"name": row["name"]})
            return _key({**row, "revoked_at": ended})

    def demanded(self) -> bool:
        """Whether requests need a key: one is set and not revoked. One that merely ran out opens nothing."""
        query = sa.select(api_keys.c.id).where(self.store.mine(api_keys), api_keys.c.revoked_at.is_(None)).limit(1)
        with self.store.reading() as connection:
            return connection.execute(query).first() is not None

    def active(self) -> bool:
        """Whether there is a key that would be let in."""
        return any(key.problem(self.clock()) is None for key in self.all())

    def find(self, secret: str) -> Key:
        """The key of a secret; raises Unauthenticated."""
        with self.store.reading() as connection:
            row = self._row(connection, api_keys.c.prefix == secret[:_PREFIX_LENGTH])
        if not hmac.compare_digest(_sha256(secret), row["sha256"] if row else "") or row is None:
            raise Unauthenticated(_INVALID)
        return self._valid(row)

    def log_in(self, secret: str) -> tuple[Key, str]:
        """The key and the cookie of a new log-in; raises Unauthenticated."""
        key = self.find(secret)
        token, moment = secrets.token_urlsafe(32), self.clock()
        with self.store.writing() as connection:
            gone = sa.or_(sessions.c.seen_at <= _text(moment - IDLE), sessions.c.created_at <= _text(moment - LONGEST))
            connection.execute(sessions.delete().where(self.store.mine(sessions), gone))
            row = {"sha256": _sha256(token), "key_id": key.id, "created_at": _text(moment), "seen_at": _text(moment)}
            connection.execute(sessions.insert().values(office_id=self.store.office_id, **row))
            audit.record(self.store, connection, key.name, "logged_in", f"key {key.prefix}", {})
        return key, token

    def session(self, token: str) -> Key:
        """The key of a log-in that has not idled or lasted too long; raises Unauthenticated."""
        moment = self.clock()
        here = self.store.mine(sessions), sessions.c.sha256 == _sha256(token)
        with self.store.reading() as connection:
            session = connection.execute(sa.select(sessions).where(*here)).mappings().one_or_none()
            row = self._row(connection, api_keys.c.id == session["key_id"]) if session else None
        if session is None or row is None:
            raise Unauthenticated("登录已失效，请重新登录")
        idle, age = (moment - datetime.fromisoformat(session[name]) for name in ("seen_at", "created_at"))
        if idle >= IDLE or age >= LONGEST:
            raise Unauthenticated("登录已过期，请重新登录")
        if idle >= _COARSE_SESSION:
            self._touch(sessions.update().where(*here).values(seen_at=_text(moment)))
        return self._valid(row)

    def log_out(self, token: str) -> None:
        """End a log-in."""
        key = self.session(token)
        with self.store.writing() as connection:
            here = self.store.mine(sessions), sessions.c.sha256 == _sha256(token)
            connection.execute(sessions.delete().where(*here))
            audit.record(self.store, connection, key.name, "logged_out", f"key {key.prefix}", {})

    def _valid(self, row: Mapping[str, Any]) -> Key:
        key, moment = _key(row), self.clock()
        problem = key.problem(moment)
        if problem:
            raise Unauthenticated(problem)
        if key.last_used_at is None or moment - datetime.fromisoformat(key.last_used_at) >= _COARSE_KEY:
            here = self.store.mine(api_keys), api_keys.c.id == key.id
            self._touch(api_keys.update().where(*here).values(last_used_at=_text(moment)))
        return key

    def _touch(self, statement: sa.Update) -> None:
        """A mark of use is not worth failing a request over, as on a full disk."""
        with suppress(StoreError), self.store.writing() as connection:
            connection.execute(statement)

    def _row(self, connection: sa.Connection, condition: sa.ColumnElement[bool]) -> dict[str, Any] | None:
        query = sa.select(api_keys).where(self.store.mine(api_keys), condition)
        row = connection.execute(query).mappings().one_or_none()
        return None if row is None else dict(row)


def _key(row: Any) -> Key:
    return Key(**{f.name: row[f.name] for f in fields(Key)})


def _sha256(secret: str) -> str:
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).hexdigest()


def _text(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(timespec="seconds")
