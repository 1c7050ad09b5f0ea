"""What never leaves the process, or only sometimes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final
from zlib import crc32

from modelkeep.core.encoding import Scalar

_ALL: Final = 2**32


class Privacy:
    """Names that are withheld, and shares of the predictions that carry a field.

    >>> privacy = Privacy()
    >>> privacy.withheld.add("ssn")
    >>> privacy.visible({"ssn": 1, "age": 40})
    {'age': 40}
    """

    def __init__(self) -> None:
        self.withheld: Final[set[str]] = set()
        self.shares: Final[dict[str, float]] = {}

    def visible(self, fields: Mapping[str, object]) -> Mapping[str, object]:
        """Gives the fields without the withheld ones."""
        if not self.withheld or self.withheld.isdisjoint(fields):
            return fields
        return {name: value for name, value in fields.items() if name not in self.withheld}

    def thin(self, features: dict[str, list[Scalar]], ids: list[str]) -> None:
        """Makes sampled fields null where the id is not in their share; the same id always falls the same way."""
        for name, share in self.shares.items():
            if name in features:
                most = share * _ALL
                features[name] = [
                    value if crc32(one.encode("utf-8", "replace")) < most else None
                    for value, one in zip(features[name], ids, strict=True)
                ]


privacy: Final = Privacy()
"""Of this process."""
