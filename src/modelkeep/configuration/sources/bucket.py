"""A document in an object store, asked again by its ETag: `s3://bucket/app/prod.yaml`, and so `gs://` and `az://`."""

from __future__ import annotations

from urllib.parse import parse_qsl

from modelkeep.configuration.address import seconds, shown
from modelkeep.configuration.polled import Found, Polled
from modelkeep.configuration.source import Source
from modelkeep.configuration.textkeys import document
from modelkeep.configuration.tree import Reading
from modelkeep.core.errors import BadInput, Missing
from modelkeep.store.remote import connect


class Bucket(Polled[bytes]):
    """One object; its format is told by its name or by `format=`.

    Credentials come from the environment, a profile or the keyring, as for the remotes of data; what those take as
    options (`endpointurl=`, `region=`, `profile=`) may follow a question mark. `poll=` says how often it is asked, 10 s
    otherwise.

    Args:
        where: the object's address.

    Raises:
        BadInput: no object is named, or an option cannot be used.
        Denied: there are no credentials.
    """

    def __init__(self, where: str) -> None:
        address, _, query = where.partition("?")
        options = dict(parse_qsl(query))
        plain = shown(address)
        self._kind = options.pop("format", "")
        super().__init__(plain, seconds(options.pop("poll", ""), 10.0, f"{plain}: poll"))
        folder, _, self._key = address.rpartition("/")
        scheme, sign, rest = folder.partition("://")
        if not rest or not self._key:
            raise BadInput(f"{plain} names no object", hint="Write s3://bucket/path/name.yaml.")
        self._remote = connect(("azure" if scheme.lower() == "az" else scheme) + sign + rest, options)

    def fetch(self) -> Found[bytes]:
        """Gives the object; one that changes between the two questions is noticed by the next.

        Raises:
            Missing: there is none.
        """
        version = self.peek()
        return Found(version, self._remote.read(self._key))

    def parse(self, found: Found[bytes]) -> Reading:
        """Reads the object in its format."""
        return document(found.content, self.name, self._kind, version=found.version)

    def peek(self) -> str:
        """Gives the object's ETag."""
        found = self._remote.stat(self._key)
        if found is None:
            raise Missing(f"{self.name}: there is no such object", hint="Write optional: before it if it may.")
        return found.etag

    def close(self) -> None:
        """Closes the connection."""
        super().close()
        self._remote.close()


plugin: type[Source] = Bucket
