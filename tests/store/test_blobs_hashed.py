"""Hashes and copies made in one pass, against hashlib, blake3 and a slow reading of the old rule for texts."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest
from blake3 import blake3
from hypothesis import example, given
from hypothesis import strategies as st

from modelkeep.store.blobs import hashed
from modelkeep.store.blobs.hashed import (
    LARGE,
    copy_blake3,
    copy_hashed,
    dos2unix_md5,
    dos2unix_md5_of,
    file_blake3,
    file_digest,
)


class Heard:
    def __init__(self) -> None:
        self.total = 0

    def add(self, amount: int) -> None:
        self.total += amount


@pytest.mark.parametrize("size", [0, 1, 4096, LARGE - 1, LARGE, 3 * LARGE + 17, 33 << 20])
@pytest.mark.parametrize("alone", [True, False])
def test_one_pass_finds_what_the_hash_functions_find(tmp_path: Path, size: int, alone: bool) -> None:
    data = os.urandom(size % (1 << 20)) + bytes(size - size % (1 << 20))
    source, target = tmp_path / "a", tmp_path / "b"
    source.write_bytes(data)
    heard = Heard()
    digest = copy_hashed(source, target, heard, mode=0o444, alone=alone)
    assert digest == file_digest(source, alone=alone)
    assert digest.md5 == hashlib.md5(data).hexdigest()
    assert digest.blake3 == (blake3(data).digest() if size >= LARGE else b"")
    assert digest.size == heard.total == size
    assert target.read_bytes() == data
    assert target.stat().st_mode & 0o777 == 0o444
    assert file_blake3(source) == blake3(data).digest()
    assert copy_blake3(source, tmp_path / "c") == blake3(data).digest()
    assert (tmp_path / "c").read_bytes() == data


@pytest.mark.parametrize("size", [100, 33 << 20])
def test_a_copy_that_fails_leaves_nothing(tmp_path: Path, size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a").write_bytes(bytes(size))

    def full(fd: int, data: bytes) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(hashed, "write_all", full)
    for copying in (copy_hashed, copy_blake3):
        with pytest.raises(OSError, match="No space"):
            copying(tmp_path / "a", tmp_path / "b")
        assert not (tmp_path / "b").exists()


def test_a_copy_never_overwrites(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"new")
    (tmp_path / "b").write_bytes(b"old")
    with pytest.raises(FileExistsError):
        copy_hashed(tmp_path / "a", tmp_path / "b")
    assert (tmp_path / "b").read_bytes() == b"old"


def slow_dos2unix(data: bytes) -> str:
    """The rule in words: a MiB whose first 512 bytes hold no NUL and at most 30 % odd bytes is text."""
    fine = set(range(32, 127)) | set(b"\n\r\t\f\b")
    out = b""
    for start in range(0, len(data), 1 << 20):
        piece = data[start : start + (1 << 20)]
        head = piece[:512]
        odd = sum(byte not in fine for byte in head)
        text = 0 not in head and odd / len(head) <= 0.30
        out += piece.replace(b"\r\n", b"\n") if text else piece
    return hashlib.md5(out).hexdigest()


@given(st.lists(st.sampled_from([b"\r\n", b"a", b"\0", b"\xc3\xa9", b"\r", b"word " * 90]), max_size=40).map(b"".join))
@example(b"")
@example(b"a\r\n" * 400_000)
@example(b"x" * ((1 << 20) - 1) + b"\r\n" + b"\0\r\n")
def test_the_old_name_of_a_text(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    path = tmp_path_factory.mktemp("old") / "a"
    path.write_bytes(data)
    assert dos2unix_md5(path) == slow_dos2unix(data)
    if len(data) <= 1 << 20:
        assert dos2unix_md5_of(data) == slow_dos2unix(data)
