from __future__ import annotations

import random
import shutil
from datetime import UTC, datetime, timedelta
from hashlib import md5
from pathlib import Path

import pytest

from modelkeep.core.errors import Conflict, Missing
from modelkeep.data.moving import trash
from modelkeep.data.verbs.add import add
from modelkeep.data.verbs.checkout import checkout
from modelkeep.data.verbs.gc import gc, undo
from modelkeep.data.verbs.pull import pull
from modelkeep.data.verbs.push import push
from tests.data.transfers import Ground, git, ground


@pytest.fixture
def here(tmp_path: Path) -> Ground:
    """Three committed versions of one file, and one that was never committed."""
    found = ground(tmp_path)
    for version in range(3):
        found.write("one.txt", b"version %d" % version)
        found.add("one.txt")
        found.commit(f"v{version}")
    found.write("one.txt", b"never committed")
    found.add("one.txt")
    found.write("one.txt", b"version 2")
    found.add("one.txt")
    return found


def oid(version: int) -> str:
    return md5(b"version %d" % version).hexdigest()


LOST = md5(b"never committed").hexdigest()


def test_a_dry_run_tells_and_changes_nothing(here: Ground) -> None:
    before = here.objects().keys()
    [told] = gc(here.repo, grace_s=0)
    assert (told.done, told.objects, told.bytes, told.kept) == (False, 1, 15, 3)
    assert here.objects().keys() == before


def test_everything_that_any_commit_names_stays(here: Ground) -> None:
    [told] = gc(here.repo, grace_s=0, dry_run=False)
    assert (told.done, told.objects) == (True, 1)
    assert here.objects().keys() == {oid(0), oid(1), oid(2)}


def test_tags_stashes_work_trees_and_other_branches_count(here: Ground, tmp_path: Path) -> None:
    git(here.root, "checkout", "-q", "-b", "side", "HEAD~1")
    here.write("side.txt", b"side")
    here.add("side.txt")
    here.commit("side")
    git(here.root, "checkout", "-q", "main")
    git(here.root, "branch", "-q", "-m", "side", "renamed")
    here.write("tagged.txt", b"tagged")
    here.add("tagged.txt")
    here.commit("tagged")
    git(here.root, "tag", "-a", "model@v1.0.0", "-m", "Registering artifact model version v1.0.0")
    git(here.root, "reset", "-q", "--hard", "HEAD~1")
    here.write("stashed.txt", b"stashed")
    here.add("stashed.txt")
    git(here.root, "add", "stashed.txt.dvc")
    git(here.root, "stash", "-q")
    git(here.root, "worktree", "add", "-q", "--detach", str(tmp_path / "tree"), "HEAD~1")
    gc(here.repo, grace_s=0, dry_run=False)
    kept = here.objects().keys()
    assert {md5(data).hexdigest() for data in (b"side", b"tagged", b"stashed")} <= kept
    assert LOST not in kept


def test_what_is_young_stays(here: Ground) -> None:
    [told] = gc(here.repo, dry_run=False)
    assert (told.objects, told.young) == (0, 1)
    assert LOST in here.objects()


@pytest.mark.parametrize(
    ("chosen", "left"),
    [
        ({"workspace": True}, {2}),
        ({"all_branches": True}, {2}),
        ({"all_tags": True}, {0, 2}),
        ({"all_commits": True}, {0, 1, 2}),
        ({"revisions": ("HEAD~1",)}, {1, 2}),
    ],
)
def test_choices_mean_what_they_mean_to_dvc(here: Ground, chosen: dict[str, bool], left: set[int]) -> None:
    git(here.root, "tag", "first", "HEAD~2")
    gc(here.repo, grace_s=0, dry_run=False, **chosen)  # type: ignore[arg-type]
    assert here.objects().keys() == {oid(version) for version in left}


def test_undo_brings_everything_back(here: Ground) -> None:
    before = here.objects().keys()
    [told] = gc(here.repo, workspace=True, grace_s=0, dry_run=False)
    assert here.objects().keys() == {oid(2)}
    restored = undo(here.repo)
    assert (restored.when, restored.objects) == (told.when, 3)
    assert here.objects().keys() == before
    with pytest.raises(Missing):
        undo(here.repo)


