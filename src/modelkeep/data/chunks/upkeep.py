"""Keeping the chunk store in order: what is needed, what may go, what is damaged."""

from __future__ import annotations

import time
from array import array
from collections import defaultdict
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

from modelkeep.core.errors import Corrupt, Missing
from modelkeep.data.chunks.answers import BadPart, Collected
from modelkeep.data.chunks.base import OpenPacks
from modelkeep.data.chunks.packs import PackWriter, is_sound
from modelkeep.data.chunks.place import Place, sync_folder
from modelkeep.data.chunks.recipe import Recipe, read

if TYPE_CHECKING:
    from modelkeep.store.blobs.digest import Step

_LIVE: Final = 0.5
"""A pack of which a smaller share is needed is written anew."""
_STALE_S: Final = 7 * 86_400
"""A download that nobody resumed for so long is dropped."""

Blob = tuple[bytes, int, int]


@dataclass(slots=True)
class _Survey:
    """What is there, and what of it is needed."""

    kept: dict[str, Recipe] = field(default_factory=dict)
    dropped: dict[str, Path] = field(default_factory=dict)
    packs: dict[str, Path] = field(default_factory=dict)
    live: dict[str, set[Blob]] = field(default_factory=lambda: defaultdict(set))
    young: set[str] = field(default_factory=set)

    def dead(self) -> list[str]:
        return [name for name in self.packs if name not in self.live and name not in self.young]

    def sparse(self) -> list[str]:
        return [
            name for name in self.packs if name in self.live and name not in self.young and self._share(name) < _LIVE
        ]

    def _share(self, name: str) -> float:
        return self.needed(name) / max(self.packs[name].stat().st_size, 1)

    def needed(self, name: str) -> int:
        return sum(length for _, _, length in self.live[name])


def reachable(place: Place, oids: Iterable[str]) -> set[str]:
    """Gives the packs that oids need; see `modelkeep.data.chunks.reachable`."""
    found: set[str] = set()
    for oid in oids:
        if place.recipe(oid).exists():
            found |= set(read(place.recipe(oid)).packs)
    return found


def collect(place: Place, keep_oids: Collection[str], folder: Path | None, grace_s: float) -> Collected:
    """Moves away what nobody keeps; see `modelkeep.data.chunks.collect`."""
    if not place.folder.is_dir():
        return Collected()
    if folder is None:
        survey = _survey(place, set(keep_oids), grace_s)
        return _answer(survey, survey.dead(), survey.sparse())
    with place.using(alone=True):
        survey = _survey(place, set(keep_oids), grace_s)
        rewritten = _rewrite(place, survey, survey.sparse())
        dead = survey.dead()
        answer = _answer(survey, dead, rewritten)
        for oid, path in survey.dropped.items():
            _move(path, folder / "chunks" / "recipes" / oid)
        for name in [*dead, *rewritten]:
            _move(survey.packs[name], folder / "chunks" / "packs" / name)
        _tidy(place)
    return answer


def restore(place: Place, folder: Path) -> int:
    """Moves back what `collect` moved away; see `modelkeep.data.chunks.restore`."""
    count = 0
    with place.using(alone=True):
        for kind, where in (("packs", place.pack), ("recipes", place.recipe)):
            away = folder / "chunks" / kind
            for path in sorted(away.iterdir()) if away.is_dir() else ():
                target = where(path.name)
                if target.exists():
                    path.unlink()
                    continue
                place.prepare(target)
                _move(path, target)
                count += 1
    return count


def verify(place: Place, oids: Collection[str] | None, step: Step | None) -> list[BadPart]:
    """Reads everything and names what is damaged; see `modelkeep.data.chunks.verify`."""
    bad: list[BadPart] = []
    users: dict[str, list[str]] = defaultdict(list)
    wanted = [(oid, place.recipe(oid)) for oid in oids] if oids is not None else place.recipes()
    for oid, path in wanted:
        try:
            recipe = read(path)
        except (Corrupt, Missing) as error:
            bad.append(BadPart("recipe", oid, str(error), (oid,)))
            continue
        for name in recipe.packs:
            users[name].append(oid)
    names = dict(place.packs()) if oids is None else {}
    for name in sorted(names.keys() | users.keys()):
        path = place.pack(name)
        try:
            sound = is_sound(path, name, step.add if step is not None else lambda _: None)
        except FileNotFoundError:
            bad.append(BadPart("pack", name, "is not in the cache", tuple(users[name])))
            continue
        if not sound:
            bad.append(BadPart("pack", name, "is not what was written", tuple(users[name])))
    return bad


