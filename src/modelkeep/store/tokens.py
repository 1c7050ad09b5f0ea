"""Who may ask: tokens, shown once, kept as digests, with scopes and an end."""

from __future__ import annotations

import hashlib
import hmac
import logging
import re
import secrets
import threading
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Final

import sqlalchemy as sa

from modelkeep.core.clock import MINUTE, Clock, Wall
from modelkeep.core.errors import BadInput, Missing
from modelkeep.store.entries import Entries
from modelkeep.store.tables import token as table

SCOPES: Final = ("ingest", "read", "write", "admin")
"""What a token may allow: write records; ask; acknowledge and silence (and ask); everything."""

_INCLUDED: Final = {"admin": frozenset(SCOPES), "write": frozenset({"write", "read"})}
_FORM: Final = re.compile(r"mk_([0-9a-f]{12})_([0-9a-f]{48})\Z")
_NOBODY: Final = hashlib.sha256(b"").digest()
_FRESH_S: Final = 0.5
_CACHED: Final = 10_000

log: Final = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Token:
    """What is known of a token; never its secret.

    Args:
        id: the public part, 12 hex digits.
        name: who uses it, as its maker wrote.
        scopes: as granted; `allows` knows what they include.
        created_ns: wall time, ns.
        expires_ns: wall time, ns; None for never.
        last_used_ns: wall time, ns, to the minute; None for never used.
        revoked_ns: wall time, ns; None while it is good.
    """

    id: str
    name: str
    scopes: frozenset[str]
    created_ns: int
    expires_ns: int | None
    last_used_ns: int | None
    revoked_ns: int | None

    def allows(self, scope: str) -> bool:
        """Tells whether the scopes include `scope`: `admin` includes all, `write` includes `read`."""
        return any(scope == held or scope in _INCLUDED.get(held, frozenset()) for held in self.scopes)


