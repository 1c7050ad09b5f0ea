"""Small files are written whole or not at all."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from modelkeep.core.errors import BadInput, Busy, Denied
from modelkeep.data.formats.rewrite import content, rewrite, shown


def test_mode_and_link_stay(tmp_path: Path) -> None:
    file, link = tmp_path / "real" / "a", tmp_path / "link"
    assert rewrite(file, b"1")
    file.chmod(0o640)
    link.symlink_to("real/a")
    assert rewrite(link, b"2")
    assert link.is_symlink()
    assert (file.read_bytes(), file.stat().st_mode & 0o777) == (b"2", 0o640)
    assert not rewrite(link, b"2")
    assert [path.name for path in file.parent.iterdir()] == ["a"], "nothing is left beside it"


def test_a_private_file_is_its_owners(tmp_path: Path) -> None:
    for name, data in (("new", b""), ("old", b"x")):
        (tmp_path / "old").write_bytes(data)
        rewrite(tmp_path / name, b"secret", private=True)
        assert (tmp_path / name).stat().st_mode & 0o077 == 0


def test_what_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    with pytest.raises(BadInput, match="folder: is a folder"):
        rewrite(tmp_path / "folder", b"")
    with pytest.raises(BadInput, match="folder: is a folder"):
        content(tmp_path / "folder")
    assert content(tmp_path / "folder" / "none") is None
    (tmp_path / "file").touch()
    assert content(tmp_path / "file" / "none") is None


@pytest.mark.skipif(os.getuid() == 0, reason="root may write everywhere")
def test_a_folder_of_somebody_else(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(Denied, match="no right"):
        rewrite(tmp_path / "a", b"")
    tmp_path.chmod(0o700)


def test_a_full_disk_is_told_and_leaves_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rewrite(tmp_path / "a", b"old")

    def full(number: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(Busy, match=r"^a: the disk is full"):
        rewrite(tmp_path / "a", b"new")
    assert (tmp_path / "a").read_bytes() == b"old"
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_names_in_messages(tmp_path: Path) -> None:
    assert shown(tmp_path / "a") == "a"
    assert shown(Path("b/c")) == "b/c"
    assert shown(Path("/d")) == "/d"