def quarantine(place: Place, bad: Iterable[BadPart]) -> list[Path]:
    """Moves damaged packs and recipes out of the way, so that a fetch brings them again; gives where they lie."""
    moved: list[Path] = []
    for part in bad:
        path = place.pack(part.name) if part.kind == "pack" else place.recipe(part.name)
        if path.exists():
            moved.append(place.quarantine(path))
    return moved


def _survey(place: Place, keep: set[str], grace_s: float) -> _Survey:
    found = _Survey()
    youngest = time.time() - grace_s
    for name, path in place.packs():
        found.packs[name] = path
        if grace_s and path.stat().st_mtime > youngest:
            found.young.add(name)
    for oid, path in place.recipes():
        if oid not in keep and not (grace_s and path.stat().st_mtime > youngest):
            found.dropped[oid] = path
            continue
        recipe = found.kept[oid] = read(path)  # a damaged one stops everything: its packs cannot be known
        for at, pack in enumerate(recipe.blob_pack):
            blob = recipe.blob_ids[32 * at : 32 * at + 32], recipe.blob_offset[at], recipe.blob_length[at]
            found.live[recipe.packs[pack]].add(blob)
    return found


def _answer(survey: _Survey, dead: list[str], rewritten: list[str]) -> Collected:
    freed = sum(path.stat().st_size for path in survey.dropped.values())
    freed += sum(survey.packs[name].stat().st_size for name in [*dead, *rewritten])
    freed -= sum(survey.needed(name) for name in rewritten)
    return Collected(tuple(survey.dropped), tuple(dead), tuple(rewritten), freed)


def _rewrite(place: Place, survey: _Survey, sparse: list[str]) -> list[str]:
    """Copies what is needed of packs to new ones and lets the kept recipes name those; gives the packs now unneeded."""
    sound = [name for name in sparse if is_sound(survey.packs[name], name)]
    if not sound:
        return []
    moved: dict[tuple[str, int, int], tuple[int, int]] = {}
    with PackWriter(place) as writer, OpenPacks(place) as packs:
        for name in sound:
            for identity, offset, length in sorted(survey.live[name], key=lambda blob: blob[1]):
                buffer = bytearray(length)
                packs.read(name, offset, memoryview(buffer))
                moved[name, offset, length] = writer.add(identity, bytes(buffer))
        writer.finish()
        names = list(writer.names)
    for oid, recipe in survey.kept.items():
        if set(recipe.packs) & set(sound):
            place.write(place.recipe(oid), _relocated(recipe, moved, names).encode())
    return sound


def _relocated(recipe: Recipe, moved: dict[tuple[str, int, int], tuple[int, int]], names: list[str]) -> Recipe:
    places: dict[str, int] = {}
    pack, offset = array("I"), array("I")
    for at, old in enumerate(recipe.blob_pack):
        name, begin = recipe.packs[old], recipe.blob_offset[at]
        if (now := moved.get((name, begin, recipe.blob_length[at]))) is not None:
            name, begin = names[now[0]], now[1]
        pack.append(places.setdefault(name, len(places)))
        offset.append(begin)
    return replace(recipe, packs=tuple(places), blob_pack=pack, blob_offset=offset)


def _move(path: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    path.replace(target)
    sync_folder(target.parent)


def _tidy(place: Place) -> None:
    """Removes what an interrupted store left, and downloads that nobody resumed; nobody else is at work now."""
    incoming = place.folder / "incoming"
    if not incoming.is_dir():
        return
    oldest = time.time() - _STALE_S
    for path in incoming.iterdir():
        if path.suffix not in {".part", ".lock"} or (path.suffix == ".part" and path.stat().st_mtime < oldest):
            path.unlink(missing_ok=True)
