"""A real git repository asked for everything that the data room needs: any bytes, any names, any state."""

from __future__ import annotations

import os
import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modelkeep.code.clones import address, clone
from modelkeep.code.command import explained, without_user
from modelkeep.code.repository import Git
from modelkeep.core.errors import BadInput, Busy, Conflict, Denied, Error, Missing, Unreachable

ODD = "we\nird \u00e9\t\"'[1]*.dvc"
NAMES = st.text(st.characters(blacklist_categories=["Cs"], blacklist_characters="\0/"), min_size=1, max_size=20).filter(
    lambda name: name.lower() not in {".", "..", ".git"} and len(name.encode()) < 200 and ".git" not in name.lower()
)


def git(folder: Path, *words: str) -> str:
    who = ("-c", "user.name=a", "-c", "user.email=a@example.org", "-c", "protocol.file.allow=always")
    return subprocess.run(["git", *who, *words], cwd=folder, check=True, capture_output=True, text=True).stdout.strip()


def commit(folder: Path, files: dict[str, bytes], message: str = "c") -> str:
    for name, data in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    git(folder, "add", "-A")
    git(folder, "commit", "-qm", message)
    return git(folder, "rev-parse", "HEAD")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "r"
    folder.mkdir()
    git(folder, "init", "-q", "-b", "main")
    return folder


def test_files_of_any_name_and_bytes_are_listed_and_read(root: Path) -> None:
    files = {ODD: b"\0\xff\n", "sub/a.dvc": b"", "sub/deep/x": os.urandom(300_000), "run.sh": b"#!/bin/sh\n"}
    for name, data in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(data)
    (root / "run.sh").chmod(0o755)
    (root / "link").symlink_to("sub/a.dvc")
    first = commit(root, {})
    with Git(root / "sub") as repo:
        assert repo.root == root
        found = {file.path: file for file in repo.files(first)}
        assert sorted(found) == sorted([*files, "link"])
        assert found["run.sh"].mode == "100755"
        assert found["link"].mode == "120000"
        for name, data in files.items():
            assert repo.read("main", name) == data
            assert repo.blob(found[name].blob) == data
        assert [file.path for file in repo.files("HEAD", suffixes=[".dvc"])] == ["sub/a.dvc", ODD]
        assert [file.path for file in repo.files("HEAD", folder="sub")] == ["sub/a.dvc", "sub/deep/x"]
        assert repo.files("HEAD", folder="nowhere") == []
        assert repo.sizes([found["sub/deep/x"].blob]) == {found["sub/deep/x"].blob: 300_000}
        assert sorted(repo.folders("HEAD")) == ["sub", "sub/deep"]


@settings(max_examples=15)
@given(st.dictionaries(NAMES, st.binary(max_size=50), min_size=1, max_size=5))
def test_any_tree_is_read_as_it_was_written(tmp_path_factory: pytest.TempPathFactory, files: dict[str, bytes]) -> None:
    folder = tmp_path_factory.mktemp("r")
    git(folder, "init", "-q")
    git(folder, "config", "core.precomposeunicode", "false")
    commit(folder, files)
    with Git(folder) as repo:
        assert {file.path: repo.read("HEAD", file.path) for file in repo.files("HEAD")} == files


def test_what_is_not_there_is_named(root: Path) -> None:
    commit(root, {"sub/f": b"1"})
    git(root, "branch", "release")
    with Git(root) as repo:
        with pytest.raises(Missing, match="nope: not in main"):
            repo.read("main", "nope")
        with pytest.raises(BadInput, match="sub: not a file in main"):
            repo.read("main", "sub")
        with pytest.raises(Missing, match="relaese: no such revision") as caught:
            repo.resolve("relaese")
        assert "release" in caught.value.hint
        for rev in ("--help", "-n", "HEAD:sub", "main^9"):
            with pytest.raises(Missing):
                repo.resolve(rev)
        for rev in ("", "a\nb", "a\0b"):
            with pytest.raises(BadInput):
                repo.resolve(rev)
        with pytest.raises(Missing):
            repo.blob("0" * 40)
        assert repo.read("main", "sub/f") == b"1"  # the reading process goes on after every refusal


def test_revisions_refs_stashes_and_work_trees(root: Path, tmp_path: Path) -> None:
    first = commit(root, {"a.dvc": b"1"})
    git(root, "tag", "-a", "v1", "-m", "one")
    second = commit(root, {"a.dvc": b"2"})
    git(root, "tag", "light")
    git(root, "tag", "tree", "HEAD^{tree}")
    git(root, "worktree", "add", "-q", "--detach", str(tmp_path / "w"), first)
    hidden = commit(tmp_path / "w", {"a.dvc": b"3"})
    (root / "a.dvc").write_bytes(b"4")
    git(root, "stash")
    (root / "a.dvc").write_bytes(b"5")
    git(root, "stash")
    with Git(root) as repo:
        assert repo.resolve("v1") == repo.resolve("HEAD~1") == repo.resolve(first[:8]) == first
        assert repo.branches() == {"main": second}
        assert repo.tags() == {"v1": first, "light": second}
        assert repo.heads() == [second, hidden]
        assert len(repo.stashes()) == 2
        assert {first, second, hidden, *repo.stashes()} <= set(repo.commits())
        versions = {repo.blob(file.blob) for file in repo.history([".dvc"])}
        assert versions == {b"1", b"2", b"3", b"4", b"5"}
        assert repo.changed("v1", "main") == [("a.dvc", "M")]
        (root / "b").write_bytes(b"")
        git(root, "add", "b")
        assert repo.changed("main") == [("b", "A")]


