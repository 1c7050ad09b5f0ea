"""Backups: a tar of everything a server keeps, consistent while it runs, and the way back."""

from __future__ import annotations

import asyncio
import hashlib
import io
import json
import os
import re
import shutil
import tarfile
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, TYPE_CHECKING, Final

from starlette.types import Receive, Scope, Send

from modelkeep._version import __version__
from modelkeep.core.errors import BadInput, Busy, Conflict, Corrupt, Missing, Unreachable
from modelkeep.core.times import iso
from modelkeep.server.pause import all_held

if TYPE_CHECKING:
    from typing_extensions import Buffer

    from modelkeep.server.house import House

FORM: Final = 1
"""The number of this form of backups."""
FIRST: Final = "modelkeep-backup.json"
LAST: Final = "modelkeep-backup-files.json"
ENTRIES: Final = "entries.db"
JOURNAL: Final = "journal"
ENGINES: Final = ("rows", "series", "text", "quality")
_SKIPPED: Final = frozenset({"lock", ".tantivy-writer.lock", ".tantivy-meta.lock"})
_CHUNK: Final = 1 << 20
_WAITING: Final = 8
_NAME: Final = re.compile(r"[^/\\\x00-\x1f]+(/[^/\\\x00-\x1f]+)*\Z")


class Backup:
    """The route that gives a backup.

    Args:
        house: what is copied.
    """

    def __init__(self, house: House) -> None:
        self._house = house
        self._one = threading.Lock()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if not self._one.acquire(blocking=False):
            raise Busy("a backup is being made already", retry_after_s=30)
        try:
            with tempfile.TemporaryDirectory(prefix="backup-", dir=self._house.folder) as place:
                await asyncio.to_thread(snapshot, self._house, Path(place))
                await self._stream(Path(place), send)
        finally:
            self._one.release()

    async def _stream(self, place: Path, send: Send) -> None:
        pieces: asyncio.Queue[bytes] = asyncio.Queue(_WAITING)
        loop = asyncio.get_running_loop()

        def put(piece: bytes) -> None:
            asyncio.run_coroutine_threadsafe(pieces.put(piece), loop).result()

        writing = asyncio.ensure_future(asyncio.to_thread(_pack, place, put))
        headers = [
            (b"content-type", b"application/x-tar"),
            (b"content-disposition", b'attachment; filename="modelkeep-backup.tar"'),
        ]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        while piece := await pieces.get():
            await send({"type": "http.response.body", "body": piece, "more_body": True})
        await writing
        await send({"type": "http.response.body", "body": b""})


def snapshot(house: House, place: Path) -> None:
    """Puts a consistent copy of everything a house keeps into an empty folder on the same disk.

    Readers are held meanwhile, so what they sealed and the journal behind it fit together; records are taken on.
    Sealed files never change, so they are linked; the journal grows and is copied, what is remembered of tokens
    before the entries, so that a restored journal never takes an entry for kept that it has not.
    """
    with house.upkeep, all_held(house.readers):
        with house.rows.snapshot() as files:
            for name, path in files:
                _copy(path, place / "rows" / name, os.link)
        for name in ENGINES[1:]:
            _copy(house.folder / name, place / name, os.link)
        house.entries.backup(place / ENTRIES)
        source = house.folder / JOURNAL
        for name in sorted((path.name for path in source.iterdir()), key=lambda name: (name != "tokens", name)):
            _copy(source / name, place / JOURNAL / name, shutil.copyfile)
    told = {"form": FORM, "version": __version__, "made": iso(house.wall.now_ns()), "last": house.journal.last()}
    (place / FIRST).write_text(json.dumps(told), encoding="utf-8")


def _copy(source: Path, target: Path, copy: Callable[[Path, Path], object]) -> None:
    files = [source] if source.is_file() else sorted(path for path in source.rglob("*") if path.is_file())
    for file in files:
        if file.name in _SKIPPED or file.is_symlink():
            continue
        to = target / file.relative_to(source) if file != source else target
        to.parent.mkdir(parents=True, exist_ok=True)
        try:
            copy(file, to)
        except FileNotFoundError:  # deleted meanwhile, as nobody needs it any more
            continue


def _pack(place: Path, put: Callable[[bytes], None]) -> None:
    """Writes the tar: what it is, every file, and last the list of files with their sizes and digests."""
    try:
        out = _Outlet(put)
        with tarfile.open(fileobj=out, mode="w|", format=tarfile.PAX_FORMAT, bufsize=_CHUNK) as tar:
            files: dict[str, list[int | str]] = {}
            for name in [FIRST, *sorted(name for name in _names(place) if name != FIRST)]:
                files[name] = _add(tar, place / name, name)
            text = json.dumps(files).encode()
            tar.addfile(_member(LAST, len(text)), io.BytesIO(text))
    finally:
        put(b"")


