"""All models of a repository, each made when it is asked for: from its tags, or from what those added up to before.

Adding up ten thousand tags takes longer than the rest of a question. What they added up to is kept in
`modelkeep/registry` below git's folder, under the digest of all tags' names and objects: another tag, or one that was
moved or deleted, makes another digest, and everything is read again. Small registries are not kept.
"""

from __future__ import annotations

import os
import tempfile
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING, Final
from zlib import crc32

import msgspec

from modelkeep.models.events import Event, Problem, Read, ordered, read
from modelkeep.models.state import Model, Version, assembled

if TYPE_CHECKING:
    from modelkeep.code.repository import Git
    from modelkeep.code.tags import Tag

_FORM: Final = 1
_SUM: Final = 4
_MANY: Final = 1_000
"""As many tags are worth a file."""


class _Row(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A version; its events by their places in the list, -1 is none."""

    version: str
    number: int
    commit: str
    event: int
    gone: int
    stages: tuple[str, ...]


class _Kept(msgspec.Struct, frozen=True, array_like=True):
    events: list[Event]
    strays: list[Event]
    rows: list[_Row]
    problems: list[Problem]


class _File(msgspec.Struct, frozen=True, array_like=True):
    form: int
    digest: str
    models: dict[str, msgspec.Raw]
    problems: list[Problem]
    counts: dict[str, int]


_encoder: Final = msgspec.msgpack.Encoder()
_file_decoder: Final = msgspec.msgpack.Decoder(_File)
_model_decoder: Final = msgspec.msgpack.Decoder(_Kept)


class Shelf:
    """The models of one repository as its tags are now.

    Args:
        git: the repository.

    Raises:
        Corrupt: a tag names an object that is not there.
    """

    def __init__(self, git: Git) -> None:
        self._git: Final = git
        self._place: Final = git.folder / "modelkeep" / "registry"
        self._models: Final[dict[str, Model]] = {}
        self._read: Read | None = None
        self._listing = b""
        self._taken: Final[list[Tag]] = []
        known = self._remembered()
        self._raw: Final[dict[str, msgspec.Raw]] = known.models if known else {}
        if known is None:
            from modelkeep.code.tags import tags

            found = tags(git)
            self._read = read(found)
        names = self._raw if known else self._read.named if self._read else {}
        source = known or self._read
        self.names: Final = set(names)
        """The models that have an event."""
        self.problems: Final[list[Problem]] = source.problems if source else []
        """What looks like an event and is none."""
        self.counts: Final[dict[str, int]] = source.counts if source else {}
        """For each model the highest count behind a `#`."""
        if known is None and len(found) >= _MANY:
            self._keep_read(found)

    def model(self, name: str) -> Model:
        """Gives a model that has an event."""
        if name not in self._models:
            raw = self._raw.get(name)
            if raw is not None:
                self._models[name] = _unpacked(name, _model_decoder.decode(raw))
            else:
                self._models[name] = assembled(name, self._read.events(name) if self._read else [])
        return self._models[name]

    def take(self, tag: Tag) -> None:
        """Takes in a tag that was just made here, without reading the others again."""
        found = read([tag])
        for name in found.named:
            before = self.model(name) if name in self.names else None
            events = [*before.events, *before.strays] if before else []
            self._models[name] = assembled(name, ordered([*events, *found.events(name)]))
            self.names.add(name)
            if found.counts.get(name, 0) > self.counts.get(name, 0):
                self.counts[name] = found.counts[name]
            self._raw.pop(name, None)
            self._taken.append(tag)

    def keep(self) -> None:
        """Keeps what was taken in for the next process, where this one found it kept, too.

        Nothing is written when somebody else made, moved or deleted a tag meanwhile.
        """
        if not self._taken or not self._listing:
            return
        listing = _listed(self._git)
        mine = {f"{tag.object} {tag.name}".encode() for tag in self._taken}
        if set(listing.splitlines()) == set(self._listing.splitlines()) | mine:
            self._keep(listing)
            self._taken.clear()

    def _remembered(self) -> _File | None:
        """What is kept, if the tags are still those; their listing is remembered then."""
        try:
            data = memoryview(self._place.read_bytes())
            found = _file_decoder.decode(data[_SUM:]) if _sum(data[_SUM:]) == data[:_SUM] else None
        except (OSError, msgspec.DecodeError):
            found = None
        if found is None:
            return None
        listing = _listed(self._git) if found.form == _FORM else b""
        if not listing or found.digest != _digest(listing):
            return None
        self._listing = listing
        return found

    def _keep_read(self, found: list[Tag]) -> None:
        """Keeps what was read, if the tags are still those."""
        listing = _listed(self._git)
        pairs = (line.partition(" ") for line in os.fsdecode(listing).splitlines())
        objects = {name: oid for oid, _, name in pairs}
        same = all(objects.get(tag.name, "") == tag.object for tag in found if tag.object)
        if same and objects.keys() == {tag.name for tag in found}:
            self._keep(listing)

    def _keep(self, listing: bytes) -> None:
        raw = {name: self._raw.get(name) or msgspec.Raw(_packed(self.model(name))) for name in self.names}
        data = _encoder.encode(_File(_FORM, _digest(listing), raw, self.problems, self.counts))
        _written(self._place, _sum(data) + data)
        self._listing = listing


def _listed(git: Git) -> bytes:
    return git.run("for-each-ref", "--format=%(objectname) %(refname:strip=2)", "refs/tags/")


def _digest(listing: bytes) -> str:
    return blake2b(listing, digest_size=16).hexdigest()


def _sum(data: bytes | memoryview) -> bytes:
    """What tells a file that a disk or a crash has changed."""
    return crc32(data).to_bytes(_SUM)


def _packed(model: Model) -> bytes:
    places = {id(event): at for at, event in enumerate(model.events)}
    rows = [
        _Row(one.version, one.number, one.commit, places[id(one.event)], places.get(id(one.gone), -1), one.stages)
        for one in model.versions
    ]
    return _encoder.encode(_Kept([*model.events], [*model.strays], rows, [*model.problems]))


def _unpacked(name: str, kept: _Kept) -> Model:
    events = kept.events
    versions = tuple(
        [
            Version(name, row.version, row.number, row.commit, events[row.event], _at(events, row.gone), row.stages)
            for row in kept.rows
        ]
    )
    held = {stage: one for one in versions if one.stages for stage in one.stages}
    return Model(
        name=name,
        versions=versions,
        stages={stage: held[stage] for stage in sorted(held)},
        events=tuple(events),
        deprecated=events[-1] if events and events[-1].action == "deprecate" else None,
        problems=tuple(kept.problems),
        strays=tuple(kept.strays),
    )


def _at(events: list[Event], place: int) -> Event | None:
    return events[place] if place >= 0 else None


def _written(place: Path, data: bytes) -> None:
    """Puts a file in its place whole; where nobody may write, nothing is kept."""
    try:
        place.parent.mkdir(exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=".registry-", dir=place.parent)
    except OSError:
        return
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
        Path(name).replace(place)
    except OSError:
        Path(name).unlink(missing_ok=True)
