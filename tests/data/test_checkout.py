from __future__ import annotations

import os
import shutil
import time
from pathlib import Path

import pytest

from modelkeep.core.errors import BadInput, Busy, Conflict, Corrupt, Error, Missing
from modelkeep.data.repository import Repository
from modelkeep.data.snapshots import hashing
from modelkeep.data.verbs.add import add
from modelkeep.data.verbs.checkout import checkout
from modelkeep.data.verbs.remove import remove
from modelkeep.data.verbs.status import status
from modelkeep.data.workspace import placing
from modelkeep.store.blobs.objects import Blobs
from tests.data.workspaces import again, grow, held, objects, repository, run_dvc, run_git

FIRST = {"x": b"x", "sub/y": b"y", "sub/z": b"z", "gone/w": b"w"}
SECOND = {"x": b"x2", "sub/y": b"y", "new/v": b"v"}


@pytest.fixture
def repo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Repository:
    made = repository(tmp_path / "r")
    monkeypatch.chdir(made.root)
    return made


class Versions:
    """Two versions of one folder, and a way to go from one to the other as git would."""

    def __init__(self, repo: Repository) -> None:
        self.repo, self.kept, self.looks = repo, [], []

    def keep(self) -> None:
        add(again(self.repo), ["data"])
        names = ("data.dvc", "data.dvc.side")
        self.kept.append({name: data for name in names if (data := _read(self.repo.root / name)) is not None})
        self.looks.append(look(self.repo.root / "data"))

    def git_checkout(self, number: int) -> None:
        for name in ("data.dvc", "data.dvc.side"):
            (self.repo.root / name).unlink(missing_ok=True)
        grow(self.repo.root, self.kept[number])


def _read(path: Path) -> bytes | None:
    return path.read_bytes() if path.exists() else None


def look(folder: Path) -> dict[str, object]:
    """Files, links and empty folders with whether they may be run."""
    return {name: (value, (folder / name).lstat().st_mode & 0o111 != 0) for name, value in held(folder).items()}


@pytest.fixture
def versions(repo: Repository) -> Versions:
    made = Versions(repo)
    grow(repo.root / "data", FIRST)
    (repo.root / "data/sub/z").chmod(0o755)
    (repo.root / "data/hollow").mkdir()
    (repo.root / "data/link").symlink_to("sub")
    (repo.root / "data/to-y").symlink_to("sub/y")
    made.keep()
    shutil.rmtree(repo.root / "data")
    grow(repo.root / "data", SECOND)
    made.keep()
    return made


def test_everything_goes_from_version_to_version(versions: Versions) -> None:
    repo = versions.repo
    for number in (0, 1, 0):
        versions.git_checkout(number)
        result = checkout(again(repo))
        assert result.modified == ("data/",)
        assert look(repo.root / "data") == versions.looks[number]
        assert status(again(repo)).clean
        assert not checkout(again(repo)).changed
    shutil.rmtree(repo.root / "data")
    assert checkout(again(repo)).added == ("data/",)
    assert look(repo.root / "data") == versions.looks[0]
    assert status(again(repo)).clean


def test_a_side_file_alone_changes_modes_links_and_empty_folders(repo: Repository) -> None:
    made = Versions(repo)
    grow(repo.root / "data", FIRST)
    made.keep()
    (repo.root / "data/x").chmod(0o755)
    (repo.root / "data/hollow/deep").mkdir(parents=True)
    (repo.root / "data/link").symlink_to("sub")
    made.keep()
    assert made.kept[0]["data.dvc"] == made.kept[1]["data.dvc"]
    for number in (0, 1, 0):
        made.git_checkout(number)
        checkout(again(repo))
        assert look(repo.root / "data") == made.looks[number]
        assert status(again(repo)).clean


