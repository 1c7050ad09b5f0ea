"""A document in an object store, asked again by its ETag: `s3://bucket/app/prod.yaml`, and so `gs://` and `az://`."""

from __future__ import annotations

import threading
import time
from typing import ClassVar, Final
from urllib.parse import parse_qsl

from modelkeep.configuration.secrecy import mask_url
from modelkeep.configuration.source import Source
from modelkeep.configuration.textkeys import document
from modelkeep.configuration.tree import Reading
from modelkeep.core.errors import Missing
from modelkeep.store.remote import connect


class Bucket:
    """One object; its format is told by its name or by `format=`.

    Credentials come from the environment, a profile or the keyring, as for the remotes of data; what those take as
    options (`endpointurl=`, `region=`, `profile=`) may follow a question mark. `poll=` says how often it is asked, 10 s
    otherwise.

    Args:
        where: the object's address.
    """

    live: ClassVar[bool] = True

    def __init__(self, where: str) -> None:
        address, _, query = where.partition("?")
        options = dict(parse_qsl(query))
        self._kind = options.pop("format", "")
        self._poll_s = float(options.pop("poll", "10"))
        folder, _, self._key = address.rpartition("/")
        self.name: Final = mask_url(address)
        self._remote = connect(folder, options)
        self._asked = 0.0
        self._closed = threading.Event()

    def read(self) -> Reading:
        found = self._remote.stat(self._key)
        self._asked = time.monotonic()
        if found is None:
            raise Missing(f"{self.name}: there is no such object", hint="Write optional: before it if it may.")
        return document(self._remote.read(self._key), self.name, self._kind, version=found.etag)

    def watch(self, seen: str, wait_s: float) -> bool:
        """Waits for the next time to ask; says whether the object has another ETag."""
        left = self._asked + self._poll_s - time.monotonic()
        if self._closed.wait(max(0.0, min(wait_s, left))) or left > wait_s:
            return False
        self._asked = time.monotonic()
        found = self._remote.stat(self._key)
        return (found.etag if found else "absent") != seen

    def close(self) -> None:
        """Closes the connection."""
        self._closed.set()
        self._remote.close()


plugin: type[Source] = Bucket
