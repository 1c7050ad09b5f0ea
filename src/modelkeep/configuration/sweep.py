"""Sweeps: one configuration in many variants, each resolved and kept under the hash of its content.

`lr=0.1,0.01 depth=range(1,3)` makes four runs, the last argument changing fastest, as Hydra's own sweeper orders them.
"""

from __future__ import annotations

import copy
import hashlib
import itertools
import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Final, cast

from modelkeep.configuration.overrides import Override, parse
from modelkeep.configuration.secrecy import mask_tree, secret_texts
from modelkeep.configuration.tree import Mark, Node, Reading, parts, pick
from modelkeep.core.errors import BadInput

if TYPE_CHECKING:
    from omegaconf import DictConfig

    from modelkeep.configuration.snapshot import Difference, Snapshot
    from modelkeep.configuration.source import Source

_MOST: Final = 10_000
_PLAIN: Final = re.compile(r"[A-Za-z_./][\w./-]*\Z", re.ASCII)


def runs(overrides: Sequence[str]) -> list[tuple[Override, ...]]:
    """Gives what each run changes; the last argument changes fastest.

    Raises:
        BadInput: an argument does not follow the grammar, or there would be more than 10,000 runs.

    >>> [" ".join(map(argument, run)) for run in runs(["lr=0.1,0.01", "+tag=choice(a,b)"])]
    ['lr=0.1 +tag=a', 'lr=0.1 +tag=b', 'lr=0.01 +tag=a', 'lr=0.01 +tag=b']
    """
    sweeps = [parse(text) for text in overrides]
    for sweep in sweeps:
        if sweep.interval is not None:
            raise BadInput(
                f"{sweep.key}={sweep.interval} has no end of values", hint="Name values, or let --trials choose some."
            )
    count = math.prod(len(sweep.values) for sweep in sweeps)
    if count > _MOST:
        raise BadInput(f"{count:,} runs are more than {_MOST:,}", hint="Sweep fewer values at a time.")
    return list(itertools.product(*(sweep.overrides() for sweep in sweeps)))


def argument(override: Override) -> str:
    """Gives an override as the argument of a program, one that reads values as YAML or as Hydra does.

    >>> argument(Override("a", "x y")), argument(Override("a", [1, {"b": None}], "force"))
    ("a='x y'", '++a=[1, {b: null}]')
    >>> argument(Override("a", None, "delete"))
    '~a'
    """
    sign = {"set": "", "add": "+", "force": "++", "delete": "~"}[override.kind]
    if override.kind == "delete":
        return f"~{override.key}" + (f"={written(override.value)}" if override.value is not None else "")
    return f"{sign}{override.key}={written(override.value)}"


def written(value: Node) -> str:
    """Gives a value as it is written on a command line."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{name}: {written(inner)}" for name, inner in value.items()) + "}"
    if isinstance(value, list):
        return f"[{', '.join(written(item) for item in value)}]"
    if isinstance(value, str):
        return _quoted(value)
    return json.dumps(value) if isinstance(value, bool | None) else repr(value)


def _quoted(text: str) -> str:
    if _PLAIN.match(text) and parse(f"a={text}").values == (text,) and text.lower() not in _YAML_WORDS:
        return text
    if "'" not in text and not text.endswith("\\"):
        return f"'{text}'"
    return f'"{text}"' if not {'"', "\\"} & set(text) else json.dumps(text, ensure_ascii=False)


_YAML_WORDS: Final = frozenset({"yes", "no", "on", "off", "true", "false", "null", "~"})


@dataclass(frozen=True, slots=True)
class Run:
    """One variant.

    Args:
        number: from 0, in order.
        overrides: what it changes.
        snapshot: the whole, resolved.
    """

    number: int
    overrides: tuple[Override, ...]
    snapshot: Snapshot[object]

    @property
    def hash(self) -> str:
        """The content's hash: equal configurations have equal hashes."""
        return self.snapshot.hash

    def shown(self) -> dict[str, str]:
        """Gives what it changes, secrets masked: dotted key → value as written."""
        veil = self.snapshot.veil
        return {
            one.key: "(deleted)"
            if one.kind == "delete"
            else written(cast("Node", veil.over({"": one.value}[""], one.key)))
            for one in self.overrides
        }

    def diff(self, other: Run) -> tuple[Difference, ...]:
        """Gives what differs from another run."""
        return self.snapshot.diff(other.snapshot)

    def save(self, folder: Path) -> Path:
        """Writes the resolved configuration as YAML, secrets masked, to `<hash>.yaml`.

        A run of equal content has the same file.
        """
        import yaml

        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"{self.hash[:16]}.yaml"
        text = yaml.safe_dump(_plain(self.snapshot.masked), sort_keys=True, allow_unicode=True)
        fresh = path.with_suffix(".new")
        fresh.write_text(text, encoding="utf-8")
        fresh.replace(path)
        return path


