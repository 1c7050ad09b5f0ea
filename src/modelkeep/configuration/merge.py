"""Readings merged into one configuration by OmegaConf, with every step of every key remembered.

Merging, interpolation, missing values and types are OmegaConf's own: what `OmegaConf.merge` gives for the same trees is
what comes out here. Beside it each key keeps who said what and where, in order.

Source: OmegaConf 2.4, https://omegaconf.readthedocs.io
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal, NamedTuple, cast

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import (
    ConfigKeyError,
    InterpolationKeyError,
    InterpolationResolutionError,
    MissingMandatoryValue,
    OmegaConfBaseException,
)

from modelkeep.configuration.secrecy import reference, reveal
from modelkeep.configuration.tree import Mark, Node, Reading, Scalar, Tree, above, join, parts, pick
from modelkeep.core.errors import BadInput

Lists = Literal["replace", "extend", "extend_unique"]
RESOLVER: Final = "secret"
_DEEP: Final = 100


class Step(NamedTuple):
    """One thing that was said of a key: where, and what."""

    mark: Mark
    value: Scalar


@dataclass(frozen=True, slots=True)
class Merged:
    """What the sources give together, before it is validated.

    Args:
        config: OmegaConf's own object; interpolations are resolved when read.
        readings: the readings, later ones win.
        secret_keys: the keys that named a secret.
    """

    config: DictConfig
    readings: tuple[Reading, ...]
    secret_keys: frozenset[str]

    def resolved(self) -> Tree:
        """Gives the plain tree with every interpolation resolved.

        Raises:
            BadInput: an interpolation names nothing, turns in a circle or fails, or a mandatory value is missing.
        """
        try:
            missing = sorted(OmegaConf.missing_keys(self.config))
            if missing:
                raise BadInput("\n".join(f"{self.mark(key)} {key}: a value is missing" for key in missing), hint=_GIVE)
            tree = OmegaConf.to_container(self.config, resolve=True, throw_on_missing=True)
        except RecursionError:
            raise BadInput("interpolations lead too deep", hint="Break the circle.") from None
        except OmegaConfBaseException as error:
            raise self.told(error) from None
        return cast("Tree", tree)

    def history(self, key: str) -> list[Step]:
        """Gives what was said of a key, in order; the last is what holds.

        A list or a plain value given for a container above the key counts: it did away with what was there.
        """
        steps = []
        for reading in self.readings:
            node = _node(reading.tree, key)
            if node is not _ABSENT:
                steps.append(Step(reading.mark(key), _shown(node)))
        return steps

    def mark(self, key: str) -> Mark:
        """Gives the place that decided a key."""
        while key:
            for reading in reversed(self.readings):
                if _node(reading.tree, key) is not _ABSENT:
                    return reading.mark(key)
            key = above(key)
        return self.readings[-1].origin if self.readings else Mark("nothing")

    def decided_by(self, key: str, reading: Reading) -> bool:
        """Says whether a reading is the last that said something of a key."""
        said = [one for one in self.readings if _node(one.tree, key) is not _ABSENT]
        return bool(said) and said[-1] is reading

    def told(self, error: OmegaConfBaseException) -> BadInput:
        """Gives OmegaConf's error as ours: with the place, and without the value of a secret."""
        key = str(error.full_key or "")
        reason = str(error.msg or error).partition("\n")[0]
        hint = ""
        if isinstance(error, MissingMandatoryValue):
            reason, hint = "a value is missing", _GIVE
        elif isinstance(error, InterpolationKeyError | InterpolationResolutionError):
            hint = "See docs/guides/configuration.md, Interpolation."
        elif isinstance(error, ConfigKeyError):
            hint = "Take it out, or add it to the schema."
        where = f"{self.mark(key)} {key}: " if key else ""
        return BadInput(f"{where}{reason}", hint=hint)


_GIVE: Final = "Give it in a file, by an environment variable or on the command line."


class _Absent:
    pass


_ABSENT: Final = _Absent()


def merge(readings: Sequence[Reading], *, base: object = None, lists: Lists = "replace") -> Merged:
    """Merges readings; later ones win.

    Args:
        readings: at least none.
        base: a dataclass that OmegaConf takes as types and defaults; None without one.
        lists: what a later list does to an earlier one.

    Raises:
        BadInput: a source cannot be merged (a wrong type, a key that the types do not have); with its place.
    """
    _register()
    config = cast("DictConfig", OmegaConf.structured(base) if base is not None else OmegaConf.create({}))
    done: list[Reading] = []
    keys: set[str] = set()
    for reading in readings:
        done.append(reading)
        so_far = Merged(config, tuple(done), frozenset())
        try:
            config = _joined(config, reading, lists, keys)
        except OmegaConfBaseException as error:
            raise so_far.told(error) from None
        except (TypeError, ValueError) as error:
            raise BadInput(f"{reading.origin}: {error}") from None
    return Merged(config, tuple(done), frozenset(keys))


def _joined(config: DictConfig, reading: Reading, lists: Lists, keys: set[str]) -> DictConfig:
    pointed = cast("Tree", _pointed(reading.tree, "", keys))
    given = reading.native if reading.native is not None and pointed == reading.tree else pointed
    if lists != "replace":
        given = _extended(config, given, lists)
    return cast("DictConfig", OmegaConf.merge(config, given))


def _pointed(node: Node, key: str, keys: set[str]) -> Node:
    """Puts a reference to the secret where the text `secret:NAME` stands, and remembers the key."""
    if isinstance(node, dict):
        return {name: _pointed(value, join(key, str(name)), keys) for name, value in node.items()}
    if isinstance(node, list):
        return [_pointed(value, join(key, place), keys) for place, value in enumerate(node)]
    name = reference(node) if isinstance(node, str) else ""
    if not name:
        return node
    keys.add(key)
    return f"${{{RESOLVER}:{name}}}"


def _extended(config: object, given: object, lists: Lists, depth: int = 0) -> object:
    """Gives a later tree whose lists begin with the earlier ones."""
    old, new = _plain(config), _plain(given)
    if depth > _DEEP:
        return new
    if isinstance(old, dict) and isinstance(new, dict):
        return {name: _extended(old.get(name), value, lists, depth + 1) for name, value in new.items()}
    if isinstance(old, list) and isinstance(new, list):
        fresh = [value for value in new if lists == "extend" or value not in old]
        return [*old, *fresh]
    return new


def _plain(config: object) -> object:
    return OmegaConf.to_container(config, resolve=False) if OmegaConf.is_config(config) else config


def _node(tree: object, key: str) -> object:
    path = parts(key)
    for length in range(len(path), 0, -1):
        try:
            found = pick(tree, path[:length])
        except KeyError:
            continue
        whole = length == len(path)
        return found if whole or not isinstance(found, Mapping) else _ABSENT
    return _ABSENT


def _shown(node: object) -> Scalar:
    if isinstance(node, Mapping):
        return "{…}" if node else "{}"
    if isinstance(node, list | tuple):
        return f"[{', '.join(str(_shown(item)) for item in node)}]"
    return node if isinstance(node, str | int | float | bool | bytes) else None


def _register() -> None:
    if not OmegaConf.has_resolver(RESOLVER):
        OmegaConf.register_resolver(RESOLVER, reveal)
