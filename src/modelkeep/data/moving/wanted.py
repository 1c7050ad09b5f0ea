"""What a transfer is about: outputs of the workspace and of revisions, each with the object it stands for."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from modelkeep.code.repository import Git
    from modelkeep.data.formats.metafile import Out
    from modelkeep.data.repository import Repository
    from modelkeep.data.targets import Tracked


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """One output and the object that it stands for.

    Args:
        name: what people call it: the path, with the revision when it is not the workspace's.
        oid: the object, a folder's manifest with `.dir`.
        legacy: it lies in the layout of DVC 2, named by md5-dos2unix.
        remote: the remote that the output asks for; "" is the default one.
        size: bytes, when the metafile knows.
        path: where the workspace has it; None for a revision's.
        metafile: the file that names it; None for a revision's.
        filter: the path below a tracked folder that was asked for; "" is the whole.
        chunked: the data is kept as chunks.
    """

    name: str
    oid: str
    legacy: bool = False
    remote: str = ""
    size: int | None = None
    path: Path | None = None
    metafile: Path | None = None
    filter: str = ""
    chunked: bool = False

    @property
    def is_dir(self) -> bool:
        """Whether it is a folder."""
        return self.oid.endswith(".dir")

    def covers(self, relpath: str) -> bool:
        """Says whether a file of the folder was asked for.

        >>> Wanted(name="d", oid="0.dir", filter="a/b").covers("a/b/c")
        True
        >>> Wanted(name="d", oid="0.dir", filter="a/b").covers("a/bc")
        False
        """
        return not self.filter or relpath == self.filter or relpath.startswith(self.filter + "/")


def wanted(
    repo: Repository,
    targets: Sequence[str | Path] = (),
    *,
    recursive: bool = False,
    remote: str = "",
    pushing: bool = False,
    pending: bool = False,
    branches: bool = False,
    tags: bool = False,
    commits: bool = False,
) -> list[Wanted]:
    """Gives what a transfer is about, each object once for a remote.

    Args:
        repo: the repository.
        targets: as people name them; none means all.
        recursive: all that is tracked below a folder.
        remote: only what goes to this remote or to no remote in particular.
        pushing: leave out what is not to be pushed: `push: false`, and what another repository keeps.
        pending: imports too that were never downloaded; their oid is "".
        branches: the tips of all branches too.
        tags: all tags too.
        commits: every commit of every ref too.

    Raises:
        Missing: a target is not tracked.
        BadInput: a metafile is wrong.
    """
    from modelkeep.data.targets import tracked

    here = tracked(repo, targets, recursive=recursive)
    found = [one for one in here if _moves(one.out, remote, pushing) and not (pushing and imported(one.metafile))]
    result = [_of(repo, one) for one in found]
    if pending:
        result += [_of(repo, one) for one in here if not one.out.oid and one.out.cache and imported(one.metafile)]
    if pushing:
        result += [past for one in found if one.out.oid.endswith(".dir") for past in _snapshots(repo, one)]
    if branches or tags or commits:
        names = {repo.relpath(one.path) for one in here} if targets else None
        past = list(_past(repo, remote, pushing, names, branches=branches, tags=tags, commits=commits))
        pieces = _in_pieces(repo, past) if pushing else set()
        result += [replace(one, chunked=True) if one.oid in pieces else one for one in past]
    return list({(one.oid, one.legacy, one.remote, one.filter, one.path): one for one in result}.values())


def _in_pieces(repo: Repository, found: Iterable[Wanted]) -> set[str]:
    """The objects that the cache keeps as chunks, whatever the side file of their revision says."""
    if not (repo.blobs.folder / "modelkeep" / "chunks").is_dir():
        return set()
    from modelkeep.data import chunks

    return chunks.locate(repo, {one.oid for one in found if not one.is_dir and not one.legacy})


def by_remote(found: Iterable[Wanted], remote: str = "") -> dict[str, list[Wanted]]:
    """Groups by the remote's name: what the output asks for, else the one that was named, else "" for the default."""
    groups: dict[str, list[Wanted]] = {}
    for one in found:
        groups.setdefault(one.remote or remote, []).append(one)
    return groups


def imported(metafile: Path | None) -> bool:
    """Says whether a metafile's data belongs to another git repository, whose remote keeps it."""
    if metafile is None or metafile.suffix != ".dvc":
        return False
    try:
        if b"repo:" not in metafile.read_bytes():
            return False
    except OSError:
        return False
    from modelkeep.data.formats.metafile import read

    return any(dep.repo_url for dep in read(metafile).deps)


def _moves(out: Out, remote: str, pushing: bool) -> bool:
    if not out.oid or not out.cache or (pushing and not out.push):
        return False
    return not (remote and out.remote and out.remote != remote)


def _of(repo: Repository, one: Tracked) -> Wanted:
    from modelkeep.data.formats import side

    out = one.out
    return Wanted(
        name=repo.relpath(one.path),
        oid=out.oid,
        legacy=out.hash != "md5",
        remote=out.remote,
        size=out.size,
        path=one.path,
        metafile=one.metafile,
        filter=one.filter,
        chunked=one.kind == "dvc" and not out.oid.endswith(".dir") and side.read(one.metafile).chunked,
    )


def _snapshots(repo: Repository, one: Tracked) -> Iterator[Wanted]:
    """Gives the earlier snapshots of a dataset that grows, as far as their manifests are here."""
    from modelkeep.data.moving.reachable import names_in

    listed = one.metafile.with_suffix(".snapshots")
    if one.kind != "dvc" or one.filter or not listed.exists():
        return
    oids = {oid for oid in names_in(listed.read_bytes()) if oid.endswith(".dir")} - {one.out.oid}
    for oid in sorted(oids - repo.blobs.missing(oids)):
        yield Wanted(name=f"{repo.relpath(one.path)}@{oid[:8]}", oid=oid, remote=one.out.remote)


def _past(
    repo: Repository, remote: str, pushing: bool, names: set[str] | None, *, branches: bool, tags: bool, commits: bool
) -> Iterator[Wanted]:
    from modelkeep.code.repository import Git
    from modelkeep.data.elsewhere.revisions import tracked_at, tracked_ever

    with Git(repo.root) as git:
        prefix = _inside(repo, git)
        found = [("history", one) for one in tracked_ever(git, prefix)] if commits else []
        revs = (git.branches() if branches else {}) | (git.tags() if tags else {})
        for commit, name in {commit: name for name, commit in revs.items()}.items():
            found += [(name, one) for one in tracked_at(git, commit, prefix)]
        for name, one in found:
            place = one.path[len(prefix) + 1 :] if prefix else one.path
            if _moves(one.out, remote, pushing) and (names is None or place in names):
                yield Wanted(
                    name=f"{place}@{name}",
                    oid=one.out.oid,
                    legacy=one.out.hash != "md5",
                    remote=one.out.remote,
                    size=one.out.size,
                )


def _inside(repo: Repository, git: Git) -> str:
    """The folder of git's work tree that the repository is in; empty when they are the same."""
    root, top = repo.root.resolve(), git.root.resolve()
    return "" if root == top else root.relative_to(top).as_posix()
