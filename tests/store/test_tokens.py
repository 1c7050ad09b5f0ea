"""Tokens: shown once, compared safely, ended at once, never told."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from itertools import product
from pathlib import Path

import pytest
import sqlalchemy as sa
from hypothesis import given
from hypothesis import strategies as st

from modelkeep.core.clock import MINUTE, SECOND, Fixed
from modelkeep.core.errors import BadInput, Missing
from modelkeep.store.entries import Entries
from modelkeep.store.tables import token as table
from modelkeep.store.tokens import SCOPES, Token, Tokens

NOW = 1_700_000_000 * SECOND


@pytest.fixture
def clock() -> Fixed:
    return Fixed(NOW)


@pytest.fixture
def tokens(tmp_path: Path, clock: Fixed) -> Iterator[Tokens]:
    entries = Entries(tmp_path / "entries.db")
    tokens = Tokens(entries, clock)
    yield tokens
    tokens.close()
    entries.close()


def test_a_token_is_good_until_it_is_revoked(tokens: Tokens) -> None:
    assert not tokens.exist()
    public, text = tokens.create("app", ["ingest"])
    assert text.startswith(f"mk_{public}_")
    assert len(text.rpartition("_")[2]) * 4 >= 128
    found = tokens.check(text)
    assert found is not None
    assert (found.name, found.scopes, found.revoked_ns) == ("app", frozenset({"ingest"}), None)
    tokens.revoke(public)
    assert tokens.check(text) is None
    assert [token.revoked_ns for token in tokens.list()] == [NOW]
    assert tokens.exist()


def test_only_the_digest_is_kept(tokens: Tokens, tmp_path: Path) -> None:
    _, text = tokens.create("app", ["read"])
    secret = text.rpartition("_")[2]
    assert tokens.check(text) is not None
    tokens.close()
    for path in tmp_path.glob("entries.db*"):
        assert secret.encode() not in path.read_bytes()
        assert bytes.fromhex(secret) not in path.read_bytes()


def test_the_secret_is_in_no_text(tokens: Tokens, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    public, text = tokens.create("app", ["read"])
    secret = text.rpartition("_")[2]
    seen = [repr(tokens.check(text)), repr(tokens.list()), repr(tokens), caplog.text]
    with pytest.raises(Missing) as missing:
        tokens.revoke(f"mk_0{public[1:]}0_{secret}")
    seen.append(str(missing.value))
    assert all(secret not in words for words in seen)
    tokens.revoke(text)
    assert tokens.check(text) is None


def test_every_wrong_text_is_refused(tokens: Tokens) -> None:
    public, text = tokens.create("app", ["read"])
    other, _ = tokens.create("other", ["admin"])
    secret = text.rpartition("_")[2]
    flipped = secret[:-1] + ("0" if secret[-1] != "0" else "1")
    wrong = ["", "mk_", public, secret, f"mk_{public}_{flipped}", f"mk_{other}_{secret}", f"mk_{public}_", text.upper()]
    assert [tokens.check(value) for value in (*wrong, f"{text} ", f" {text}", f"{text}\n", f"{text}\x00")] == [
        None
    ] * 12


@given(st.text(max_size=80) | st.from_regex(r"mk_[0-9a-f]{12}_[0-9a-f]{48}", fullmatch=True))
def test_no_text_by_chance_is_good(text: str) -> None:
    assert _shared().check(text) is None


_made: list[Tokens] = []


def _shared() -> Tokens:
    if not _made:
        _made.append(Tokens(Entries(Path("entries.db").absolute())))
        _made[0].create("app", ["admin"])
    return _made[0]


def test_an_expired_token_is_refused_at_its_end(tokens: Tokens, clock: Fixed) -> None:
    _, text = tokens.create("app", ["read"], NOW + 10)
    assert tokens.check(text) is not None
    clock.at_ns = NOW + 10
    assert tokens.check(text) is None
    with pytest.raises(BadInput, match="expired already"):
        tokens.create("app", ["read"], NOW + 10)


def test_a_token_revoked_by_another_process_is_refused_within_a_second(tokens: Tokens, tmp_path: Path) -> None:
    public, text = tokens.create("app", ["read"])
    assert tokens.check(text) is not None
    entries = Entries(tmp_path / "entries.db")
    other = Tokens(entries)
    other.revoke(public)
    began = time.monotonic()
    while tokens.check(text) is not None:
        assert time.monotonic() - began < 1.0
        time.sleep(0.01)
    other.close()
    entries.close()


def test_scopes_include_what_they_say() -> None:
    included = {"ingest": {"ingest"}, "read": {"read"}, "write": {"write", "read"}, "admin": set(SCOPES)}
    for held, asked in product(SCOPES, SCOPES):
        token = Token("id", "name", frozenset({held}), 0, None, None, None)
        assert token.allows(asked) == (asked in included[held])
    assert not Token("id", "name", frozenset({"write", "ingest"}), 0, None, None, None).allows("admin")
    assert not Token("id", "name", frozenset({"read"}), 0, None, None, None).allows("")


@pytest.mark.parametrize(("name", "scopes"), [("", ["read"]), (" ", ["read"]), ("app", []), ("app", ["root"])])
def test_a_token_needs_a_name_and_known_scopes(tokens: Tokens, name: str, scopes: list[str]) -> None:
    with pytest.raises(BadInput):
        tokens.create(name, scopes)


def test_the_last_use_is_noted_at_most_once_a_minute(tokens: Tokens, clock: Fixed) -> None:
    _, text = tokens.create("app", ["read"])
    writes = []

    @sa.event.listens_for(tokens._entries.engine, "before_cursor_execute")
    def _count(connection: object, cursor: object, statement: str, *_: object) -> None:
        if statement.startswith("UPDATE token"):
            writes.append(statement)

    for second in range(150):
        clock.at_ns = NOW + second * SECOND
        assert tokens.check(text) is not None
    tokens._notes.shutdown()
    assert len(writes) == 3
    assert [token.last_used_ns for token in tokens.list()] == [NOW + 2 * MINUTE]


def test_a_note_that_cannot_be_written_does_not_matter(tokens: Tokens, caplog: pytest.LogCaptureFixture) -> None:
    _, text = tokens.create("app", ["read"])
    with tokens._entries.begin() as connection:
        connection.execute(sa.text("CREATE TRIGGER no BEFORE UPDATE ON token BEGIN SELECT raise(ABORT, 'full'); END"))
    assert tokens.check(text) is not None
    tokens._notes.shutdown()
    assert "could not be noted" in caplog.text


def test_an_unknown_id_cannot_be_revoked(tokens: Tokens) -> None:
    with pytest.raises(Missing, match="no token 'x'"):
        tokens.revoke("x")


def test_a_good_check_is_quick(tokens: Tokens) -> None:
    _, text = tokens.create("app", ["read"])
    tokens.check(text)
    with tokens._entries.engine.connect() as connection:
        assert connection.execute(sa.select(sa.func.length(table.c.digest))).scalar() == 32
    began = time.perf_counter()
    for _ in range(1000):
        tokens.check(text)
    assert time.perf_counter() - began < 1.0