def test_files_become_folders_and_links_and_back(repo: Repository) -> None:
    made = Versions(repo)
    grow(repo.root / "data", {"a": b"file", "b/c": b"c", "d/e": b"e", "l": b"plain"})
    made.keep()
    shutil.rmtree(repo.root / "data")
    grow(repo.root / "data", {"a/deep/er": b"now a folder", "b": b"now a file", "t/e": b"e"})
    (repo.root / "data/d").symlink_to("t")
    (repo.root / "data/l").symlink_to("b")
    made.keep()
    shutil.rmtree(repo.root / "data")
    (repo.root / "data").write_bytes(b"all of it a file")
    made.keep()
    for number in (0, 1, 2, 1, 0, 2, 0):
        made.git_checkout(number)
        checkout(again(repo))
        now = repo.root / "data"
        assert (look(now) if now.is_dir() else now.read_bytes()) == (
            made.looks[number] if made.looks[number] else b"all of it a file"
        )
        assert status(again(repo)).clean


def test_local_changes_that_are_nowhere_else_are_kept(versions: Versions) -> None:
    repo = versions.repo
    grow(repo.root / "data", {"x": b"mine", "new/extra": b"mine too"})
    versions.git_checkout(0)
    before = look(repo.root / "data")
    with pytest.raises(Conflict, match=r"data/new/extra, data/x|data/x, data/new/extra") as caught:
        checkout(again(repo))
    assert "--force" in caught.value.hint
    assert look(repo.root / "data") == before
    checkout(again(repo), force=True)
    assert look(repo.root / "data") == versions.looks[0]


def test_a_change_that_the_cache_has_is_no_loss(versions: Versions) -> None:
    repo = versions.repo
    grow(repo.root / "data", {"x": b"x"})  # as in the first version
    checkout(again(repo))
    assert look(repo.root / "data") == versions.looks[1]


def test_missing_objects_leave_what_is_there_and_the_rest_is_done(versions: Versions) -> None:
    repo = versions.repo
    grow(repo.root, {"other": b"other"})
    add(again(repo), ["other"])
    (repo.root / "other").unlink()
    versions.git_checkout(0)
    repo.blobs.path("f1290186a5d0b1ceab27f4e77c0c5d68").unlink()  # w
    with pytest.raises(Missing, match="data/gone/w") as caught:
        checkout(again(repo))
    assert caught.value.hint == "modelkeep pull"
    assert look(repo.root / "data") == versions.looks[1]
    assert (repo.root / "other").read_bytes() == b"other"
    result = checkout(again(repo), allow_missing=True)
    assert result.missing == ("data/gone/w",)
    assert {name for name, _ in look(repo.root / "data").items()} >= {"x", "sub/y", "sub/z"}
    shutil.rmtree(repo.root / "data")
    checkout(again(repo), allow_missing=True)
    assert "gone/w" not in held(repo.root / "data")
    assert held(repo.root / "data")["x"] == b"x"


def test_a_missing_manifest_and_a_missing_file_are_named(versions: Versions) -> None:
    repo = versions.repo
    shutil.rmtree(repo.blobs.folder)
    versions.git_checkout(0)
    with pytest.raises(Missing, match="data: not in the cache"):
        checkout(again(repo))
    assert look(repo.root / "data") == versions.looks[1]
    shutil.rmtree(repo.root / "data")
    with pytest.raises(Missing, match="data: not in the cache"):
        checkout(again(repo), allow_missing=False)
    assert not (repo.root / "data").exists()


def test_corrupt_objects_are_never_placed(versions: Versions) -> None:
    repo = versions.repo
    path = repo.blobs.path("f1290186a5d0b1ceab27f4e77c0c5d68")
    path.chmod(0o644)
    path.write_bytes(b"W")
    path.chmod(0o444)
    versions.git_checkout(0)
    with pytest.raises(Corrupt, match="data/gone/w") as caught:
        checkout(again(repo))
    assert caught.value.hint == "modelkeep pull"
    assert look(repo.root / "data") == versions.looks[1]
    assert not path.exists()
    assert len(list((repo.blobs.folder / "modelkeep/quarantine").rglob("*"))) >= 1
    with pytest.raises(Missing, match="data/gone/w"):
        checkout(again(repo))


