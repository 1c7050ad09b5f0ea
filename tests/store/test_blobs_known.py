"""What is known to be sound: records survive, torn ones do not count, and eight processes may write at once."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelkeep.store.blobs.known import Known, Sound, Stamp, stamp_of

OIDS = st.builds(
    lambda number, suffix: hashlib.md5(str(number).encode()).hexdigest() + suffix,
    st.integers(0, 50),
    st.sampled_from(["", ".dir"]),
)
SOUNDS = st.builds(
    Sound,
    st.builds(Stamp, st.integers(0, 2**63), st.integers(-(2**63), 2**63 - 1), st.integers(0, 2**64 - 1)),
    st.one_of(st.just(b""), st.binary(min_size=32, max_size=32).filter(any)),
)


@given(st.lists(st.tuples(st.dictionaries(OIDS, SOUNDS, max_size=5), st.booleans()), max_size=12))
def test_the_newest_record_counts_here_and_in_other_processes(
    tmp_path_factory: pytest.TempPathFactory, rounds: list[tuple[dict[str, Sound], bool]]
) -> None:
    folder = tmp_path_factory.mktemp("known") / "known"
    known, expected = Known(folder), {}
    for found, legacy in rounds:
        known.remember(found, legacy=legacy)
        expected.update({(oid, legacy): sound for oid, sound in found.items()})
    for reader in (known, Known(folder)):
        for (oid, legacy), sound in expected.items():
            assert reader.of(oid, legacy=legacy) == sound
            if (oid, not legacy) not in expected:
                assert reader.of(oid, legacy=not legacy) is None


def test_a_file_that_was_written_to_no_longer_fits(tmp_path: Path) -> None:
    path, oid = tmp_path / "a", hashlib.md5(b"hello").hexdigest()
    path.write_bytes(b"hello")
    known = Known(tmp_path / "known")
    assert not known.fits(oid, path.stat())
    known.remember({oid: Sound(stamp_of(path.stat()))})
    assert known.fits(oid, path.stat())
    os.link(path, tmp_path / "b")
    assert Known(tmp_path / "known").fits(oid, path.stat())  # a link changes nothing but the ctime
    os.utime(path, ns=(0, path.stat().st_mtime_ns + 1))
    assert not known.fits(oid, path.stat())


@given(st.binary(max_size=300), st.integers(0, 400))
def test_a_torn_or_foreign_shard_is_no_error(tmp_path_factory: pytest.TempPathFactory, junk: bytes, cut: int) -> None:
    folder = tmp_path_factory.mktemp("torn")
    oids = [f"ab{number:030x}" for number in range(4)]
    Known(folder).remember({oid: Sound(Stamp(number, number, number)) for number, oid in enumerate(oids)})
    shard = folder / "ab"
    whole = shard.read_bytes()[: cut % 321]
    shard.write_bytes(whole + junk)
    for number, oid in enumerate(oids):
        found = Known(folder).of(oid)
        if len(whole) >= 80 * (number + 1) and not junk:
            assert found == Sound(Stamp(number, number, number))
    late = Known(folder)
    late.remember({oids[0]: Sound(Stamp(7, 7, 7))})
    assert Known(folder).of(oids[0]) == Sound(Stamp(7, 7, 7))
    assert shard.stat().st_size % 80 == 0


def test_a_shard_with_many_old_records_is_written_anew(tmp_path: Path) -> None:
    oids = [f"ab{number:030x}" for number in range(10)]
    for round_ in range(100):
        Known(tmp_path).remember({oid: Sound(Stamp(round_, 0, 0)) for oid in oids})
    assert (tmp_path / "ab").stat().st_size < 80 * 100
    assert all(Known(tmp_path).of(oid) == Sound(Stamp(99, 0, 0)) for oid in oids)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["ab"]


def test_a_folder_that_cannot_be_written_is_no_error(tmp_path: Path) -> None:
    (tmp_path / "known").write_bytes(b"a file, not a folder")
    known = Known(tmp_path / "known")
    known.remember({f"ab{0:030x}": Sound(Stamp(1, 2, 3))})
    assert known.of(f"ab{0:030x}") == Sound(Stamp(1, 2, 3))  # this process knows it all the same
    assert Known(tmp_path / "known").of(f"ab{0:030x}") is None


WRITING = """
import sys
from pathlib import Path
from modelkeep.store.blobs.known import Known, Sound, Stamp
who = int(sys.argv[2])
for number in range(150):
    oid = f"{number % 3:02x}{who:010x}{number:020x}"
    again = f"{number % 3:02x}{'f' * 30}"
    Known(Path(sys.argv[1])).remember({oid: Sound(Stamp(who, number, 0)), again: Sound(Stamp(who, number, 1))})
"""


def test_eight_processes_write_at_once(tmp_path: Path) -> None:
    runs = [subprocess.Popen([sys.executable, "-c", WRITING, str(tmp_path), str(who)]) for who in range(8)]
    assert [run.wait(60) for run in runs] == [0] * 8
    known = Known(tmp_path)
    lost = [
        (who, number)
        for who in range(8)
        for number in range(150)
        if known.of(f"{number % 3:02x}{who:010x}{number:020x}") != Sound(Stamp(who, number, 0))
    ]
    assert lost == []
