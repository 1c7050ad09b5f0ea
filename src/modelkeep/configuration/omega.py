"""What only OmegaConf knows: typed and mixed trees merged, interpolations resolved, refusals told with their places.

Source: OmegaConf 2.4, https://omegaconf.readthedocs.io
"""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Final, cast

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from modelkeep.configuration.complaint import Complaint
from modelkeep.configuration.layers import RESOLVER, Lists, Looked, dotted, extended, flat, moved_marks
from modelkeep.configuration.secrecy import reveal
from modelkeep.configuration.trail import Trail
from modelkeep.configuration.tree import Node, Reading, Tree, parts, pick
from modelkeep.core.errors import BadInput

_REFUSED: Final = (OmegaConfBaseException, TypeError, ValueError, KeyError)
_RESOLVE: Final = "Give missing values in a file, by a variable or on the command line; see docs: Interpolation."


def made(tree: object) -> DictConfig:
    """Gives OmegaConf's object of a plain tree."""
    return cast("DictConfig", OmegaConf.create(tree))  # type: ignore[call-overload]


def typed(kind: type) -> DictConfig | None:
    """Gives a dataclass with its types; None where it has types that OmegaConf does not know."""
    try:
        return cast("DictConfig", OmegaConf.structured(kind))
    except OmegaConfBaseException:
        return None


def typed_defaults(config: DictConfig, *, strict: bool) -> tuple[Tree, DictConfig]:
    """Gives the defaults of a dataclass as a tree, and as an object that lets other keys in unless strict."""
    config = config if strict else _opened(copy.deepcopy(config))
    return cast("Tree", OmegaConf.to_container(config, resolve=False)), config


def _opened(config: DictConfig) -> DictConfig:
    """Lets a typed config and those in it take keys that their types do not have."""
    OmegaConf.set_struct(config, False)
    for name in config:
        if not (OmegaConf.is_missing(config, name) or OmegaConf.is_interpolation(config, cast("str", name))):
            inner = config[name]
            if isinstance(inner, DictConfig):
                _opened(inner)
    return config


def resolved(config: DictConfig, trail: Trail, keys: frozenset[str]) -> Tree:
    """Gives the plain tree with every interpolation resolved.

    Raises:
        BadInput: an interpolation names nothing, turns in a circle or fails, or a mandatory value is missing.
    """
    if not OmegaConf.has_resolver(RESOLVER):
        OmegaConf.register_resolver(RESOLVER, reveal)
    tell = Complaint(trail, keys)
    try:
        return cast("Tree", OmegaConf.to_container(config, resolve=True, throw_on_missing=True))
    except RecursionError:
        found: list[str] = []
    except OmegaConfBaseException as error:
        found = list(_unresolved(config, tell)) or [tell.line(str(error.full_key or ""), error)]
    raise BadInput("\n".join(found) or "interpolations lead too deep", hint=_RESOLVE)


def _unresolved(config: DictConfig, tell: Complaint) -> Iterator[str]:
    """Gives a line for every value that is missing or cannot be resolved."""
    for path, holder, name in _places(config):
        if OmegaConf.is_missing(holder, name):
            yield tell.line(dotted(path), None)
            continue
        try:
            holder[name]  # type: ignore[index]
        except OmegaConfBaseException as error:
            yield tell.line(dotted(path), error)


def woven(laid: Tree, readings: Sequence[Reading], keys: frozenset[str]) -> DictConfig:
    """Gives OmegaConf's object of a tree that readings were laid into.

    Raises:
        BadInput: an interpolation is malformed.
    """
    given = ((Looked(one.tree), Complaint(Trail([one]), keys)) for one in readings)
    return _guarded(lambda: made(laid), made, given)


def merged(readings: Sequence[Reading], keys: frozenset[str], lists: Lists) -> tuple[DictConfig, list[Reading]]:
    """Gives readings merged by OmegaConf, and the readings with the places that joined lists have.

    Raises:
        BadInput: see `merge.merge`.
    """
    config: DictConfig | None = None
    done: list[Reading] = []
    for reading, one in zip(readings, [Looked(one.tree, one.native) for one in readings], strict=True):
        if not reading.tree and reading.native is None:
            done.append(reading)
            continue
        layers: list[object] = [one.tree] if reading.native is None else [copy.deepcopy(reading.native), one.named]
        if lists != "replace" and config is not None:
            joined, reading = _behind(config, reading, one, lists, Trail(done))  # noqa: PLW2901
            layers = [*layers[: reading.native is not None], joined]
        done.append(reading)
        config = _joined(config, one, layers, Complaint(Trail(done), keys))
    return config if config is not None else made({}), done


def with_lists(config: DictConfig, trail: Trail, reading: Reading) -> Reading:
    """Puts each item of a reading into a copy of the list that it belongs to.

    Raises:
        BadInput: there is no such list, or it is too short.
    """
    old = OmegaConf.to_container(config, resolve=False)
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
        marks = {k: trail.mark(k) for k, _ in flat(whole, folder)} | marks
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


def _joined(config: DictConfig | None, one: Looked, layers: Sequence[object], tell: Complaint) -> DictConfig:
    first = [] if config is None else [config]

    def join() -> DictConfig:
        layered = [layer if OmegaConf.is_config(layer) else made(layer) for layer in layers]
        return cast("DictConfig", OmegaConf.merge(*first, *layered))

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
