"""What is tracked in the workspace: every output of every metafile and lock file, and which of them a target names."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal

from modelkeep.core.errors import BadInput, Missing
from modelkeep.data.formats.metafile import Metafile, Out, read

if TYPE_CHECKING:
    from modelkeep.data.repository import Repository

SUFFIX: Final = ".dvc"
_PIPELINES: Final = ("dvc.yaml", "dvc.lock")


@dataclass(frozen=True, slots=True)
class Tracked:
    """One output and where it came from.

    Args:
        metafile: the file that names it: a `.dvc` file or `dvc.lock`.
        out: the entry as written there.
        path: the output in the workspace, absolute.
        kind: `dvc`, or `lock` for the output of a pipeline.
        filter: the path below a tracked folder that was asked for, POSIX; "" is the whole.
    """

    metafile: Path
    out: Out
    path: Path
    kind: Literal["dvc", "lock"] = "dvc"
    filter: str = ""


def tracked(repo: Repository, targets: Sequence[str | Path] = (), *, recursive: bool = False) -> list[Tracked]:
    """Gives what is tracked, all or what targets name, each output once, in the order of the walk.

    Args:
        repo: the repository.
        targets: data, `.dvc` files, names without their extension, folders (all below), paths inside tracked folders.
        recursive: a folder that is tracked itself also stands for what is tracked by files below it.

    Raises:
        Missing: a target is not tracked; the message names what is near.
        BadInput: a target lies outside of the repository, or a metafile is wrong.
    """
    if not targets:
        return list(walk(repo, repo.root))
    found: dict[tuple[Path, str, str], Tracked] = {}
    for target in targets:
        for one in _resolve(repo, target, recursive):
            found.setdefault((one.metafile, one.out.path, one.filter), one)
    return list(found.values())


def outs_of(metafile: Path) -> list[Tracked]:
    """Gives what one `.dvc` file tracks."""
    return list(_of(read(metafile)))


def walk(repo: Repository, folder: Path) -> Iterator[Tracked]:
    """Walks a folder for metafiles; does not enter what is tracked itself, is ignored or is another repository."""
    ignore = repo.ignore
    skip: set[str] = set()
    waiting = [str(folder)]
    root = str(repo.root)
    while waiting:
        here = waiting.pop()
        metafiles, pipelines, folders = _listing(here)
        if folders is None or (here != root and ".dvc" in folders):
            continue
        prefix = "" if here == root else here[len(root) + 1 :].replace(os.sep, "/") + "/"
        plain = ignore.plain_below(prefix[:-1])  # a folder may have a .dvcignore of its own
        for name in metafiles:
            if plain or not ignore.ignores(prefix + name, False):
                for one in _of(read(Path(here, name))):
                    skip.add(str(one.path))
                    yield one
        for one in _pipeline(Path(here), pipelines):
            skip.add(str(one.path))
            yield one
        waiting += [
            path
            for name in sorted(folders, reverse=True)
            if name not in {".dvc", ".git", ".hg"}
            and (path := os.path.join(here, name)) not in skip  # noqa: PTH118
            and (plain or not ignore.ignores(prefix + name, True))
        ]


def _listing(folder: str) -> tuple[list[str], list[str], list[str] | None]:
    """Gives a folder's metafiles, pipeline files and folders; no folders at all when it cannot be read."""
    metafiles, pipelines, folders = [], [], []
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                name = entry.name
                if entry.is_dir(follow_symlinks=False):
                    folders.append(name)
                elif name.endswith(SUFFIX) and name != SUFFIX:
                    metafiles.append(name)
                elif name in _PIPELINES:
                    pipelines.append(name)
    except OSError:  # gone, or not ours to read: nothing that we could look after is in there
        return [], [], None
    return sorted(metafiles), pipelines, folders


def _of(metafile: Metafile) -> Iterator[Tracked]:
    base = metafile.path.parent / metafile.wdir if metafile.wdir not in {"", "."} else metafile.path.parent
    for out in metafile.outs:
        yield Tracked(metafile.path, out, Path(os.path.normpath(base / out.path)))


def _pipeline(folder: Path, names: list[str]) -> Iterator[Tracked]:
    if not names:
        return
    from modelkeep.data.formats.lockfile import pipeline_outs

    lock, stages = folder / "dvc.lock", folder / "dvc.yaml"
    for metafile in pipeline_outs(
        stages,
        lock.read_bytes() if lock.name in names else None,
        stages.read_bytes() if stages.name in names else None,
    ):
        yield from (replace(one, metafile=lock, kind="lock") for one in _of(metafile))


def _resolve(repo: Repository, target: str | Path, recursive: bool) -> Iterable[Tracked]:
    path = repo.absolute(target)
    if path.name.endswith(SUFFIX) and path.name != SUFFIX and path.is_file():
        return outs_of(path)
    if path.name in _PIPELINES and path.is_file():
        return list(_pipeline(path.parent, [name for name in _PIPELINES if (path.parent / name).is_file()]))
    near = _beside(path)
    if near and not recursive:
        return near
    everything = list(walk(repo, repo.root))
    found = [one for one in everything if one.path == path or path in one.path.parents or path in one.metafile.parents]
    if not found:
        found = [
            replace(one, filter=path.relative_to(one.path).as_posix()) for one in everything if one.path in path.parents
        ]
    if not found and not os.path.lexists(path):  # the name without its extension
        found = [one for one in everything if one.path.with_suffix("") == path]
        found = found if len(found) == 1 else []
    if not found:
        raise _unknown(repo, target, path, everything)
    return found


def _beside(path: Path) -> list[Tracked]:
    """What the usual metafiles of a path say: `f.csv.dvc` for f.csv, `f.dvc` for f or f.csv."""
    for name in dict.fromkeys((path.name + SUFFIX, path.stem + SUFFIX)):
        metafile = path.with_name(name)
        if not metafile.is_file():
            continue
        outs = outs_of(metafile)
        exact = [one for one in outs if one.path == path]
        if exact or (name == path.name + SUFFIX and not os.path.lexists(path)):
            return exact or outs
    return []


def _unknown(repo: Repository, target: str | Path, path: Path, everything: list[Tracked]) -> Missing:
    from difflib import get_close_matches

    if path.is_dir():
        return Missing(f"{target}: nothing is tracked there", hint=f"modelkeep add {target}")
    names = {repo.relpath(one.path): None for one in everything}
    near = get_close_matches(repo.relpath(path), names, n=3, cutoff=0.5)
    hint = (
        f"Near: {', '.join(near)}." if near else f"modelkeep add {target}" if path.exists() else "modelkeep list . -R"
    )
    return Missing(f"{target}: not tracked by any .dvc file or dvc.lock", hint=hint)


def only(repo: Repository, target: str | Path) -> Tracked:
    """Gives the one output that a target names.

    Raises:
        Missing: it is not tracked.
        BadInput: it stands for several.
    """
    found = tracked(repo, [target])
    if len(found) != 1:
        raise BadInput(f"{target}: stands for {len(found)} outputs", hint="Name one of them.")
    return found[0]
