"""Arguments of a command line as a source: `db.pool=8 lr=0.1`."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import ClassVar, Final, cast

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from modelkeep.configuration.scalars import scalar
from modelkeep.configuration.secrecy import mask_text
from modelkeep.configuration.source import Source
from modelkeep.configuration.tree import Mark, Node, Reading, Tree
from modelkeep.core.errors import BadInput

_KEY: Final = re.compile(r"[A-Za-z_](?:[\w.-]|\[-?\w+\]|\\.)*\Z")
_SIGN: Final = re.compile(r"(?<!\\)=")
_PLACE: Final = re.compile(r"\[\d+\]")
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
        config = OmegaConf.create()
        marks: dict[str, Mark] = {}
        texts: dict[str, str] = {}
        places: dict[str, Node] = {}
        for key, text in self._pairs:
            plain = _ESCAPE.sub(r"\1", key)
            mark = Mark(f"cli {key}")
            value = scalar(text, mark) if text else None
            if _PLACE.search(key):
                places[plain] = value
            else:
                try:
                    OmegaConf.update(config, key, value)
                except OmegaConfBaseException as error:
                    why = str(error).partition("\n")[0]
                    raise BadInput(f"{mark}: {mask_text(why, (text,))}", hint="Quote it to make it a text.") from None
            marks[plain], texts[plain] = mark, text
        tree = cast("Tree", OmegaConf.to_container(config, resolve=False))
        return Reading(tree, marks, version="fixed", origin=Mark(self.name), texts=texts, places=places)

    def watch(self, seen: str, wait_s: float) -> bool:
        return False

    def close(self) -> None:
        """Holds nothing."""


plugin: type[Source] = Dotlist
