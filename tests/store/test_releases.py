"""Releases from the journal: each once, whatever is told twice."""

from __future__ import annotations

import json
import zlib
from base64 import b64encode
from collections.abc import Iterator
from hashlib import blake2b
from pathlib import Path

import pyarrow as pa
import pytest
import sqlalchemy as sa
from hypothesis import given
from hypothesis import strategies as st

from modelkeep.core.layouts import RELEASE
from modelkeep.core.shapes import Entry, Part
from modelkeep.store.entries import Entries
from modelkeep.store.releases import Releases
from modelkeep.store.tables import patch
from modelkeep.store.tables import release as table

TYPES = {"string": pa.string(), "int64": pa.int64(), "bool": pa.bool_()}


def entry(seq: int, *rows: dict[str, object]) -> Entry:
    columns = {name: pa.array([row.get(name) for row in rows], TYPES[form]) for name, form in RELEASE}
    return Entry(seq, "", 0, (Part("release", pa.record_batch(columns)),))


def other(seq: int) -> Entry:
    return Entry(seq, "", 0, (Part("fact", pa.record_batch({"id": ["a"]})),))


@pytest.fixture
def entries(tmp_path: Path) -> Iterator[Entries]:
    entries = Entries(tmp_path / "entries.db")
    yield entries
    entries.close()


def test_a_release_is_durable_when_it_is_applied(entries: Entries) -> None:
    releases = Releases(entries)
    releases.apply([entry(1, {"id": "r1", "at": 5, "model": "m", "version": "1", "code": "abc", "dirty": True})])
    (kept,) = Releases(entries).list()
    assert (kept.id, kept.model, kept.version, kept.code, kept.dirty, kept.extra) == ("r1", "m", "1", "abc", True, "{}")
    assert Releases(entries).sealed() == 1
    releases.close()


def test_the_position_moves_with_the_rows_and_at_a_seal(entries: Entries) -> None:
    releases = Releases(entries)
    releases.apply([other(1), entry(2, {"id": "r", "at": 1, "model": "m", "version": "1"}), other(3)])
    assert releases.sealed() == 3
    releases.apply([other(4)])
    assert releases.sealed() == 3
    assert releases.seal() == 4
    assert Releases(entries).sealed() == 4


def test_an_entry_applied_again_changes_nothing(entries: Entries) -> None:
    releases = Releases(entries)
    one = entry(1, {"id": "r", "at": 1, "model": "m", "version": "1", "code": "old"})
    two = entry(2, {"id": "r", "at": 1, "model": "m", "version": "1", "code": "new"})
    releases.apply([one, two])
    releases.apply([one])
    Releases(entries).apply([one])
    assert [kept.code for kept in releases.list()] == ["new"]


def test_what_is_told_again_adds_and_keeps_the_first_time(entries: Entries) -> None:
    releases = Releases(entries)
    releases.apply(
        [entry(1, {"id": "r", "at": 5, "model": "m", "version": "1", "author": "ann", "data_version": "d1"})]
    )
    releases.apply([entry(2, {"id": "r", "at": 9, "model": "m", "version": "1", "author": "", "code": "abc"})])
    (kept,) = releases.list("m")
    assert (kept.at, kept.author, kept.data_version, kept.code) == (5, "ann", "d1", "abc")


def test_newest_first_and_by_model(entries: Entries) -> None:
    releases = Releases(entries)
    releases.apply([entry(1, *({"id": str(n), "at": n, "model": f"m{n % 2}", "version": "1"} for n in range(4)))])
    assert [kept.id for kept in releases.list()] == ["3", "2", "1", "0"]
    assert [kept.id for kept in releases.list("m1")] == ["3", "1"]
    assert releases.list("none") == []


def test_a_crash_inside_the_transaction_leaves_neither(entries: Entries) -> None:
    releases = Releases(entries)
    with entries.begin() as connection:
        connection.execute(sa.text("CREATE TRIGGER no BEFORE INSERT ON reader BEGIN SELECT raise(ABORT, 'full'); END"))
    one = entry(1, {"id": "r", "at": 1, "model": "m", "version": "1"})
    with pytest.raises(sa.exc.IntegrityError):
        releases.apply([one])
    assert (releases.list(), releases.sealed()) == ([], 0)
    with entries.begin() as connection:
        connection.execute(sa.text("DROP TRIGGER no"))
    releases.apply([one])
    assert (len(releases.list()), releases.sealed()) == (1, 1)


