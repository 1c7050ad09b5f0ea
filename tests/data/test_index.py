"""The index: what it knows it knows for sure, and whatever is wrong with the file, it knows nothing."""

from __future__ import annotations

import tempfile
import threading
import time
from array import array
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelkeep.data.formats.ignore import Ignore
from modelkeep.data.snapshots import glance as glancing
from modelkeep.data.snapshots import index
from modelkeep.data.snapshots.glance import glance
from modelkeep.data.snapshots.index import Clock, Found, Key, doubtful, place_of, read, ripe, write, young
from modelkeep.data.snapshots.scan import Link, Listing, flat, stamp_of, walk
from modelkeep.store import forked

KEY = Key("data", "md5", ("*.tmp",))
NOTHING = Ignore(Path("/nowhere"))
SECOND = 1_000_000_000
OLD = (7, 5, SECOND + 1, SECOND + 1)
NOW = Clock(100 * SECOND, True)


def found(listing: Listing) -> Found:
    return Found(
        listing=listing,
        is_dir=True,
        oid="0" * 32 + ".dir",
        size=5,
        nfiles=1,
        manifest=b"[]",
        offsets=array("q", [10] * len(listing.kinds)),
        blake3={0: bytes(32)},
    )


def listing(*stamps: tuple[int, int, int, int], links: dict[int, Link] | None = None) -> Listing:
    names = b"/".join(f"f{number}".encode() for number in range(len(stamps)))
    kinds = bytearray(b"l" if links and number in links else b"f" for number in ()) or bytearray(b"f" * len(stamps))
    for entry in links or {}:
        kinds[entry] = ord("l")
    return Listing([""], array("q", [0]), [names], flat(stamps), kinds, links or {})


def test_what_was_written_is_read(tmp_path: Path) -> None:
    links = {1: Link("f0", OLD), 2: Link("", OLD)}
    write(tmp_path, KEY, found(listing(OLD, OLD, OLD, links=links)), NOW)
    seen = read(place_of(tmp_path, KEY), KEY)
    assert seen is not None
    assert seen.listing == listing(OLD, OLD, OLD, links=links)
    assert (seen.front.oid, seen.front.size, seen.front.nfiles, seen.front.is_dir) == ("0" * 32 + ".dir", 5, 1, True)
    back = seen.back()
    assert back is not None
    assert (back.manifest, array("q", back.offsets), back.blake3) == (b"[]", array("q", [10] * 3), {0: bytes(32)})
    assert list((tmp_path / "index").iterdir()) == [place_of(tmp_path, KEY)]


def test_another_path_hash_or_pattern_is_another_index(tmp_path: Path) -> None:
    write(tmp_path, KEY, found(listing(OLD)), NOW)
    place = place_of(tmp_path, KEY)
    assert read(place, KEY._replace(rules=())) is None
    assert read(place, KEY._replace(path="other")) is None
    assert place_of(tmp_path, KEY._replace(hash="md5-dos2unix")) != place
    assert place_of(tmp_path, KEY._replace(path="data2")) != place


@given(st.data())
def test_damage_of_any_kind_is_noticed(data: st.DataObject) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write(folder, KEY, found(listing(OLD, OLD)), NOW)
        place = place_of(folder, KEY)
        whole = place.read_bytes()
        if data.draw(st.booleans()):
            place.write_bytes(whole[: data.draw(st.integers(0, len(whole) - 1))])
        else:
            at = data.draw(st.integers(0, len(whole) - 1))
            place.write_bytes(whole[:at] + bytes([whole[at] ^ 1 << data.draw(st.integers(0, 7))]) + whole[at + 1 :])
        seen = read(place, KEY)
        assert seen is None or seen.back() is None


@given(st.binary(max_size=200), st.booleans())
def test_any_bytes_are_no_index(data: bytes, marked: bool) -> None:
    with tempfile.TemporaryDirectory() as name:
        place = Path(name) / "x"
        place.write_bytes((b"MKINDEX\x01" if marked else b"") + data)
        assert read(place, KEY) is None


