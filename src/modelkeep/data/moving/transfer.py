"""What a transfer between the cache and a remote is made of: what it moves, what it moved and what it could not."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Literal, Self

from modelkeep.core.errors import Corrupt, Error, Missing
from modelkeep.data.progress import SILENT, Progress, Step

if TYPE_CHECKING:
    from modelkeep.data.moving.cloud import Cloud
    from modelkeep.data.moving.wanted import Wanted
    from modelkeep.data.repository import Repository

Kind = Literal["corrupt", "missing", "failed"]
_SHOWN: Final = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """One object that could not be moved, and why.

    Args:
        kind: `corrupt`, `missing`, or `failed` when the remote did not do it.
        oid: the object.
        path: the file that it belongs to.
        reason: what is wrong, and where.
    """

    kind: Literal["corrupt", "missing", "failed"]
    oid: str
    path: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Moved:
    """What a transfer did.

    Args:
        remotes: the remotes that took part.
        objects: how many objects were moved.
        bytes: how many bytes they hold.
        skipped: how many were there already.
        healed: corrupt objects that were replaced by sound ones, by the path they belong to.
        faults: what could not be moved.
    """

    remotes: tuple[str, ...] = ()
    objects: int = 0
    bytes: int = 0
    skipped: int = 0
    healed: tuple[str, ...] = ()
    faults: tuple[Fault, ...] = ()
    error: Error | None = None

    def __add__(self, other: Moved) -> Moved:
        return Moved(
            remotes=tuple(dict.fromkeys((*self.remotes, *other.remotes))),
            objects=self.objects + other.objects,
            bytes=self.bytes + other.bytes,
            skipped=self.skipped + other.skipped,
            healed=self.healed + other.healed,
            faults=self.faults + other.faults,
            error=self.error or other.error,
        )

    def settle(self, verb: str) -> None:
        """Raises what the faults amount to, if there are any.

        Raises:
            Corrupt: an object is corrupt wherever it was looked for.
            Missing: an object is nowhere.
            Error: what the remote refused.
        """
        for kind, error in (("corrupt", Corrupt), ("missing", Missing)):
            found = [fault for fault in self.faults if fault.kind == kind]
            if found:
                raise error(_told(found, verb), hint=_hint(kind, verb))
        if self.error is not None:
            raise self.error


def _told(faults: Sequence[Fault], verb: str) -> str:
    first = "; ".join(f"{fault.path} ({fault.oid}): {fault.reason}" for fault in faults[:5])
    more = f"; and {len(faults) - 5} more" if len(faults) > 5 else ""
    return f"{verb}: all done but {len(faults)}: {first}{more}"


def _hint(kind: str, verb: str) -> str:
    if kind == "corrupt":
        return (
            "modelkeep verify" if verb == "push" else "Push it again from a place that has a sound copy: modelkeep push"
        )
    return "modelkeep pull" if verb == "push" else "Push it from where it was added: modelkeep push"


@dataclass(slots=True)
class Tally:
    """What one transfer has done so far."""

    objects: int = 0
    bytes: int = 0
    skipped: int = 0
    healed: list[str] = field(default_factory=list)
    faults: dict[str, Fault] = field(default_factory=dict)
    error: Error | None = None

    def fault(self, kind: Kind, oid: str, path: str, reason: str) -> None:
        """Notes an object that could not be moved."""
        self.faults[oid] = Fault(kind=kind, oid=oid, path=path, reason=reason)

    def failed(self, oid: str, path: str, error: Error) -> None:
        """Notes an object that the remote did not move; a fault that is known already says more."""
        self.faults.setdefault(oid, Fault(kind="failed", oid=oid, path=path, reason=error.message))
        self.error = self.error or error

    def moved(self, remote: str) -> Moved:
        """Gives the sum."""
        return Moved(
            remotes=(remote,),
            objects=self.objects,
            bytes=self.bytes,
            skipped=self.skipped,
            healed=tuple(self.healed),
            faults=tuple(self.faults.values()),
            error=self.error,
        )


@dataclass(slots=True)
class Load:
    """Outputs of one layout, with the members of those folders whose manifest is known.

    Args:
        outs: the outputs.
        legacy: they lie in the layout of DVC 2.
        members: by a manifest's oid, the (path, oid) pairs of its folder.
    """

    outs: Sequence[Wanted]
    legacy: bool = False
    members: dict[str, list[tuple[str, str]]] = field(default_factory=dict)

    @property
    def manifests(self) -> dict[str, Wanted]:
        """The folders by their oid."""
        return {one.oid: one for one in self.outs if one.is_dir}

    @property
    def files(self) -> dict[str, Wanted]:
        """The single files by their oid."""
        return {one.oid: one for one in self.outs if not one.is_dir}

    @property
    def sizes(self) -> dict[str, int | None]:
        """The bytes of single files, as far as their metafiles know."""
        return {one.oid: one.size for one in self.outs if not one.is_dir}

    def asked(self) -> set[str]:
        """Gives every file that was asked for: single ones and members, as far as their manifests are known."""
        found = set(self.files)
        for one in self.outs:
            entries = self.members.get(one.oid, ())
            found.update(
                [oid for path, oid in entries if one.covers(path)] if one.filter else [oid for _, oid in entries]
            )
        return found

    def names(self, oids: Collection[str]) -> dict[str, str]:
        """Gives what people call objects: the first path that each belongs to."""
        found: dict[str, str] = {}
        for one in self.outs:
            if one.oid in oids:
                found.setdefault(one.oid, one.name)
            for path, oid in self.members.get(one.oid, ()):
                if oid in oids:
                    found.setdefault(oid, f"{one.name}/{path}")
        return found


class Counted:
    """Hands amounts on to a step, and knows their sum.

    Args:
        step: hears of the same amounts.
    """

    def __init__(self, step: Step) -> None:
        self._step = step
        self.amount = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        pass

    def add(self, amount: int) -> None:
        """Tells that `amount` more is done."""
        self.amount += amount
        self._step.add(amount)


def loads(outs: Iterable[Wanted]) -> Iterator[Load]:
    """Gives outputs by layout."""
    kept = list(outs)
    for legacy in (False, True):
        some = [one for one in kept if one.legacy == legacy]
        if some:
            yield Load(some, legacy)


def run(
    repo: Repository,
    outs: Iterable[Wanted],
    work: Callable[[Repository, Cloud, Sequence[Wanted], Progress], Moved],
    *,
    remote: str = "",
    jobs: int | None = None,
    progress: Progress = SILENT,
) -> Moved:
    """Does one kind of transfer with every remote that outputs ask for, and gives the sum.

    Args:
        repo: the repository.
        outs: what is moved.
        work: `send` or `receive`.
        remote: the remote of outputs that ask for none; "" is the default one.
        jobs: how many transfers run side by side.
        progress: hears of bytes.

    Raises:
        Missing: a remote is not configured.
    """
    from modelkeep.data.moving.cloud import Cloud
    from modelkeep.data.moving.wanted import by_remote

    total = Moved()
    with beside(repo, progress):
        for name, some in by_remote(outs, remote).items():
            cloud = Cloud.open(repo, name, jobs=jobs)
            try:
                total += work(repo, cloud, some, progress)
            finally:
                cloud.close()
    return total


def beside(repo: Repository, progress: Progress) -> AbstractContextManager[None]:
    """Gives a lock under which transfers run beside each other and beside other verbs, but not beside gc or DVC."""
    return repo.writing(repo.private / f"transfer.{os.getpid()}.{threading.get_ident()}", progress=progress)
