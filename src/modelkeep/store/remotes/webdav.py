"""A WebDAV server (Nextcloud, Apache, nginx …)."""

from __future__ import annotations

import os
import time
from collections.abc import Collection, Iterable, Iterator, Mapping
from email.utils import parsedate_to_datetime
from functools import partial
from typing import Final, NamedTuple
from urllib.parse import unquote, urlsplit
from xml.etree import ElementTree as ET

from modelkeep.core.errors import Error, Unreachable
from modelkeep.store.remote import Moved, Outcome, Remote, Stat, Upload
from modelkeep.store.transfers import checked, counted, each, many
from modelkeep.store.web import Site, door, payload

ASIDE: Final = ".modelkeep-incoming"
"""The folder where blobs wait until they are whole; what is a day old there was left by a killed process."""
_DAY_S: Final = 86_400
_FEW: Final = 2
_QUESTION: Final = (
    b'<?xml version="1.0" encoding="utf-8"?><propfind xmlns="DAV:"><prop>'
    b"<resourcetype/><getcontentlength/><getetag/><getlastmodified/></prop></propfind>"
)


class _Entry(NamedTuple):
    key: str
    folder: bool
    size: int
    etag: str
    changed_s: float


class Webdav(Site):
    """A folder of the server. Blobs are put aside and moved into place.

    Args:
        url: `webdavs://host/folder`.
        options: DVC's: `user`, `password`, `token`, `custom_auth_header`, `cert_path`, `key_path`, `ssl_verify`,
            `timeout`.
    """

    def __init__(self, url: str, options: Mapping[str, str]) -> None:
        entry, given = door(url, options, kind="webdav")
        super().__init__(entry, given)
        self._root: Final = unquote(urlsplit(entry.url).path)
        self._made: set[str] = set()
        self._swept = False

    def _children(self, folder: str) -> Iterator[_Entry]:
        """Gives what a folder holds; nothing when there is no such folder."""
        headers = {"Depth": "1", "Content-Type": "application/xml"}
        answer = self._web.ask(
            "PROPFIND", f"{folder}/" if folder else "", headers, body=lambda: (_QUESTION,), size=len(_QUESTION)
        )
        if answer.status == 404:
            return
        self._good(answer, folder, {207})
        try:
            tree = ET.fromstring(answer.body)  # noqa: S314  expat bounds what entities may grow to
        except ET.ParseError:
            raise Unreachable(f"{self._name}: {folder}: no WebDAV listing", hint="Is this a WebDAV address?") from None
        for one in tree.iterfind("{DAV:}response"):
            entry = self._entry(one)
            if entry is not None and entry.key != folder:
                yield entry

    def _entry(self, one: ET.Element) -> _Entry | None:
        path = unquote(urlsplit(one.findtext("{DAV:}href", "").strip()).path).rstrip("/")
        if not path.startswith(f"{self._root}/"):
            return None
        found = {prop.tag: prop for stat in one.iterfind("{DAV:}propstat") for prop in stat.iterfind("{DAV:}prop/*")}
        kind = found.get("{DAV:}resourcetype")
        said = {name: (prop.text or "").strip() for name, prop in found.items()}
        size = said.get("{DAV:}getcontentlength", "")
        return _Entry(
            path[len(self._root) + 1 :],
            kind is not None and kind.find("{DAV:}collection") is not None,
            int(size) if size.isdigit() else 0,
            said.get("{DAV:}getetag", "").removeprefix("W/").strip('"'),
            _seconds(said.get("{DAV:}getlastmodified", "")),
        )

    def has(self, keys: Collection[str]) -> set[str]:
        """Gives those of the keys that are there; a folder of which several are asked for is listed."""
        folders: dict[str, set[str]] = {}
        for key in keys:
            folders.setdefault(key.rpartition("/")[0], set()).add(key)
        listed = [folder for folder, some in folders.items() if folder and len(some) > _FEW]
        alone = [key for folder, some in folders.items() if not folder or len(some) <= _FEW for key in some]
        found = super().has(alone)
        for folder, there in many(lambda one: (one, [*self._children(one)]), listed, at_once=self._at_once):
            found |= folders[folder].intersection([entry.key for entry in there])
        return found

    def list(self, prefix: str = "") -> Iterator[Stat]:
        """Gives every blob below a folder."""
        folders = [prefix.rstrip("/")]
        while folders:
            for entry in self._children(folders.pop()):
                if not entry.folder:
                    yield Stat(entry.key, entry.size, entry.etag)
                elif entry.key != ASIDE:
                    folders.append(entry.key)

    def upload(self, items: Iterable[Upload], moved: Moved) -> Iterator[Outcome]:
        """Sends many at once; each comes into its place by one move."""
        waiting = tuple(items)
        if waiting and not self._swept:
            try:
                self._sweep()
            except Error as error:
                return iter([Outcome(item.key, error) for item in waiting])
        return each(partial(self._send, hear=counted(moved)), waiting, at_once=self._at_once)

    def _sweep(self) -> None:
        """Makes the folder for what is on its way, and removes from it what others left long ago."""
        self._make_folder(ASIDE)
        old = time.time() - _DAY_S
        self.delete([entry.key for entry in self._children(ASIDE) if 0 < entry.changed_s < old])
        self._swept = True

    def _send(self, item: Upload, hear: Moved) -> None:
        checked(item.key)
        aside = f"{ASIDE}/{os.urandom(12).hex()}"
        try:
            put = self._web.ask("PUT", aside, body=payload(item, hear), size=item.size)
            self._good(put, item.key, {200, 201, 204})
            self._settle(aside, item.key)
        except Error:
            self._forget(aside)
            raise

    def move(self, pairs: Collection[tuple[str, str]]) -> None:
        """Gives blobs other keys; one that is not there is no error."""
        for _ in many(self._move_one, pairs, at_once=self._at_once):
            pass

    def _move_one(self, pair: tuple[str, str]) -> None:
        source, target = map(checked, pair)
        if self.stat(source) is not None:
            self._settle(source, target)

    def _settle(self, aside: str, key: str) -> None:
        headers = {"Destination": self._web.address(key), "Overwrite": "T"}
        answer = self._web.ask("MOVE", aside, headers)
        if answer.status == 409:
            self._make_folder(key.rpartition("/")[0])
            answer = self._web.ask("MOVE", aside, headers)
        self._good(answer, key, {201, 204})

    def _forget(self, aside: str) -> None:
        try:
            self.delete([aside])
        except Error:  # it is swept a day later
            return

    def _make_folder(self, folder: str) -> None:
        """Makes a folder and those above it, the remote's own address included."""
        if folder in self._made:
            return
        answer = self._web.ask("MKCOL", f"{folder}/" if folder else "")
        if answer.status == 409 and folder:
            self._make_folder(folder.rpartition("/")[0])
            answer = self._web.ask("MKCOL", f"{folder}/")
        self._good(answer, folder, {200, 201, 301, 405})
        self._made.add(folder)

    def delete(self, keys: Collection[str]) -> None:
        """Removes blobs; one that is not there is no error."""
        for _ in many(self._remove, keys, at_once=self._at_once):
            pass

    def _remove(self, key: str) -> None:
        self._good(self._web.ask("DELETE", checked(key)), key, {200, 202, 204, 404, 410})


def _seconds(text: str) -> float:
    try:
        return parsedate_to_datetime(text).timestamp()
    except (ValueError, TypeError):
        return 0.0


plugin: type[Remote] = Webdav
