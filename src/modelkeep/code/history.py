"""What lies between two revisions: commits with everybody who had a part in them, and files with their lines."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from modelkeep.code.repository import Git
from modelkeep.core.errors import BadInput

_FIELDS: Final = ("%H", "%P", "%aN <%aE>", "%at", "%cN <%cE>", "%ct", "%B")
_FORM: Final = "--format=tformat:" + "%x00".join(_FIELDS)
_LOG: Final = ("log", "-z", "--encoding=UTF-8", "--no-show-signature", "--no-color", "--topo-order", _FORM)
_DIFF: Final = ("--no-ext-diff", "--no-textconv", "--no-color", "--ignore-submodules=none")
_TOGETHER: Final = re.compile(r"^co-authored-by:\s*(.+?)\s*$", re.IGNORECASE | re.MULTILINE)
_NS: Final = 1_000_000_000
_MOST_NS: Final = 2**63 - 1
_MOST: Final = 1_000

Relation = Literal["same", "ahead", "behind", "diverged", "unrelated"]


@dataclass(frozen=True, slots=True)
class Commit:
    """One commit.

    Args:
        id: full.
        parents: their ids.
        author: who wrote it, `Name <address>`.
        authored_ns: what the author's clock said; it may be anything, so nothing is ordered by it.
        committer: who put it into the history.
        committed_ns: what the committer's clock said.
        coauthors: of `Co-authored-by:` lines.
        subject: the first line of the message.
        body: the rest of it.
    """

    id: str
    parents: tuple[str, ...]
    author: str
    authored_ns: int
    committer: str
    committed_ns: int
    coauthors: tuple[str, ...]
    subject: str
    body: str


@dataclass(frozen=True, slots=True)
class FileChange:
    """One file that differs.

    Args:
        path: its name in the newer revision, or the one that it had when it is gone.
        state: `A` added, `D` deleted, `M` modified, `R` renamed, `T` another type.
        added: lines; None for a file that is not text.
        deleted: lines; None for a file that is not text.
        was: the former name of a renamed file, else empty.
    """

    path: str
    state: str
    added: int | None
    deleted: int | None
    was: str = ""


@dataclass(frozen=True, slots=True)
class Between:
    """How two commits stand to each other.

    Args:
        a: the first commit.
        b: the second commit.
        relation: `ahead`: b has everything of a; `behind`: the other way; `diverged`: each has commits of its own,
            as after a rewritten history; `unrelated`: they share nothing that this clone knows.
        base: their best common ancestor; empty when unrelated.
        commits: those of b that a lacks, parents after children; at most `limit`.
        gone: those of a that b lacks.
        count: how many b has that a lacks.
        gone_count: how many a has that b lacks.
        note: what this answer cannot know, as words; empty when it is whole.
    """

    a: str
    b: str
    relation: Relation
    base: str
    commits: tuple[Commit, ...]
    gone: tuple[Commit, ...]
    count: int
    gone_count: int
    note: str = ""


def commit(git: Git, rev: str) -> Commit:
    """Gives one commit.

    Raises:
        Missing: there is no such revision.
    """
    return log(git, rev, limit=1)[0]


def log(git: Git, rev: str, *, limit: int = _MOST, paths: Sequence[str] = ()) -> list[Commit]:
    """Gives a commit and those before it, parents after their children whatever the clocks said.

    Args:
        git: the repository.
        rev: where to begin.
        limit: at most so many.
        paths: only those that touch one of these files or folders, relative to the repository's root.
    """
    return _commits(git, limit, git.resolve(rev), paths=paths)


def between(git: Git, a: str, b: str, *, limit: int = _MOST) -> Between:
    """Gives the commits that lie between two revisions, whichever is the newer.

    Args:
        git: the repository.
        a: a revision.
        b: a revision.
        limit: at most so many commits of each side are given; all are counted.

    Raises:
        Missing: there is no such revision; a shallow clone, or a commit that was rewritten, is named as such.
    """
    first, second = git.resolve(a), git.resolve(b)
    if first == second:
        return Between(first, second, "same", first, (), (), 0, 0)
    base = _base(git, first, second)
    behind, ahead = map(int, git.run("rev-list", "--left-right", "--count", f"{first}...{second}", "--").split())
    relation = _relation(base, first, second)
    return Between(
        first,
        second,
        relation,
        base,
        tuple(_commits(git, limit, second, f"^{first}")) if ahead else (),
        tuple(_commits(git, limit, first, f"^{second}")) if behind else (),
        ahead,
        behind,
        _note(git, relation, first, second),
    )


def changes(git: Git, a: str, b: str) -> list[FileChange]:
    """Gives the files that differ between two revisions, sorted by path.

    Args:
        git: the repository.
        a: the older revision; empty for nothing at all, so that every file of `b` is an addition.
        b: the newer revision.

    Raises:
        Missing: there is no such revision.
    """
    trees = _trees(git, a, b)
    listed = git.run("diff-tree", "-r", "-z", "--raw", "--numstat", "--find-renames", "--no-abbrev", *_DIFF, *trees)
    return sorted(_changes(listed), key=lambda change: change.path)


def diff(git: Git, a: str, b: str, *, paths: Sequence[str] = ()) -> bytes:
    """Gives the differences between two revisions as git shows them, for people to read.

    Args:
        git: the repository.
        a: the older revision; empty for nothing at all.
        b: the newer revision.
        paths: only these files or folders, relative to the repository's root.
    """
    return git.run("diff-tree", "-r", "-p", "--find-renames", *_DIFF, *_trees(git, a, b), "--", *_named(paths))


def is_on_a_branch(git: Git, rev: str) -> bool:
    """Says whether any branch, tag or work tree still has a commit; False after the history was rewritten."""
    found = git.resolve(rev)
    if git.attempt("merge-base", "--is-ancestor", found, "HEAD")[0] == 0:
        return True
    for below in (("refs/heads", "refs/remotes"), ("refs/tags",)):
        if git.run("for-each-ref", "--count=1", "--contains", found, *below).strip():
            return True
    return any(git.attempt("merge-base", "--is-ancestor", found, head)[0] == 0 for head in git.heads())


def _trees(git: Git, a: str, b: str) -> tuple[str, str]:
    empty = git.run("hash-object", "-t", "tree", "--stdin", given=b"").decode().strip() if not a else git.resolve(a)
    return empty, git.resolve(b)


def _named(paths: Sequence[str]) -> Sequence[str]:
    for path in paths:
        if not path or "\0" in path:
            raise BadInput(f"{path!r} is no path", hint="Name a file or folder of the repository.")
    return paths


def _base(git: Git, a: str, b: str) -> str:
    code, out, _ = git.attempt("merge-base", a, b)
    return "" if code else out.decode().split()[0]


def _relation(base: str, a: str, b: str) -> Relation:
    if not base:
        return "unrelated"
    if base == a:
        return "ahead"
    return "behind" if base == b else "diverged"


def _note(git: Git, relation: Relation, a: str, b: str) -> str:
    if git.shallow:
        return "This is a shallow clone: commits before its edge are not known. Get them: git fetch --unshallow"
    if relation == "unrelated":
        return f"{a[:12]} and {b[:12]} have no commit in common: a history was replaced, or these are two projects"
    newest = {"ahead": (b,), "behind": (a,)}.get(relation, (a, b))  # what these are on, the other is on too
    if lost := [rev[:12] for rev in newest if not is_on_a_branch(git, rev)]:
        return f"{' and '.join(lost)} is on no branch or tag any more: the history was rewritten"
    return ""


def _commits(git: Git, limit: int, *revs: str, paths: Sequence[str] = ()) -> list[Commit]:
    listed = git.run(*_LOG, f"--max-count={max(0, limit)}", *revs, "--", *_named(paths))
    parts = listed.decode("utf-8", "replace").split("\0")[:-1]
    size = len(_FIELDS)
    return [_commit(parts[at : at + size]) for at in range(0, len(parts) - size + 1, size)]


def _commit(fields: Sequence[str]) -> Commit:
    name, parents, author, authored, committer, committed, message = fields
    subject, _, body = message.strip("\n").partition("\n")
    together = dict.fromkeys(found for found in _TOGETHER.findall(body) if found != author)
    return Commit(
        name,
        tuple(parents.split()),
        author,
        _time(authored),
        committer,
        _time(committed),
        tuple(together),
        subject.strip(),
        body.strip("\n"),
    )


def _time(seconds: str) -> int:
    at_ns = int(seconds) * _NS if re.fullmatch(r"-?\d{1,20}", seconds, re.ASCII) else 0
    return at_ns if abs(at_ns) <= _MOST_NS else 0


def _changes(listed: bytes) -> Iterator[FileChange]:
    """Joins what `--raw` says of every file (state, names) with what `--numstat` says of it (lines)."""
    parts = iter(os.fsdecode(listed).split("\0"))
    states: dict[str, tuple[str, str]] = {}
    for part in parts:
        if part.startswith(":"):
            state, first = part.split(" ")[4][:1], next(parts)
            path = next(parts) if state in {"R", "C"} else first
            states[path] = (state, first if path != first else "")
        elif part.count("\t") >= 2:
            added, deleted, path = part.split("\t", 2)
            if not path:
                _, path = next(parts), next(parts)
            state, was = states[path]
            yield FileChange(path, state, _lines(added), _lines(deleted), was)


def _lines(text: str) -> int | None:
    return None if text == "-" else int(text)
