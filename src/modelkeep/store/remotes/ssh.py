"""A folder of another machine, by SFTP; nothing but files is asked of it, no shell."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Awaitable, Callable, Collection, Iterable, Iterator, Mapping
from functools import partial
from importlib import import_module
from pathlib import Path
from stat import S_ISDIR, S_ISREG
from typing import TYPE_CHECKING, Final, Protocol, TypeVar, cast
from urllib.parse import unquote, urlsplit

from modelkeep.core.errors import BadInput, Busy, Denied, Error, Missing, Unreachable
from modelkeep.store.options import Options
from modelkeep.store.remote import Download, Moved, Outcome, Remote, Stat, Upload
from modelkeep.store.transfers import FULL, PATIENCE, Mark, Partial, checked, counted, disk_error, each, many

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop

    from asyncssh import SFTPAttrs, SFTPClient

R = TypeVar("R")

ASIDE: Final = ".modelkeep-incoming"
"""The folder where blobs wait until they are whole; what is a day old there was left by a killed process."""
AT_ONCE: Final = 16
_DAY_S: Final = 86_400
_FEW: Final = 2
_PIECE: Final = 4 << 20


_ABSENT: Final = frozenset({"SFTPNoSuchFile", "SFTPNoSuchPath", "FileNotFoundError"})
_STRANGE: Final = frozenset({"HostKeyNotVerifiable"})
_REFUSALS: Final[tuple[tuple[frozenset[str], Callable[[str], Error]], ...]] = (
    (
        frozenset(
            {"PermissionDenied", "SFTPPermissionDenied", "PermissionError", "KeyImportError", "KeyEncryptionError"}
        ),
        lambda where: Denied(f"{where}: refused", hint="Check user, key and password, and who may write that folder."),
    ),
    (
        frozenset({"SFTPNoSpaceOnFilesystem", "SFTPQuotaExceeded"}),
        lambda where: Busy(f"{where}: no room there", hint="Make room on that machine.", retry_after_s=60),
    ),
    (
        frozenset({"SFTPFailure", "SFTPOpUnsupported"}),
        lambda where: BadInput(f"{where}: the server cannot do that", hint="Is its disk full, or the folder a file?"),
    ),
)


class _Line(Protocol):
    """A connection as `sshfs` keeps it."""

    loop: AbstractEventLoop


class Ssh:
    """A folder that SFTP reaches. Host keys are checked against `~/.ssh/known_hosts`; `~/.ssh/config` is honoured.

    Args:
        url: `ssh://user@host:port/folder`.
        options: DVC's: `user`, `port`, `keyfile`, `password`, `passphrase`, `allow_agent`, `gss_auth`, `timeout`,
            `max_sessions`.
    """

    def __init__(self, url: str, options: Mapping[str, str]) -> None:
        parts = urlsplit(url)
        if not parts.hostname:
            raise BadInput(f"{parts.scheme}:// names no host", hint="Write ssh://user@host/folder.")
        self._host: Final = parts.hostname
        self._folder: Final = unquote(parts.path).rstrip("/") or "/"
        shown = parts.netloc.rpartition("@")[2]
        self._given: Final = Options(f"ssh://{shown}{parts.path}", options)
        self._name: Final = self._given.url
        self._user: Final = self._given.text("user") or unquote(parts.username or "")
        self._port: Final = self._given.number("port", parts.port or 0, least=0)
        self._password: Final = unquote(parts.password or "")
        self._at_once: Final = self._given.number("jobs", AT_ONCE)
        self._lock: Final = threading.Lock()
        self._line: _Line | None = None
        self._made: set[str] = set()
        self._swept = False

    def __repr__(self) -> str:
        return f"Ssh({self._name!r})"

    def _arguments(self) -> dict[str, object]:
        """Gives what asyncssh is told; host keys are always checked."""
        given = self._given
        wait_s = given.number("timeout", 30)
        arguments: dict[str, object] = {
            "known_hosts": (),
            "connect_timeout": wait_s,
            "login_timeout": wait_s,
            "keepalive_interval": 30,
            "max_sessions": max(3, given.number("max_sessions", 10)),
            "gss_auth": given.flag("gss_auth"),
        }
        if self._user:
            arguments["username"] = self._user
        if self._port:
            arguments["port"] = self._port
        if given.text("keyfile"):
            arguments["client_keys"] = [str(Path(given.text("keyfile")).expanduser())]
        if not given.flag("allow_agent", default=True):
            arguments["agent_path"] = None
        password = self._password or given.secret("password", "MODELKEEP_SSH_PASSWORD").reveal()
        if password:
            arguments["password"] = password
        elif given.flag("ask_password"):
            raise Denied(f"{self._name}: no password", hint="Set MODELKEEP_SSH_PASSWORD, or use a key.")
        passphrase = given.secret("passphrase", "MODELKEEP_SSH_PASSPHRASE").reveal()
        if passphrase:
            arguments["passphrase"] = passphrase
        return arguments

    def _open(self) -> _Line:
        with self._lock:
            if self._line is None:
                arguments = self._arguments()
                try:
                    filesystem = import_module("sshfs").SSHFileSystem
                    self._line = cast("_Line", filesystem(self._host, skip_instance_cache=True, **arguments))
                except Exception as error:  # noqa: BLE001  several libraries' errors, told apart by name
                    raise self._refused(error, "") from None
            return self._line

    def _drop(self, line: _Line) -> None:
        with self._lock:
            if self._line is line:
                self._line = None
        _end(line)

    def _do(self, key: str, work: Callable[[SFTPClient], Awaitable[R]]) -> R:
        """Does something with a channel, on a new connection if the one there was is gone."""

        def once() -> R:
            from asyncio import run_coroutine_threadsafe

            line = self._open()

            async def run() -> R:
                async with line._pool.get() as channel:  # type: ignore[attr-defined]
                    return await work(channel)

            try:
                return run_coroutine_threadsafe(run(), line.loop).result()
            except Error:
                raise
            except Exception as error:  # noqa: BLE001
                refusal = self._refused(error, key)
                if isinstance(refusal, Unreachable):
                    self._drop(line)
                raise refusal from None

        return PATIENCE.insist(once, (Unreachable,))

    def _place(self, key: str) -> str:
        return f"{self._folder.rstrip('/')}/{checked(key)}" if key else self._folder

    def _refused(self, error: Exception, key: str) -> Error:
        """Gives what a refusal means, by the names that asyncssh and sshfs give theirs."""
        where = f"{self._name}: {key}" if key else self._name
        if isinstance(error, OSError) and error.errno in FULL:
            return disk_error(error, error.filename or key)
        names = {kind.__name__ for kind in type(error).__mro__}
        if names & _ABSENT:
            return Missing(f"{key} is not on {self._name}", hint="Push it from where it was added: modelkeep push")
        if names & _STRANGE:
            port = f"-p {self._port} " if self._port else ""
            scan = f"ssh-keyscan {port}{self._host} >> ~/.ssh/known_hosts"
            return Denied(
                f"{where}: its host key is not known", hint=f"{scan}, then compare it with the machine's own."
            )
        for kinds, refusal in _REFUSALS:
            if names & kinds:
                return refusal(where)
        reason = "no answer in time" if "TimeoutError" in names else getattr(error, "strerror", "") or "no connection"
        return Unreachable(f"{where}: {reason}", hint="Check the address and the network, then run the command again.")

    def stat(self, key: str) -> Stat | None:
        """Tells of one blob; None when it is not there."""
        place = self._place(checked(key))

        async def ask(channel: SFTPClient) -> SFTPAttrs:
            return await channel.stat(place)

        try:
            found = self._do(key, ask)
        except Missing:
            return None
        return None if S_ISDIR(found.permissions or 0) else _stat(key, found)

    def has(self, keys: Collection[str]) -> set[str]:
        """Gives those of the keys that are there; a folder of which several are asked for is listed."""
        folders: dict[str, set[str]] = {}
        for key in keys:
            folders.setdefault(key.rpartition("/")[0], set()).add(key)
        alone = [key for some in folders.values() if len(some) <= _FEW for key in some]
        listed = [folder for folder, some in folders.items() if len(some) > _FEW]
        found = {key for key, there in many(lambda key: (key, self.stat(key)), alone, at_once=self._at_once) if there}
        for folder, there in many(lambda one: (one, [*self._children(one)]), listed, at_once=self._at_once):
            found |= folders[folder].intersection([key for key, _ in there])
        return found

    def _children(self, folder: str) -> Iterator[tuple[str, SFTPAttrs]]:
        """Gives what a folder holds; nothing when there is no such folder."""
        place = self._place(folder)

        async def ask(channel: SFTPClient) -> Iterable[tuple[str, SFTPAttrs]]:
            return [(str(one.filename), one.attrs) for one in await channel.readdir(place)]

        try:
            names = self._do(folder, ask)
        except Missing:
            return
        for name, attributes in names:
            if name not in {".", ".."}:
                yield (f"{folder}/{name}" if folder else name), attributes

    def list(self, prefix: str = "") -> Iterator[Stat]:
        """Gives every blob below a folder."""
        folders = [prefix.rstrip("/")]
        while folders:
            for key, found in self._children(folders.pop()):
                if S_ISDIR(found.permissions or 0):
                    if key != ASIDE:
                        folders.append(key)
                elif S_ISREG(found.permissions or 0):
                    yield _stat(key, found)

    def read(self, key: str) -> bytes:
        """Gives a small blob whole.

        Raises:
            Missing: it is not there.
        """
        place = self._place(checked(key))

        async def ask(channel: SFTPClient) -> bytes:
            async with channel.open(place, "rb") as file:
                return cast("bytes", await file.read())

        return self._do(key, ask)

    def download(self, items: Iterable[Download], moved: Moved) -> Iterator[Outcome]:
        """Fetches many at once, each from where an earlier attempt ended."""
        return each(partial(self._fetch, hear=counted(moved)), items, at_once=self._at_once)

    def _fetch(self, item: Download, hear: Moved) -> None:
        place = self._place(checked(item.key))
        with Partial(item.path, item.size) as target:

            async def ask(channel: SFTPClient) -> None:
                async with channel.open(place, "rb") as file:
                    size = (await file.stat()).size or 0
                    if target.held > size:
                        target.restart()
                    while target.held < size:
                        data = cast("bytes", await file.read(min(_PIECE, size - target.held), target.held))
                        if not data:
                            raise Unreachable(f"{item.key}: it became shorter meanwhile", hint="Run the command again.")
                        target.write(data)
                        hear(len(data))

            self._do(item.key, ask)
            if item.size is not None and target.held != item.size:
                raise Unreachable(
                    f"{item.key}: {target.held} bytes came where {item.size} were announced",
                    hint="Run the command again.",
                )

    def upload(self, items: Iterable[Upload], moved: Moved) -> Iterator[Outcome]:
        """Sends many at once; each comes into its place by one rename, after it is on that machine's disk."""
        waiting = tuple(items)
        if waiting and not self._swept:
            try:
                self._sweep()
            except Error as error:
                return iter([Outcome(item.key, error) for item in waiting])
        return each(partial(self._send, hear=counted(moved)), waiting, at_once=self._at_once)

    def _sweep(self) -> None:
        """Makes the folder for what is on its way, and removes from it what others left long ago."""
        place = self._place(ASIDE)

        async def make(channel: SFTPClient) -> None:
            await channel.makedirs(place, exist_ok=True)

        self._do(ASIDE, make)
        old = time.time() - _DAY_S
        self.delete([key for key, found in self._children(ASIDE) if (found.mtime or old) < old])
        self._swept = True

    def _send(self, item: Upload, hear: Moved) -> None:
        mark = Mark(hear)
        place = self._place(checked(item.key))
        folder = place.rpartition("/")[0]

        async def ask(channel: SFTPClient) -> None:
            aside = self._place(f"{ASIDE}/{os.urandom(12).hex()}")
            try:
                await _write(channel, item, aside, mark)
                if folder not in self._made:
                    await channel.makedirs(folder, exist_ok=True)
                    self._made.add(folder)
                await channel.posix_rename(aside, place)
            except BaseException:
                await _forget(channel, aside)
                raise

        self._do(item.key, ask)

    def move(self, pairs: Collection[tuple[str, str]]) -> None:
        """Gives blobs other keys; one that is not there is no error."""
        for _ in many(self._move_one, pairs, at_once=self._at_once):
            pass

    def _move_one(self, pair: tuple[str, str]) -> None:
        source, target = (self._place(checked(key)) for key in pair)
        folder = target.rpartition("/")[0]

        async def ask(channel: SFTPClient) -> None:
            if folder not in self._made:
                await channel.makedirs(folder, exist_ok=True)
                self._made.add(folder)
            await channel.posix_rename(source, target)

        try:
            self._do(pair[0], ask)
        except Missing:
            return

    def delete(self, keys: Collection[str]) -> None:
        """Removes blobs; one that is not there is no error."""
        for _ in many(self._remove, keys, at_once=self._at_once):
            pass

    def _remove(self, key: str) -> None:
        place = self._place(checked(key))

        async def ask(channel: SFTPClient) -> None:
            await channel.unlink(place)

        try:
            self._do(key, ask)
        except Missing:
            return

    def close(self) -> None:
        """Ends the connection."""
        if self._line is not None:
            self._drop(self._line)


