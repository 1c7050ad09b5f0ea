"""A plain web server: it gives blobs, and takes them if it is willing to."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from functools import partial
from typing import Final

from modelkeep.core.errors import BadInput
from modelkeep.store.remote import Download, Moved, Outcome, Remote, Stat, Upload
from modelkeep.store.transfers import checked, counted, each, many
from modelkeep.store.web import Site, door, payload

__all__ = ["Download", "Http"]


class Http(Site):
    """Blobs below an address.

    Args:
        url: `https://host/folder`.
        options: DVC's: `auth` (basic, custom), `user`, `password`, `custom_auth_header`, `ssl_verify`, `method` of
            uploads (POST unless it says PUT), `connect_timeout`, `read_timeout`.
    """

    def __init__(self, url: str, options: Mapping[str, str]) -> None:
        super().__init__(*door(url, options, kind="http"))
        self._method: Final = options.get("method", "POST").upper()
        if self._method not in {"POST", "PUT", "PATCH"}:
            raise BadInput(f"method: {self._method} sends nothing", hint="modelkeep remote modify NAME method PUT")

    def list(self, prefix: str = "") -> Iterator[Stat]:
        """Always fails: the web has no way to list.

        Raises:
            BadInput: always.
        """
        raise BadInput(f"{self._name} cannot be listed", hint="Use a remote of another kind for what needs a listing.")

    def upload(self, items: Iterable[Upload], moved: Moved) -> Iterator[Outcome]:
        """Sends many at once; whether half of one is ever seen is up to the server."""
        return each(partial(self._send, hear=counted(moved)), items, at_once=self._at_once)

    def _send(self, item: Upload, hear: Moved) -> None:
        headers = {"Content-Type": "application/octet-stream"}
        answer = self._web.ask(self._method, checked(item.key), headers, body=payload(item, hear), size=item.size)
        self._good(answer, item.key, {200, 201, 202, 204})

    def delete(self, keys: Collection[str]) -> None:
        """Removes blobs; one that is not there is no error."""
        for _ in many(self._remove, keys, at_once=self._at_once):
            pass

    def _remove(self, key: str) -> None:
        self._good(self._web.ask("DELETE", checked(key)), key, {200, 202, 204, 404, 410})


plugin: type[Remote] = Http
