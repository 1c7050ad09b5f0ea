"""A bucket of an object store, through obstore: small blobs many at once, large ones in parts."""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypedDict

from modelkeep.core.errors import Busy, Denied, Error, Missing, Unreachable
from modelkeep.store.options import Options
from modelkeep.store.remote import Download, Moved, Outcome, Stat, Upload
from modelkeep.store.transfers import Partial, Patience, checked, counted, each, many

if TYPE_CHECKING:
    from obstore import ObjectMeta
    from obstore.store import AzureStore, ClientConfig, GCSStore, RetryConfig, S3Store

    Store = S3Store | AzureStore | GCSStore

AT_ONCE: Final = 48
_SMALL_BYTES: Final = 8 << 20
_PART_BYTES: Final = 8 << 20
_RANGE_BYTES: Final = 8 << 20
_PIECE: Final = 1 << 20
_PARTS: Final = 9_000
_PARTS_AT_ONCE: Final = 8
_BUDGET_BYTES: Final = 96 << 20
_ASK: Final = 200
_PAGE: Final = 1000
_STATUS: Final = re.compile(r"\bstatus(?: code)?:?\s+(\d{3})\b|\bstatus (?:client|server) error \((\d{3})")
_ADDRESS: Final = re.compile(r"https?://\S+|location \S+|path: \S+")
_CODE: Final = re.compile(r"<Code>([A-Za-z]{1,60})</Code>")
_CUTS: Final = 2
_AGAIN: Final = Patience(tries=2)
_BUCKET_CODES: Final = frozenset({"NoSuchBucket", "ContainerNotFound", "ContainerBeingDeleted"})
_BUSY_CODES: Final = frozenset({"SlowDown", "ServerBusy", "TooManyRequests", "Throttling", "RequestLimitExceeded"})
_DENIED: Final = frozenset({"PermissionDeniedError", "UnauthenticatedError"})
_DENIED_CODES: Final = frozenset(
    {"AccessDenied", "InvalidAccessKeyId", "SignatureDoesNotMatch", "ExpiredToken", "AuthenticationFailed"}
)
_CREDENTIALS: Final = "Check the credentials in the environment, the profile or the keyring, and what they may do."
_NO_CREDENTIALS: Final = "no credentials"
_REASONS: Final = (
    ("credential", _NO_CREDENTIALS),
    ("metadata", _NO_CREDENTIALS),
    ("certificate", "its TLS certificate is not trusted"),
    ("dns", "its name has no address"),
    ("name resolution", "its name has no address"),
    ("connection refused", "connection refused"),
    ("timed out", "no answer in time"),
    ("operation timed", "no answer in time"),
    ("connection reset", "the connection was cut"),
    ("incompletebody", "the connection was cut"),
    ("connection closed", "the connection was cut"),
    ("body", "the connection was cut"),
    ("tcp connect", "no connection"),
)
RETRY: Final = Patience(tries=5, first_s=0.2, longest_s=5.0)


class Settings(TypedDict):
    """How an obstore store talks."""

    client_options: ClientConfig
    retry_config: RetryConfig


def settings(options: Options, *, http: bool) -> Settings:
    """Gives the way in which a store talks: TLS checked, waits bounded, refusals repeated a few times.

    Args:
        options: `ssl_verify`, `connect_timeout` and `read_timeout` are DVC's.
        http: whether the address is one without TLS.
    """
    client: ClientConfig = {
        "allow_http": http,
        "connect_timeout": timedelta(seconds=options.number("connect_timeout", 10)),
        "read_timeout": timedelta(seconds=options.number("read_timeout", 60)),
        "timeout": timedelta(hours=6),
        "user_agent": "modelkeep",
    }
    if not options.verifies:
        client["allow_invalid_certificates"] = True
    elif (authority := options.authority()) is not None:
        client["root_certificate"] = authority
    return {
        "client_options": client,
        "retry_config": {
            "max_retries": RETRY.tries - 1,
            "retry_timeout": timedelta(minutes=4),
            "backoff": {
                "init_backoff": timedelta(seconds=RETRY.first_s),
                "max_backoff": timedelta(seconds=RETRY.longest_s),
                "base": 2,
            },
        },
    }


