"""Readings merged into one configuration by OmegaConf, with every step of every key remembered.

Merging, interpolation, missing values and types are OmegaConf's own: what `OmegaConf.merge` gives for the same trees is
what comes out here. Trees in which nothing but mappings meet mappings and values meet values are laid over each other
before OmegaConf sees them, which comes to the same; all others are merged by OmegaConf itself.

Source: OmegaConf 2.4, https://omegaconf.readthedocs.io
"""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cached_property
from typing import Final, cast

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from modelkeep.configuration.complaint import Complaint
from modelkeep.configuration.layers import RESOLVER, Lists, Looked, dotted, extended, flat, lay, moved_marks
from modelkeep.configuration.secrecy import reveal
from modelkeep.configuration.trail import Trail
from modelkeep.configuration.tree import Mark, Node, Reading, Tree, parts, pick
from modelkeep.core.errors import BadInput

_REFUSED: Final = (OmegaConfBaseException, TypeError, ValueError, KeyError)


class Merged:
    """What the sources give together, before it is validated.

    Args:
        trail: who said what.
        secret_keys: the keys that named a secret.
        plain: the tree, when OmegaConf has nothing to do with it.
        config: OmegaConf's own object, otherwise.
    """

    def __init__(
        self, trail: Trail, secret_keys: frozenset[str], plain: Tree | None, config: DictConfig | None
    ) -> None:
        self.trail: Final = trail
        self.secret_keys: Final = secret_keys
        self._plain: Final = plain
        self._config: Final = config

    @cached_property
    def config(self) -> DictConfig:
        """OmegaConf's own object; interpolations are resolved when read."""
        return self._config if self._config is not None else OmegaConf.create(self._plain or {})

    def resolved(self) -> Tree:
        """Gives the plain tree with every interpolation resolved.

        Raises:
            BadInput: an interpolation names nothing, turns in a circle or fails, or a mandatory value is missing.
        """
        if self._plain is not None:
            return self._plain
        try:
            return cast("Tree", OmegaConf.to_container(self.config, resolve=True, throw_on_missing=True))
        except RecursionError:
            found: list[str] = []
        except OmegaConfBaseException as error:
            found = list(self._unresolved()) or [self._complaint(str(error.full_key or ""), error)]
        raise BadInput("\n".join(found) or "interpolations lead too deep", hint=_RESOLVE)

    def mark(self, key: str) -> Mark:
        """Gives the place that decided a key."""
        return self.trail.mark(key)

    def _unresolved(self) -> Iterator[str]:
        """Gives a line for every value that is missing or cannot be resolved."""
        for path, holder, name in _places(self.config):
            if OmegaConf.is_missing(holder, name):
                yield self._complaint(dotted(path), None)
                continue
            try:
                holder[name]  # type: ignore[index]
            except OmegaConfBaseException as error:
                yield self._complaint(dotted(path), error)

    def _complaint(self, key: str, error: Exception | None) -> str:
        return Complaint(self.trail, self.secret_keys).line(key, error)


_RESOLVE: Final = "Give missing values in a file, by a variable or on the command line; see docs: Interpolation."


def merge(readings: Sequence[Reading], *, lists: Lists = "replace") -> Merged:
    """Merges readings; later ones win.

    Args:
        readings: at least none.
        lists: what a later list does to an earlier one.

    Raises:
        BadInput: a source cannot be merged (a wrong type, a key that the types do not have, another kind of value than
            a source before it has); every complaint with its place.
    """
    if not OmegaConf.has_resolver(RESOLVER):
        OmegaConf.register_resolver(RESOLVER, reveal)
    readings = _placed(readings, lists)
    looked = [Looked(reading.tree, reading.native) for reading in readings]
    keys = frozenset().union(*(one.secret_keys for one in looked))
    if lists == "replace" and not any(one.foreign for one in looked):
        laid = _laid(looked)
        if laid is not None and not any(one.alive for one in looked):
            return Merged(Trail(readings), keys, laid, None)
        if laid is not None:
            given = ((Looked(one.tree), Complaint(Trail([one]), keys)) for one in readings)
            config = _guarded(lambda: _made(laid), _made, given)
            return Merged(Trail(readings), keys, None, config)
        looked = [Looked(reading.tree) for reading in readings]  # laying has changed them
    return _by_omegaconf(readings, looked, keys, lists)


def _placed(readings: Sequence[Reading], lists: Lists) -> Sequence[Reading]:
    """Gives readings in which whole lists stand in the place of the items that a reading sets."""
    if not any(reading.places for reading in readings):
        return readings
    done: list[Reading] = []
    for reading in readings:
        done.append(_with_lists(merge(done, lists=lists), reading) if reading.places else reading)
    return done


def _with_lists(so_far: Merged, reading: Reading) -> Reading:
    """Puts each item into a copy of the list that it belongs to.

    Raises:
        BadInput: there is no such list, or it is too short.
    """
    old = OmegaConf.to_container(so_far.config, resolve=False)
    tree, marks = copy.deepcopy(reading.tree), dict(reading.marks)
    for key, value in reading.places.items():
        path = parts(key)
        first = next(number for number, part in enumerate(path) if isinstance(part, int))
        try:
            whole = pick(tree if _holds(tree, path[:first]) else old, path[:first])
            place = pick(whole, path[first:-1])
            pick(place, path[-1:]) if isinstance(path[-1], int) else None
            assert isinstance(place, list | dict)
        except (KeyError, AssertionError):
            raise BadInput(
                f"{reading.mark(key)}: no source before has such a place", hint="Set the whole list."
            ) from None
        folder = dotted(path[:first])
        marks = {k: so_far.mark(k) for k, _ in flat(whole, folder)} | marks
        place[path[-1]] = value  # type: ignore[index]
        node: object = tree
        for part in path[: first - 1]:
            node = node.setdefault(part, {})  # type: ignore[attr-defined]
        node[path[first - 1]] = whole  # type: ignore[index]
    return dataclasses.replace(reading, tree=tree, marks=marks, places={})


