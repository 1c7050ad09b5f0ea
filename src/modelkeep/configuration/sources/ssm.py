"""AWS Systems Manager's parameters: `ssm:///app/prod`.

Source: https://docs.aws.amazon.com/systems-manager/latest/APIReference/API_GetParametersByPath.html
"""

from __future__ import annotations

import threading
import time
from typing import ClassVar, Final

from modelkeep.configuration import aws
from modelkeep.configuration.address import Address
from modelkeep.configuration.source import Source
from modelkeep.configuration.textkeys import tree_of
from modelkeep.configuration.tree import Reading
from modelkeep.core.errors import Missing


class Ssm:
    """The parameters below a path, decrypted; a SecureString is a secret.

    Args:
        where: `ssm:///path?region=eu-central-1`; `poll=` says how often it is asked (30 s).
    """

    live: ClassVar[bool] = True

    def __init__(self, where: str) -> None:
        address = Address.parse(where, aws.OPTIONS)
        self._path = f"/{'/'.join(part for part in (address.host, address.path) if part)}"
        self.name: Final = f"ssm://{self._path}"
        self._options = address.options
        self._poll_s = float(address.options.get("poll", "30"))
        self._asked = 0.0
        self._closed = threading.Event()

    def read(self) -> Reading:
        client = aws.client("ssm", self.name, self._options)
        pairs: list[tuple[str, bytes]] = []
        secrets: set[str] = set()
        with aws.told(self.name):
            pages = client.get_paginator("get_parameters_by_path")
            for page in pages.paginate(Path=self._path, Recursive=True, WithDecryption=True):
                for one in page["Parameters"]:
                    pairs.append((one["Name"], one["Value"].encode()))
                    if one["Type"] == "SecureString":
                        secrets.add(one["Name"][len(self._path) :].strip("/").replace("/", "."))
        self._asked = time.monotonic()
        if not pairs:
            raise Missing(f"{self.name}: there are no parameters", hint="Is the path right, and the region?")
        found = tree_of(pairs, self._path, "ssm")
        return Reading(
            found.tree, found.marks, found.version, found.read_ns, found.origin, None, found.texts, frozenset(secrets)
        )

    def watch(self, seen: str, wait_s: float) -> bool:
        """Waits for the next time to ask; says whether anything has another value."""
        left = self._asked + self._poll_s - time.monotonic()
        if self._closed.wait(max(0.0, min(wait_s, left))) or left > wait_s:
            return False
        return self.read().version != seen

    def close(self) -> None:
        self._closed.set()


plugin: type[Source] = Ssm
