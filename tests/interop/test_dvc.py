"""Whatever one of the two tools writes, the other reads: metafiles, manifests, caches and remotes, both ways."""

from __future__ import annotations

import hashlib
import itertools
import shutil
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.interop.dvc import Repo, Tree, grow, held, objects, remote, repository

pytestmark = [pytest.mark.needs("dvc"), pytest.mark.timeout(300)]

TREE: Tree = {
    "plain.txt": b"plain\n",
    "sub/deeper/file.bin": bytes(range(256)) * 20,
    "sub-a": b"sorts before sub/",
    "sub/x": b"",
    ".hidden": b"hidden",
    ".gitignore": b"*.tmp\n",
    "with space/ü \u65e5\u672c.csv": "a,b\n1,ü\n".encode(),
    "twin/1": b"same bytes",
    "twin/2": b"same bytes",
    "dos.txt": b"one\r\ntwo\r\n",
}
OUTER: Tree = {"prices.csv": b"day,price\n1,2.5\n", "name #1: x.bin": b"\x00\x01", "- dash": b"d", "12": b"number"}


def pair(folder: Path) -> tuple[Repo, Repo]:
    return repository(folder, "modelkeep"), repository(folder, "dvc")


def same_metafiles(ours: Repo, theirs: Repo) -> None:
    def metafiles(repo: Repo) -> Tree:
        found = {name: data for name, data in held(repo.root).items() if not name.startswith((".git/", ".dvc/"))}
        found = {name: data for name, data in found.items() if name.endswith((".dvc", ".gitignore", ".dvcignore"))}
        own = found.get(".gitignore", b"").replace(b".modelkeep/\n", b"")  # which `modelkeep init` adds
        return {**{name: data for name, data in found.items() if name != ".gitignore"}, ".gitignore": own}

    assert metafiles(ours) == metafiles(theirs)


def test_what_init_writes_is_what_dvc_writes(tmp_path: Path) -> None:
    ours, theirs = pair(tmp_path)
    for name in (".dvc/.gitignore", ".dvcignore"):
        assert (ours.root / name).read_bytes() == (theirs.root / name).read_bytes()
    mine, other = ((repo.root / ".dvc/config").read_text() for repo in (ours, theirs))
    assert mine.replace("modelkeep-remote", "dvc-remote") == other
    assert ours.git("status", "--short").count(".dvc") == theirs.git("status", "--short").count(".dvc")


def test_files_folders_caches_and_remotes_are_equal_and_read_by_both(tmp_path: Path) -> None:
    ours, theirs = pair(tmp_path)
    for repo in (ours, theirs):
        grow(repo.root / "data", TREE)
        grow(repo.root, OUTER)
        (repo.root / "run.sh").write_text("#!/bin/sh\n")
        (repo.root / "run.sh").chmod(0o755)
        repo.run("add", "data", "run.sh", "prices.csv", "name #1: x.bin", "12", "--", "- dash")
        repo.run("push")
    same_metafiles(ours, theirs)
    assert objects(ours.root / ".dvc/cache") == objects(theirs.root / ".dvc/cache")
    assert objects(remote(ours)) == objects(remote(theirs))

    for repo, other in ((ours, "dvc"), (theirs, "modelkeep")):
        assert "up to date" in repo.run("status", tool=other).out + repo.run("status", tool=other).err
        before = held(repo.root / "data")
        for gone in (repo.root / "data", repo.root / ".dvc/cache"):
            shutil.rmtree(gone)
        for name in (*OUTER, "run.sh"):
            (repo.root / name).unlink()
        repo.run("pull", tool=other)
        assert held(repo.root / "data") == before == TREE
        assert {name: (repo.root / name).read_bytes() for name in OUTER} == OUTER
        assert (repo.root / "run.sh").stat().st_mode & 0o111
        assert not repo.git("status", "--short", "--", "data.dvc", "prices.csv.dvc").startswith(" M")
    same_metafiles(ours, theirs)


def test_a_changed_tree_goes_back_and_forth(tmp_path: Path) -> None:
    """Each tool adds a version on top of the other's; every version comes back by either."""
    repo = repository(tmp_path, "modelkeep")
    versions: list[tuple[str, Tree]] = []
    for number, tool in enumerate(("modelkeep", "dvc", "modelkeep", "dvc")):
        tree = {**TREE, "plain.txt": f"version {number}\n".encode(), f"new/{number}": b"new"}
        if number == 2:
            del tree["sub/x"]
        shutil.rmtree(repo.root / "data", ignore_errors=True)
        grow(repo.root / "data", tree)
        repo.run("add", "data", tool=tool)
        versions.append((repo.commit(f"version {number}"), tree))
    for (commit, tree), tool in itertools.product(versions, ("dvc", "modelkeep")):
        repo.git("checkout", "-q", commit)
        repo.run("checkout", tool=tool)
        assert held(repo.root / "data") == tree, (commit, tool)


