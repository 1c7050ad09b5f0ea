"""Trainings that others have kept: versions registered by git tags, models in a history of DVC; as records to be sent.

Each has an id that follows from where it was found, so that telling it again changes nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from pathlib import Path
from typing import Final, Literal

import msgspec

from modelkeep.code.repository import Git
from modelkeep.core.encoding import Envelope, Trainings, encode
from modelkeep.core.errors import Error, Missing
from modelkeep.core.shapes import Json

Source = Literal["mlflow", "dvc", "git"]
Status = Literal["running", "finished", "failed"]
MOST: Final = 10_000
"""Commits that are looked at."""
_AT_ONCE: Final = 500
_LONGEST: Final = 200
_METAFILES: Final = ("dvc.lock", ".dvc")


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One training that somebody else has kept; see `core.layouts.TRAINING`.

    Args:
        source: who kept it.
        run: what it is called there; with model and source it makes the id.
        at_ns: its start.
        end_ns: its end; 0 while it runs.
    """

    source: Source
    run: str
    model: str
    at_ns: int
    end_ns: int
    status: Status = "finished"
    version: str = ""
    code: str = ""
    data_version: str = ""
    config_version: str = ""
    metrics: Mapping[str, float] = field(default_factory=dict)
    parameters: Mapping[str, Json] = field(default_factory=dict)
    by: str = ""
    error: str = ""
    url: str = ""

    @property
    def id(self) -> str:
        """The same for the same run, whoever tells it."""
        named = "\0".join((self.source, self.run, self.model))
        return blake2b(named.encode("utf-8", "backslashreplace"), digest_size=16).hexdigest()


def bodies(runs: Sequence[Run]) -> Iterator[bytes]:
    """Gives the requests that tell a server of trainings; a request sent twice counts once."""
    for start in range(0, len(runs), _AT_ONCE):
        told = _told(runs[start : start + _AT_ONCE])
        digest = blake2b(msgspec.msgpack.encode(told), digest_size=16).hexdigest()
        yield encode(Envelope(token=digest, trainings=[told]))


def _told(runs: Sequence[Run]) -> Trainings:
    texts = ("version", "code", "data_version", "config_version", "by", "run", "error")
    columns = {name: [cut(getattr(one, name)) for one in runs] for name in texts}
    return Trainings(
        host="",
        process="",
        ids=[one.id for one in runs],
        at=[one.at_ns for one in runs],
        end=[max(one.end_ns, one.at_ns) if one.end_ns else 0 for one in runs],
        model=[cut(one.model) or "unnamed" for one in runs],
        status=[one.status for one in runs],
        dirty=[False] * len(runs),
        metrics=[msgspec.json.encode(dict(one.metrics)).decode() for one in runs],
        parameters=[msgspec.json.encode(dict(one.parameters)).decode() for one in runs],
        source=[one.source for one in runs],
        url=[one.url for one in runs],
        **columns,
    )


def cut(text: str) -> str:
    r"""Gives a text as a name that the server takes.

    >>> cut("a\nb")
    'a b'
    """
    clean = text.encode("utf-8", "backslashreplace").decode()
    return "".join(letter if letter.isprintable() else " " for letter in clean)[:_LONGEST].strip()


def finite(values: Mapping[str, object]) -> dict[str, float]:
    """Gives the values that are finite numbers.

    >>> finite({"auc": 0.5, "name": "x", "loss": float("nan"), "done": True})
    {'auc': 0.5}
    """
    numbers = {name: value for name, value in values.items() if isinstance(value, int | float)}
    return {name: float(value) for name, value in numbers.items() if value - value == 0 and not isinstance(value, bool)}


def registrations(folder: Path, model: str = "") -> list[Run]:
    """Gives the versions that a repository's tags register, each as a training that ended then.

    Args:
        folder: anywhere in the repository.
        model: only of this one.

    Raises:
        Missing: there is no repository, or no such model.
    """
    from modelkeep.models.registry import Registry

    registry = Registry(Git(folder))
    try:
        names = [model] if model else [one.name for one in registry.artifacts()]
        found: list[Run] = []
        for name in names:
            for one in registry.versions(name):
                told = one.event.trailers
                found.append(
                    Run(
                        source="git",
                        run=one.event.tag,
                        model=name,
                        version=one.version,
                        at_ns=one.at_ns,
                        end_ns=one.at_ns,
                        code=one.commit,
                        data_version=told.get("Data", "").removeprefix("md5:"),
                        config_version=told.get("Configuration", ""),
                        metrics=finite(_object(told.get("Metrics", ""))),
                        by=one.by,
                    )
                )
        return found
    finally:
        registry.git.close()


def pipelines(folder: Path, model: str = "") -> list[Run]:
    """Gives every commit that brought another model of `artifacts:`, tracked by DVC, as a training that ended then.

    The history is that of the metafiles that are there now.

    Args:
        folder: anywhere in the repository.
        model: only of this one.

    Raises:
        Missing: there is no repository, or no artifact says where its model is.
    """
    git = Git(folder)
    try:
        found = [*_pipelines(git, model)]
    finally:
        git.close()
    if not found:
        named = f"no model {model}" if model else "no model"
        raise Missing(
            f"{named} in the history of dvc.lock and .dvc files",
            hint="Say where the model is in dvc.yaml: artifacts: {churn: {path: models/churn.pkl, type: model}}",
        )
    return found


def _pipelines(git: Git, model: str) -> Iterator[Run]:
    from modelkeep.code.history import log
    from modelkeep.models.artifacts import artifacts_at
    from modelkeep.models.tree import Tree
    from modelkeep.models.version import data_version

    held: dict[str, str] = {}
    paths = [file.path for file in git.files("HEAD", suffixes=_METAFILES)]
    for commit in reversed(log(git, "HEAD", limit=MOST, paths=paths) if paths else []):
        try:
            tree = Tree(git, commit.id, [])
            artifacts = [one for one in artifacts_at(git, commit.id) if one.path and model in ("", one.model)]
        except Error:
            continue  # a commit that nobody could use trained nothing
        for one in artifacts:
            oid = tree.piece(one.path).oid
            if not oid.startswith("md5:") or held.get(one.model) == oid:
                continue
            held[one.model] = oid
            yield Run(
                source="dvc",
                run=commit.id,
                model=one.model,
                at_ns=max(0, commit.committed_ns),
                end_ns=max(0, commit.committed_ns),
                code=commit.id,
                data_version=data_version(piece.oid for piece in tree.behind(one.path)),
                metrics=finite(tree.metrics()),
                parameters=dict(tree.params(one.path)),
                by=commit.author,
            )


def _object(text: str) -> dict[str, object]:
    try:
        found = msgspec.json.decode(text) if text else {}
    except (msgspec.DecodeError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