class Bucket:
    """The remote that S3, Azure and Google Cloud Storage share.

    Args:
        store: obstore's store of one bucket.
        name: the address, for people.
        prefix: the folder in the bucket.
        options: `jobs` limits how much happens at once.
    """

    def __init__(self, store: Store, name: str, prefix: str, options: Options) -> None:
        self._store: Final = store
        self._name: Final = name
        self._prefix: Final = f"{prefix.strip('/')}/" if prefix.strip("/") else ""
        self._at_once: Final = options.number("jobs", AT_ONCE)
        self._budget: Final = _Budget(_BUDGET_BYTES)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._name!r})"

    def _place(self, key: str) -> str:
        return self._prefix + checked(key)

    def stat(self, key: str) -> Stat | None:
        """Tells of one blob; None when it is not there."""
        import obstore

        try:
            found = obstore.head(self._store, self._place(key))
        except FileNotFoundError:
            return None
        except Exception as error:  # noqa: BLE001  obstore's errors have no other root than this
            raise self._refused(error, key) from None
        return _stat(found, key)

    def has(self, keys: Collection[str]) -> set[str]:
        """Gives those of the keys that are there: few are asked for, of many whole folders are listed."""
        folders: dict[str, list[str]] = {}
        for key in keys:
            folders.setdefault(key.rpartition("/")[0], []).append(key)
        if len(keys) <= _ASK or "" in folders or not self._listing_pays(folders, len(keys)):
            return {key for key, there in many(self._asked, keys, at_once=self._at_once) if there}
        wanted = set(keys)
        found: set[str] = set()
        for listed in many(self._listed, sorted(folders), at_once=min(16, self._at_once)):
            found.update(wanted.intersection(listed))
        return found

    def _listing_pays(self, folders: dict[str, list[str]], asked: int) -> bool:
        """Whether listing takes fewer requests than asking, judged by the fullest folder's first pages."""
        fullest = max(folders, key=lambda folder: len(folders[folder]))
        limit = max(1, asked // len(folders)) * _PAGE
        held = 0
        for _ in self.list(fullest):
            held += 1
            if held >= limit:
                return False
        return len(folders) * (1 + held // _PAGE) < asked

    def _asked(self, key: str) -> tuple[str, bool]:
        return key, self.stat(key) is not None

    def _listed(self, folder: str) -> Sequence[str]:
        return [found.key for found in self.list(folder)]

    def list(self, prefix: str = "") -> Iterator[Stat]:
        """Gives every blob below a folder.

        Raises:
            Missing: there is no such bucket.
        """
        import obstore

        folder = self._prefix + (f"{prefix.rstrip('/')}/" if prefix.rstrip("/") else "")
        try:
            for page in obstore.list(self._store, prefix=folder or None, chunk_size=_PAGE):
                for found in page:
                    if found["path"].startswith(folder):
                        yield _stat(found, found["path"][len(self._prefix) :])
        except Exception as error:  # noqa: BLE001
            raise self._refused(error, prefix) from None

    def read(self, key: str) -> bytes:
        """Gives a small blob whole.

        Raises:
            Missing: it is not there.
        """
        import obstore

        try:
            return bytes(obstore.get(self._store, self._place(key)).bytes())
        except Exception as error:  # noqa: BLE001
            raise self._refused(error, key) from None

    def download(self, items: Iterable[Download], moved: Moved) -> Iterator[Outcome]:
        """Fetches small blobs many at once, then large ones by ranges; each from where an earlier attempt ended."""
        large: dict[str, Download] = {}
        hear = counted(moved)

        def fetch(item: Download) -> None:
            if not self._fetch_small(item, hear):
                large[item.key] = item

        for outcome in each(fetch, items, at_once=self._at_once):
            if outcome.key not in large:
                yield outcome
        yield from each(partial(self._fetch_large, hear=hear), large.values(), at_once=1)

    def _fetch_small(self, item: Download, hear: Moved) -> bool:
        """Fetches a blob that is not large; a large one is left alone."""
        import obstore

        if item.size is not None and item.size > _SMALL_BYTES:
            return False
        with Partial(item.path, item.size) as file:
            if file.held and not self._rest(item, file):
                return True
            for left in range(_CUTS, -1, -1):
                where = {"range": {"offset": file.held}} if file.held else None
                try:
                    found = obstore.get(self._store, self._place(item.key), options=where)  # type: ignore[arg-type]
                    size = found.meta["size"]
                except Exception as error:  # noqa: BLE001
                    raise self._refused(error, item.key) from None
                if size - file.held > _SMALL_BYTES:
                    return False
                try:
                    with self._budget.hold(size):
                        data = memoryview(found.bytes())
                except Exception as error:  # noqa: BLE001  cut in the middle: obstore does not ask again
                    if not left:
                        raise self._refused(error, item.key) from None
                    continue
                file.write(data)
                hear(len(data))
                _whole(item, file.held, size)
                return True
        return True

    def _rest(self, item: Download, file: Partial) -> int:
        """Gives how many bytes a file that was begun before still lacks."""
        size = item.size
        if size is None:
            found = self.stat(item.key)
            if found is None:
                raise self._absent(item.key)
            size = found.size
            if file.held > size:
                file.restart()
        return size - file.held

    def _fetch_large(self, item: Download, hear: Moved) -> None:
        found = self.stat(item.key)
        if found is None:
            raise self._absent(item.key)
        with Partial(item.path, found.size) as file:
            _Ranges(file, found.size, partial(self._range, item.key), hear).run()
            _whole(item, file.held, found.size)

    def _range(self, key: str, start: int, end: int) -> memoryview:
        import obstore

        def get() -> memoryview:
            try:
                return memoryview(obstore.get_range(self._store, self._place(key), start=start, end=end))
            except Exception as error:  # noqa: BLE001
                raise self._refused(error, key) from None

        return _AGAIN.insist(get)

    def upload(self, items: Iterable[Upload], moved: Moved) -> Iterator[Outcome]:
        """Sends small blobs many at once, then large ones in parts; a blob is there when its last byte is."""
        hear = counted(moved)
        waiting = tuple(items)
        small = (item for item in waiting if item.size <= _SMALL_BYTES)
        large = (item for item in waiting if item.size > _SMALL_BYTES)
        yield from each(partial(self._send_small, hear=hear), small, at_once=self._at_once)
        yield from each(partial(self._send_large, hear=hear), large, at_once=1)

    def _send_small(self, item: Upload, hear: Moved) -> None:
        with self._budget.hold(item.size):
            data = item.source if isinstance(item.source, bytes) else Path(item.source).read_bytes()
            _announced(item, len(data))
            self._put(item.key, data, whole=True)
        hear(item.size)

    def _send_large(self, item: Upload, hear: Moved) -> None:
        part = max(_PART_BYTES, -(-item.size // _PARTS))
        source: Iterator[memoryview]
        if isinstance(item.source, bytes):
            _announced(item, len(item.source))
            source = (memoryview(item.source)[at : at + part] for at in range(0, item.size, part))
            self._put(item.key, _heard(source, hear), part=part)
            return
        with Path(item.source).open("rb") as file:
            _announced(item, os.fstat(file.fileno()).st_size)
            self._put(item.key, _heard(iter(lambda: memoryview(file.read(_PIECE)), memoryview(b"")), hear), part=part)

    def _put(self, key: str, data: bytes | Iterator[memoryview], *, whole: bool = False, part: int = 5 << 20) -> None:
        import obstore

        try:
            obstore.put(
                self._store,
                self._place(key),
                data,
                use_multipart=not whole,
                chunk_size=part,
                max_concurrency=_PARTS_AT_ONCE,
            )
        except Exception as error:  # noqa: BLE001
            raise self._refused(error, key) from None

    def delete(self, keys: Collection[str]) -> None:
        """Removes blobs; one that is not there is no error."""
        for _ in many(self._remove, _slices([self._place(key) for key in keys], _PAGE), at_once=4):
            pass

    def _remove(self, places: Sequence[str]) -> None:
        import obstore

        try:
            obstore.delete(self._store, places)
        except FileNotFoundError:
            for _ in many(self._remove_one, places, at_once=self._at_once):
                pass
        except Exception as error:  # noqa: BLE001
            raise self._refused(error, places[0]) from None

    def _remove_one(self, place: str) -> None:
        import obstore

        try:
            obstore.delete(self._store, place)
        except FileNotFoundError:
            return
        except Exception as error:  # noqa: BLE001
            raise self._refused(error, place) from None

    def move(self, pairs: Collection[tuple[str, str]]) -> None:
        """Gives blobs other keys, by copies that the server makes; one that is not there is no error."""
        for _ in many(self._move_one, pairs, at_once=self._at_once):
            pass

    def _move_one(self, pair: tuple[str, str]) -> None:
        import obstore

        source, target = pair
        try:
            obstore.rename(self._store, self._place(source), self._place(target))
        except FileNotFoundError:
            return
        except Exception as error:  # noqa: BLE001
            raise self._refused(error, source) from None

    def close(self) -> None:
        """Connections end with the store."""

    def _absent(self, key: str) -> Missing:
        return Missing(f"{key} is not on {self._name}", hint="Push it from where it was added: modelkeep push")

    def _refused(self, error: Exception, key: str) -> Error:
        """Gives what obstore's refusal means; its own words may hold signed addresses, so only known ones are kept."""
        where = f"{self._name}: {key}" if key else self._name
        if isinstance(error, Error):
            return error
        text = _ADDRESS.sub("", str(error))
        code = (_CODE.findall(text) or [""])[0]
        if isinstance(error, FileNotFoundError) and code not in _BUCKET_CODES and "<Code>" not in text:
            return self._absent(key)
        return understood(type(error).__name__, text, code, where, self._absent(key))


def understood(kind: str, text: str, code: str, where: str, absent: Missing) -> Error:
    """Gives the error that an object store's answer amounts to.

    Args:
        kind: the name of obstore's exception.
        text: what it says.
        code: the server's own code for it.
        where: the address and key, for people.
        absent: what to raise when only the blob is missing.

    >>> absent = Missing("k is not on s3://b")
    >>> understood("GenericError", "... status 503 ...", "SlowDown", "s3://b: k", absent)
    Busy('s3://b: k: SlowDown')
    """
    found = _STATUS.search(text)
    status = int(next(part for part in found.groups() if part)) if found else 0
    said = code or (f"status {status}" if status else "")
    if code in _BUCKET_CODES:
        return Missing(f"{where}: {code}", hint="Check the bucket's name; modelkeep makes none.")
    if kind in _DENIED or status in {401, 403} or code in _DENIED_CODES:
        return Denied(f"{where}: {said or 'refused'}", hint=_CREDENTIALS)
    if code in _BUSY_CODES or status == 429:
        return Busy(f"{where}: {said}", hint="The server asks for patience: run the command again.", retry_after_s=5.0)
    if kind == "FileNotFoundError" or status == 404:
        return absent
    reason = said or next((words for mark, words in _REASONS if mark in text.lower()), "no answer that can be used")
    if reason == _NO_CREDENTIALS:
        return Denied(f"{where}: {reason}", hint=_CREDENTIALS)
    return Unreachable(f"{where}: {reason}", hint="Check the address and the network, then run the command again.")


class _Budget:
    """Bounds the bytes that are held in memory at once; one blob alone may be larger."""

    def __init__(self, limit: int) -> None:
        self._left, self._limit = limit, limit
        self._changed = threading.Condition()

    @contextmanager
    def hold(self, size: int) -> Iterator[None]:
        size = min(size, self._limit)
        with self._changed:
            self._changed.wait_for(lambda: self._left >= size)
            self._left -= size
        try:
            yield
        finally:
            with self._changed:
                self._left += size
                self._changed.notify_all()


class _Ranges:
    """Fetches a large blob by ranges, several at once, and writes them in order: what is there is its beginning."""

    def __init__(self, file: Partial, size: int, get: Callable[[int, int], memoryview], hear: Moved) -> None:
        self._file, self._size, self._get, self._hear = file, size, get, hear
        self._turn = threading.Condition()
        self._failed = False

    def run(self) -> None:
        for _ in many(self._one, range(self._file.held, self._size, _RANGE_BYTES), at_once=_PARTS_AT_ONCE):
            pass

    def _one(self, start: int) -> None:
        try:
            if self._failed:
                return
            end = min(start + _RANGE_BYTES, self._size)
            data = self._get(start, end)
            with self._turn:
                self._turn.wait_for(lambda: self._failed or self._file.held == start)
                if self._failed:
                    return
                if len(data) != end - start:
                    raise Unreachable("fewer bytes than were asked for", hint="Run the command again.")
                self._file.write(data)
                self._hear(len(data))
                self._turn.notify_all()
        except BaseException:
            with self._turn:
                self._failed = True
                self._turn.notify_all()
            raise


def _heard(source: Iterable[memoryview], hear: Moved) -> Iterator[memoryview]:
    for data in source:
        yield data
        hear(len(data))


def _slices(places: Sequence[str], size: int) -> Iterator[Sequence[str]]:
    return (places[at : at + size] for at in range(0, len(places), size))


def _stat(found: ObjectMeta, key: str) -> Stat:
    return Stat(key, found["size"], (found["e_tag"] or "").strip('"'))


def _announced(item: Upload, size: int) -> None:
    if size != item.size:
        raise Unreachable(
            f"{item.key}: {size} bytes where {item.size} were announced",
            hint="The file changed: run the command again.",
        )


def _whole(item: Download, held: int, size: int) -> None:
    if held != size or (item.size is not None and item.size != size):
        raise Unreachable(
            f"{item.key}: {held} bytes came where {item.size or size} were announced", hint="Run the command again."
        )
