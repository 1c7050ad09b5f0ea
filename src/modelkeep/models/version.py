"""What a version was made of: its file, its data, features, metrics, configuration, log, and the commit behind it.

What the tag says (see `Made`) was written down by whoever registered it; the rest is read in the tagged commit: `.dvc`
files, `dvc.lock`, `dvc.yaml` and the files of metrics that lie in git.
"""

from __future__ import annotations

import posixpath
from collections.abc import Iterable
from typing import TYPE_CHECKING

import msgspec

from modelkeep.core.clock import SECOND
from modelkeep.core.errors import Error, Missing
from modelkeep.core.shapes import Json
from modelkeep.models.artifacts import Artifact, artifact_at
from modelkeep.models.tree import TEXTS, Figure, Piece, Tree, flat, join, parsed

if TYPE_CHECKING:
    from modelkeep.code.repository import Git
    from modelkeep.models.events import Key
    from modelkeep.models.state import Version

__all__ = ["Details", "Made", "Piece", "data_version", "details", "trailers"]


class Details(msgspec.Struct, frozen=True):
    """Everything that is known of a version from its repository.

    Args:
        version: which.
        artifact: what `dvc.yaml` says about it.
        file: the model itself; None when nobody says where it is.
        data: what it was made from; when nobody says, all that is tracked beside it.
        data_version: one text for the data, as releases carry it; empty without data.
        features: their names, in order.
        metrics: by name.
        params: what `dvc.lock` says the training was given.
        configuration: the hash of its configuration.
        log: where the log of its training is.
        reference: the data that it was accepted on, by its path.
        author: who wrote the commit, `Name <address>`.
        committed_ns: when, by the committer's clock.
        subject: the first line of the commit's message.
        faults: what could not be read, and why.
    """

    version: Version
    artifact: Artifact
    file: Piece | None = None
    data: tuple[Piece, ...] = ()
    data_version: str = ""
    features: tuple[str, ...] = ()
    metrics: dict[str, Figure] = {}
    params: dict[str, Figure] = {}
    configuration: str = ""
    log: str = ""
    reference: str = ""
    author: str = ""
    committed_ns: int = 0
    subject: str = ""
    faults: tuple[str, ...] = ()

    def json(self) -> dict[str, Json]:
        """The details as programs read them."""
        from modelkeep.core.times import iso

        return {
            **self.version.json(),
            "artifact": self.artifact.json(),
            "file": self.file.json() if self.file else None,
            "data": [one.json() for one in self.data],
            "data_version": self.data_version or None,
            "features": [*self.features],
            "metrics": {**self.metrics},
            "params": {**self.params},
            "configuration": self.configuration or None,
            "log": self.log or None,
            "reference": self.reference or None,
            "author": self.author,
            "committed": iso(self.committed_ns),
            "subject": self.subject,
            "faults": [*self.faults],
        }


class Made(msgspec.Struct, frozen=True):
    """What somebody says a version was made of; empty values are found in the commit, if they are there.

    Args:
        path: of the model's file or folder.
        data: the paths of its data.
        features: their names, in order.
        metrics: by name.
        configuration: the hash of its configuration.
        log: where the log of its training is.
        reference: the path of the data that it was accepted on.
    """

    path: str = ""
    data: tuple[str, ...] = ()
    features: tuple[str, ...] = ()
    metrics: dict[str, Figure] = {}
    configuration: str = ""
    log: str = ""
    reference: str = ""


def trailers(git: Git, rev: str, name: str, made: Made) -> list[tuple[Key, str]]:
    """Gives what the tag of a new version says: what was made is looked up in the commit.

    Args:
        git: the repository.
        rev: what will be registered.
        name: of the model.
        made: what somebody says about it.

    Raises:
        Missing: a path is neither tracked in that commit nor in git.
        BadInput: a metafile of that commit cannot be read.
    """
    commit = git.resolve(rev)
    tree = Tree(git, commit)
    artifact = artifact_at(git, commit, name)
    path = _tidy(made.path) or artifact.path
    file = tree.piece(path) if path else None
    for asked in (made.path, *made.data, made.reference):
        if asked and not tree.piece(_tidy(asked)).oid:
            raise Missing(
                f"{asked}: neither tracked nor in git at {commit[:12]}",
                hint="Commit it, or its .dvc file, first; paths start at git's root.",
            )
    chosen = [tree.piece(_tidy(one)) for one in made.data] or tree.behind(path)
    oids = [one.oid for one in chosen if one.oid]
    return [
        ("Data", " ".join(oids)),
        ("Path", path),
        ("Hash", file.oid if file else ""),
        ("Configuration", made.configuration),
        ("Features", _encoded([*made.features]) if made.features else ""),
        ("Metrics", _encoded({**made.metrics}) if made.metrics else ""),
        ("Log", made.log),
        ("Reference", _tidy(made.reference)),
    ]