def test_a_corrupt_object_of_a_folder_that_is_not_here(versions: Versions) -> None:
    repo = versions.repo
    path = repo.blobs.path("f1290186a5d0b1ceab27f4e77c0c5d68")
    path.chmod(0o644)
    path.write_bytes(b"W")
    versions.git_checkout(0)
    shutil.rmtree(repo.root / "data")
    with pytest.raises(Corrupt, match="data/gone/w"):
        checkout(again(repo))
    assert set(held(repo.root / "data")) == {*FIRST, "hollow", "link", "to-y"} - {"gone/w"}
    assert {item.state for item in status(again(repo)).items} == {"not in cache"}
    shutil.rmtree(repo.root / "data")
    result = checkout(again(repo), allow_missing=True)
    assert (result.added, result.missing) == (("data/",), ("data/gone/w",))


def test_a_link_type_that_does_not_work_leaves_the_workspace(
    versions: Versions, monkeypatch: pytest.MonkeyPatch
) -> None:
    repo = versions.repo
    with (repo.root / ".dvc/config").open("a", encoding="utf-8") as file:
        file.write("[cache]\n    type = reflink\n")
    checkout(again(repo))

    def refuse(self: Blobs, *_: object, **__: object) -> None:
        raise BadInput("none of reflink works here")

    monkeypatch.setattr(Blobs, "place", refuse)
    with pytest.raises(BadInput, match="reflink"):
        checkout(again(repo), relink=True)
    assert look(repo.root / "data") == versions.looks[1]


@pytest.mark.parametrize("kind", ["hardlink", "symlink", "copy"])
def test_relink_makes_every_file_what_the_configuration_says(versions: Versions, kind: str) -> None:
    repo = versions.repo
    with (repo.root / ".dvc/config").open("a", encoding="utf-8") as file:
        file.write(f"[cache]\n    type = {kind}\n")
    result = checkout(again(repo), relink=True)
    assert (result.relinked, result.changed) == (3, False)
    for name in SECOND:
        file = repo.root / "data" / name
        assert file.is_symlink() == (kind == "symlink")
        assert file.is_symlink() or file.stat().st_nlink == (2 if kind == "hardlink" else 1)
    assert status(again(repo)).clean


def test_a_full_disk_empties_nothing(versions: Versions, monkeypatch: pytest.MonkeyPatch) -> None:
    import errno

    repo = versions.repo
    versions.git_checkout(0)

    def full(self: Blobs, *_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "data/x")

    with monkeypatch.context() as broken:
        broken.setattr(Blobs, "place", full)
        with pytest.raises(Busy, match="full"):
            checkout(again(repo))
        assert set(held(repo.root / "data")) >= set(SECOND)
        kept = repo.root / "kept"
        (repo.root / "data").rename(kept)
        with pytest.raises(Busy, match="full"):
            checkout(again(repo))
        assert not (repo.root / "data").exists()
        assert not list((repo.private / "aside").iterdir())
        kept.rename(repo.root / "data")
    checkout(again(repo))
    assert look(repo.root / "data") == versions.looks[0]


def test_parts_of_a_folder(versions: Versions) -> None:
    repo = versions.repo
    versions.git_checkout(0)
    shutil.rmtree(repo.root / "data")
    checkout(again(repo), ["data/sub"])
    assert look(repo.root / "data") == {name: mode for name, mode in versions.looks[0].items() if name[:4] == "sub/"}
    checkout(again(repo), ["data/x"])
    assert (repo.root / "data/x").read_bytes() == b"x"
    with pytest.raises(Missing, match="nothing of that name"):
        checkout(again(repo), ["data/never"])
    checkout(again(repo))
    assert look(repo.root / "data") == versions.looks[0]


def test_what_is_tracked_no_more_goes_away_if_the_cache_has_it(repo: Repository) -> None:
    grow(repo.root, {"a": b"a", "b": b"b", "c": b"c", "dir/x": b"x", "mine": b"m"})
    add(repo, ["a", "b", "c", "dir", "mine"])
    remove(again(repo), ["mine"])
    for name in ("a", "b", "dir"):
        (repo.root / f"{name}.dvc").unlink()
    (repo.root / "b").write_bytes(b"changed since")
    result = checkout(again(repo))
    assert result.deleted == ("dir/", "a")
    assert sorted(path.name for path in repo.root.iterdir() if not path.name.startswith(".")) == [
        "b",
        "c",
        "c.dvc",
        "mine",
    ]
    assert not checkout(again(repo), ["c"]).changed
    assert not checkout(again(repo)).changed