@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 9), st.sampled_from(["", "x", "y"])), max_size=12))
def test_agrees_with_a_dict(told: list[tuple[str, int, str]]) -> None:
    entries = Entries(Path("releases.db").absolute())
    with entries.begin() as connection:
        connection.execute(table.delete())
        connection.execute(sa.text("DELETE FROM reader"))
    releases = Releases(entries)
    model: dict[str, tuple[int, str]] = {}
    for seq, (name, at, code) in enumerate(told, 1):
        releases.apply([entry(seq, {"id": name, "at": at, "model": "m", "version": "1", "code": code})])
        before = model.get(name, (at, ""))
        model[name] = (min(before[0], at), code or before[1])
    assert {kept.id: (kept.at, kept.code) for kept in releases.list()} == model
    entries.close()


# What was not committed


def told(number: int, extra: dict[str, object], **more: object) -> Entry:
    row = {"id": f"r{number}", "at": number, "model": "m", "version": "1", "extra": json.dumps(extra), **more}
    return entry(number, row)


def packed(text: bytes) -> dict[str, object]:
    return {
        "patch": blake2b(text, digest_size=16).hexdigest(),
        "patch_size": len(text),
        "patch_deflate": b64encode(zlib.compress(text, 6)).decode(),
    }


def test_a_patch_is_kept_once_beside_the_releases_that_name_it(entries: Entries) -> None:
    releases = Releases(entries)
    text = b"diff --git a/x b/x\n" * 100
    extra = {"branch": "main", "role": "shadow", **packed(text)}
    releases.apply([told(5, extra), told(6, extra)])
    for kept in releases.list():
        assert json.loads(kept.extra) == {name: value for name, value in extra.items() if name != "patch_deflate"}
    found = releases.patch(str(extra["patch"]))
    assert found is not None
    assert (found.size, found.first_ns, zlib.decompress(found.deflated)) == (len(text), 5, text)
    assert releases.patch("0" * 32) is None
    bare = {name: value for name, value in extra.items() if name != "patch_deflate"}
    releases.apply([told(7, bare)])  # another process of the same tree
    assert releases.list()[0].extra == json.dumps(bare)


def test_what_is_known_later_joins_the_release(entries: Entries) -> None:
    releases = Releases(entries)
    releases.apply([told(1, {"branch": "main"})])
    releases.apply([told(2, {"branch": "main", **packed(b"late")}, id="r1")])
    [kept] = releases.list()
    assert json.loads(kept.extra)["patch_size"] == 4
    assert kept.at == 1


@pytest.mark.parametrize(
    "wrong",
    [
        {"patch_deflate": "not base64!"},
        {"patch_deflate": b64encode(b"not zlib").decode()},
        {"patch_deflate": b64encode(zlib.compress(b"another")).decode()},
        {"patch_deflate": b64encode(zlib.compress(b"")).decode()},
        {"patch_deflate": None},
        {"patch_deflate": ["x"]},
        {"patch_size": "many"},
        {"patch_size": 10**12},
        {"patch_size": -1},
        {"patch": "0" * 32},
        {"patch": None},
    ],
)
def test_a_damaged_patch_is_said_and_harms_no_release(entries: Entries, wrong: dict[str, object]) -> None:
    releases = Releases(entries)
    releases.apply([told(1, {"branch": "main", **packed(b"good"), **wrong})])
    [kept] = releases.list()
    extra = json.loads(kept.extra)
    assert extra["patch_refused"] == "it was damaged on its way"
    assert extra["branch"] == "main"
    assert "patch" not in extra
    assert "patch_deflate" not in extra
    with entries.connect() as connection:
        assert connection.execute(sa.select(sa.func.count()).select_from(patch)).scalar() == 0


def test_a_patch_that_swells_without_end_is_not_opened(entries: Entries) -> None:
    bomb = zlib.compress(b"\0" * 100_000_000)
    digest = blake2b(b"\0" * 100_000_000, digest_size=16).hexdigest()
    for size in (100_000_000, 1_000):
        extra: dict[str, object] = {"patch": digest, "patch_size": size, "patch_deflate": b64encode(bomb).decode()}
        Releases(entries).apply([told(size, extra)])
    assert Releases(entries).patch(digest) is None