def test_undo_takes_the_newest_run_or_the_one_that_is_named(here: Ground) -> None:
    [first] = gc(here.repo, grace_s=0, dry_run=False)
    [second] = gc(here.repo, workspace=True, grace_s=0, dry_run=False)
    with pytest.raises(Conflict, match="begins 2"):
        undo(here.repo, first.when[:8])
    assert undo(here.repo, first.when).objects == 1
    assert undo(here.repo).when == second.when


def test_a_trash_is_deleted_after_a_week_by_the_next_run(here: Ground) -> None:
    gc(here.repo, grace_s=0, dry_run=False)
    [name] = trash.names(here.repo)
    old = trash.name_of(datetime.now(UTC) - timedelta(days=8))
    (trash.folder(here.repo) / name).rename(trash.folder(here.repo) / old)
    gc(here.repo, grace_s=0)
    assert trash.names(here.repo) == [old]
    [told] = gc(here.repo, grace_s=0, dry_run=False)
    assert told.expired == (old,)
    assert trash.names(here.repo) == []


def test_without_a_trash_it_is_for_good(here: Ground) -> None:
    gc(here.repo, grace_s=0, dry_run=False, keep_in_trash=False)
    assert LOST not in here.objects()
    assert trash.names(here.repo) == []


def test_names_held_elsewhere_stay(here: Ground) -> None:
    gc(here.repo, workspace=True, grace_s=0, dry_run=False, keep=lambda: [oid(0), LOST])
    assert here.objects().keys() == {oid(0), oid(2), LOST}


def test_members_of_folders_stay(here: Ground) -> None:
    here.folder("data", 5)
    here.commit("data")
    (here.root / "data.dvc").unlink()
    before = here.objects().keys()
    gc(here.repo, grace_s=0, dry_run=False)
    assert before - here.objects().keys() == {LOST}


def refused(here: Ground, match: str, **chosen: object) -> None:
    before = here.objects().keys()
    with pytest.raises(Conflict, match=match):
        gc(here.repo, grace_s=0, dry_run=False, **chosen)  # type: ignore[arg-type]
    assert here.objects().keys() == before


def test_a_metafile_that_cannot_be_read_stops_everything(here: Ground) -> None:
    (here.root / "bad.dvc").write_text("<<<<<<< HEAD\nouts: [\n")
    refused(here, "bad.dvc")


def test_a_branch_whose_metafile_cannot_be_read_stops_everything(here: Ground) -> None:
    git(here.root, "checkout", "-q", "-b", "broken")
    (here.root / "bad.dvc").write_text("outs: [\n")
    here.commit("broken")
    git(here.root, "checkout", "-q", "main")
    refused(here, "broken")
    gc(here.repo, workspace=True, grace_s=0, dry_run=False)  # that branch does not count then


def test_an_old_commit_that_cannot_be_read_keeps_whatever_it_names(here: Ground) -> None:
    (here.root / "bad.dvc").write_text(f"<<<<<<< HEAD\nouts:\n- md5: {LOST}\n=======\n")
    here.commit("conflict")
    (here.root / "bad.dvc").unlink()
    here.commit("resolved")
    gc(here.repo, grace_s=0, dry_run=False)
    assert LOST in here.objects()


def test_a_manifest_that_is_nowhere_stops_everything(here: Ground) -> None:
    here.folder("data", 5)
    here.commit("data")
    next(path for name, path in here.objects().items() if name.endswith(".dir")).unlink()
    refused(here, r"data\.dvc")
    [told] = gc(here.repo, grace_s=0, dry_run=False, skip_failed=True)
    assert told.objects == 6


def test_a_manifest_that_only_the_remote_has_is_asked_for(here: Ground) -> None:
    here.folder("data", 5)
    here.commit("data")
    push(here.repo)
    next(path for name, path in here.objects().items() if name.endswith(".dir")).unlink()
    [told] = gc(here.repo, grace_s=0, dry_run=False)
    assert told.objects == 1


def test_a_shallow_clone_stops_everything(here: Ground, tmp_path: Path) -> None:
    git(tmp_path, "clone", "-q", "--depth", "1", f"file://{here.root}", "shallow")
    shutil.copytree(here.cache, tmp_path / "shallow" / ".dvc" / "cache")
    shallow = Ground(tmp_path / "shallow", here.remote)
    refused(shallow, "shallow")