NAMES = st.text(
    st.characters(codec="utf-8", exclude_categories=("Cc", "Cs"), exclude_characters="/\\"), min_size=1, max_size=8
)
PATHS = st.lists(
    NAMES.filter(lambda name: name not in {".", "..", ".dvcignore", ".git", ".dvc"}), min_size=1, max_size=3
).map("/".join)
TREES = st.dictionaries(PATHS, st.binary(max_size=40), min_size=1, max_size=7).filter(
    lambda tree: not any(one != other and other.startswith(one + "/") for one in tree for other in tree)
)
COUNT = itertools.count()


def both_ways(folder: Path, tree: Tree) -> None:
    ours, theirs = pair(folder)
    for repo in (ours, theirs):
        grow(repo.root / "data", tree)
        repo.run("add", "data")
    same_metafiles(ours, theirs)
    assert objects(ours.root / ".dvc/cache") == objects(theirs.root / ".dvc/cache")
    for repo, other in ((ours, "dvc"), (theirs, "modelkeep")):
        shutil.rmtree(repo.root / "data")
        repo.run("checkout", tool=other)
        assert held(repo.root / "data") == tree


@given(tree=TREES)
@settings(max_examples=4, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
def test_any_tree_makes_the_same_bytes(tmp_path: Path, tree: Tree) -> None:
    both_ways(tmp_path / str(next(COUNT)), tree)


@pytest.mark.slow
@pytest.mark.timeout(3600)
@given(tree=TREES)
@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
def test_any_tree_makes_the_same_bytes_at_length(tmp_path: Path, tree: Tree) -> None:
    both_ways(tmp_path / str(next(COUNT)), tree)


def test_an_edited_metafile_keeps_what_people_wrote(tmp_path: Path) -> None:
    ours, theirs = pair(tmp_path)
    told = (
        "# bought from the exchange\nouts:\n- md5: 0cc175b9c0f1b6a831c399e269772661\n  size: 1\n  hash: md5\n"
        "  path: prices.csv\n  desc: daily prices # and why\n  labels:\n  - finance\n  meta:\n    owner: ann\n"
        "desc: all of it\nmeta:\n  n: 3\n"
    )
    for repo in (ours, theirs):
        (repo.root / "prices.csv").write_bytes(b"1\n")
        (repo.root / "prices.csv.dvc").write_text(told)
        repo.run("add", "prices.csv")
    same_metafiles(ours, theirs)
    assert "# bought from the exchange" in (ours.root / "prices.csv.dvc").read_text()


def test_a_legacy_repository_is_read_as_dvc_reads_it(tmp_path: Path) -> None:
    """DVC 2.x: no `hash:` in the metafile, text hashed with unix line ends, objects right below the cache."""
    ours, theirs = pair(tmp_path)
    text = b"a,b\r\n1,2\r\n"
    oid = hashlib.md5(text.replace(b"\r\n", b"\n")).hexdigest()
    for repo in (ours, theirs):
        (repo.root / "old.csv.dvc").write_text(f"outs:\n- md5: {oid}\n  size: {len(text)}\n  path: old.csv\n")
        place = repo.root / ".dvc/cache" / oid[:2] / oid[2:]
        place.parent.mkdir(parents=True)
        place.write_bytes(text)
        place.chmod(0o444)
        repo.run("checkout")
        assert (repo.root / "old.csv").read_bytes() == text
        assert "up to date" in (told := repo.run("status")).out + told.err
        repo.run("push")
        assert oid[:2] in {path.name for path in remote(repo).iterdir()}
    assert objects(remote(ours)) == objects(remote(theirs))


def test_moved_removed_and_unprotected_as_dvc_does(tmp_path: Path) -> None:
    ours, theirs = pair(tmp_path)
    for repo in (ours, theirs):
        grow(repo.root / "data", {"a": b"1", "b": b"2"})
        grow(repo.root, {"one.csv": b"1", "two.csv": b"2", "three.csv": b"3"})
        (repo.root / "sub").mkdir()
        repo.run("add", "data", "one.csv", "two.csv", "three.csv")
        repo.run("move", "one.csv", "sub/uno.csv")
        repo.run("move", "data", "moved")
        repo.run("config", "cache.type", "hardlink", tool="dvc")
        repo.run("checkout", "--relink")
        repo.run("remove", "two.csv.dvc")
        repo.run("remove", "--outs", "three.csv.dvc")
        repo.run("unprotect", "moved")
    same_metafiles(ours, theirs)
    plain = [
        {n for n in held(r.root) if not n.startswith((".git/", ".dvc/", "modelkeep.yaml"))} for r in (ours, theirs)
    ]
    assert plain[0] == plain[1]
    for repo in (ours, theirs):
        assert (repo.root / "moved/a").stat().st_nlink == 1
        assert (repo.root / "sub/uno.csv").stat().st_nlink == 2


def test_dvc_collects_garbage_around_our_notes(tmp_path: Path) -> None:
    repo = repository(tmp_path, "modelkeep")
    for version in (b"1", b"2"):
        (repo.root / "f").write_bytes(version)
        repo.run("add", "f")
    repo.run("gc", "-w", "-f", tool="dvc")
    assert len(objects(repo.root / ".dvc/cache")) == 1
    (repo.root / "f").unlink()
    repo.run("checkout")
    assert (repo.root / "f").read_bytes() == b"2"
