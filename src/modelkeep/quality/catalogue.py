"""What the quality room knows about each model version beside the cells: task, features, edges, names, counts."""

from __future__ import annotations

from typing import Final

import msgspec

from modelkeep.quality.profile import Edges, Profile, pack, unpack
from modelkeep.store.cells import Cells

MOST_FEATURES: Final = 2_000
MOST_NAMES: Final = 100_000
_DOCUMENT: Final = "catalogue"


class Version(msgspec.Struct):
    """One version of one model.

    Args:
        model: its model.
        version: its name.
        task: binary, classes or regression; empty until a prediction shows it.
        scored: for a binary task, whether there are probabilities.
        origin: for a regression, the first label: sums count from here.
        predictions: how many came.
        first_ns: time of the earliest.
        last_ns: time of the latest.
        features: name → ids of the edges it was counted with, the present ones last.
        reference: when its reference came, by a number that grows; 0 without one.
        classes: place in the names of each class, in the order they came.
    """

    model: str
    version: str
    task: str = ""
    scored: bool = False
    origin: float | None = None
    predictions: int = 0
    first_ns: int = 0
    last_ns: int = 0
    features: dict[str, list[str]] = {}
    reference: int = 0
    classes: list[int] = []

    @property
    def group(self) -> str:
        """Its name among the groups of cells."""
        return group(self.model, self.version)


class Waiting(msgspec.Struct):
    """First values of a column that has no edges yet."""

    version: int
    feature: str
    hours: list[int]
    values: list[float | str]


class _State(msgspec.Struct):
    versions: list[Version] = []
    names: list[str] = msgspec.field(default_factory=lambda: ["(other)"])
    counts: dict[str, int] = {}
    waiting: list[Waiting] = []
    references: int = 0


class Catalogue:
    """Loads itself from the documents of `cells` and puts itself back there before they are sealed."""

    def __init__(self, cells: Cells) -> None:
        self._cells = cells
        data = cells.get(_DOCUMENT)
        self._state = msgspec.msgpack.decode(data, type=_State) if data else _State()
        self._versions = {(one.model, one.version): at for at, one in enumerate(self._state.versions)}
        self._names = {name: at for at, name in enumerate(self._state.names)}
        self._edges: dict[str, tuple[Edges, Profile | None]] = {}
        self._saved = data or b""

    @property
    def counts(self) -> dict[str, int]:
        """Counters by name."""
        return self._state.counts

    @property
    def waiting(self) -> list[Waiting]:
        """Columns without edges."""
        return self._state.waiting

    @property
    def versions(self) -> list[Version]:
        """All versions, in the order they came."""
        return self._state.versions

    def place(self, model: str, version: str) -> int:
        """Gives a version's number, a new one when it is new."""
        found = self._versions.get((model, version))
        if found is None:
            found = self._versions[model, version] = len(self._state.versions)
            self._state.versions.append(Version(model, version))
        return found

    def models(self) -> list[str]:
        """The models that have predictions, in the order they came."""
        return list(dict.fromkeys(one.model for one in self._state.versions if one.predictions))

    def of(self, model: str) -> list[Version]:
        """The versions of a model, in the order they came."""
        return [one for one in self._state.versions if one.model == model]

    def name_place(self, name: str) -> int:
        """Gives a name's number; new ones beyond `MOST_NAMES` share number 0."""
        found = self._names.get(name)
        if found is None:
            if len(self._names) >= MOST_NAMES:
                return 0
            found = self._names[name] = len(self._state.names)
            self._state.names.append(name)
        return found

    def name(self, place: int) -> str:
        """Gives back a name."""
        return self._state.names[place]

    def edges(self, edges_id: str) -> tuple[Edges, Profile | None]:
        """Gives edges and what the reference holds in them, if there is one."""
        found = self._edges.get(edges_id)
        if found is None:
            found = self._edges[edges_id] = unpack(self._cells.get(f"edges/{edges_id}") or b"")
        return found

    def keep(self, edges: Edges, reference: Profile | None) -> None:
        """Keeps edges under their id; a later call replaces the reference."""
        self._edges[edges.id] = (edges, reference)
        self._cells.put(f"edges/{edges.id}", pack(edges, reference))

    def present(self, version: Version, feature: str) -> str:
        """The id of the edges to count a feature with: of its own reference, else of the model's newest, else its own.

        Empty when there are none.
        """
        own = version.features.get(feature, [])
        if not version.reference:
            newest = max(self.of(version.model), key=lambda one: one.reference)
            if newest.reference and feature in newest.features:
                return newest.features[feature][-1]
        return own[-1] if own else ""

    def referenced(self, version: Version) -> None:
        """Marks a version's reference as the model's newest."""
        self._state.references += 1
        version.reference = self._state.references

    def save(self) -> None:
        """Puts everything that changed into the documents."""
        data = msgspec.msgpack.encode(self._state)
        if data != self._saved:
            self._cells.put(_DOCUMENT, data)
            self._saved = data


def group(*parts: str) -> str:
    """Gives the name of a group of cells.

    >>> group("m", "1", "x")
    '["m","1","x"]'
    """
    return msgspec.json.encode(parts).decode()