def test_a_link_in_the_workspace_is_never_written_through(versions: Versions, tmp_path: Path) -> None:
    repo = versions.repo
    outside = tmp_path / "outside"
    outside.mkdir()
    shutil.rmtree(repo.root / "data/new")
    (repo.root / "data/new").symlink_to(outside)
    with pytest.raises(Error):
        checkout(again(repo))
    (repo.root / "data/new").unlink()
    (repo.root / "data/new").symlink_to("sub")
    with pytest.raises(Conflict, match="data/new"):
        checkout(again(repo))
    checkout(again(repo), force=True)
    assert look(repo.root / "data") == versions.looks[1]
    assert not list(outside.iterdir())
    assert not (repo.root / "data/sub/v").exists()


def test_a_side_file_and_a_manifest_that_contradict_each_other_are_refused(versions: Versions) -> None:
    repo = versions.repo
    shutil.rmtree(repo.root / "data")
    (repo.root / "data.dvc.side").write_text("symlinks:\n  new: sub\n", encoding="utf-8")
    with pytest.raises(BadInput, match="new is a link, and yet new/v lies in it"):
        checkout(again(repo))
    for text in ("symlinks:\n  up: ../../etc\n", "symlinks:\n  abs: /etc\n", "empty:\n- ../out\n"):
        (repo.root / "data.dvc.side").write_text(text, encoding="utf-8")
        with pytest.raises(BadInput, match=r"data\.dvc\.side"):
            checkout(again(repo))
    assert not (repo.root / "data").exists()


def test_a_manifest_that_climbs_out_is_refused(repo: Repository) -> None:
    (repo.root / "data").mkdir()
    data = b'[{"md5": "d41d8cd98f00b204e9800998ecf8427e", "relpath": "../../evil"}]'
    oid = repo.blobs.put(data, suffix=".dir")
    repo.blobs.put(b"")
    (repo.root / "data.dvc").write_text(f"outs:\n- md5: {oid}\n  hash: md5\n  path: data\n", encoding="utf-8")
    with pytest.raises(BadInput, match="no safe path"):
        checkout(repo)
    assert not (repo.root.parent / "evil").exists()


