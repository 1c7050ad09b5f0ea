"""Tags of real repositories: made by git and by us, at once, moved, deleted, pushed, annotated."""

from __future__ import annotations

import string
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modelkeep.code import tags
from modelkeep.code.repository import Git
from modelkeep.code.tagobjects import remembered
from modelkeep.core.errors import BadInput, Conflict, Corrupt, Error, Missing
from tests.code.repositories import commit, git, git_bytes, repository

MESSAGE = 'Registering artifact churn version v1.0.0\n\nModelkeep-Data: md5:0\nModelkeep-Features: ["ä", "b"]\n'


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = repository(tmp_path / "r")
    commit(folder, {"a": b"1"})
    return folder


def test_a_tag_that_we_make_is_gits_own_and_comes_back_to_the_byte(root: Path) -> None:
    with Git(root) as repo:
        made = tags.create(
            repo, "churn@v1.0.0", "HEAD", MESSAGE, by="Zoë Ö <z@example.org>", at_ns=1_700_000_000 * 10**9
        )
        assert tags.tags(repo) == [made]
        assert made == tags.tag(repo, "churn@v1.0.0")
        assert made.message == MESSAGE
        assert made.commit == git(root, "rev-parse", "HEAD")
    raw = git_bytes(root, "cat-file", "tag", "churn@v1.0.0").decode()
    assert raw.endswith("tagger Zoë Ö <z@example.org> 1700000000 +0000\n\n" + MESSAGE)


def test_every_kind_of_tag_that_git_makes_is_read(root: Path) -> None:
    head = git(root, "rev-parse", "HEAD")
    git(root, "tag", "light")
    git(root, "tag", "-a", "heavy", "-m", "one\n\ntwo", GIT_COMMITTER_DATE="1700000001 +0500")
    git(root, "tag", "-a", "nested", "-m", "of a tag", "heavy")
    git(root, "tag", "-a", "tree", "-m", "no commit", "HEAD^{tree}")
    git(root, "tag", "-a", "sub/ünï=côde#prod#1", "-m", "slash")
    odd = f"object {head}\ntype commit\ntag odd\n\nnobody\n".encode()
    git(
        root,
        "update-ref",
        "refs/tags/odd",
        git(root, "hash-object", "-t", "tag", "-w", "--stdin", "--literally", given=odd),
    )
    with Git(root) as repo:
        found = {one.name: one for one in tags.tags(repo)}
        assert list(found) == sorted(found)
        assert [one.name for one in tags.tags(repo, "sub/*")] == ["sub/ünï=côde#prod#1"]
        assert [one.name for one in tags.tags(repo, "*e*")] == ["heavy", "nested", "tree"]
        assert tags.tags(repo, "sub") == []
        assert tags.tag(repo, "sub") is None
    assert (found["light"].object, found["light"].commit, found["light"].at_ns) == ("", head, 0)
    assert (found["heavy"].message, found["heavy"].at_ns) == ("one\n\ntwo\n", 1_700_000_001 * 10**9)
    assert found["heavy"].object == git(root, "rev-parse", "heavy")
    assert found["nested"].commit == head
    assert found["nested"].message == "of a tag\n"
    assert found["tree"].commit == ""
    assert (found["odd"].tagger, found["odd"].at_ns, found["odd"].message) == ("", 0, "nobody\n")


def test_one_name_made_by_many_at_once_is_made_once(root: Path) -> None:
    def attempt(number: int) -> str:
        try:
            with Git(root) as repo:
                return tags.create(repo, "churn@v2.0.0", "HEAD", f"number {number}").message
        except Conflict as error:
            return "" if "churn@v2.0.0 is there already" in error.message else error.message

    with ThreadPoolExecutor(8) as pool:
        made = [text for text in pool.map(attempt, range(24)) if text]
    assert len(made) == 1
    with Git(root) as repo:
        assert tags.tags(repo)[0].message == made[0]


def test_different_names_made_at_once_are_all_made(root: Path) -> None:
    def attempt(number: int) -> None:
        with Git(root) as repo:
            tags.create(repo, f"m{number % 3}@v0.0.{number}", "HEAD", "m")

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(attempt, range(40)))
    with Git(root) as repo:
        assert len(tags.tags(repo)) == 40


