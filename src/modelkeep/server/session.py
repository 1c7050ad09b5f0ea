"""Logging in to the page: a token is given once, and a cookie stands for it until it ends."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import os
import secrets
import threading
import time
from collections import deque
from collections.abc import Callable
from http.cookies import CookieError, SimpleCookie
from pathlib import Path
from typing import Final, Protocol

import msgspec
import orjson
from starlette.requests import Request
from starlette.types import Receive, Scope, Send

from modelkeep._version import __version__
from modelkeep.core.clock import DAY, SECOND, Clock
from modelkeep.core.errors import BadInput, Busy, Denied
from modelkeep.core.shapes import Json
from modelkeep.server import answers, body
from modelkeep.store.tokens import SCOPES, Token, Tokens

log: Final = logging.getLogger(__name__)

LASTS_NS: Final = 30 * DAY
"""How long a login lasts, unless its token ends before."""
_MOST: Final = 10_000
_WINDOW_S: Final = 60.0
_FREE: Final = 3
"""Wrong tries a minute from one address that are answered at once."""
_REFUSED: Final = 20
_WAITING: Final = 16


class _Login(msgspec.Struct, frozen=True, array_like=True):
    token: str
    end_ns: int


class Sessions:
    """Who is logged in: digests of cookies with their tokens' ids; kept in a file, so that a restart logs nobody out.

    Args:
        path: of the file; only its owner can read it.
        tokens: what sessions stand for; a token that is revoked ends its sessions at once.
        clock: the wall.
        port: of the server, a part of the cookie's name, since browsers send a cookie to every port of a host.
    """

    def __init__(self, path: Path, tokens: Tokens, clock: Clock, port: int) -> None:
        self._path, self._tokens, self._clock = path, tokens, clock
        self.cookie: Final = f"modelkeep_session_{port}"
        self._lock = threading.Lock()
        self._logins = self._load()

    def open(self, token: Token) -> tuple[str, int]:
        """Logs in; gives the cookie's value and its end, wall time in ns."""
        now = self._clock.now_ns()
        end = min(now + LASTS_NS, token.expires_ns or now + LASTS_NS)
        secret = secrets.token_urlsafe(32)
        with self._lock:
            self._logins = {key: login for key, login in self._logins.items() if login.end_ns > now}
            while len(self._logins) >= _MOST:
                del self._logins[min(self._logins, key=lambda key: self._logins[key].end_ns)]
            self._logins[_digest(secret)] = _Login(token.id, end)
            self._keep()
        return secret, end

    def close(self, scope: Scope) -> None:
        """Logs out whoever sends this request."""
        with self._lock:
            if self._logins.pop(_digest(self._value(scope)), None) is not None:
                self._keep()

    def of(self, scope: Scope) -> Token | None:
        """Gives the token that the cookie of a request stands for, None when it stands for none."""
        value = self._value(scope)
        login = self._logins.get(_digest(value)) if value else None
        if login is None or login.end_ns <= self._clock.now_ns():
            return None
        return self._tokens.held(login.token)

    def _value(self, scope: Scope) -> str:
        text = body.header(scope, b"cookie")
        if self.cookie not in text:
            return ""
        try:
            found = SimpleCookie(text).get(self.cookie)
        except CookieError:
            return ""
        return found.value if found else ""

    def _load(self) -> dict[str, _Login]:
        try:
            return msgspec.json.decode(self._path.read_bytes(), type=dict[str, _Login])
        except FileNotFoundError:
            return {}
        except (OSError, msgspec.DecodeError) as error:
            log.warning("%s cannot be read, everybody has to log in again: %s", self._path, error)
            return {}

    def _keep(self) -> None:
        fresh = self._path.with_suffix(".new")
        fresh.unlink(missing_ok=True)
        with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(msgspec.json.encode(self._logins))
        fresh.replace(self._path)


