"""A folder of this machine, or of a disk that is mounted here, in DVC's layout."""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final, NamedTuple

from modelkeep.core.errors import Error, Missing, Unreachable
from modelkeep.store.blobs.checking import read_up_to
from modelkeep.store.blobs.digest import Digest, Step
from modelkeep.store.blobs.hashed import digest_of, md5_of, write_all
from modelkeep.store.blobs.links import copy, reflink
from modelkeep.store.forked import MANY, parted
from modelkeep.store.remote import Download, Moved, Outcome, Remote, Stat, Upload
from modelkeep.store.transfers import Partial, checked, disk_error

ASIDE: Final = ".modelkeep-incoming-"
"""Folders of this name hold blobs on their way; what a killed process left is removed by the next upload."""
_SMALL_BYTES: Final = 1 << 20
_BATCH_FILES: Final = 32768
_BATCH_BYTES: Final = 256 << 20
_MODE: Final = 0o444
_SPARSE: Final = 16
_STRIDE: Final = 32 << 20
_DEPTH: Final = 2
"""Slashes in the name of a folder of `files/md5`: nothing but blobs is in one, so it can be renamed."""


Batch = list[Upload]
Rows = list[tuple[int, int, str]]


class Local:
    """Blobs are written into a folder aside, made durable together and renamed into place.

    Args:
        url: the folder; it is made by the first upload.
        options: `shared = group` lets the group write folders.
    """

    def __init__(self, url: str, options: Mapping[str, str]) -> None:
        self.folder: Final = os.path.abspath(os.path.expanduser(url.removeprefix("file://")))
        self._shared: Final = options.get("shared", "").lower() == "group"

    def _place(self, key: str) -> str:
        return f"{self.folder}/{checked(key)}"

    def stat(self, key: str) -> Stat | None:
        """Tells of one blob; None when it is not there."""
        try:
            found = os.stat(self._place(key))
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise disk_error(error, self._place(key)) from None
        return Stat(key, found.st_size, _etag(found))

    def has(self, keys: Collection[str]) -> set[str]:
        """Gives those of the keys that are there; a folder is listed unless it holds far more than is asked for."""
        folders: dict[str, list[str]] = {}
        for key in keys:
            folder, _, name = key.rpartition("/")
            folders.setdefault(folder, []).append(name)
        found: set[str] = set()
        sparse = False
        for folder, names in folders.items():
            place = self._place(folder) if folder else self.folder
            if sparse or len(names) == 1:
                found.update(f"{folder}/{name}".lstrip("/") for name in names if os.path.isfile(f"{place}/{name}"))
                continue
            try:
                there = os.listdir(place)
            except (FileNotFoundError, NotADirectoryError):
                continue
            except OSError as error:
                raise disk_error(error, place) from None
            sparse = len(there) > _SPARSE * len(names)
            present = set(there)
            found.update([f"{folder}/{name}".lstrip("/") for name in names if name in present])
        return found

    def list(self, prefix: str = "") -> Iterator[Stat]:
        """Gives every blob below a folder."""
        prefix = prefix.rstrip("/")
        folders = [(self._place(prefix) if prefix else self.folder, f"{prefix}/" if prefix else "")]
        while folders:
            place, head = folders.pop()
            try:
                with os.scandir(place) as listed:
                    entries = list(listed)
            except (FileNotFoundError, NotADirectoryError):
                continue
            except OSError as error:
                raise disk_error(error, place) from None
            for entry in entries:
                if entry.is_dir():
                    if not entry.name.startswith(ASIDE):
                        folders.append((entry.path, f"{head}{entry.name}/"))
                    continue
                with suppress(FileNotFoundError):
                    found = entry.stat()
                    yield Stat(head + entry.name, found.st_size, _etag(found))

    def read(self, key: str) -> bytes:
        """Gives a small blob whole.

        Raises:
            Missing: it is not there.
        """
        try:
            return Path(self._place(key)).read_bytes()
        except OSError as error:
            raise self._refused(error, key) from None

    def _refused(self, error: OSError, key: str) -> Error:
        if isinstance(error, (FileNotFoundError, NotADirectoryError)):
            return Missing(f"{key} is not in {self.folder}", hint="Push it from where it was added: modelkeep push")
        return disk_error(error, f"{self.folder}/{key}")

    def download(self, items: Iterable[Download], moved: Moved) -> Iterator[Outcome]:
        """Copies blobs out, each from where an earlier attempt ended; those that begin here are hashed meanwhile."""
        wanted = list(items)
        if len(wanted) >= MANY:
            fresh: list[Download] = []
            for rows in parted(self._fetch_small, list(enumerate(wanted)), Rows):
                moved(sum(size for _, size, _ in rows))
                for number, size, md5 in rows:
                    if md5:
                        yield Outcome(wanted[number].key, None, Digest(md5, b"", size))
                    else:
                        fresh.append(wanted[number])
            wanted = fresh
        for item in wanted:
            try:
                digest = self._fetch(item, moved)
            except OSError as error:
                yield Outcome(item.key, self._refused(error, item.key))
            except Error as error:
                yield Outcome(item.key, error)
            else:
                yield Outcome(item.key, None, digest)

    def _fetch_small(self, items: Sequence[tuple[int, Download]]) -> Rows:
        """Copies small blobs out of which nothing is there yet; gives number, size and md5, which is "" for others."""
        rows = []
        for number, item in items:
            try:
                _, data = read_up_to(self._place(item.key), _SMALL_BYTES)
                row = (number, 0, "") if data is None else (number, len(data), _write_new(item.path, data))
            except (OSError, Error):  # it is tried again by itself, and told
                row = (number, 0, "")
            rows.append(row)
        return rows

    def _fetch(self, item: Download, moved: Moved) -> Digest | None:
        fd = os.open(self._place(item.key), os.O_RDONLY | os.O_CLOEXEC)
        try:
            size = os.fstat(fd).st_size
            with Partial(item.path, size) as partial:
                if partial.held:
                    _copy(fd, partial, size, moved)
                    return None
                digest = digest_of(fd, _Heard(moved), out=partial.fd)
                if digest.size < size:
                    raise _cut()
                return digest
        finally:
            os.close(fd)

    def upload(self, items: Iterable[Upload], moved: Moved) -> Iterator[Outcome]:
        """Copies blobs in; each is told of when it is in its place and survives a power cut."""
        waiting: Batch = []
        size = 0
        for item in sorted(items, key=lambda item: item.key):
            waiting.append(item)
            size += item.size
            if len(waiting) >= _BATCH_FILES or size >= _BATCH_BYTES:
                yield from _Batch(self.folder, self._shared, moved).run(waiting)
                waiting, size = [], 0
        if waiting:
            yield from _Batch(self.folder, self._shared, moved).run(waiting)

    def delete(self, keys: Collection[str]) -> None:
        """Removes blobs; one that is not there is no error."""
        for key in keys:
            try:
                os.unlink(self._place(key))
            except (FileNotFoundError, NotADirectoryError):
                continue
            except OSError as error:
                raise disk_error(error, self._place(key)) from None

    def close(self) -> None:
        """There is nothing to end."""


