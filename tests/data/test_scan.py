"""Scans: what a folder holds, sorted, with everything that can be tracked and nothing that cannot."""

from __future__ import annotations

import os
import stat
import struct
import tempfile
from array import array
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelkeep.core.errors import BadInput, Conflict, Denied, Missing
from modelkeep.data.formats.ignore import Ignore
from modelkeep.data.snapshots import scan as scanning
from modelkeep.data.snapshots.scan import STAMP, Before, Listing, flat, kind_of, scan, stamp_of, walk

NOTHING = Ignore(Path("/nowhere"))
NAMES = st.text(st.characters(exclude_characters="/\0", codec="utf-8"), min_size=1, max_size=6).filter(
    lambda name: name not in {".", "..", ".git", ".dvc", ".hg", ".dvcignore"} and len(name.encode()) < 200
)
TREES = st.dictionaries(st.lists(NAMES, min_size=1, max_size=3).map("/".join), st.integers(0, 40), max_size=8)


@given(TREES)
def test_a_scan_finds_what_is_there(tree: dict[str, int]) -> None:
    with tempfile.TemporaryDirectory() as name:
        top = Path(name)
        made = {}
        for path, size in tree.items():
            if not any(above in made for above in _above(path)) and not (top / path).exists():
                (top / path).parent.mkdir(parents=True, exist_ok=True)
                (top / path).write_bytes(b"x" * size)
                made[path] = size
        found = scan(top, NOTHING)
        assert found.paths == sorted(made)
        assert [stamp[1] for stamp in found.stamps] == [made[path] for path in found.paths]
        assert found.stamps == [stamp_of((top / path).stat()) for path in found.paths]
        assert set(found.folders) == {""} | {above for path in made for above in _above(path)}
        assert (found.executable, found.empty, found.symlinks) == ([], [], {})


def _above(path: str) -> list[str]:
    return [path[:at] for at, char in enumerate(path) if char == "/"]


@given(TREES, st.sets(st.integers(0, 10)))
def test_taking_folders_over_gives_the_same(tree: dict[str, int], again: set[int]) -> None:
    with tempfile.TemporaryDirectory() as name:
        top = Path(name)
        for path in tree:
            if not any((top / above).is_file() for above in _above(path)) and not (top / path).exists():
                (top / path).parent.mkdir(parents=True, exist_ok=True)
                (top / path).write_bytes(b"")
        first = walk(top, NOTHING)
        assert (
            walk(top, NOTHING, "", Before(first, {number for number in again if number < len(first.folders)})) == first
        )


def test_everything_is_told(tmp_path: Path) -> None:
    for name in ("b/run", "b/plain", "a", ".hidden", ".gitignore", "b-a"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(name.encode())
    (tmp_path / "b/run").chmod(0o755)
    (tmp_path / "empty/inner").mkdir(parents=True)
    (tmp_path / "b/link").symlink_to("run")
    (tmp_path / "b/up").symlink_to("../a")
    (tmp_path / "there").symlink_to("b")
    (tmp_path / "gone").symlink_to("b/gone")
    found = scan(tmp_path, NOTHING)
    assert found.paths == [".gitignore", ".hidden", "a", "b-a", "b/link", "b/plain", "b/run", "b/up"]
    assert found.executable == ["b/link", "b/run"]
    assert found.empty == ["empty/inner"]
    assert found.symlinks == {"b/link": "run", "b/up": "../a", "there": "b", "gone": "b/gone"}
    assert sorted(found.folders) == ["", "b", "empty", "empty/inner"]
    assert found.stamps[4] == found.stamps[6]


def test_a_loop_of_links_is_recorded_and_not_followed(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub/up").symlink_to("..")
    (tmp_path / "self").symlink_to("self")
    (tmp_path / "x").write_bytes(b"")
    found = scan(tmp_path, NOTHING)
    assert found.paths == ["x"]
    assert found.symlinks == {"self": "self", "sub/up": ".."}


def test_a_folder_reached_by_a_link_is_scanned(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "real/x").write_bytes(b"1")
    (tmp_path / "link").symlink_to("real")
    assert scan(tmp_path / "link", NOTHING).paths == ["x"]


def test_what_is_no_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Missing, match="nothing"):
        scan(tmp_path / "nothing", NOTHING)
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(BadInput, match="file"):
        scan(tmp_path / "file", NOTHING)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_folder_that_may_not_be_read_is_named(tmp_path: Path) -> None:
    (tmp_path / "closed").mkdir(mode=0)
    with pytest.raises(Denied, match="closed"):
        scan(tmp_path, NOTHING)


def test_a_refusal_of_the_system_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "closed").mkdir()
    real = os.listdir

    def refuse(path: bytes) -> list[bytes]:
        if path.endswith(b"closed"):
            raise PermissionError(13, "Permission denied", path)
        return real(path)

    monkeypatch.setattr(scanning.os, "listdir", refuse)
    with pytest.raises(Denied, match=r"data/closed.*may not be read"):
        scan(tmp_path, NOTHING, "data")


def test_what_goes_away_meanwhile_is_looked_for_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a").write_bytes(b"")
    real = os.listdir
    ghosts = [[b"ghost"], [b"ghost"], []]

    def listed(path: bytes) -> list[bytes]:
        return [*real(path), *(ghosts.pop() if ghosts else [])]

    monkeypatch.setattr(scanning.os, "listdir", listed)
    ghosts.reverse()
    assert scan(tmp_path, NOTHING).paths == ["a"]
    monkeypatch.setattr(scanning.os, "listdir", lambda path: [*real(path), b"ghost"])
    with pytest.raises(Conflict, match="keeps changing") as caught:
        scan(tmp_path, NOTHING)
    assert caught.value.hint


@pytest.mark.parametrize(
    ("mode", "kind"),
    [
        (stat.S_IFREG | 0o644, b"f"),
        (stat.S_IFREG | 0o010, b"x"),
        (stat.S_IFDIR | 0o755, b"d"),
        (stat.S_IFLNK | 0o777, b"l"),
        (stat.S_IFIFO | 0o777, b"?"),
        (stat.S_IFSOCK | 0o777, b"?"),
        (stat.S_IFBLK | 0o777, b"?"),
    ],
)
def test_kinds(mode: int, kind: bytes) -> None:
    assert kind_of(mode) == kind[0]


@given(st.lists(st.tuples(st.integers(0, 2**64 - 1), *[st.integers(-(2**63), 2**63 - 1)] * 3), max_size=5))
def test_stamps_of_any_file_system_fit(stamps: list[tuple[int, int, int, int]]) -> None:
    rows = flat(stamps)
    assert list(STAMP.iter_unpack(rows.tobytes())) == stamps
    listing = Listing([""], array("q", [0]), [b"/".join([b"x"] * len(stamps))], rows, bytearray(b"f" * len(stamps)))
    assert [listing.stamp(entry) for entry in range(len(stamps))] == stamps
    assert list(listing.content_stamps()) == stamps


def test_a_stamp_is_32_bytes() -> None:
    assert STAMP.size == 32 == 4 * struct.calcsize("q")
