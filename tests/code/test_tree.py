"""Trees of real repositories: what is materialised is a fresh clone to the byte, and patches bring the rest."""

from __future__ import annotations

import os
import shutil
import stat
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modelkeep.code import patch as patches
from modelkeep.code.repository import Git
from modelkeep.code.tree import materialise
from modelkeep.core.errors import Conflict, Corrupt, Denied, Missing
from tests.code.repositories import commit, git, repository

Entry = tuple[str, bytes]
Tree = dict[str, Entry]

PARTS = st.one_of(
    st.sampled_from(
        [
            "a",
            "b",
            "ab",
            "sub",
            "README",
            ".hidden",
            "-x",
            "é",
            "e\u0301",
            '"q"',
            "tab\there",
            "new\nline",
            "\udcff",
            " ",
        ]
    ),
    st.text(st.characters(blacklist_categories=["Cs"], blacklist_characters="\0/"), min_size=1, max_size=6),
).filter(lambda name: name not in {".", ".."} and ".git" not in name.lower() and "git~" not in name.lower())
NAMES = st.lists(PARTS, min_size=1, max_size=3).map("/".join).filter(lambda name: "\u200c" not in name)
LINES = st.lists(st.sampled_from(["line", "$Id$", "ünï", "", "x" * 40]), max_size=6)
TEXT = st.builds(lambda lines, end: end.join(lines).encode(), LINES, st.sampled_from(["\n", "\r\n", "\r"]))
BYTES = st.one_of(
    TEXT, st.just(b""), st.binary(max_size=60), st.builds(lambda n: bytes(range(256)) * n, st.integers(1, 4))
)
ENTRIES = st.one_of(
    st.tuples(st.sampled_from(["file", "file", "program"]), BYTES),
    st.tuples(st.just("link"), st.sampled_from([b"a", b"../nowhere", b"sub/b", "é".encode(), b"/etc/passwd"])),
)
ATTRIBUTES = st.sampled_from(
    [
        "",
        "* text=auto\n",
        "* text eol=crlf\n",
        "* -text\n",
        "a* ident\n",
        "*.x binary\n",
        "sub/** text eol=crlf\n* -diff\n",
    ]
)


def _fits(tree: Tree) -> Tree:
    """Leaves out names that are folders of others."""
    return {name: what for name, what in tree.items() if not any(other.startswith(name + "/") for other in tree)}


TREES = st.dictionaries(NAMES, ENTRIES, max_size=6).map(_fits)


def write(root: Path, tree: Tree) -> None:
    for name, (kind, data) in tree.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if kind == "link":
            path.symlink_to(os.fsdecode(data))
        else:
            path.write_bytes(data)
            path.chmod(0o755 if kind == "program" else 0o644)


def read(root: Path) -> Tree:
    found: Tree = {}
    for place, folders, names in os.walk(root):
        if ".git" in folders and Path(place) == root:
            folders.remove(".git")
        links = [name for name in folders if (Path(place) / name).is_symlink()]
        for name in [*names, *links]:
            path = Path(place) / name
            kind = "link" if path.is_symlink() else "program" if path.stat().st_mode & stat.S_IXUSR else "file"
            data = os.fsencode(path.readlink()) if kind == "link" else path.read_bytes()
            found[path.relative_to(root).as_posix()] = (kind, data)
    return found


def cleared(root: Path) -> None:
    for path in root.iterdir():
        if path.name != ".git":
            shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()


@pytest.fixture(scope="module")
def fresh(tmp_path_factory: pytest.TempPathFactory) -> Callable[[], Path]:
    return lambda: Path(tempfile.mkdtemp(dir=tmp_path_factory.getbasetemp()))


def _committed(root: Path, tree: Tree, attributes: str) -> str:
    repository(root)
    git(root, "config", "core.precomposeunicode", "false")
    git(root, "config", "core.safecrlf", "false")
    write(root, tree)
    if attributes:
        (root / ".gitattributes").write_text(attributes)
    return commit(root, {})