def test_what_a_merge_alone_has_is_part_of_the_history(root: Path) -> None:
    commit(root, {"a.dvc": b"base"})
    git(root, "checkout", "-qb", "side")
    commit(root, {"a.dvc": b"theirs"})
    git(root, "checkout", "-q", "main")
    commit(root, {"a.dvc": b"ours"})
    subprocess.run(["git", "merge", "-q", "side"], cwd=root, check=False, capture_output=True)
    commit(root, {"a.dvc": b"both"})
    with Git(root) as repo:
        assert {repo.blob(file.blob) for file in repo.history([".dvc"])} == {b"base", b"theirs", b"ours", b"both"}


def test_a_branch_without_a_commit(root: Path) -> None:
    with Git(root) as repo:
        assert not repo.has_commits()
        assert repo.branches() == {}
        assert repo.commits() == []
        assert repo.heads() == []
        with pytest.raises(Missing, match="has no commit yet"):
            repo.resolve("HEAD")


def test_a_shallow_clone_says_so(root: Path, tmp_path: Path) -> None:
    commit(root, {"a": b"1"})
    commit(root, {"a": b"2"})
    git(tmp_path, "clone", "-q", "--depth=1", f"file://{root}", "shallow")
    with Git(tmp_path / "shallow") as repo:
        assert repo.shallow
        with pytest.raises(Missing) as caught:
            repo.resolve("HEAD~1")
        assert "--unshallow" in caught.value.hint


