"""What lies between two revisions of real repositories: straight, rewritten, shallow, skewed."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modelkeep.code import history
from modelkeep.code.repository import Git
from modelkeep.core.errors import Missing
from tests.code.repositories import commit, git, repository

YEAR = 365 * 86_400


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return repository(tmp_path / "r")


def test_a_commit_says_who_wrote_it_who_put_it_there_and_who_helped(root: Path) -> None:
    message = (
        "Ünïcode subject\n\nA body\nof lines\n\nCo-authored-by: Bo <bo@example.org>\n"
        "co-AUTHORED-by:  Cy <cy@example.org>  \nCo-authored-by: Bo <bo@example.org>\n"
        "Co-authored-by: Zoë <z@example.org>\n"
    )
    who = {"GIT_AUTHOR_NAME": "Zoë", "GIT_AUTHOR_EMAIL": "z@example.org", "GIT_AUTHOR_DATE": "1700000000 +0900"}
    name = commit(root, {"a": b"1"}, message, GIT_COMMITTER_DATE="1700000060 -0500", **who)
    with Git(root) as repo:
        found = history.commit(repo, "HEAD")
    assert found.id == name
    assert (found.author, found.committer) == ("Zoë <z@example.org>", "Ann <ann@example.org>")
    assert (found.authored_ns, found.committed_ns) == (1_700_000_000 * 10**9, 1_700_000_060 * 10**9)
    assert found.coauthors == ("Bo <bo@example.org>", "Cy <cy@example.org>")
    assert found.subject == "Ünïcode subject"
    assert found.body.startswith("A body\nof lines\n\nCo-authored-by")
    assert found.parents == ()


def test_commits_between_come_in_the_order_of_the_history_not_of_the_clocks(root: Path) -> None:
    made = []
    for years in (0, 40, -20, 10):
        at = f"{1_700_000_000 + years * YEAR} +0000"
        made.append(commit(root, {"a": str(years).encode()}, f"c{years}", GIT_AUTHOR_DATE=at, GIT_COMMITTER_DATE=at))
    with Git(root) as repo:
        found = history.between(repo, made[0], "main")
        assert [one.id for one in found.commits] == made[:0:-1]
        assert (found.relation, found.count, found.gone_count, found.base, found.note) == ("ahead", 3, 0, made[0], "")
        back = history.between(repo, "main", made[0])
        assert (back.relation, back.count, back.gone_count) == ("behind", 0, 3)
        assert [one.id for one in back.gone] == made[:0:-1]
        assert history.between(repo, "main", "HEAD").relation == "same"
        assert len(history.between(repo, made[0], "main", limit=1).commits) == 1
        assert [one.id for one in history.log(repo, "HEAD", paths=["a"])] == made[::-1]
        assert history.log(repo, "HEAD", paths=["b"]) == []


def test_a_rewritten_history_is_said(root: Path) -> None:
    base = commit(root, {"a": b"1"})
    old = commit(root, {"a": b"2"})
    git(root, "reset", "-q", "--hard", base)
    new = commit(root, {"a": b"3"})
    with Git(root) as repo:
        found = history.between(repo, old, new)
        assert (found.relation, found.base, found.count, found.gone_count) == ("diverged", base, 1, 1)
        assert [one.id for one in found.gone] == [old]
        assert found.note == f"{old[:12]} is on no branch or tag any more: the history was rewritten"
        assert history.is_on_a_branch(repo, new)
    git(root, "reflog", "expire", "--expire=now", "--all")
    git(root, "gc", "-q", "--prune=now")
    with Git(root) as repo, pytest.raises(Missing, match="never fetched, or the history was rewritten") as caught:
        history.between(repo, old, new)
    assert f"git fetch origin {old}" in caught.value.hint


def test_a_detached_head_is_on_a_branch_of_its_own(root: Path) -> None:
    commit(root, {"a": b"1"})
    git(root, "checkout", "-q", "--detach")
    here = commit(root, {"a": b"2"})
    with Git(root) as repo:
        assert history.is_on_a_branch(repo, here)
        assert history.between(repo, "main", "HEAD").note == ""


def test_histories_without_a_common_commit_and_shallow_clones_are_said(root: Path, tmp_path: Path) -> None:
    first = commit(root, {"a": b"1"})
    git(root, "checkout", "-q", "--orphan", "other")
    second = commit(root, {"a": b"2"})
    commit(root, {"a": b"3"})
    with Git(root) as repo:
        found = history.between(repo, first, second)
        assert (found.relation, found.base) == ("unrelated", "")
        assert "no commit in common" in found.note
    git(tmp_path, "clone", "-q", "--depth=1", f"file://{root}", "shallow")
    with Git(tmp_path / "shallow") as repo:
        assert len(history.log(repo, "HEAD")) == 1
        with pytest.raises(Missing, match="which is a shallow clone") as caught:
            history.between(repo, second, "HEAD")
        assert "--unshallow" in caught.value.hint
        git(tmp_path / "shallow", "fetch", "-q", "--depth=1", "origin", first)
        assert "shallow clone" in history.between(repo, first, "HEAD").note


def test_every_kind_of_change_of_a_file_is_told_with_its_lines(root: Path) -> None:
    lines = b"".join(b"line %d\n" % n for n in range(30))
    before = {"same": b"x", "text": b"a\nb\n", "binary": b"\0\1", "gone": b"1\n2\n", "old name": lines, "type": b"t"}
    a = commit(root, before)
    (root / "gone").unlink()
    (root / "old name").unlink()
    (root / "type").unlink()
    (root / "type").symlink_to("text")
    (root / "text").chmod(0o755)
    b = commit(root, {"text": b"a\nc\nd\n", "binary": b"\0\2", "ünï\tx\n": b"new\n", "sub/new name": lines + b"more\n"})
    with Git(root) as repo:
        found = {change.path: change for change in history.changes(repo, a, b)}
        assert list(found) == sorted(found)
        told = {path: (change.state, change.added, change.deleted) for path, change in found.items()}
        assert told == {
            "text": ("M", 2, 1),
            "binary": ("M", None, None),
            "gone": ("D", 0, 2),
            "ünï\tx\n": ("A", 1, 0),
            "sub/new name": ("R", 1, 0),
            "type": ("T", 1, 1),
        }
        assert found["sub/new name"].was == "old name"
        assert {one.path for one in history.changes(repo, "", a)} == set(before)
        assert history.changes(repo, a, a) == []
        shown = history.diff(repo, a, b, paths=["text"])
        assert b"+d" in shown
        assert b"gone" not in shown


NAMES = st.text(st.characters(blacklist_categories=["Cs"], blacklist_characters="\0/"), min_size=1, max_size=8).filter(
    lambda name: name not in {".", ".."} and ".git" not in name.lower() and "git~" not in name.lower()
)
FILES = st.dictionaries(
    NAMES, st.one_of(st.binary(max_size=30), st.text("ab\n", max_size=30).map(str.encode)), max_size=5
)


@given(FILES, FILES)
@settings(max_examples=15)
def test_the_states_of_files_are_those_of_the_trees(
    tmp_path_factory: pytest.TempPathFactory, before: dict[str, bytes], after: dict[str, bytes]
) -> None:
    root = repository(tmp_path_factory.mktemp("r"))
    a = commit(root, before)
    git(root, "rm", "-rqf", "--ignore-unmatch", ".")
    b = commit(root, after)
    with Git(root) as repo:
        found = history.changes(repo, a, b)
    touched = {name for change in found for name in (change.path, change.was) if name}
    assert touched == {name for name in before.keys() | after.keys() if before.get(name) != after.get(name)}


def test_what_is_no_path_or_text_is_refused_or_read(root: Path) -> None:
    git(root, "commit", "-q", "--allow-empty", "--allow-empty-message", "-m", "")
    with Git(root) as repo:
        found = history.commit(repo, "HEAD")
        assert (found.subject, found.body, found.coauthors) == ("", "", ())
    latin = git(root, "commit-tree", "HEAD^{tree}", given="Gr\xfc\xdfe".encode("latin-1"))
    with Git(root) as repo:
        assert history.commit(repo, latin).subject.startswith("Gr")