class _Heard:
    """A listener as the copying code wants it."""

    __slots__ = ("add",)

    def __init__(self, moved: Moved) -> None:
        self.add = moved


class _Folder(NamedTuple):
    """One folder of a batch: whether it comes as a whole, and the keys with the files that wait aside."""

    whole: bool
    files: list[tuple[str, str]]


class _Job(NamedTuple):
    """One blob of a batch: where it waits aside, its folder, and the mode that it is given afterwards."""

    item: Upload
    staged: str
    folder: _Folder
    mode: int


class _Batch:
    """Some blobs that come into their places together."""

    def __init__(self, top: str, shared: bool, moved: Moved) -> None:
        self._top, self._shared, self._heard = top, shared, _Heard(moved)
        self._failed: list[Outcome] = []
        self._folders: dict[str, _Folder] = {}

    def run(self, items: Sequence[Upload]) -> list[Outcome]:
        try:
            self._make_folder(self._top)
            _sweep(self._top)
            aside, lock = _open_aside(self._top)
            try:
                self._write(items, aside)
                _sync(aside)
                self._publish(aside)
                _sync(self._top)
            finally:
                shutil.rmtree(aside, ignore_errors=True)
                os.close(lock)
        except OSError as error:
            told = {outcome.key for outcome in self._failed}
            refusal = disk_error(error, self._top)
            return self._failed + [Outcome(item.key, refusal) for item in items if item.key not in told]
        return self._failed + [Outcome(key, None) for folder in self._folders.values() for key, _ in folder.files]

    def _write(self, items: Iterable[Upload], aside: str) -> None:
        mode = _MODE if os.stat(aside).st_mode & _MODE != _MODE else 0  # the umask takes from files what it took here
        small: list[_Job] = []
        for number, item in enumerate(items):
            try:
                folder = self._folder(checked(item.key).rpartition("/")[0], aside)
            except Error as error:
                self._failed.append(Outcome(item.key, error))
                continue
            job = _Job(item, f"{aside}/{item.key}" if folder.whole else f"{aside}/{number}", folder, mode)
            if isinstance(item.source, bytes) or item.size > _SMALL_BYTES:
                self._write_alone(job)
            else:
                small.append(job)
        if len(small) < MANY:
            for job in small:
                self._write_alone(job)
        else:
            self._write_many(small)

    def _write_many(self, jobs: Sequence[_Job]) -> None:
        """Writes small files in several processes; what fails in one of them is tried again here, and told."""
        failed: set[int] = set()
        for written, numbers in parted(_written, list(enumerate(jobs)), tuple[int, list[int]]):
            self._heard.add(written)
            failed.update(numbers)
        for number, job in enumerate(jobs):
            if number in failed:
                self._write_alone(job)
            else:
                job.folder.files.append((job.item.key, job.staged))

    def _write_alone(self, job: _Job) -> None:
        try:
            _write_one(job, self._heard)
        except (Error, FileNotFoundError) as error:
            told = disk_error(error, f"the source of {job.item.key}") if isinstance(error, OSError) else error
            self._failed.append(Outcome(job.item.key, told))
        else:
            job.folder.files.append((job.item.key, job.staged))

    def _folder(self, name: str, aside: str) -> _Folder:
        """Gives where a folder's blobs are written: into one like it aside if there is none yet."""
        if name not in self._folders:
            whole = name.count("/") == _DEPTH and not os.path.isdir(f"{self._top}/{name}")
            if whole:
                self._make_folder(f"{aside}/{name}")
            self._folders[name] = _Folder(whole, [])
        return self._folders[name]

    def _publish(self, aside: str) -> None:
        """Renames folders that are new here as a whole, and the blobs of others one by one."""
        for name, folder in self._folders.items():
            if folder.whole:
                self._make_folder(os.path.dirname(f"{self._top}/{name}"))
                with suppress(OSError):  # somebody else has made it meanwhile
                    os.rename(f"{aside}/{name}", f"{self._top}/{name}")
                    continue
            self._make_folder(f"{self._top}/{name}" if name else self._top)
            for key, staged in folder.files:
                os.rename(staged, f"{self._top}/{key}")

    def _make_folder(self, folder: str) -> None:
        if os.path.isdir(folder):
            return
        parent = os.path.dirname(folder)
        if parent != folder:
            self._make_folder(parent)
        with suppress(FileExistsError):
            os.mkdir(folder)
            if self._shared and folder.startswith(self._top):
                os.chmod(folder, 0o2775)  # noqa: S103  the group writes: that is what was asked for