def _names(place: Path) -> Iterator[str]:
    return (str(path.relative_to(place)) for path in place.rglob("*") if path.is_file())


def _member(name: str, size: int) -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.size, member.mode = size, 0o600
    return member


def _add(tar: tarfile.TarFile, path: Path, name: str) -> list[int | str]:
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        reading = _Reading(file)
        tar.addfile(_member(name, size), reading)
    return [size, reading.digest.hexdigest()]


class _Outlet(io.RawIOBase):
    """A file that hands on what is written."""

    def __init__(self, put: Callable[[bytes], None]) -> None:
        super().__init__()
        self._put = put

    def writable(self) -> bool:
        return True

    def write(self, data: Buffer) -> int:
        piece = bytes(data)
        if piece:
            self._put(piece)
        return len(piece)


class _Reading(io.RawIOBase):
    """A file that is digested as it is read."""

    def __init__(self, file: IO[bytes]) -> None:
        super().__init__()
        self._file = file
        self.digest = hashlib.sha256()

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        piece = self._file.read(size)
        self.digest.update(piece)
        return piece


def restore(archive: Path, folder: Path) -> int:
    """Unpacks a backup into a new data folder and gives the number of files.

    Nothing but plain files with plain relative names is ever written, whatever the archive says, and the folder
    appears only when everything in it was checked.

    Args:
        archive: what `GET /api/v1/backup` gave.
        folder: does not exist, or is empty.

    Raises:
        Missing: there is no such archive.
        Conflict: the folder holds something.
        BadInput: the archive is no backup, or one of a newer form.
        Corrupt: a file is missing, cut or not what was written.
        Unreachable: the folder cannot be written.
    """
    if not archive.is_file():
        raise Missing(f"{archive} does not exist")
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise Conflict(f"{folder} holds something already", hint="Name a folder that does not exist.")
    folder.parent.mkdir(parents=True, exist_ok=True)
    place = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        count = _unpack(archive, place)
        place.replace(folder)
    except OSError as error:
        shutil.rmtree(place, ignore_errors=True)
        raise Unreachable(
            f"{folder}: {error.strerror or error}", hint="Is there room, and may it be written?"
        ) from None
    except BaseException:
        shutil.rmtree(place, ignore_errors=True)
        raise
    return count


def _unpack(archive: Path, place: Path) -> int:
    files: dict[str, list[int | str]] = {}
    told: dict[str, list[int | str]] | None = None
    try:
        with tarfile.open(archive, "r:") as tar:
            for member in tar:
                if member.name == LAST:
                    told = json.loads(_content(tar, member, archive).read())
                    continue
                if not files:
                    _check_first(tar, member, archive)
                if member.name in files:
                    raise BadInput(f"{archive}: {member.name[:100]!r} stands in it twice")
                files[member.name] = _write(_content(tar, member, archive), place, member.name)
    except (tarfile.TarError, EOFError, ValueError) as error:
        raise Corrupt(f"{archive}: {str(error) or 'it ends too early'}", hint="Take another backup.") from None
    if not isinstance(told, dict):
        raise Corrupt(f"{archive}: it ends too early", hint="Take another backup.")
    if wrong := sorted(name for name in {*told, *files} if told.get(name) != files.get(name)):
        raise Corrupt(f"{archive}: {wrong[0]} is not what was written", hint="Take another backup.")
    (place / FIRST).unlink()
    return len(files) - 1


def _check_first(tar: tarfile.TarFile, member: tarfile.TarInfo, archive: Path) -> None:
    if member.name != FIRST:
        raise BadInput(f"{archive} is not a backup of modelkeep")
    about = json.loads(_content(tar, member, archive).read(1 << 16))
    form = about.get("form") if isinstance(about, dict) else None
    if form != FORM:
        raise BadInput(f"{archive}: form {form} of backups is not known, expected {FORM}", hint="Upgrade modelkeep.")


def _content(tar: tarfile.TarFile, member: tarfile.TarInfo, archive: Path) -> IO[bytes]:
    parts = member.name.split("/")
    known = parts[0] in {*ENGINES, JOURNAL, ENTRIES, FIRST, LAST}
    if not known or not _NAME.match(member.name) or {"..", "."} & set(parts) or not member.isreg() or member.issparse():
        raise BadInput(f"{archive}: {member.name[:100]!r} does not belong into a backup")
    content = tar.extractfile(member)
    if content is None:
        raise BadInput(f"{archive}: {member.name[:100]!r} is no file")
    return content


def _write(content: IO[bytes], place: Path, name: str) -> list[int | str]:
    path = place / name
    path.parent.mkdir(parents=True, exist_ok=True)
    digest, size = hashlib.sha256(), 0
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        while piece := content.read(_CHUNK):
            digest.update(piece)
            size += len(piece)
            file.write(piece)
        file.flush()
        os.fsync(file.fileno())
    return [size, digest.hexdigest()]