def details(git: Git, version: Version) -> Details:
    """Gives what is known of a version; what cannot be read is said in `faults`, and the rest is given.

    Raises:
        Missing: its commit is not here.
    """
    commit = git.resolve(version.commit)
    faults: list[str] = []
    told = version.event.trailers
    tree = Tree(git, commit, faults)
    try:
        artifact = artifact_at(git, commit, version.model)
    except Error as error:
        faults.append(error.message)
        artifact = Artifact(version.model)
    path = told.get("Path") or artifact.path
    file = tree.piece(path) if path else None
    claimed = told.get("Data", "").split()
    data = tree.named(claimed) if claimed else (tree.behind(path) or tree.beside(path))
    if file and told.get("Hash") and told["Hash"] != file.oid:
        faults.append(f"{path}: registered as {told['Hash']}, is {file.oid or 'not there'} at {commit[:12]}")
    author, committed_ns, subject = _commit(git, commit)
    return Details(
        version=version,
        artifact=artifact,
        file=file,
        data=tuple(data),
        data_version=data_version(claimed or [one.oid for one in data]),
        features=_features(git, commit, told, artifact, faults),
        metrics=_metrics(told, artifact, tree),
        params=tree.params(path),
        configuration=told.get("Configuration") or _meta(artifact, "configuration"),
        log=told.get("Log") or _meta(artifact, "log"),
        reference=told.get("Reference") or _meta(artifact, "reference"),
        author=author,
        committed_ns=committed_ns,
        subject=subject,
        faults=tuple(faults),
    )


def data_version(oids: Iterable[str]) -> str:
    """Gives one text for some data, as a release carries it: their hashes without what made them, joined by `+`.

    >>> data_version(["md5:d41d8cd98f00b204e9800998ecf8427e", "git:e69de29bb2d1d6434b8b29ae775ad8c2e48c5391"])
    'd41d8cd98f00b204e9800998ecf8427e+e69de29bb2d1d6434b8b29ae775ad8c2e48c5391'
    """
    return "+".join(dict.fromkeys(one.partition(":")[2] for one in oids if one))


def _features(git: Git, commit: str, told: dict[str, str], artifact: Artifact, faults: list[str]) -> tuple[str, ...]:
    if "Features" in told:
        return tuple(map(str, _listed(_decoded(told["Features"]))))
    given = artifact.meta.get("features")
    if isinstance(given, str) and given.endswith(TEXTS):
        path = join(posixpath.dirname(artifact.file), given)
        try:
            given = parsed(git.read(commit, path), f"{commit[:12]}:{path}")
        except Error as error:
            faults.append(error.message)
            return ()
    return tuple(map(str, _listed(given)))


def _metrics(told: dict[str, str], artifact: Artifact, tree: Tree) -> dict[str, Figure]:
    given = artifact.meta.get("metrics")
    said = _decoded(told.get("Metrics", ""))
    found = tree.metrics()
    found |= flat(given)
    return found | flat(said)


def _meta(artifact: Artifact, key: str) -> str:
    found = artifact.meta.get(key)
    if not isinstance(found, str) or not found:
        return ""
    return join(posixpath.dirname(artifact.file), found) if key == "reference" else found


def _commit(git: Git, commit: str) -> tuple[str, int, str]:
    form = "--format=%an <%ae>%x00%ct%x00%s"
    told = git.run("log", "-1", "--no-show-signature", form, commit).decode("utf-8", "replace")
    author, at, subject = told.split("\0")
    return author, int(at) * SECOND, subject.strip()


def _listed(value: Json) -> list[Json]:
    return value if isinstance(value, list) else []


def _encoded(value: Json) -> str:
    return msgspec.json.encode(value).decode()


def _decoded(text: str) -> Json:
    try:
        found: Json = msgspec.json.decode(text) if text else None
    except (msgspec.DecodeError, ValueError):
        return None
    return found


def _tidy(path: str) -> str:
    return posixpath.normpath(path).removeprefix("./") if path else ""