def _open_aside(top: str) -> tuple[str, int]:
    """Makes a folder for what is on its way; while its lock is held nobody takes it for left over."""
    while True:
        aside = f"{top}/{ASIDE}{os.urandom(8).hex()}"
        os.mkdir(aside)
        try:
            lock = os.open(aside, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except FileNotFoundError:
            continue
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(lock)
            continue
        except OSError:  # a network disk without locks: nothing is swept there either
            return aside, lock
        if os.path.isdir(aside):
            return aside, lock
        os.close(lock)


def _sweep(top: str) -> None:
    """Removes what killed uploads left."""
    with os.scandir(top) as listed:
        left = [entry.path for entry in listed if entry.name.startswith(ASIDE)]
    for place in left:
        with suppress(OSError):
            lock = os.open(place, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(place, ignore_errors=True)
            finally:
                os.close(lock)


def _etag(found: os.stat_result) -> str:
    return f"{found.st_ino:x}-{found.st_mtime_ns:x}-{found.st_size:x}"


def _written(jobs: Sequence[tuple[int, _Job]]) -> tuple[int, list[int]]:
    """Writes blobs; gives how many bytes that were, and the numbers of those that could not be had."""
    counted = _Counted()
    failed = []
    for number, job in jobs:
        try:
            _write_one(job, counted)
        except (Error, FileNotFoundError):
            failed.append(number)
    return counted.total, failed


class _Counted:
    """A listener that adds up what it hears."""

    __slots__ = ("total",)

    def __init__(self) -> None:
        self.total = 0

    def add(self, amount: int) -> None:
        self.total += amount


def _write_one(job: _Job, heard: Step) -> None:
    """Writes a blob aside; leaves nothing behind if it cannot be had."""
    try:
        _copy_in(job.item, job.staged, heard)
        if job.mode:
            os.chmod(job.staged, job.mode)
    except (Error, FileNotFoundError):
        with suppress(OSError):
            os.unlink(job.staged)
        raise


def _copy_in(item: Upload, target: str, heard: Step) -> None:
    if not isinstance(item.source, bytes) and item.size > _SMALL_BYTES:
        source = os.fspath(item.source)
        try:
            reflink(source, target, mode=_MODE)
            heard.add(item.size)
        except FileNotFoundError:
            raise
        except OSError:
            copy(source, target, mode=_MODE, step=heard)
        _same_size(item, os.stat(target).st_size)
        return
    data = item.source if isinstance(item.source, bytes) else _read(item.source)
    _same_size(item, len(data))
    fd = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, _MODE)
    try:
        view = memoryview(data)
        while view:
            view = view[os.write(fd, view) :]
    finally:
        os.close(fd)
    heard.add(len(data))


def _write_new(path: Path | str, data: bytes) -> str:
    """Writes a new file that is whole when it is read-only, and gives the md5 of its bytes."""
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
    try:
        write_all(fd, data)
        os.fchmod(fd, _MODE)
    finally:
        os.close(fd)
    return md5_of(data)


def _read(path: Path | str) -> bytes:
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        size = os.fstat(fd).st_size
        data = os.read(fd, size + 1)
        while len(data) < size and (more := os.read(fd, size)):
            data += more
        return data
    finally:
        os.close(fd)


def _same_size(item: Upload, size: int) -> None:
    if size != item.size:
        raise Unreachable(
            f"{item.key}: {size} bytes where {item.size} were announced",
            hint="Run the command again; the file changed.",
        )


def _copy(fd: int, partial: Partial, size: int, moved: Moved) -> None:
    while partial.held < size:
        data = os.pread(fd, min(_STRIDE, size - partial.held), partial.held)
        if not data:
            raise _cut()
        partial.write(data)
        moved(len(data))


def _cut() -> Unreachable:
    return Unreachable("a blob became shorter while it was read", hint="Run the command again.")


def _sync(folder: str) -> None:
    """Makes everything written below a folder survive a power cut: its whole file system, in one call."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        if not _syncfs(fd):
            os.sync()
    finally:
        os.close(fd)


def _syncfs(fd: int) -> bool:
    import ctypes

    call = getattr(ctypes.CDLL(None, use_errno=True), "syncfs", None)
    if call is None:
        return False
    if call(fd):
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return True


plugin: type[Remote] = Local
