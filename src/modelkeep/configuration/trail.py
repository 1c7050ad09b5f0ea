"""Who said what of every key, and where: the way from the sources to a value."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

from modelkeep.configuration.layers import MISSING, flat
from modelkeep.configuration.tree import Mark, Reading, Scalar, above

_ABSENT: Final = object()


class Step(NamedTuple):
    """One thing that was said of a key: where, and what."""

    mark: Mark
    value: Scalar


class Trail:
    """What readings say of their keys; a reading is looked through when the first question about it comes.

    Args:
        readings: in order; later ones win.
    """

    def __init__(self, readings: Sequence[Reading]) -> None:
        self.readings: Final = tuple(readings)
        self._flat: Final[dict[int, dict[str, object]]] = {}

    def history(self, key: str) -> list[Step]:
        """Gives what was said of a key, in order; the last that is no `???` holds.

        A list or a plain value given for a container above the key counts: it did away with what was there.
        """
        steps: list[Step] = []
        for number, reading in enumerate(self.readings):
            node = self._said(number, key)
            step = Step(reading.mark(key), _shown(node))
            if node is not _ABSENT and (not steps or step != steps[-1]):
                steps.append(step)
        return steps

    def decider(self, key: str) -> int:
        """Gives the number of the reading that decided a key; -1 when none said anything of it."""
        asked = -1
        for number in range(len(self.readings) - 1, -1, -1):
            node = self._said(number, key)
            if node is _ABSENT:
                continue
            if not (isinstance(node, str) and node == MISSING):
                return number
            asked = number if asked < 0 else asked
        return asked

    def mark(self, key: str) -> Mark:
        """Gives the place that decided a key, or the nearest one above it."""
        inner = key
        while inner:
            number = self.decider(inner)
            if number >= 0:
                return self.readings[number].mark(key)
            inner = above(inner)
        return self.readings[-1].origin if self.readings else Mark("nothing")

    def texts(self) -> dict[str, str]:
        """Gives what was written, for the keys that a place of texts decided."""
        return {
            key: text
            for number, reading in enumerate(self.readings)
            for key, text in reading.texts.items()
            if self.decider(key) == number
        }

    def _said(self, number: int, key: str) -> object:
        known = self._flat.get(number)
        if known is None:
            known = self._flat[number] = dict(flat(self.readings[number].tree))
        found = known.get(key, _ABSENT)
        while found is _ABSENT and (key := above(key)):
            found = known.get(key, _ABSENT)
            if isinstance(found, Mapping):
                return _ABSENT
        return found


def _shown(node: object) -> Scalar:
    if isinstance(node, Mapping):
        return "{…}" if node else "{}"
    if isinstance(node, list | tuple):
        return f"[{', '.join(str(_shown(item)) for item in node)}]"
    if node is None or isinstance(node, str | int | float | bool | bytes):
        return node
    return str(node)