class Base:
    """What all runs have in common.

    Args:
        sources: in order; later ones win. A value may be `???` when every run gives one.

    Raises:
        BadInput: they cannot be merged.
        Missing, Unreachable, Denied: one cannot be read.
    """

    def __init__(self, sources: Sequence[Source]) -> None:
        from modelkeep.configuration.merge import merge

        self._merged = merge([source.read() for source in sources])

    def runs(self, overrides: Sequence[str]) -> list[Run]:
        """Gives every run with its resolved configuration.

        Raises:
            BadInput: an override is wrong, names a key that is not there (or adds one that is), or a run does not
                resolve.
        """
        return [self.run(number, given) for number, given in enumerate(runs(overrides))]

    def run(self, number: int, overrides: tuple[Override, ...]) -> Run:
        """Gives one run with its resolved configuration.

        Raises:
            BadInput: as for `runs`.
        """
        return Run(number, overrides, self._with(overrides))

    @cached_property
    def digest(self) -> str:
        """A hash of what all runs have in common, secrets left out."""
        from omegaconf import OmegaConf

        tree = OmegaConf.to_container(self._merged.config, resolve=False)
        shown = mask_tree(tree, self._merged.secret_keys, secret_texts(tree, self._merged.secret_keys))
        return hashlib.sha256(json.dumps(shown, sort_keys=True, default=repr).encode(errors="replace")).hexdigest()

    def _with(self, overrides: Sequence[Override]) -> Snapshot[object]:
        from modelkeep.configuration.merge import Merged
        from modelkeep.configuration.snapshot import Snapshot
        from modelkeep.configuration.trail import Trail

        config = copy.deepcopy(self._merged.config)
        for override in overrides:
            _change(config, override)
        marks = {one.key: Mark("sweep") for one in overrides}
        over = Reading(_tree(overrides), marks, origin=Mark("sweep"))
        merged = Merged(Trail([*self._merged.trail.readings, over]), self._merged.secret_keys, None, config)
        tree = merged.resolved()
        return Snapshot(tree, tree, merged, merged.secret_keys)


def _tree(overrides: Sequence[Override]) -> dict[str, Node]:
    from omegaconf import OmegaConf

    config = OmegaConf.create()
    for one in overrides:
        if one.kind != "delete":
            OmegaConf.update(config, one.key, one.value, force_add=True)
    return cast("dict[str, Node]", OmegaConf.to_container(config, resolve=False))


def _change(config: DictConfig, override: Override) -> None:
    """Applies one override.

    Raises:
        BadInput: the key is not there, or it is and should not be, or does not take the value.
    """
    from omegaconf import OmegaConf, open_dict
    from omegaconf.errors import OmegaConfBaseException

    there = _there(config, override.key)
    if override.kind in {"set", "delete"} and not there:
        raise BadInput(f"{argument(override)}: there is no key {override.key}", hint=f"To add it: +{override.key}=…")
    if override.kind == "add" and there:
        raise BadInput(f"{argument(override)}: {override.key} is there already", hint=f"To set it: {override.key}=…")
    try:
        if override.kind == "delete":
            _delete(config, override)
            return
        with open_dict(config):
            OmegaConf.update(config, override.key, copy.deepcopy(override.value), force_add=True)
    except OmegaConfBaseException as error:
        raise BadInput(f"{argument(override)}: {str(error).partition(chr(10))[0]}") from None


def _there(config: DictConfig, key: str) -> bool:
    from omegaconf import OmegaConf

    try:
        pick(OmegaConf.to_container(config, resolve=False), parts(key))
    except KeyError:
        return False
    return True


def _delete(config: DictConfig, override: Override) -> None:
    from omegaconf import OmegaConf, open_dict

    *above, last = parts(override.key)
    holder: object = config
    for part in above:
        holder = holder[part]  # type: ignore[index]
    old = pick(OmegaConf.to_container(config, resolve=False), parts(override.key))
    if override.value is not None and old != override.value:
        raise BadInput(
            f"{argument(override)}: the key has another value", hint=f"~{override.key} takes it away anyway."
        )
    with open_dict(config):
        del holder[last]  # type: ignore[attr-defined]


def _plain(node: object) -> object:
    if isinstance(node, Mapping):
        return {name: _plain(value) for name, value in node.items()}
    if isinstance(node, list | tuple):
        return [_plain(item) for item in node]
    return node if node is None or isinstance(node, str | int | float | bool | bytes) else str(node)