def test_what_git_cannot_take_is_refused_with_a_next_step(root: Path, tmp_path: Path) -> None:
    with Git(root) as repo:
        tags.create(repo, "a", "HEAD", "m")
        with pytest.raises(Conflict, match="cannot be beside the tag a"):
            tags.create(repo, "a/b", "HEAD", "m")
        with pytest.raises(Missing, match="nowhere: no such revision"):
            tags.create(repo, "b", "nowhere", "m")
        with pytest.raises(BadInput, match="without a message"):
            tags.create(repo, "b", "HEAD", " \n")
        for by in ("<>", "<a@b>", "a\nb", "a < b <c@d>"):
            with pytest.raises(BadInput, match="is nobody's name"):
                tags.create(repo, "b", "HEAD", "m", by=by)
        for remote in ("", "--upload-pack=x", "a\nb"):
            with pytest.raises(BadInput, match="is no remote"):
                tags.push(repo, ["a"], remote=remote)
        with pytest.raises(Missing, match="no tag gone"):
            tags.delete(repo, "gone")
        assert [one.name for one in tags.tags(repo)] == ["a"]


def test_who_git_does_not_know_is_told_what_to_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = repository(tmp_path / "r", user=False)
    commit(root, {})
    git(root, "config", "user.useConfigOnly", "true")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("GIT_CONFIG_NOSYSTEM", "1")
    monkeypatch.delenv("EMAIL", raising=False)
    with Git(root) as repo:
        with pytest.raises(BadInput, match="does not know who you are") as caught:
            tags.create(repo, "a", "HEAD", "m")
        assert "user.email" in caught.value.hint
        tags.create(repo, "a", "HEAD", "m", by="Ann")


@given(st.text(st.sampled_from(string.ascii_letters + "@#!=.-_/:~^ ?*[\\{}é\x01\x7f"), max_size=12))
@settings(max_examples=60)
def test_names_are_refused_exactly_where_git_refuses_them(name: str) -> None:
    try:
        ours = bool(tags.checked(name))
    except BadInput:
        ours = False
    try:
        git(Path.cwd(), "check-ref-format", f"refs/tags/{name}")
        theirs = not name.startswith("-") and name != "@"
    except subprocess.CalledProcessError:
        theirs = False
    assert ours == theirs


def test_a_moved_or_deleted_tag_is_seen_at_once(root: Path) -> None:
    with Git(root) as repo:
        first = tags.create(repo, "churn#prod#1", "HEAD", "m")
        later = commit(root, {"a": b"2"})
        git(root, "tag", "-f", "-a", "churn#prod#1", "-m", "moved")
        assert tags.tags(repo)[0].commit == later
        with pytest.raises(Conflict, match="was moved"):
            tags.delete(repo, "churn#prod#1", expected=first.object)
        tags.delete(repo, "churn#prod#1", expected=tags.tags(repo)[0].object)
        assert tags.tags(repo) == []


def many(root: Path, count: int) -> None:
    head = git(root, "rev-parse", "HEAD")
    text = "\n".join(
        f"tag m@v0.0.{n}\nfrom {head}\ntagger A <a@b> {1_700_000_000 + n} +0000\ndata 2\nm\n" for n in range(count)
    )
    git(root, "fast-import", "--quiet", given=text.encode())


def test_the_record_of_tags_spares_reading_and_is_never_needed(root: Path) -> None:
    many(root, 300)
    place = root / ".git" / "modelkeep" / "tags"
    with Git(root) as repo:
        first = tags.tags(repo)
        assert len(first) == 300
        assert len(remembered(place)) == 300
        whole = place.read_bytes()
        for damaged in (b"", b"\0\0", whole[:-1], whole[:40] + bytes([whole[40] ^ 1]) + whole[41:]):
            place.write_bytes(damaged)
            assert remembered(place) == {}
            assert tags.tags(repo) == first
        assert place.read_bytes() == whole
        place.unlink()
        place.mkdir()
        assert tags.tags(repo) == first  # it cannot be written: read anew


def test_a_tag_whose_object_is_gone_is_named(root: Path) -> None:
    git(root, "tag", "-a", "churn@v1", "-m", "m")
    found = git(root, "rev-parse", "churn@v1")
    (root / ".git/objects" / found[:2] / found[2:]).unlink()
    with Git(root) as repo, pytest.raises(Corrupt, match=f"the tag churn@v1 names {found}"):
        tags.tags(repo)


