"""OmegaConf's complaints as ours: the place, the key, the reason and the value, and never that of a secret."""

from __future__ import annotations

import re
from collections.abc import Collection
from itertools import pairwise
from typing import Final

from omegaconf.errors import ConfigKeyError

from modelkeep.configuration.secrecy import MASK, is_hidden, mask_text, reference, secret_texts
from modelkeep.configuration.trail import Trail
from modelkeep.configuration.tree import join, parts, where
from modelkeep.core.errors import KINDS

_CONVERTED: Final = re.compile(r"Value '?.*?'? of type '[^']*' could not be converted to (.*)", re.DOTALL)
_NEAR: Final = re.compile(r"Key '.*' (?:not in|is not in) .*?(?:\. (Did you mean: .*\?))?\Z", re.DOTALL)
_MERGED: Final = re.compile(r"Merge error: (.*?)\. value: .*", re.DOTALL)
_KINDS: Final = {"{": "a mapping", "[": "a list"}
_OWN: Final = re.compile(rf"\A(?:{'|'.join(kind.__name__ for kind in KINDS)}) raised while resolving interpolation: ")
_LONG: Final = 80


class Complaint:
    """Words for what OmegaConf refused.

    Args:
        trail: who said what.
        secret_keys: keys whose values are never shown.
    """

    def __init__(self, trail: Trail, secret_keys: Collection[str]) -> None:
        self._trail = trail
        self._secret_keys = secret_keys

    def line(self, key: str, error: Exception | None) -> str:
        """Gives `file:line key: reason, value`; without an error a value is missing."""
        if "incompatible container types" in str(error):
            return self._kinds(key)
        begin = where(self._trail.mark(key), key) if key else ""
        if error is None:
            return f"{begin}a value is missing"
        history = self._trail.history(key)
        written = history[-1].value if history else None
        hidden = is_hidden(key, self._secret_keys) and not reference(str(written))  # a name of a secret is none
        shown = MASK if hidden else mask_text(repr(written), self._values())
        reason = self._reason(key, error)
        value = "" if not key or isinstance(error, ConfigKeyError) else f", value {shown[:_LONG]}"
        return f"{begin}{reason if not hidden else _blind(reason, written)}{value}"

    def _reason(self, key: str, error: Exception) -> str:
        text = str(getattr(error, "msg", None) or error).partition("\n    full_key:")[0]
        text = _OWN.sub("", text)
        if isinstance(error, ConfigKeyError) and (found := _NEAR.match(text)):
            near = (found[1] or "").removeprefix("Did you mean: ").removesuffix("?")
            return "the schema has no such key" + (f"; did you mean {near}?" if near else "")
        if found := _CONVERTED.match(text):
            return f"could not be converted to {found[1]}"
        if found := _MERGED.match(text):
            return found[1]
        return mask_text(" ".join(text.split()), self._values())

    def _kinds(self, key: str) -> str:
        """Two sources disagree: one has a list where the other has a mapping."""
        inner = ""
        for part in parts(key):
            inner = join(inner, part)
            steps = [(step.mark, _KINDS.get(str(step.value)[:1], "")) for step in self._trail.history(inner)]
            for (old, one), (new, other) in pairwise(steps):
                if one and other and one != other:
                    return f"{where(new, inner)}{other}, where {old} has {one}"
        return f"{where(self._trail.mark(key), key)}a list stands where another source has a mapping"

    def _values(self) -> set[str]:
        """The texts of all values that are secret."""
        return set().union(
            *(secret_texts(one.tree, {*self._secret_keys, *one.secrets}) for one in self._trail.readings)
        )


def _blind(reason: str, written: object) -> str:
    text = str(written)
    return reason.replace(text, MASK) if text else reason