def test_rows_that_do_not_fit_each_other_are_no_index(tmp_path: Path) -> None:
    write(tmp_path, KEY, found(listing(OLD, OLD)), NOW)
    place = place_of(tmp_path, KEY)
    seen = read(place, KEY)
    assert seen is not None
    for change in ({"stamps": b"short"}, {"starts": b""}, {"kinds": b"f"}, {"folders": ["", "b"]}, {"lengths": b"1"}):
        front = seen.front._replace(**change)
        index._put(place, front, index.Back(front.written, b"", b"", {}))
        assert read(place, KEY) is None


def test_a_newer_format_or_a_folder_in_its_place_is_no_index(tmp_path: Path) -> None:
    write(tmp_path, KEY, found(listing(OLD)), NOW)
    place = place_of(tmp_path, KEY)
    place.write_bytes(place.read_bytes().replace(b"MKINDEX", b"MKINDFX"))
    assert read(place, KEY) is None
    place.unlink()
    place.mkdir()
    assert read(place, KEY) is None
    write(tmp_path, KEY, found(listing(OLD)), NOW)  # no error either
    assert list((tmp_path / "index").iterdir()) == [place]


def test_a_back_of_another_writing_is_not_mixed_up(tmp_path: Path) -> None:
    write(tmp_path, KEY, found(listing(OLD)), NOW)
    seen = read(place_of(tmp_path, KEY), KEY)
    write(tmp_path, KEY, found(listing(OLD)), NOW)
    assert seen is not None
    assert seen.back() is None