def test_many_tags_in_files_of_their_own_are_packed(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tags, "_LOOSE", 4)
    with Git(root) as repo:
        for n in range(4):
            tags.create(repo, f"sub/m@v{n}", "HEAD", "m")
        assert "refs/tags/sub/m@v3" in (root / ".git/packed-refs").read_text()
        assert len(tags.tags(repo)) == 4


# Other repositories


@pytest.fixture
def pair(root: Path, tmp_path: Path) -> tuple[Path, Path]:
    """Two clones of one bare repository."""
    far = tmp_path / "far.git"
    git(tmp_path, "clone", "-q", "--bare", str(root), str(far))
    for name in ("one", "two"):
        git(tmp_path, "clone", "-q", str(far), str(tmp_path / name))
        git(tmp_path / name, "config", "user.name", name)
        git(tmp_path / name, "config", "user.email", f"{name}@example.org")
    return tmp_path / "one", tmp_path / "two"


def test_tags_and_annotations_travel(pair: tuple[Path, Path]) -> None:
    with Git(pair[0]) as one, Git(pair[1]) as two:
        made = tags.create(one, "churn@v1", "HEAD", "m")
        tags.annotate(one, made.object, '{"at":"1","text":"ä"}')
        tags.push(one, ["churn@v1"], notes=True)
        tags.fetch(two)
        assert tags.tags(two) == [made]
        tags.annotate(two, made.object, '{"at":"3"}')
        tags.annotate(one, made.object, '{"at":"2"}')
        tags.push(two, notes=True)
        tags.push(one, notes=True)  # the other was first: both are kept
        tags.fetch(two)
        for repo in (one, two):
            assert tags.notes(repo)[made.object] == ['{"at":"1","text":"ä"}', '{"at":"2"}', '{"at":"3"}']
        tags.push(one, gone=["churn@v1"])
        assert git(pair[1], "ls-remote", "--tags", "origin") == ""


def test_a_name_that_the_other_side_has_is_refused_and_nothing_is_pushed(pair: tuple[Path, Path]) -> None:
    with Git(pair[0]) as one, Git(pair[1]) as two:
        tags.create(one, "churn@v1", "HEAD", "mine")
        tags.create(one, "churn@v2", "HEAD", "mine")
        tags.create(two, "churn@v1", "HEAD", "yours")
        tags.push(two, ["churn@v1"])
        with pytest.raises(Conflict, match="has another tag churn@v1"):
            tags.push(one, ["churn@v2", "churn@v1"])
        assert "churn@v2" not in git(pair[0], "ls-remote", "--tags", "origin")
        with pytest.raises(Conflict, match="moved the tag churn@v1"):
            tags.fetch(one)
        with pytest.raises(Missing, match="no tag nope"):
            tags.push(one, ["nope"])


def test_a_remote_that_is_gone_is_named_without_its_token(root: Path, tmp_path: Path) -> None:
    with Git(root) as repo:
        tags.create(repo, "a", "HEAD", "m")
        for remote in ("origin", str(tmp_path / "nowhere"), f"file://me:hunter2@{tmp_path}/nowhere"):
            with pytest.raises(Error) as caught:
                tags.push(repo, ["a"], remote=remote)
            assert "hunter2" not in f"{caught.value} {caught.value.hint}"
            assert caught.value.hint


def test_annotations_made_at_once_are_all_kept_to_the_byte(root: Path) -> None:
    with Git(root) as repo:
        made = tags.create(repo, "a", "HEAD", "m")
        assert tags.notes(repo) == {}

    def attempt(number: int) -> None:
        with Git(root) as repo:
            tags.annotate(repo, made.object, f'{{"n": {number}, "text": "# ü  "}}  ', by=f"w{number}")

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(attempt, range(16)))
    with Git(root) as repo:
        assert sorted(tags.notes(repo)[made.object]) == sorted(f'{{"n": {n}, "text": "# ü  "}}  ' for n in range(16))
        for line in ("", " ", "a\nb", "a\rb"):
            with pytest.raises(BadInput, match="one line"):
                tags.annotate(repo, made.object, line)
        for name in ("0" * 40, "HEAD", "--help", ""):
            with pytest.raises(Missing, match="no object"):
                tags.annotate(repo, name, "x")
