"""`gc`: objects that nothing needs any more leave the cache, or a remote, for a trash."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final

from modelkeep.core.errors import BadInput, Conflict
from modelkeep.data.moving import trash
from modelkeep.data.moving.cloud import key_of
from modelkeep.data.moving.reachable import Reach, Scope, reachable
from modelkeep.data.progress import SILENT, Progress

if TYPE_CHECKING:
    from modelkeep.data.moving.cloud import Cloud
    from modelkeep.data.repository import Repository

GRACE_S: Final = 3600.0
"""Objects younger than this stay: whoever adds them may not have written their metafile yet."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Collected:
    """What gc takes away, or would.

    Args:
        where: `cache`, or the remote's name.
        done: False when this is only the plan.
        objects: how many objects nothing needs.
        bytes: how much they hold.
        kept: how many objects stay because something needs them.
        young: how many nothing needs, but are too young to go.
        when: the trash that they went to; "" when there is none.
        expired: trashes that were deleted for good.
        sources: what was looked at.
    """

    where: str
    done: bool
    objects: int
    bytes: int
    kept: int
    young: int
    when: str = ""
    expired: tuple[str, ...] = ()
    sources: tuple[str, ...] = ()


def gc(
    repo: Repository,
    *,
    workspace: bool = False,
    all_branches: bool = False,
    all_tags: bool = False,
    all_commits: bool = False,
    revisions: Sequence[str] = (),
    cloud: bool = False,
    remote: str = "",
    projects: Sequence[str | Path] = (),
    dry_run: bool = True,
    grace_s: float = GRACE_S,
    skip_failed: bool = False,
    keep_in_trash: bool = True,
    jobs: int | None = None,
    keep: Callable[[], Iterable[str]] | None = None,
    progress: Progress = SILENT,
) -> list[Collected]:
    """Takes out of use what nothing needs, in the cache and with `cloud` on a remote; a dry run only tells what it is.

    With none of `workspace`, `all_branches`, `all_tags`, `all_commits` and `revisions` everything counts that any
    commit of any ref, stash or work tree names. With one of them only what it says and the workspace count, as in DVC.

    Args:
        repo: the repository.
        workspace: keep what the workspace needs.
        all_branches: keep what the tips of all branches need.
        all_tags: keep what all tags need.
        all_commits: keep what every commit of every ref needs.
        revisions: keep what these revisions need.
        cloud: collect on a remote too.
        remote: which; "" is the default one.
        projects: other repositories that use the same cache or remote; they are remembered for the cache.
        dry_run: tell what would go.
        grace_s: what is younger stays in the cache; on a remote what was not seen to be unneeded for so long.
        skip_failed: go on when a manifest is nowhere; files that only it names are collected.
        keep_in_trash: keep what goes for some days; False deletes it for good.
        jobs: how many questions to the remote run side by side.
        keep: gives more names of objects to keep, such as those of live releases.
        progress: hears of files.

    Returns: one entry for the cache, one for the remote.

    Raises:
        Conflict: something cannot be read, a manifest is nowhere, history is cut off, or nobody said who else uses the
            cache; nothing was deleted.
    """
    from modelkeep.data.moving.cloud import Cloud

    scope = Scope(
        workspace=workspace, branches=all_branches, tags=all_tags, commits=all_commits, revisions=tuple(revisions)
    )
    clouds = [Cloud.open(repo, remote, jobs=jobs)] if cloud else _configured(repo, jobs)
    try:
        if cloud and keep_in_trash and not dry_run:
            trash.require_moves(clouds[0])
        with repo.writing(progress=progress):
            others = _others(repo, projects, dry_run)
            reach = reachable(repo, scope, projects=others, keep=keep, clouds=clouds)
            if reach.lost and not skip_failed:
                raise _lost(reach)
            rules = _Rules(dry_run, grace_s, trash.name_of(datetime.now(UTC)) if keep_in_trash else "")
            answers = [_cache(repo, reach, rules, progress)]
            return [*answers, _cloud(clouds[0], reach, rules, progress)] if cloud else answers
    finally:
        for one in clouds:
            one.close()


@dataclass(frozen=True, slots=True)
class _Rules:
    dry_run: bool
    grace_s: float
    when: str


def _configured(repo: Repository, jobs: int | None) -> list[Cloud]:
    """Gives every remote that can be asked for manifests."""
    from modelkeep.data.moving.cloud import Cloud

    found: list[Cloud] = []
    for settings in repo.config.remotes().values():
        with suppress(BadInput):  # one that DVC keeps in another layout holds no manifests
            found.append(Cloud(repo, settings, jobs=jobs))
    return found


def _lost(reach: Reach) -> Conflict:
    first = ", ".join(f"{oid} of {name}" for oid, name in list(reach.lost.items())[:3])
    return Conflict(
        f"{len(reach.lost)} folder manifests are neither in the cache nor on a remote, so nobody knows what they need; "
        f"nothing was deleted: {first}",
        hint="Push them from where they were added, or go on without them: --skip-failed",
    )


def _others(repo: Repository, projects: Sequence[str | Path], dry_run: bool) -> list[Repository]:
    """Gives the other repositories that use this cache: those that were named now or before."""
    from modelkeep.data.repository import Repository

    cache = repo.blobs.folder
    file = cache / "modelkeep" / "projects"
    known = _lines(file)
    for root in known:
        if not Path(root, ".dvc").is_dir():
            raise Conflict(
                f"{root} uses this cache too, and is not there now, so nobody knows what it needs; nothing was deleted",
                hint=f"Bring it back; if it is gone for good, take its line out of {file}",
            )
    named = [str(Repository.find(path).root) for path in projects]
    if not named and not known and not cache.resolve().is_relative_to(repo.root.resolve()):
        raise Conflict(
            f"the cache {cache} lies outside of the repository, and nobody said who else uses it; nothing was deleted",
            hint="Name every other repository that uses it: modelkeep gc -p PATH (or -p . when there is none)",
        )
    roots = list(dict.fromkeys([*known, *named]))
    if named and not dry_run:
        repo.blobs.make_folder(file.parent)
        file.write_text("".join(f"{root}\n" for root in sorted({*roots, str(repo.root)})), encoding="utf-8")
    return [Repository(Path(root)) for root in roots if Path(root) != repo.root]