@given(TREES, ATTRIBUTES)
@settings(max_examples=20)
def test_any_tree_is_that_of_a_fresh_clone(fresh: Callable[[], Path], tree: Tree, attributes: str) -> None:
    home = fresh()
    made = _committed(home / "r", tree, attributes)
    git(home, "clone", "-q", "r", "clone")
    git(home / "r", "config", "core.autocrlf", "true")  # what a user sets for himself changes nothing
    cleared(home / "r")
    (home / "r" / ".gitattributes").write_text("* eol=crlf ident\n")  # nor what lies in the work tree
    with Git(home / "r") as repo:
        told = materialise(repo, made, home / "out")
    assert read(home / "out") == read(home / "clone")
    assert told.files == len(read(home / "out"))
    assert not (home / "out" / ".git").exists()
    git(home / "r", "diff", "--cached", "--quiet", "HEAD")


@given(TREES, TREES, st.sampled_from(["", "* text=auto\n", "* text eol=crlf\n", "a* ident\n", "* -diff\n"]))
@settings(max_examples=20)
def test_any_dirty_tree_comes_back_to_the_byte(
    fresh: Callable[[], Path], before: Tree, after: Tree, attributes: str
) -> None:
    home = fresh()
    root = home / "r"
    made = _committed(root, before, attributes)
    clean = home / "clean"
    git(home, "clone", "-q", "r", "clean")
    cleared(root)
    write(root, after)
    if attributes:
        (root / ".gitattributes").write_text(attributes)
    seen = patches._state(git_status(root))
    objects = sorted(path for path in (root / ".git").rglob("*") if path.name != "index")
    patch = patches.make(root)
    assert sorted(path for path in (root / ".git").rglob("*") if path.name != "index") == objects
    with Git(root) as repo:
        materialise(repo, made, home / "out")
        if patch is not None and patch.digest:
            text = patches.inflated(patch.deflated, patch.digest, patch.size)
            patches.apply(repo, made, text, home / "out")
    left_out = set(patch.left_out) if patch else set()
    touched = {path for _, path in seen.changed} | set(seen.untracked)
    below = tuple(f"{path}/" for path in touched)  # git does not see that a/b is gone where a leads to itself
    expected = {name: what for name, what in read(clean).items() if name not in touched and not name.startswith(below)}
    expected |= {name: what for name, what in read(root).items() if name in touched}
    assert read(home / "out") == {name: what for name, what in expected.items() if name not in left_out}
    again = patches.make(root)
    assert again == patch  # equal trees, equal patches


def git_status(root: Path) -> bytes:
    with Git(root) as repo:
        return repo.run(*patches._STATUS)