def test_names_that_the_file_system_takes_for_one_are_refused_before_anything_is_touched(
    repo: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    from modelkeep.data.workspace import changes

    grow(repo.root / "data", {"README": b"1", "readme": b"2", "caf\u00e9": b"3", "cafe\u0301": b"4"})
    add(repo, ["data"])
    shutil.rmtree(repo.root / "data")
    with monkeypatch.context() as narrow:
        narrow.setattr(changes, "_holds_both", lambda *_: False)
        with pytest.raises(BadInput, match=r"takes '.*' and '.*' for one name"):
            checkout(again(repo))
    assert not (repo.root / "data").exists()
    checkout(again(repo))  # this one tells them apart
    assert len(held(repo.root / "data")) == 4


def test_what_a_killed_checkout_left_aside_is_swept(repo: Repository) -> None:
    grow(repo.root / "data", FIRST)
    add(repo, ["data"])
    shutil.rmtree(repo.root / "data")
    left = grow(repo.private / "aside" / "4194305-dead", {"new/x": b"half"})
    alive = grow(repo.private / "aside" / f"{os.getppid()}-live", {"new/x": b"half"})
    checkout(again(repo))
    assert (left.exists(), alive.exists()) == (False, True)
    placing.sweep(repo)


def test_outs_without_a_hash_or_outside_of_the_cache_are_left_alone(repo: Repository) -> None:
    grow(repo.root, {"b": b"b"})
    (repo.root / "a.dvc").write_text("outs:\n- path: a\n  hash: md5\n", encoding="utf-8")
    (repo.root / "b.dvc").write_text(
        "outs:\n- md5: d41d8cd98f00b204e9800998ecf8427e\n  size: 0\n  hash: md5\n  path: b\n  cache: false\n",
        encoding="utf-8",
    )
    assert not checkout(repo).changed
    assert (repo.root / "b").read_bytes() == b"b"


@pytest.mark.needs("dvc")
def test_pipeline_outs_and_files_of_dvc_2(repo: Repository) -> None:
    run_dvc(
        repo,
        "stage",
        "add",
        "-q",
        "-n",
        "make",
        "-o",
        "made",
        "-o",
        "one",
        "mkdir made && echo 1 > made/x && echo 2 > one",
    )
    run_dvc(repo, "repro", "-q")
    shutil.rmtree(repo.root / "made")
    (repo.root / "one").unlink()
    assert checkout(again(repo)).added == ("made/", "one")
    assert held(repo.root / "made") == {"x": b"1\n"}
    text = b"a\r\nb\r\n"
    oid = "dd8c6a395b5dd36c56d23275028f526c"  # of a\nb\n
    old = repo.blobs.folder / oid[:2] / oid[2:]
    grow(old.parent, {old.name: text})
    old.chmod(0o444)
    (repo.root / "old.dvc").write_text(f"outs:\n- md5: {oid}\n  size: 6\n  path: old\n", encoding="utf-8")
    assert checkout(again(repo)).added == ("old",)
    assert (repo.root / "old").read_bytes() == text
    assert status(again(repo)).clean
    assert "up to date" in run_dvc(repo, "status")


@pytest.mark.slow
@pytest.mark.needs("dvc")
def test_dvc_and_we_check_out_each_others_versions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    repo = repository(tmp_path / "r", git=True)
    monkeypatch.chdir(repo.root)
    grow(repo.root, {"data/x": b"1", "data/gone": b"g", "f": b"f1"})
    add(repo, ["data", "f"])
    run_git(repo.root, "add", "-A")
    run_git(repo.root, "commit", "-qm", "one")
    (repo.root / "data/gone").unlink()
    grow(repo.root, {"data/x": b"2", "data/y": b"y", "f": b"f2"})
    run_dvc(repo, "add", "-q", "data", "f")
    run_git(repo.root, "commit", "-qam", "two")
    run_git(repo.root, "checkout", "-q", "HEAD~1")
    assert checkout(again(repo)).modified == ("data/", "f")
    assert held(repo.root / "data") == {"x": b"1", "gone": b"g"}
    assert "up to date" in run_dvc(repo, "status")
    run_git(repo.root, "checkout", "-q", "main")
    run_dvc(repo, "checkout", "-q")
    assert held(repo.root / "data") == {"x": b"2", "y": b"y"}
    assert status(again(repo)).clean
    assert objects(repo)


@pytest.mark.parametrize("kind", ["copy", "hardlink", "symlink"])
@pytest.mark.parametrize("path", ["data", "model.bin"])
def test_what_was_placed_is_not_read_again(
    repo: Repository, monkeypatch: pytest.MonkeyPatch, kind: str, path: str
) -> None:
    grow(repo.root, {"model.bin": b"m" * (2 << 20), "data/a": b"a", "data/sub/b": b"b" * (2 << 20)})
    add(repo, [path])
    shutil.rmtree(repo.root / path) if path == "data" else (repo.root / path).unlink()
    (repo.root / ".dvc/config").write_text(f"[cache]\n    type = {kind}\n")
    assert checkout(again(repo)).changed

    def read(*_: object, **__: object) -> None:
        raise AssertionError("a file was read again")

    monkeypatch.setattr(hashing, "hash_files", read)
    monkeypatch.setattr(hashing, "hash_one", read)
    assert status(again(repo)).clean
    assert not checkout(again(repo)).changed


def test_what_changes_right_after_it_was_placed_is_read(repo: Repository, monkeypatch: pytest.MonkeyPatch) -> None:
    grow(repo.root, {"data/a": b"one", "data/b": b"two"})
    add(repo, ["data"])
    shutil.rmtree(repo.root / "data")
    real = placing.remember

    def disturbed(*given: object, **more: object) -> None:
        time.sleep(0.02)  # longer than the file system's tick
        with (repo.root / "data/a").open("r+b") as file:
            file.write(b"1ne")
        real(*given, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(placing, "remember", disturbed)
    checkout(again(repo))
    assert not status(again(repo)).clean
