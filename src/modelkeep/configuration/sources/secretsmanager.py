"""One secret of AWS Secrets Manager: `secretsmanager://prod/db`.

Source: https://docs.aws.amazon.com/secretsmanager/latest/apireference/API_GetSecretValue.html
"""

from __future__ import annotations

import json
import re
import time
from typing import Final

from modelkeep.configuration.address import Address
from modelkeep.configuration.aws import OPTIONS, Aws
from modelkeep.configuration.polled import Found, Polled
from modelkeep.configuration.scalars import assign
from modelkeep.configuration.source import Source
from modelkeep.configuration.tree import Mark, Reading, Tree
from modelkeep.core.errors import BadInput
from modelkeep.core.secret import Secret

_HOST: Final = re.compile(r"[a-z]+://([^/?#]*)", re.IGNORECASE)


class Secretsmanager(Polled[Secret]):
    """A secret whose text is a JSON object gives its members, any other text one value; all of it is secret.

    Args:
        where: `secretsmanager://name?region=…&key=db`; `key=` says below which key it stands, and must be given where
            the text is no JSON object. `poll=` says how often it is asked (300 s).

    Raises:
        BadInput: an option that there is not.
    """

    def __init__(self, where: str) -> None:
        address = Address.parse(where, (*OPTIONS, "key"))
        first = _HOST.match(where)  # as it is written: names of secrets have capitals
        self._id = "/".join(part for part in (first[1] if first else "", address.path) if part)
        super().__init__(f"secretsmanager://{self._id}", address.seconds("poll", 300.0))
        self._key = address.options.get("key", "")
        self._aws = Aws("secretsmanager", self.name, address.options)

    def fetch(self) -> Found[Secret]:
        """Gives the secret's text.

        Raises:
            Missing: there is no such secret.
            Denied: the credentials are wrong or missing, or may not read it.
            BadInput: it holds bytes.
            Unreachable, Busy: nobody answers, or AWS asks to wait.
        """
        with self._aws.told() as client:
            answer = client.get_secret_value(SecretId=self._id)
        text = answer.get("SecretString")
        if text is None:
            raise BadInput(f"{self.name} holds bytes, no text", hint="Store a text or a JSON object.")
        return Found(str(answer["VersionId"]), Secret(text))

    def parse(self, found: Found[Secret]) -> Reading:
        """Reads a JSON object as a tree, any other text as one value."""
        mark = Mark(self.name)
        try:
            value = json.loads(found.content.reveal())
        except (ValueError, RecursionError):
            value = None
        tree: Tree = {}
        if isinstance(value, dict) and not self._key:
            tree = value
        elif self._key:
            assign(tree, self._key, value if isinstance(value, dict) else found.content.reveal(), mark)
        else:
            raise BadInput(f"{self.name} is no JSON object", hint="Add ?key= to say where its text belongs.")
        secrets = frozenset({self._key} if self._key else tree)
        return Reading(tree, {}, found.version, time.time_ns(), mark, secrets=secrets)

    def close(self) -> None:
        """Closes the connections."""
        super().close()
        self._aws.close()


plugin: type[Source] = Secretsmanager
