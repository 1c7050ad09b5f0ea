"""Arguments of a command line as a source: `db.pool=8 lr=0.1`."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import ClassVar, Final, cast

from modelkeep.configuration.scalars import assign, is_plain, scalar
from modelkeep.configuration.secrecy import mask_text
from modelkeep.configuration.source import Source
from modelkeep.configuration.tree import Mark, Node, Reading, Tree
from modelkeep.core.errors import BadInput

_KEY: Final = re.compile(r"[A-Za-z_](?:[\w.-]|\[-?\w+\]|\\.)*\Z")
_SIGN: Final = re.compile(r"(?<!\\)=")
_PLACE: Final = re.compile(r"\[\d+\]")
_DOT: Final = re.compile(r"\.")
_NAMES: Final = re.compile(r"[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*\Z")
_ESCAPE: Final = re.compile(r"\\([.\[\]=])")


class Dotlist:
    r"""Arguments of the form `key=value`; keys and values are read as OmegaConf reads them.

    `db.pool=8` sets a key, `hosts[1]=b` an item of a list that a source before has, `a\.b=1` a key with a dot in it.

    Args:
        items: the arguments.
        loose: leave out what has another form (options and paths of the program itself); otherwise it is refused.

    Raises:
        BadInput: an argument has another form.

    >>> Dotlist(["db.pool=8", "tags=[a, b]"]).read().tree
    {'db': {'pool': 8}, 'tags': ['a', 'b']}
    """

    live: ClassVar[bool] = False
    name: str = "the command line"

    def __init__(self, items: Sequence[str], *, loose: bool = False) -> None:
        self._pairs: Final[list[tuple[str, str]]] = []
        for item in items:
            key, *rest = _SIGN.split(item, maxsplit=1)
            if rest and _KEY.match(key):
                self._pairs.append((key, rest[0]))
            elif not loose:
                raise BadInput(f"argument {key!r} is not key=value", hint="Write db.pool=8; quote it for the shell.")

    def read(self) -> Reading:
        marks: dict[str, Mark] = {}
        texts: dict[str, str] = {}
        places: dict[str, Node] = {}
        values: list[tuple[str, str, Node]] = []
        for key, text in self._pairs:
            plain = _ESCAPE.sub(r"\1", key)
            marks[plain] = Mark(f"cli {key}")
            value = scalar(text, marks[plain]) if text else None
            if is_plain(text, value):
                texts[plain] = text
            if _PLACE.search(key):
                places[plain] = value
            else:
                values.append((key, text, value))
        tree = _grown(values) if _is_plain(values) else _updated(values)
        return Reading(tree, marks, version="fixed", origin=Mark(self.name), texts=texts, places=places)

    def watch(self, seen: str, wait_s: float) -> bool:
        return False

    def close(self) -> None:
        """Holds nothing."""


def _is_plain(values: Sequence[tuple[str, str, Node]]) -> bool:
    """Says whether no key needs OmegaConf's ways: none is escaped, said twice or above another; values are no more."""
    keys = {key for key, _, _ in values}
    above = {key[: found.start()] for key in keys for found in _DOT.finditer(key)}
    return (
        len(keys) == len(values)
        and keys.isdisjoint(above)
        and all(_NAMES.match(key) for key in keys)
        and not any("$" in text or isinstance(value, dict | list) for _, text, value in values)
    )


def _grown(values: Sequence[tuple[str, str, Node]]) -> Tree:
    tree: Tree = {}
    for key, _, value in values:
        assign(tree, key, value, Mark(f"cli {key}"))
    return tree


def _updated(values: Sequence[tuple[str, str, Node]]) -> Tree:
    """Gives what OmegaConf makes of the keys, one after the other; it is imported for unusual ones only.

    Raises:
        BadInput: a key cannot be set.
    """
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    config = OmegaConf.create()
    for key, text, value in values:
        try:
            OmegaConf.update(config, key, value)
        except (OmegaConfBaseException, TypeError, ValueError, AssertionError) as error:
            why = mask_text(str(error).partition("\n")[0], (text,))
            raise BadInput(f"cli {key}: {why}", hint="Quote it to make it a text.") from None
    return cast("Tree", OmegaConf.to_container(config, resolve=False))


plugin: type[Source] = Dotlist