class Tokens:
    """The tokens of one store.

    A token is `mk_<id>_<secret>` with 192 random bits of secret; the store keeps their SHA-256. `check` remembers
    what it read for half a second, so a token revoked by another process is refused within that time, and one
    revoked here at once.

    Args:
        entries: where they are kept.
        clock: tells when a token has expired.

    >>> import tempfile
    >>> tokens = Tokens(Entries(f"{tempfile.mkdtemp()}/entries.db"))
    >>> public, text = tokens.create("dashboard", ["read"])
    >>> tokens.check(text).name, tokens.check(text + "0")
    ('dashboard', None)
    >>> tokens.revoke(public)
    >>> tokens.check(text) is None
    True
    >>> tokens.close()
    """

    def __init__(self, entries: Entries, clock: Clock | None = None) -> None:
        self._entries = entries
        self._clock: Clock = clock or Wall()
        self._lock = threading.Lock()
        self._known: dict[str, tuple[float, bytes, Token]] = {}
        self._noted: dict[str, int] = {}
        self._exist = False
        self._notes = ThreadPoolExecutor(max_workers=1, thread_name_prefix="modelkeep-tokens")

    def create(self, name: str, scopes: Iterable[str], expires_ns: int | None = None) -> tuple[str, str]:
        """Makes a token and gives its id and its text; the text cannot be had again.

        Args:
            name: who will use it; not empty.
            scopes: at least one of `SCOPES`.
            expires_ns: wall time in ns; None for never.

        Raises:
            BadInput: no name, an unknown scope or none, or an end that has passed.
        """
        held = sorted(set(scopes))
        if not name.strip():
            raise BadInput("a token needs a name", hint="Say who will use it.")
        if not held or not set(held) <= set(SCOPES):
            raise BadInput(f"scopes {held} are not usable", hint=f"Give some of: {', '.join(SCOPES)}.")
        now = self._clock.now_ns()
        if expires_ns is not None and expires_ns <= now:
            raise BadInput("the token would have expired already", hint="Give a later end.")
        public, secret = secrets.token_hex(6), secrets.token_hex(24)
        row = {"id": public, "name": name, "digest": _digest(secret), "scopes": held}
        with self._entries.begin() as connection:
            connection.execute(table.insert().values(**row, created_ns=now, expires_ns=expires_ns))
        return public, f"mk_{public}_{secret}"

    def check(self, text: str) -> Token | None:
        """Gives the token that `text` is, or None when it is none, expired or revoked.

        The comparison takes the same time for every wrong secret. The time of use is noted at most once a minute,
        in the background.
        """
        form = _FORM.match(text)
        public, secret = form.groups() if form else ("", "")
        digest, found = self._look(public) if form else (_NOBODY, None)
        same = hmac.compare_digest(digest, _digest(secret))
        return self._good(found) if same else None

    def held(self, token_id: str) -> Token | None:
        """Gives the token of an id, or None when there is none, or it is expired or revoked: for sessions."""
        return self._good(self._look(token_id)[1])

    def list(self) -> list[Token]:
        """Gives all tokens, oldest first, revoked and expired ones too."""
        with self._entries.connect() as connection:
            rows = connection.execute(sa.select(table).order_by(table.c.created_ns, table.c.id)).all()
        return [_token(row) for row in rows]

    def exist(self) -> bool:
        """Tells whether a token was ever made here; a revoked one counts, so that revoking never opens the door."""
        if not self._exist:
            with self._entries.connect() as connection:
                self._exist = connection.execute(sa.select(table.c.id).limit(1)).first() is not None
        return self._exist

    def revoke(self, token_id: str) -> None:
        """Ends a token at once; one that is revoked already stays so.

        Args:
            token_id: its id, or its text.

        Raises:
            Missing: there is no token of this id; the message has no secret.
        """
        if token_id.startswith("mk_"):
            token_id = token_id.removeprefix("mk_").partition("_")[0]
        known = table.c.id == token_id
        with self._entries.begin() as connection:
            if connection.execute(sa.select(table.c.id).where(known)).first() is None:
                raise Missing(f"no token {token_id!r}", hint="`modelkeep token list` shows their ids.")
            good = known & table.c.revoked_ns.is_(None)
            connection.execute(table.update().where(good).values(revoked_ns=self._clock.now_ns()))
        with self._lock:
            self._known.pop(token_id, None)

    def close(self) -> None:
        """Waits for the notes of use that are under way."""
        self._notes.shutdown()

    def _look(self, public: str) -> tuple[bytes, Token | None]:
        now = time.monotonic()
        with self._lock:
            known = self._known.get(public)
        if known is not None and now - known[0] < _FRESH_S:
            return known[1], known[2]
        with self._entries.connect() as connection:
            row = connection.execute(sa.select(table).where(table.c.id == public)).first()
        if row is None:
            return _NOBODY, None
        found = _token(row)
        with self._lock:
            if len(self._known) >= _CACHED:
                self._known.clear()
            self._known[public] = (now, row.digest, found)
        return row.digest, found

    def _good(self, found: Token | None) -> Token | None:
        if found is None or found.revoked_ns is not None:
            return None
        now = self._clock.now_ns()
        if found.expires_ns is not None and now >= found.expires_ns:
            return None
        self._note(found, now)
        return found

    def _note(self, token: Token, now_ns: int) -> None:
        with self._lock:
            last = max(self._noted.get(token.id, 0), token.last_used_ns or 0)
            if 0 <= now_ns - last < MINUTE:
                return
            self._noted[token.id] = now_ns
        self._notes.submit(self._write_note, token.id, now_ns)

    def _write_note(self, public: str, now_ns: int) -> None:
        try:
            with self._entries.begin() as connection:
                connection.execute(table.update().where(table.c.id == public).values(last_used_ns=now_ns))
        except sa.exc.DatabaseError as error:
            log.warning("the last use of token %s could not be noted: %s", public, error.orig)


def _digest(secret: str) -> bytes:
    return hashlib.sha256(secret.encode()).digest()


def _token(row: sa.Row[tuple[object, ...]]) -> Token:
    return Token(
        row.id,
        row.name,
        frozenset(row.scopes),
        row.created_ns,
        row.expires_ns,
        row.last_used_ns,
        row.revoked_ns,
    )