def _lines(file: Path) -> list[str]:
    try:
        return file.read_text(encoding="utf-8").splitlines()
    except OSError:
        return []


def _cache(repo: Repository, reach: Reach, rules: _Rules, progress: Progress) -> Collected:
    going: list[tuple[str, bool]] = []
    size = kept = young = 0
    edge = time.time_ns() - int(rules.grace_s * 1e9)
    with progress.begin("Looking through the cache") as step:
        for oid, length, mtime_ns, legacy in repo.blobs.oids():
            step.add(1)
            if oid in reach.oids:
                kept += 1
            elif rules.grace_s > 0 and max(mtime_ns, _ctime(repo, oid, legacy)) > edge:
                young += 1
            else:
                size += length
                going.append((oid, legacy))
    chunked = _chunks(repo, reach.oids, rules)
    answer = Collected(
        where="cache",
        done=not rules.dry_run,
        objects=len(going) + chunked[0],
        bytes=size + chunked[1],
        kept=kept,
        young=young,
        sources=tuple(reach.sources),
    )
    if rules.dry_run:
        return answer
    gone = tuple(trash.expire(repo, datetime.now(UTC)))
    if rules.when and going:
        trash.throw(repo, rules.when, going)
    elif going:
        _delete(repo, going)
    return replace(answer, when=rules.when if answer.objects else "", expired=gone)


def _ctime(repo: Repository, oid: str, legacy: bool) -> int:
    """When the object came to be here: its own time may be that of the file which it was made of."""
    try:
        return repo.blobs.path(oid, legacy=legacy).stat().st_ctime_ns
    except FileNotFoundError:
        return 0


def _delete(repo: Repository, going: Collection[tuple[str, bool]]) -> None:
    for is_dir in (True, False):
        for legacy in (False, True):
            some = [oid for oid, old in going if old == legacy and oid.endswith(".dir") == is_dir]
            repo.blobs.delete(some, legacy=legacy)


def _chunks(repo: Repository, keep: Collection[str], rules: _Rules) -> tuple[int, int]:
    """Collects chunks, and gives how many packs and recipes and how many bytes go."""
    if not (repo.blobs.folder / "modelkeep" / "chunks").is_dir():
        return 0, 0
    from modelkeep.data import chunks

    name = rules.when or trash.name_of(datetime.now(UTC))
    place = None if rules.dry_run else trash.folder(repo) / name / "chunks"
    found = chunks.collect(repo, keep, place, grace_s=rules.grace_s)
    if place is not None and not rules.when:
        import shutil

        shutil.rmtree(place.parent, ignore_errors=True)
    return len(found.recipes) + len(found.packs), found.bytes


def _cloud(cloud: Cloud, reach: Reach, rules: _Rules, progress: Progress) -> Collected:
    unneeded: dict[str, int] = {}
    kept = 0
    with progress.begin(f"Looking through {cloud.name}") as step:
        for oid, size, legacy in cloud.list():
            step.add(1)
            if oid in reach.oids:
                kept += 1
            else:
                unneeded[key_of(oid, legacy=legacy)] = size
        unneeded |= _cloud_chunks(cloud, reach.oids)
    now = time.time()
    since = cloud.since(unneeded.keys(), now)
    going = [key for key in unneeded if now - since[key] >= rules.grace_s]
    answer = Collected(
        where=cloud.name,
        done=not rules.dry_run,
        objects=len(going),
        bytes=sum(unneeded[key] for key in going),
        kept=kept,
        young=len(unneeded) - len(going),
        sources=tuple(reach.sources),
    )
    if rules.dry_run:
        return answer
    gone = tuple(trash.expire_on(cloud, datetime.now(UTC)))
    if rules.when and going:
        trash.throw_on(cloud, rules.when, going)
    elif going:
        trash.delete_on(cloud, going)
    return replace(answer, when=rules.when if going else "", expired=gone)


def _cloud_chunks(cloud: Cloud, keep: Collection[str]) -> dict[str, int]:
    """Gives the recipes and packs on a remote that nothing needs, by their keys, with their bytes."""
    sizes = {stat.key: stat.size for stat in cloud.remote.list("chunks/")}
    if not sizes:
        return {}
    from modelkeep.data import chunks
    from modelkeep.data.chunks.moving import pack_key, recipe_key

    found = chunks.sweep(cloud.remote, keep, dry_run=True)
    keys = [*map(recipe_key, found.recipes), *map(pack_key, found.packs)]
    return {key: sizes[key] for key in keys if key in sizes}


def undo(repo: Repository, when: str = "", *, cloud: bool = False, remote: str = "") -> trash.Restored:
    """Brings back what a run of gc took away.

    Args:
        repo: the repository.
        when: which run, as it named itself; the beginning is enough, "" is the newest.
        cloud: on a remote instead of in the cache.
        remote: which; "" is the default one.

    Raises:
        Missing: there is nothing to bring back.
        Conflict: several runs begin like that.
    """
    from modelkeep.data.moving.cloud import Cloud

    with repo.writing():
        if not cloud:
            return trash.undo(repo, when)
        one = Cloud.open(repo, remote)
        try:
            return trash.undo_on(one, when)
        finally:
            one.close()
