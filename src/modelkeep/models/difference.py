"""What differs between two versions: data, features, metrics, parameters, configuration and code."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, TypeVar

import msgspec

from modelkeep.core.shapes import Json

if TYPE_CHECKING:
    from modelkeep.code.repository import Git
    from modelkeep.models.tree import Figure, Piece
    from modelkeep.models.version import Details


T = TypeVar("T")


class Difference(msgspec.Struct, frozen=True):
    """Two versions side by side; of each pair the old value comes first, and None is nothing.

    Args:
        old: one version.
        new: the other.
        data: by path, hashes before and after.
        features_added: those that the old one had not.
        features_removed: those that the new one has not.
        metrics: by name, values that differ.
        params: by name, values that differ.
        file: the hashes of the models.
        configuration: the hashes of their configurations.
        commits: how many commits lead to the new one that the old one does not have; None when that is not known.
        commits_back: the same the other way round; more than none when the history forks or goes back.
    """

    old: Details
    new: Details
    data: dict[str, tuple[str | None, str | None]]
    features_added: tuple[str, ...]
    features_removed: tuple[str, ...]
    metrics: dict[str, tuple[Figure | None, Figure | None]]
    params: dict[str, tuple[Figure | None, Figure | None]]
    file: tuple[str, str]
    configuration: tuple[str, str]
    commits: int | None = None
    commits_back: int | None = None

    def json(self) -> dict[str, Json]:
        """The difference as programs read it."""
        return {
            "old": self.old.version.json(),
            "new": self.new.version.json(),
            "file": [*self.file],
            "data": {path: [*pair] for path, pair in self.data.items()},
            "features": {"added": [*self.features_added], "removed": [*self.features_removed]},
            "metrics": {name: [*pair] for name, pair in self.metrics.items()},
            "params": {name: [*pair] for name, pair in self.params.items()},
            "configuration": [*self.configuration],
            "commits": self.commits,
            "commits_back": self.commits_back,
        }


def difference(git: Git, old: Details, new: Details) -> Difference:
    """Gives what differs between two versions of one repository."""
    forth, back = _commits(git, old.version.commit, new.version.commit)
    return Difference(
        old=old,
        new=new,
        data=_changed(_hashes(old.data), _hashes(new.data)),
        features_added=tuple(name for name in new.features if name not in set(old.features)),
        features_removed=tuple(name for name in old.features if name not in set(new.features)),
        metrics=_changed(old.metrics, new.metrics),
        params=_changed(old.params, new.params),
        file=(old.file.oid if old.file else "", new.file.oid if new.file else ""),
        configuration=(old.configuration, new.configuration),
        commits=forth,
        commits_back=back,
    )


def _hashes(pieces: Sequence[Piece]) -> dict[str, str]:
    return {piece.path or piece.oid: piece.oid for piece in pieces}


def _changed(old: Mapping[str, T], new: Mapping[str, T]) -> dict[str, tuple[T | None, T | None]]:
    names = dict.fromkeys([*old, *new])
    return {name: (old.get(name), new.get(name)) for name in names if old.get(name) != new.get(name)}


def _commits(git: Git, old: str, new: str) -> tuple[int | None, int | None]:
    """How far two commits are apart in both directions; unknown in a clone that ends before."""
    if git.shallow:
        return None, None
    code, out, _ = git.attempt("rev-list", "--count", "--left-right", f"{old}...{new}", "--")
    if code:
        return None, None
    back, forth = map(int, out.split())
    return forth, back