def test_no_repository_no_folder_no_git(tmp_path: Path, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert Git.find(tmp_path) is None
    with pytest.raises(Missing, match="not a git repository"):
        Git(tmp_path)
    with pytest.raises(Missing, match="no such folder"):
        Git(tmp_path / "none")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(Missing, match="git is not installed"):
        Git(root)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder to somebody else")
def test_a_folder_of_somebody_else_is_explained(root: Path) -> None:
    commit(root, {"a": b"1"})
    os.chown(root, 12345, 12345)
    os.chown(root / ".git", 12345, 12345)
    with pytest.raises(Denied, match="dubious ownership") as caught:
        Git.find(root)
    assert "safe.directory" in caught.value.hint


def test_a_hooks_environment_does_not_mislead(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    commit(root, {"a": b"1"})
    other = tmp_path / "other"
    other.mkdir()
    git(other, "init", "-q")
    monkeypatch.setenv("GIT_DIR", str(other / ".git"))
    monkeypatch.setenv("GIT_INDEX_FILE", str(other / "index"))
    with Git(root) as repo:
        assert [file.path for file in repo.files("HEAD")] == ["a"]


def test_staging(root: Path) -> None:
    commit(root, {"gone": b"1", ".gitignore": b"*.tmp\n"})
    (root / "gone").unlink()
    for name in (ODD, ":(top)x", "no.tmp"):
        (root / name).write_bytes(b"1")
    with Git(root) as repo:
        repo.stage([root / ODD, root / ":(top)x", "r/gone" if Path.cwd() == root.parent else root / "gone"])
        assert repo.changed("HEAD") == [(":(top)x", "A"), ("gone", "D"), (ODD, "A")]
        assert repo.ignored(["no.tmp", ODD]) == {"no.tmp"}
        repo.stage([])
        with pytest.raises(Conflict, match="ignored"):
            repo.stage([root / "no.tmp"])
        with pytest.raises(BadInput, match="outside"):
            repo.stage([root.parent / "x"])
        (root / ".git/index.lock").touch()
        with pytest.raises(Busy):
            repo.stage([root / ODD])


def test_where_hooks_lie(root: Path, tmp_path: Path) -> None:
    commit(root, {"a": b"1"})
    git(root, "worktree", "add", "-q", str(tmp_path / "w"))
    with Git(root) as repo, Git(tmp_path / "w") as tree:
        assert repo.hooks_folder() == tree.hooks_folder() == root / ".git/hooks"
        assert repo.folder == tree.folder == root / ".git"
        git(root, "config", "core.hooksPath", "tools/hooks")
        assert repo.hooks_folder() == root / "tools/hooks"
        assert tree.hooks_folder() == tmp_path / "w/tools/hooks"


# Clones


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"


def test_a_clone_follows_its_original(root: Path, cache: Path) -> None:
    first = commit(root, {"a": b"1"})
    git(root, "tag", "v1")
    git(root, "branch", "old")
    with clone(f"file://{root}", cache=cache) as repo:
        assert (repo.resolve("HEAD"), repo.tags(), repo.bare) == (first, {"v1": first}, True)
    second = commit(root, {"a": b"2"})
    git(root, "branch", "-D", "old")
    git(root, "tag", "-f", "v1", second)
    with clone(f"file://{root}", cache=cache) as repo:
        assert repo.resolve("HEAD") == repo.resolve("v1") == second
        assert repo.branches() == {"main": second}
        assert repo.read("HEAD~1", "a") == b"1"
    assert len([path for path in cache.iterdir() if path.is_dir()]) == 1


def test_a_clone_leaves_contents_on_the_other_side_until_they_are_read(root: Path, cache: Path) -> None:
    git(root, "config", "uploadpack.allowFilter", "true")
    git(root, "config", "uploadpack.allowAnySHA1InWant", "true")
    first = commit(root, {"big": b"1" * 1000, "small.dvc": b"2"})
    with clone(f"file://{root}", cache=cache) as repo:
        files = {file.path: file.blob for file in repo.files(first)}
        local = git(repo.root, "cat-file", "--batch-check=%(objectname)", "--batch-all-objects").splitlines()
        assert not set(files.values()) & set(local)
        repo.prefetch([files["small.dvc"]])
        assert repo.read(first, "small.dvc") == b"2"
        local = git(repo.root, "cat-file", "--batch-check=%(objectname)", "--batch-all-objects").splitlines()
        assert (files["small.dvc"] in local, files["big"] in local) == (True, False)
        assert repo.read(first, "big") == b"1" * 1000


def test_a_full_commit_that_is_there_needs_no_network(root: Path, cache: Path) -> None:
    first = commit(root, {"a": b"1"})
    with clone(f"file://{root}", cache=cache) as repo:
        assert repo.read(first, "a") == b"1"
    shutil.move(root, root.with_name("gone"))
    with clone(f"file://{root}", rev=first, cache=cache) as repo:
        assert repo.read(first, "a") == b"1"
    with pytest.raises(Missing, match="no git repository there"):
        clone(f"file://{root}", rev="main", cache=cache)


def test_a_repository_without_a_commit_is_cloned(root: Path, cache: Path) -> None:
    with clone(f"file://{root}", cache=cache) as repo, pytest.raises(Missing):
        repo.resolve("main")


def test_two_at_once_make_one_clone(root: Path, cache: Path) -> None:
    first = commit(root, {"a": b"1"})

    def work(_: int) -> str:
        with clone(f"file://{root}", cache=cache) as repo:
            return repo.resolve("HEAD")

    with ThreadPoolExecutor(4) as pool:
        assert set(pool.map(work, range(4))) == {first}
    assert len([path for path in cache.iterdir() if path.is_dir()]) == 1


@pytest.mark.parametrize(
    "url",
    [
        "ext::sh -c 'touch /tmp/x'",
        "--upload-pack=touch x",
        "-oProxyCommand=x:y",
        "ssh://-oProxyCommand=x/y",
        "git://host.example/x",
        "fd::17/foo",
        "http://host.example/x",
        "https://host.example/\n",
        "nothing",
        "",
    ],
)
def test_addresses_that_could_do_harm_are_refused(url: str) -> None:
    with pytest.raises(BadInput):
        address(url)


@pytest.mark.parametrize(
    "url",
    ["https://host.example/x.git", "ssh://me@host.example:22/x", "git@host.example:t/x.git", "host:x", "file:///x"],
)
def test_addresses_of_git_are_taken(url: str) -> None:
    assert address(url) == url


def test_somebody_may_allow_another_protocol(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIT_ALLOW_PROTOCOL", "http:https")
    assert address("http://host.example/x")
    with pytest.raises(BadInput):
        address("ssh://host.example/x")


def test_a_password_is_neither_kept_nor_shown(cache: Path) -> None:
    with pytest.raises(Unreachable) as caught:
        clone("https://me:hunter2@127.0.0.1:1/x.git?token=hunter3", cache=cache)
    assert "hunter" not in f"{caught.value.message} {caught.value.hint}"
    assert not [path for path in cache.rglob("*") if path.is_file() and b"hunter" in path.read_bytes()]


@pytest.mark.parametrize(
    ("complaint", "kind"),
    [
        ("fatal: could not read Username for 'https://h': terminal prompts disabled", Denied),
        ("fatal: unable to access 'https://me:s3cret@h/': Could not resolve host: h", Unreachable),
        ("remote: Repository not found.\nfatal: repository 'https://h/x' not found", Missing),
        ("fatal: something new", BadInput),
    ],
)
def test_what_git_says_becomes_an_error(complaint: str, kind: type[Error], tmp_path: Path) -> None:
    found = explained(complaint, tmp_path)
    assert type(found) is kind
    assert "s3cret" not in found.message


@given(st.text(max_size=30), st.text(max_size=30))
def test_no_user_survives_in_any_text(before: str, after: str) -> None:
    assert "hunter2" not in without_user(f"{before} https://me:hunter2@host/{after}")
