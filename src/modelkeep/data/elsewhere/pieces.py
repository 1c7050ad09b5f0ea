"""The files that a path of a foreign repository stands for, wherever each is had from."""

from __future__ import annotations

import posixpath
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

from modelkeep.core.errors import BadInput, Error, Missing
from modelkeep.data.elsewhere.revisions import TrackedAt, is_below
from modelkeep.data.formats import side
from modelkeep.data.formats.names import safe_relpaths
from modelkeep.data.formats.side import Side

if TYPE_CHECKING:
    from modelkeep.data.elsewhere.foreign import Foreign, Plain
    from modelkeep.data.elsewhere.supply import Supply

_LEFT_OUT: Final = (".dvc", ".dvc" + side.SUFFIX)
_NAMES_LEFT_OUT: Final = frozenset({"dvc.yaml", ".dvcignore"})


class Piece(NamedTuple):
    """One file.

    Args:
        path: below what was asked for; "" when that is the file itself.
        oid: the object that it is; "" when it is had otherwise.
        legacy: the object lies in the layout of DVC 2.
        blob: git's id of its content; "" when it is had otherwise.
        file: where the workspace has it; None when it is had otherwise.
        executable: whether it may be run.
    """

    path: str
    oid: str = ""
    legacy: bool = False
    blob: str = ""
    file: Path | None = None
    executable: bool = False


@dataclass(slots=True)
class Gathered:
    """What a path stands for.

    Args:
        path: the path as the repository has it, links followed.
        is_dir: whether it is a folder.
        found: its files by path.
        pieces: the same, sorted.
        outs: the tracked outputs that take part, each with the path below it that is needed ("" is the whole).
        side: executables, empty folders and links of it, as far as a side file tells.
        empty: folders of a workspace in which nothing lies.
    """

    path: str
    is_dir: bool
    found: dict[str, Piece]
    pieces: list[Piece] = field(default_factory=list)
    outs: list[tuple[TrackedAt, str]] = field(default_factory=list)
    side: Side = field(default_factory=Side)
    empty: list[str] = field(default_factory=list)


def gather(foreign: Foreign, supply: Supply, path: str) -> Gathered:
    """Gives what a path of a repository stands for; symbolic links stand for what they lead to.

    Args:
        foreign: the repository.
        supply: where manifests are had from.
        path: a file or folder, tracked, in git, or a part of one.

    Raises:
        Missing: there is no such path, or its manifest is nowhere.
        BadInput: a path or link leads out of the repository, or links lead in circles.
    """
    return _gather(foreign, supply, foreign.resolve(foreign.clean(path)), ())


def exists(foreign: Foreign, path: str) -> bool:
    """Says whether a repository has a path, as far as that is known without fetching anything."""
    asked = foreign.resolve(foreign.clean(path))
    if not asked or any(is_below(asked, one.path) or is_below(one.path, asked) for one in foreign.tracked):
        return True
    return _is_there(foreign, asked)


def _gather(foreign: Foreign, supply: Supply, asked: str, behind: tuple[str, ...]) -> Gathered:
    found: dict[str, Piece] = {}
    links: list[str] = []
    empty: list[str] = []
    for below, place in _plain(foreign, asked):
        if place.link:
            links.append(below)
        elif place.is_dir:
            empty.append(below)
        else:
            found[below] = Piece(below, blob=place.blob, file=place.file, executable=place.executable)
    gathered = Gathered(asked, True, found, empty=empty)
    for one in foreign.tracked:
        if is_below(asked, one.path) or is_below(one.path, asked):
            _add(foreign, supply, one, gathered)
    for link in links:
        _follow(foreign, supply, link, (*behind, asked), gathered)
    if not found and not gathered.outs and not (asked and _is_there(foreign, asked)):
        raise foreign.unknown(asked)
    gathered.is_dir = "" not in found
    gathered.pieces = [found[name] for name in sorted(found)]
    safe_relpaths([name for name in found if name], foreign.where)
    return gathered


def _follow(
    foreign: Foreign,
    supply: Supply,
    link: str,
    behind: tuple[str, ...],
    gathered: Gathered,
) -> None:
    """Adds what a link leads to, under the link's own name; a link to nothing is left out."""
    found = gathered.found
    path = posixpath.join(gathered.path, link)
    target = foreign.resolve(path)
    if any(is_below(folder, target) for folder in behind):
        raise BadInput(f"{path}: symbolic links lead in circles in {foreign.where}")
    try:
        led = _gather(foreign, supply, target, behind)
    except Missing:
        return
    for piece in led.pieces:
        name = posixpath.join(link, piece.path) if piece.path else link
        found.setdefault(name, piece._replace(path=name))
    gathered.outs += led.outs


def _add(foreign: Foreign, supply: Supply, one: TrackedAt, gathered: Gathered) -> None:
    """Adds what an output has at or below the path that was asked for; what the repository itself has comes first."""
    asked, found = gathered.path, gathered.found
    part = asked[len(one.path) + 1 :] if len(asked) > len(one.path) else ""
    prefix = one.path[len(asked) + 1 if asked else 0 :] if not part else ""
    if not one.out.oid:
        if prefix not in found and not any(is_below(name, prefix) for name in found):
            raise Missing(
                f"{one.path}: {foreign.where} names it but has no version of it yet", hint="Ask those who keep it."
            )
        return
    legacy = one.out.hash != "md5"
    if not one.out.is_dir:
        if not part and found.setdefault(prefix, Piece(prefix, one.out.oid, legacy)).oid:
            found[prefix] = found[prefix]._replace(executable=one.out.executable)
            gathered.outs.append((one, ""))
        return
    told = _side(foreign, one)
    used = False
    for relpath, oid in _entries(foreign, supply, one, found):
        if not is_below(relpath, part):
            continue
        name = posixpath.join(prefix, relpath[len(part) + 1 :] if part else relpath) if relpath != part else prefix
        if name not in found:
            found[name] = Piece(name, oid, legacy, executable=relpath in told.executable)
            used = True
    if used or (not part and not found):
        gathered.outs.append((one, part))
        if not part and one.path == asked:
            gathered.side = told


def _entries(foreign: Foreign, supply: Supply, one: TrackedAt, found: dict[str, Piece]) -> list[tuple[str, str]]:
    try:
        return supply.entries(one)
    except Error:
        if any(piece.file is not None for piece in found.values()):
            return []  # the workspace has the folder, as far as anybody can tell
        raise


def _side(foreign: Foreign, one: TrackedAt) -> Side:
    name = one.metafile + side.SUFFIX
    data = foreign.file(name)
    return Side() if data is None else side.parse(data, f"{name} of {foreign.where}")


def _plain(foreign: Foreign, asked: str) -> Iterator[tuple[str, Plain]]:
    """Files, links and empty folders at or below a path, but for DVC's own files, with their paths below it."""
    above, _, name = asked.rpartition("/")
    place = foreign.view.children(above).get(name) if asked else None
    if place is not None and not place.is_dir:
        yield "", place
        return
    waiting = [asked]
    while waiting:
        here = waiting.pop()
        for name, place in foreign.view.children(here).items():
            path = posixpath.join(here, name)
            if place.is_dir and not place.link:
                waiting.append(path)
                if not foreign.view.children(path):
                    yield path[len(asked) + 1 if asked else 0 :], place
            elif not (name.endswith(_LEFT_OUT) or name in _NAMES_LEFT_OUT):
                yield path[len(asked) + 1 if asked else 0 :], place


def _is_there(foreign: Foreign, path: str) -> bool:
    above, _, name = path.rpartition("/")
    return name in foreign.view.children(above)
