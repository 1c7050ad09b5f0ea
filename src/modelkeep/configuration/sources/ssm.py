"""AWS Systems Manager's parameters: `ssm:///app/prod`.

Source: https://docs.aws.amazon.com/systems-manager/latest/APIReference/API_GetParametersByPath.html
"""

from __future__ import annotations

import dataclasses
import hashlib

from modelkeep.configuration.address import Address
from modelkeep.configuration.aws import OPTIONS, Aws
from modelkeep.configuration.polled import Found, Polled
from modelkeep.configuration.source import Source
from modelkeep.configuration.textkeys import tree_of
from modelkeep.configuration.tree import Reading
from modelkeep.core.errors import Missing

Parameters = list[tuple[str, str, str]]


class Ssm(Polled[Parameters]):
    """The parameters below a path, decrypted; a SecureString is a secret.

    Args:
        where: `ssm:///path?region=eu-central-1`; `poll=` says how often it is asked (30 s).

    Raises:
        BadInput: an option that there is not.
    """

    def __init__(self, where: str) -> None:
        address = Address.parse(where, OPTIONS)
        self._path = f"/{'/'.join(part for part in (address.host, address.path) if part)}"
        super().__init__(f"ssm://{self._path}", address.seconds("poll", 30.0))
        self._aws = Aws("ssm", self.name, address.options)

    def fetch(self) -> Found[Parameters]:
        """Gives name, text and type of all parameters.

        Raises:
            Missing: there are none.
            Denied: the credentials are wrong or missing, or may not read or decrypt.
            Unreachable, Busy: nobody answers, or AWS asks to wait.
        """
        found: Parameters = []
        with self._aws.told() as client:
            pages = client.get_paginator("get_parameters_by_path")
            for page in pages.paginate(Path=self._path, Recursive=True, WithDecryption=True):
                found += [(one["Name"], one["Value"], one["Type"]) for one in page["Parameters"]]
        if not found:
            raise Missing(f"{self.name}: there are no parameters", hint="Is the path right, and the region?")
        found.sort()
        return Found(hashlib.sha256(repr(found).encode()).hexdigest(), found)

    def parse(self, found: Found[Parameters]) -> Reading:
        """Reads values as texts."""
        pairs = [(name, text.encode()) for name, text, _ in found.content]
        reading = tree_of(pairs, self._path.rstrip("/"), "ssm", version=found.version)
        head = len(self._path)
        secrets = {
            name[head:].strip("/").replace("/", ".") for name, _, kind in found.content if kind == "SecureString"
        }
        return dataclasses.replace(reading, secrets=frozenset(secrets))

    def close(self) -> None:
        """Closes the connections."""
        super().close()
        self._aws.close()


plugin: type[Source] = Ssm