async def _write(channel: SFTPClient, item: Upload, aside: str, mark: Mark) -> None:
    from asyncssh import SFTPAttrs, SFTPOpUnsupported

    async with channel.open(aside, "xb", attrs=SFTPAttrs(permissions=0o444)) as file:
        done = 0
        for data in _pieces(item):
            await file.write(data, done)
            done += len(data)
            mark.reach(done)
        if done != item.size:
            raise Unreachable(
                f"{item.key}: {done} bytes where {item.size} were announced",
                hint="The file changed: run the command again.",
            )
        try:
            await file.fsync()
        except SFTPOpUnsupported:
            return


async def _forget(channel: SFTPClient, aside: str) -> None:
    from asyncssh import Error as SshError

    try:
        await channel.unlink(aside)
    except (OSError, SshError):  # it is swept a day later
        return


def _pieces(item: Upload) -> Iterator[bytes]:
    if isinstance(item.source, bytes):
        yield item.source
        return
    with Path(item.source).open("rb") as file:
        while data := file.read(_PIECE):
            yield data


def _stat(key: str, found: SFTPAttrs) -> Stat:
    return Stat(key, found.size or 0, f"{found.mtime or 0:x}-{found.size or 0:x}")


def _end(line: _Line) -> None:
    from asyncio import run_coroutine_threadsafe
    from contextlib import suppress

    async def run() -> None:
        line.client.close()  # type: ignore[attr-defined]
        await line.client.wait_closed()  # type: ignore[attr-defined]

    with suppress(Exception):  # it is gone already
        run_coroutine_threadsafe(run(), line.loop).result(5)


plugin: type[Remote] = Ssh