def test_a_cache_that_others_may_use_needs_their_names(here: Ground, tmp_path: Path) -> None:
    shared = tmp_path / "shared"
    here.cache.rename(shared)
    other = ground(tmp_path / "other")
    for one in (here, other):
        config = one.root / ".dvc" / "config"
        config.write_text(config.read_text() + f"[cache]\n    dir = {shared}\n")
    other.write("theirs.txt", b"theirs")
    other.add("theirs.txt")
    with pytest.raises(Conflict, match="outside"):
        gc(here.repo, grace_s=0)
    theirs = md5(b"theirs").hexdigest()
    gc(here.repo, grace_s=0, dry_run=False, projects=[other.root])
    assert here.objects(shared).keys() == {oid(0), oid(1), oid(2), theirs}
    gc(here.repo, grace_s=0, dry_run=False)  # remembered
    gc(other.repo, grace_s=0, dry_run=False)  # in both directions
    assert here.objects(shared).keys() == {oid(0), oid(1), oid(2), theirs}
    other.root.rename(tmp_path / "away")  # a disk that is not mounted now, for example
    with pytest.raises(Conflict, match="is not there now"):
        gc(here.repo, grace_s=0, dry_run=False)
    assert theirs in here.objects(shared)


def test_data_that_is_tracked_is_not_taken_for_metafiles(here: Ground) -> None:
    here.write("data/x", b"x")
    here.add("data")
    here.write("data/inner.dvc", b"not yaml: [")
    gc(here.repo, grace_s=0)


def test_a_remote_is_collected_after_it_was_seen_twice(here: Ground) -> None:
    push(here.repo, all_commits=True)
    shutil.copytree(here.cache / "files", here.remote / "files", dirs_exist_ok=True)
    assert LOST in here.objects(here.remote)
    _, remote = gc(here.repo, cloud=True)
    assert (remote.where, remote.objects, remote.young) == ("origin", 0, 1)
    _, remote = gc(here.repo, cloud=True, grace_s=0)
    assert (remote.objects, remote.kept) == (1, 3)
    assert LOST in here.objects(here.remote)


@pytest.mark.parametrize("trashed", [True, False])
def test_a_remote_gives_up_only_what_nothing_needs(here: Ground, trashed: bool) -> None:
    here.folder("data", 3)
    here.commit("data")
    push(here.repo, all_commits=True)
    here.write("data/f1", b"never committed either")
    here.add("data")
    push(here.repo)
    git(here.root, "checkout", "-q", "data.dvc")
    before = here.objects(here.remote).keys()
    _, remote = gc(here.repo, cloud=True, grace_s=0, dry_run=False, keep_in_trash=trashed)
    assert remote.objects == 2
    assert len(here.objects(here.remote)) == len(before) - 2
    if trashed:
        assert undo(here.repo, cloud=True).objects == 2
        assert here.objects(here.remote).keys() == before
    assert push(here.repo).faults == ()


def test_the_workspace_comes_back_after_a_gc(here: Ground) -> None:
    here.folder("data", 4)
    here.commit("data")
    gc(here.repo, grace_s=0, dry_run=False)
    here.lose("data", "one.txt")
    assert checkout(here.repo).missing == ()
    assert list((here.root / "data").iterdir())


def test_chunks_that_nothing_needs_go_and_come_back(here: Ground) -> None:
    pytest.importorskip("numpy")
    versions = [random.Random(seed).randbytes(1 << 20) for seed in (1, 2)]
    for data in versions:
        here.write("model.bin", data)
        add(here.repo, [here.root / "model.bin"], chunked=True)
        push(here.repo)
    kept = sorted(path for path in (here.remote / "chunks").rglob("*") if path.is_file())
    cache, remote = gc(here.repo, cloud=True, grace_s=0, dry_run=False)
    assert cache.objects >= 2
    assert remote.objects >= 2
    assert len([path for path in (here.remote / "chunks").rglob("*") if path.is_file()]) == len(kept) - remote.objects
    here.lose("model.bin")
    here.lose_cache()
    pull(here.repo)
    assert (here.root / "model.bin").read_bytes() == versions[1]
    undo(here.repo, cloud=True)
    assert sorted(path for path in (here.remote / "chunks").rglob("*") if path.is_file()) == kept
