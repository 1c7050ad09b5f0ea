"""Readings merged into one configuration, with every step of every key remembered.

Merging, interpolation, missing values and types are OmegaConf's own: what `OmegaConf.merge` gives for the same trees is
what comes out here. Trees in which nothing but mappings meet mappings and values meet values are laid over each other
instead, which comes to the same; OmegaConf is imported for the first tree that needs it.

Source: OmegaConf 2.4, https://omegaconf.readthedocs.io
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Final

from modelkeep.configuration.layers import Lists, Looked, lay
from modelkeep.configuration.trail import Trail
from modelkeep.configuration.tree import Mark, Reading, Tree

if TYPE_CHECKING:
    from omegaconf import DictConfig


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
        if self._config is not None:
            return self._config
        from modelkeep.configuration import omega

        return omega.made(self._plain or {})

    def resolved(self) -> Tree:
        """Gives the plain tree with every interpolation resolved.

        Raises:
            BadInput: an interpolation names nothing, turns in a circle or fails, or a mandatory value is missing.
        """
        if self._plain is not None:
            return self._plain
        from modelkeep.configuration import omega

        return omega.resolved(self.config, self.trail, self.secret_keys)

    def mark(self, key: str) -> Mark:
        """Gives the place that decided a key."""
        return self.trail.mark(key)


def merge(readings: Sequence[Reading], *, lists: Lists = "replace") -> Merged:
    """Merges readings; later ones win.

    Args:
        readings: at least none.
        lists: what a later list does to an earlier one.

    Raises:
        BadInput: a source cannot be merged (a wrong type, a key that the types do not have, another kind of value than
            a source before it has); every complaint with its place.
    """
    readings = _placed(readings, lists)
    looked = [Looked(reading.tree, reading.native) for reading in readings]
    keys = frozenset().union(*(one.secret_keys for one in looked))
    laid = None
    if lists == "replace" and not any(one.foreign for one in looked):
        laid = _laid(looked)
        if laid is not None and not any(one.alive for one in looked):
            return Merged(Trail(readings), keys, laid, None)
    from modelkeep.configuration import omega

    if laid is not None:
        return Merged(Trail(readings), keys, None, omega.woven(laid, readings, keys))
    config, told = omega.merged(readings, keys, lists)
    return Merged(Trail(told), keys, None, config)


def _placed(readings: Sequence[Reading], lists: Lists) -> Sequence[Reading]:
    """Gives readings in which whole lists stand in the place of the items that a reading sets."""
    if not any(reading.places for reading in readings):
        return readings
    done: list[Reading] = []
    for reading in readings:
        done.append(_with_lists(done, lists, reading) if reading.places else reading)
    return done


def _with_lists(done: Sequence[Reading], lists: Lists, reading: Reading) -> Reading:
    from modelkeep.configuration import omega

    so_far = merge(done, lists=lists)
    return omega.with_lists(so_far.config, so_far.trail, reading)


def _laid(looked: Sequence[Looked]) -> Tree | None:
    tree: Tree = {}
    return tree if all(lay(tree, one.tree) for one in looked) else None