def test_a_folder_that_is_not_empty_stays_as_it_is(tmp_path: Path) -> None:
    root = repository(tmp_path / "r")
    commit(root, {"a": b"1"})
    out = tmp_path / "out"
    out.mkdir()
    (out / "mine").write_text("x")
    with Git(root) as repo:
        with pytest.raises(Conflict, match="is not empty"):
            materialise(repo, "HEAD", out)
        assert read(out) == {"mine": ("file", b"x")}
        with pytest.raises(Denied):
            materialise(repo, "HEAD", out / "mine")
        with pytest.raises(Missing):
            materialise(repo, "nowhere", tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_what_fails_half_way_leaves_nothing(tmp_path: Path) -> None:
    root = repository(tmp_path / "r")
    commit(root, {"a": b"1", "b": b"2"})
    found = git(root, "rev-parse", "HEAD:b")
    (root / ".git/objects" / found[:2] / found[2:]).unlink()
    with Git(root) as repo, pytest.raises(Exception, match=found):
        materialise(repo, "HEAD", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_bare_shallow_and_partial_clones_and_linked_work_trees(tmp_path: Path) -> None:
    root = repository(tmp_path / "r")
    first = commit(root, {"a": b"1", "sub/b": b"2"})
    commit(root, {"a": b"3"})
    git(root, "config", "uploadpack.allowFilter", "true")
    git(root, "config", "uploadpack.allowAnySHA1InWant", "true")
    git(tmp_path, "clone", "-q", "--bare", "r", "bare.git")
    git(tmp_path, "clone", "-q", "--depth=1", f"file://{root}", "shallow")
    git(tmp_path, "clone", "-q", "--bare", "--filter=blob:none", f"file://{root}", "partial.git")
    git(root, "worktree", "add", "-q", "--detach", str(tmp_path / "linked"), first)
    for name, rev in (("bare.git", first), ("shallow", "HEAD"), ("partial.git", first), ("linked", "HEAD")):
        with Git(tmp_path / name) as repo:
            materialise(repo, rev, tmp_path / f"out-{name}")
        wanted = b"3" if name == "shallow" else b"1"
        assert read(tmp_path / f"out-{name}") == {"a": ("file", wanted), "sub/b": ("file", b"2")}
    (tmp_path / "linked" / "a").write_bytes(b"4")  # a patch there stands on its own HEAD
    patch = patches.make(tmp_path / "linked")
    assert patch is not None
    text = patches.inflated(patch.deflated, patch.digest, patch.size)
    assert b"-1" in text
    with Git(root) as repo:
        patches.apply(repo, first, text, tmp_path / "out-bare.git")
    assert (tmp_path / "out-bare.git" / "a").read_bytes() == b"4"


def test_submodules_and_large_files_elsewhere_are_named(tmp_path: Path) -> None:
    inner = repository(tmp_path / "inner")
    wanted = commit(inner, {"x": b"1"})
    root = repository(tmp_path / "r")
    git(root, "submodule", "--quiet", "add", str(inner), "lib/inner")
    pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 5\n"
    commit(root, {".gitattributes": b"*.bin filter=lfs -text\n", "m.bin": pointer, "n.txt": pointer})
    with Git(root) as repo:
        told = materialise(repo, "HEAD", tmp_path / "out")
    assert [(one.path, one.commit) for one in told.submodules] == [("lib/inner", wanted)]
    assert (tmp_path / "out/lib/inner").is_dir()
    assert told.pointers == ("m.bin", "n.txt")
    later = commit(root / "lib/inner", {"x": b"2"})
    patch = patches.make(root)
    assert patch is not None
    text = patches.inflated(patch.deflated, patch.digest, patch.size)
    assert f"+Subproject commit {later}".encode() in text
    with Git(root) as repo:
        assert patches.apply(repo, "HEAD", text, tmp_path / "out") == ["lib/inner"]
    assert (tmp_path / "out/lib/inner").is_dir()


def test_a_patch_that_does_not_fit_or_leads_outside_is_refused(tmp_path: Path) -> None:
    root = repository(tmp_path / "r")
    commit(root, {"a": b"1\n2\n3\n"})
    (root / "a").write_bytes(b"1\nnew\n3\n")
    patch = patches.make(root)
    assert patch is not None
    text = patches.inflated(patch.deflated, patch.digest, patch.size)
    git(root, "checkout", "-q", "a")
    other = commit(root, {"a": b"quite\nanother\n"})
    evil = b"diff --git a/x b/x\nnew file mode 100644\n--- /dev/null\n+++ b/%s\n@@ -0,0 +1 @@\n+x\n"
    with Git(root) as repo:
        materialise(repo, other, tmp_path / "out")
        for bad in (text, b"no patch", evil.replace(b"%s", b"../evil"), evil.replace(b"%s", b".git/config")):
            with pytest.raises(Corrupt, match="does not fit"):
                patches.apply(repo, other, bad, tmp_path / "out")
    assert read(tmp_path / "out") == {"a": ("file", b"quite\nanother\n")}
    assert not (tmp_path / "evil").exists()
    for deflated, name, size in (
        (patch.deflated[:-1] + b"\0", patch.digest, patch.size),
        (patch.deflated, "0" * 32, patch.size),
        (patch.deflated, patch.digest, patch.size - 1),
        (b"", patch.digest, patch.size),
    ):
        with pytest.raises(Corrupt, match="not that patch"):
            patches.inflated(deflated, name, size)


def test_a_link_of_the_tree_is_never_followed(tmp_path: Path) -> None:
    root = repository(tmp_path / "r")
    (root / "d").symlink_to(tmp_path / "outside")
    (tmp_path / "outside").mkdir()
    made = commit(root, {})
    (root / "d").unlink()
    (root / "d").mkdir()
    (root / "d" / "x").write_text("inside")
    patch = patches.make(root)
    assert patch is not None
    with Git(root) as repo:
        materialise(repo, made, tmp_path / "out")
        patches.apply(repo, made, patches.inflated(patch.deflated, patch.digest, patch.size), tmp_path / "out")
    assert read(tmp_path / "out") == {"d/x": ("file", b"inside")}
    assert list((tmp_path / "outside").iterdir()) == []
