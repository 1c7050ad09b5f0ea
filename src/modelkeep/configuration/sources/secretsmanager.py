"""One secret of AWS Secrets Manager: `secretsmanager://prod/db`.

Source: https://docs.aws.amazon.com/secretsmanager/latest/apireference/API_GetSecretValue.html
"""

from __future__ import annotations

import json
import threading
import time
from typing import ClassVar, Final

from modelkeep.configuration import aws
from modelkeep.configuration.address import Address
from modelkeep.configuration.scalars import assign
from modelkeep.configuration.source import Source
from modelkeep.configuration.tree import Mark, Reading, Tree, join
from modelkeep.core.errors import BadInput


class Secretsmanager:
    """A secret whose text is a JSON object gives its members, any other text one value; all of it is secret.

    Args:
        where: `secretsmanager://name?region=…&key=db`; `key=` says below which key it stands, and must be given where
            the text is no JSON object. `poll=` says how often it is asked (300 s).
    """

    live: ClassVar[bool] = True

    def __init__(self, where: str) -> None:
        address = Address.parse(where, (*aws.OPTIONS, "key"))
        self._id = "/".join(part for part in (address.host, address.path) if part)
        self.name: Final = f"secretsmanager://{self._id}"
        self._options = address.options
        self._key = address.options.get("key", "")
        self._poll_s = float(address.options.get("poll", "300"))
        self._asked = 0.0
        self._closed = threading.Event()

    def read(self) -> Reading:
        with aws.told(self.name):
            answer = aws.client("secretsmanager", self.name, self._options).get_secret_value(SecretId=self._id)
        self._asked = time.monotonic()
        mark = Mark(self.name)
        text = answer.get("SecretString")
        if text is None:
            raise BadInput(f"{self.name} holds bytes, no text", hint="Store a text or a JSON object.")
        try:
            value = json.loads(text)
        except ValueError:
            value = None
        tree: Tree = {}
        if isinstance(value, dict):
            if self._key:
                assign(tree, self._key, value, mark)
            else:
                tree = value
        elif self._key:
            assign(tree, self._key, text, mark)
        else:
            raise BadInput(f"{self.name} is no JSON object", hint="Add ?key= to say where its text belongs.")
        secrets = frozenset({self._key} if self._key else {join("", str(name)) for name in tree})
        return Reading(tree, {}, str(answer["VersionId"]), time.time_ns(), mark, secrets=secrets)

    def watch(self, seen: str, wait_s: float) -> bool:
        """Waits for the next time to ask; says whether there is another version."""
        left = self._asked + self._poll_s - time.monotonic()
        if self._closed.wait(max(0.0, min(wait_s, left))) or left > wait_s:
            return False
        return self.read().version != seen

    def close(self) -> None:
        self._closed.set()


plugin: type[Source] = Secretsmanager