class Tries:
    """Wrong tries by address: the more of them, the longer the answer takes.

    >>> tries = Tries()
    >>> [tries.wrong("10.0.0.9") for _ in range(6)]
    [0.0, 0.0, 0.0, 0.5, 1.0, 2.0]
    """

    def __init__(self) -> None:
        self._at: dict[str, deque[float]] = {}

    def check(self, peer: str) -> None:
        """Lets an address try.

        Raises:
            Busy: it was wrong too often in the last minute.
        """
        if len(self._recent(peer)) >= _REFUSED:
            raise Busy("too many wrong tokens from this address", hint="Wait a minute.", retry_after_s=_WINDOW_S)

    def wrong(self, peer: str) -> float:
        """Notes a wrong try; gives how many seconds its answer has to wait."""
        recent = self._recent(peer)
        recent.append(time.monotonic())
        return min(5.0, 0.5 * 2 ** (len(recent) - _FREE - 1)) if len(recent) > _FREE else 0.0

    def _recent(self, peer: str) -> deque[float]:
        if len(self._at) > 10_000:
            self._at.clear()
        found = self._at.setdefault(peer, deque(maxlen=_REFUSED))
        while found and time.monotonic() - found[0] > _WINDOW_S:
            found.popleft()
        return found


class _Given(msgspec.Struct, forbid_unknown_fields=True):
    token: str


class Who(Protocol):
    """What knows who asks: the door."""

    def whose(self, scope: Scope, /) -> object: ...

    def is_open(self) -> bool: ...


class Session:
    """The route `/api/v1/session`.

    Args:
        sessions: who is logged in.
        tokens: who may log in.
        who: knows whose a request is.
        clocks: tells kind, active time and wall time, both ns.
    """

    def __init__(
        self, sessions: Sessions, tokens: Tokens, who: Who, clocks: Callable[[], tuple[str, int, int]]
    ) -> None:
        self._sessions, self._tokens, self._who, self._clocks = sessions, tokens, who, clocks
        self._tries = Tries()
        self._waiting = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["method"] == "POST":
            await self._login(scope, receive, send)
        elif scope["method"] == "DELETE":
            self._sessions.close(scope)
            await answers.json(send, b'{"login":true}', headers=[self._cookie(scope, "", 0)])
        else:
            await answers.json(send, orjson.dumps(self._told(scope)))

    async def _login(self, scope: Scope, receive: Receive, send: Send) -> None:
        peer = (scope.get("client") or ("",))[0]
        self._tries.check(peer)
        try:
            given = msgspec.json.decode(await Request(scope, receive).body(), type=_Given)
        except (msgspec.DecodeError, UnicodeDecodeError):
            raise BadInput('body: expected {"token": "mk_…"}') from None
        token = self._tokens.check(given.token.strip())
        if token is None or not token.allows("read"):
            await self._slow(self._tries.wrong(peer))
            if token is not None:
                raise Denied("this token may not read", hint="Log in with one that has the scope read.")
            raise Denied("this is no valid token", hint="It may have ended, or a part of it is missing.", status=401)
        value, end_ns = self._sessions.open(token)
        lasts_s = max(1, (end_ns - self._clocks()[2]) // SECOND)
        await answers.json(send, orjson.dumps(_who(token)), headers=[self._cookie(scope, value, lasts_s)])

    async def _slow(self, seconds: float) -> None:
        if self._waiting >= _WAITING:
            raise Busy("many wrong tokens are being tried", retry_after_s=5)
        self._waiting += 1
        try:
            await asyncio.sleep(seconds)
        finally:
            self._waiting -= 1

    def _told(self, scope: Scope) -> dict[str, Json]:
        if self._who.is_open():
            return {"login": False, "name": "", "scopes": [*SCOPES], **self._more()}
        token = self._who.whose(scope)
        if not isinstance(token, Token):
            return {"login": True, "name": "", "scopes": [], "version": "", "clock": None}
        return {"login": True, **_who(token), **self._more()}

    def _more(self) -> dict[str, Json]:
        kind, now_ns, wall_ns = self._clocks()
        clock: dict[str, Json] = {"kind": kind, "now": now_ns // 1_000_000, "wall": wall_ns // 1_000_000}
        return {"version": __version__, "clock": clock}

    def _cookie(self, scope: Scope, value: str, lasts_s: int) -> tuple[bytes, bytes]:
        """The page's own address, as its Origin tells it, decides whether the cookie keeps to https."""
        https = scope.get("scheme") == "https" or body.header(scope, b"origin").startswith("https:")
        words = f"{self._sessions.cookie}={value}; Path=/; HttpOnly; SameSite=Strict; Max-Age={lasts_s}"
        return b"set-cookie", f"{words}{'; Secure' if https else ''}".encode()


def _who(token: Token) -> dict[str, Json]:
    return {"name": token.name, "scopes": [scope for scope in SCOPES if token.allows(scope)]}


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()