def test_many_writers_leave_one_whole_index(tmp_path: Path) -> None:
    def work(size: int) -> None:
        for _ in range(30):
            write(tmp_path, KEY, found(listing(*[OLD] * size)), NOW)
            seen = read(place_of(tmp_path, KEY), KEY)
            assert seen is not None
            counts.add(len(seen.listing.kinds))

    counts: set[int] = set()
    threads = [threading.Thread(target=work, args=(size,)) for size in (1, 50, 900)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert counts <= {1, 50, 900}
    assert list((tmp_path / "index").iterdir()) == [place_of(tmp_path, KEY)]


@pytest.mark.parametrize(
    ("mtime", "ctime", "expected"),
    [
        (SECOND + 1, SECOND + 1, False),
        (NOW.now - 1, SECOND + 1, True),
        (SECOND + 1, NOW.now - 1, True),
        (NOW.now + SECOND, SECOND, True),
        (NOW.now - 30_000_001, NOW.now - 30_000_001, False),
        (NOW.now - SECOND, NOW.now - SECOND, True),  # a clock of whole seconds
        (NOW.now - 3 * SECOND, NOW.now - 3 * SECOND, False),
    ],
)
def test_young_stamps(mtime: int, ctime: int, expected: bool) -> None:
    assert young((1, 1, mtime, ctime), NOW) is expected


def test_a_clock_of_elsewhere_needs_more_distance() -> None:
    assert young((1, 1, NOW.now - 999_999_999, NOW.now - 999_999_999), Clock(NOW.now, False))


def test_young_entries_are_written_as_unknown(tmp_path: Path) -> None:
    fresh = (7, 5, NOW.now - 1, NOW.now - 1)
    links = {2: Link("f0", fresh), 3: Link("f0", OLD)}
    several = listing(OLD, fresh, OLD, OLD, links=links)
    assert doubtful(several, NOW) == [1, 2]
    write(tmp_path, KEY, found(several), NOW, unknown=[3])
    seen = read(place_of(tmp_path, KEY), KEY)
    assert seen is not None
    assert [seen.listing.own_stamp(entry)[0] for entry in range(4)] == [7, 0, 0, 0]
    assert several.own_stamp(1) == fresh


def test_waiting_makes_young_entries_ripe(tmp_path: Path) -> None:
    top = tmp_path / "data"
    top.mkdir()
    (top / "a").write_bytes(b"1")
    (top / "b").symlink_to("a")

    def clock() -> Clock:
        return index.clock_of(tmp_path, top.stat().st_dev)

    def change(at: Clock) -> Clock:
        (top / "a").write_bytes(b"22")
        return at

    first = clock()
    seen = walk(top, NOTHING)
    entries = seen.content()
    later, moved = ripe(str(top), seen, entries, first, clock)
    assert moved == []
    assert doubtful(seen, later) == []
    (top / "a").write_bytes(b"3")
    first = clock()
    seen = walk(top, NOTHING)
    _, moved = ripe(str(top), seen, entries, first, lambda: change(clock()))
    assert sorted(moved) == sorted(entries)
    assert ripe(str(top), seen, [], first, clock) == (first, [])


def test_the_clock_is_that_of_the_file_system(tmp_path: Path) -> None:
    clock = index.clock_of(tmp_path / "private", tmp_path.stat().st_dev)
    assert clock.certain
    assert abs(clock.now - time.time_ns()) < 60 * SECOND
    assert not index.clock_of(tmp_path / "private", -1).certain
    (tmp_path / "file").write_bytes(b"")
    assert not index.clock_of(tmp_path / "file", tmp_path.stat().st_dev).certain


@pytest.mark.parametrize("forks", [False, True])
def test_glance_tells_what_differs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, forks: bool) -> None:
    monkeypatch.setattr(glancing, "_PIECE", 7)
    monkeypatch.setattr(glancing, "_FORKS", 0)
    monkeypatch.setattr(forked, "cores", lambda: 3)
    monkeypatch.setattr(forked, "may_fork", lambda: forks)
    for number in range(40):
        folder = tmp_path / ("many" if number < 25 else f"few{number % 4}")
        folder.mkdir(exist_ok=True)
        (folder / f"f{number}").write_bytes(b"x")
    (tmp_path / "empty").mkdir()
    (tmp_path / "few1/link").symlink_to("../many/f3")
    (tmp_path / "few1/folder").symlink_to("../many")
    (tmp_path / "few1/gone").symlink_to("gone-too")
    here = Path.cwd()
    before = walk(tmp_path, NOTHING)
    places = dict(zip(before.located(range(len(before.kinds))), range(len(before.kinds)), strict=True))
    assert not glance(str(tmp_path), before)
    (tmp_path / "many/f3").write_bytes(b"other")
    (tmp_path / "many/f20").write_bytes(b"other")
    changes = glance(str(tmp_path), before)
    assert changes == (sorted({places["many/f3"], places["many/f20"], places["few1/link"]}), [])
    (tmp_path / "few2/new").write_bytes(b"x")
    (tmp_path / "few1/gone").unlink()
    (tmp_path / "few1/gone").symlink_to("gone-also")
    (tmp_path / "few1/folder").unlink()
    (tmp_path / "few1/folder").symlink_to("../few2")
    (tmp_path / "empty/new").write_bytes(b"x")
    changes = glance(str(tmp_path), before)
    assert {before.folders[number] for number in changes.folders} == {"few2", "empty"} | (
        {"few1"} if places and before.folders.index("few1") in changes.folders else set()
    )
    changed = {path for path, entry in places.items() if entry in changes.entries}
    assert {"many/f3", "many/f20"} <= changed
    assert Path.cwd() == here


def test_listings_are_looked_at_as_they_were_stored(tmp_path: Path) -> None:
    """A folder that went away, or became a file, is a change and no error."""
    (tmp_path / "a/b").mkdir(parents=True)
    (tmp_path / "a/b/c").write_bytes(b"x")
    before = walk(tmp_path, NOTHING)
    (tmp_path / "a/b/c").unlink()
    (tmp_path / "a/b").rmdir()
    (tmp_path / "a/b").write_bytes(b"a file")
    changes = glance(str(tmp_path), before)
    assert [before.folders[number] for number in changes.folders] == ["a/b"]
    assert glance(str(tmp_path / "nowhere"), before).folders == [0, 1, 2]
    assert stamp_of((tmp_path / "a/b").stat())