def _holds(tree: object, path: Sequence[str | int]) -> bool:
    try:
        return isinstance(pick(tree, path), list)
    except KeyError:
        return False


def _laid(looked: Sequence[Looked]) -> Tree | None:
    tree: Tree = {}
    return tree if all(lay(tree, one.tree) for one in looked) else None


def _made(tree: object) -> DictConfig:
    return cast("DictConfig", OmegaConf.create(tree))  # type: ignore[call-overload]


def _by_omegaconf(readings: Sequence[Reading], looked: Sequence[Looked], keys: frozenset[str], lists: Lists) -> Merged:
    config: DictConfig | None = None
    done: list[Reading] = []
    for reading, one in zip(readings, looked, strict=True):
        if not reading.tree and reading.native is None:
            done.append(reading)
            continue
        layers: list[object] = [one.tree] if reading.native is None else [copy.deepcopy(reading.native), one.named]
        if lists != "replace" and config is not None:
            joined, reading = _behind(config, reading, one, lists, Trail(done))  # noqa: PLW2901
            layers = [*layers[: reading.native is not None], joined]
        done.append(reading)
        config = _joined(config, one, layers, Complaint(Trail(done), keys))
    return Merged(Trail(done), keys, None, config if config is not None else _made({}))


def _joined(config: DictConfig | None, one: Looked, layers: Sequence[object], tell: Complaint) -> DictConfig:
    first = [] if config is None else [config]

    def join() -> DictConfig:
        made = [layer if OmegaConf.is_config(layer) else _made(layer) for layer in layers]
        return cast("DictConfig", OmegaConf.merge(*first, *made))

    def part(tree: Tree) -> object:
        return OmegaConf.merge(*first, tree)

    return _guarded(join, part, [(one, tell)])


def _guarded(
    work: Callable[[], DictConfig], part: Callable[[Tree], object], given: Iterable[tuple[Looked, Complaint]]
) -> DictConfig:
    """Does the work; when it fails, looks for the least parts of what was given that fail alone.

    Raises:
        BadInput: it fails; one line for each of these parts.
    """
    failed: list[str] = []
    try:
        return work()
    except _REFUSED as error:
        first: Complaint | None = None
        for one, tell in given:
            first = first or tell
            failed += [tell.line(dotted(path), cause) for path, cause in _culprits(one.tree, part, [])]
        failed = failed or [first.line("", error) if first else str(error)]
    raise BadInput("\n".join(failed), hint="Nothing was applied; mend these and try again.")


def _culprits(
    node: Node, part: Callable[[Tree], object], path: list[str | int]
) -> Iterator[tuple[list[str | int], Exception]]:
    members: list[tuple[str | int, Node]] = []
    if isinstance(node, dict):
        members = list(node.items())
    elif isinstance(node, list):
        members = list(enumerate(node))
    for name, value in members:
        inner = [*path, name]
        try:
            part(_wrapped(inner, value))
        except _REFUSED as error:
            below = list(_culprits(value, part, inner))
            yield from below or [(inner, error)]


def _wrapped(path: Sequence[str | int], value: Node) -> Tree:
    for part in reversed(path):
        value = [value] if isinstance(part, int) else {part: value}
    assert isinstance(value, dict)
    return value


def _behind(config: DictConfig, reading: Reading, one: Looked, lists: Lists, so_far: Trail) -> tuple[object, Reading]:
    """Gives a reading whose lists stand behind those so far, with the places of all their items."""
    old = OmegaConf.to_container(config, resolve=False)
    moved: dict[str, tuple[int, list[int]]] = {}
    joined = extended(old, one.tree, lists, moved)
    marks = moved_marks(reading.marks, moved)
    nodes = dict(flat(joined)) if moved else {}
    for key, (count, _) in moved.items():
        for place in range(count):
            item = f"{key}[{place}]"
            marks |= {k: so_far.mark(k) for k in nodes if k == item or k.startswith((f"{item}.", f"{item}["))}
    return joined, dataclasses.replace(reading, tree=cast("Tree", joined), marks=marks)


def _places(config: object) -> Iterator[tuple[list[str | int], object, str | int]]:
    """Gives the places of all values that are no containers, or that stand for another: path, holder and name."""
    stack: list[tuple[list[str | int], object]] = [([], config)]
    while stack:
        path, holder = stack.pop()
        names = list(holder) if isinstance(holder, DictConfig) else range(len(holder))  # type: ignore[arg-type]
        for name in names:
            inner = [*path, name]
            if OmegaConf.is_missing(holder, name) or OmegaConf.is_interpolation(holder, name):
                yield inner, holder, name
            elif OmegaConf.is_config(value := holder[name]) and value:  # type: ignore[index]
                stack.append((inner, value))
