"""What a working tree has beyond its commit, as one patch that git applies; and a name for code that has no git."""

from __future__ import annotations

import os
import re
import stat
import time
import zlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Final

from modelkeep.code.command import attempt, environment
from modelkeep.code.repository import Git
from modelkeep.code.tree import private
from modelkeep.core.errors import BadInput, Corrupt, Denied, Missing

MOST_BYTES: Final = 1_000_000
"""Of a patch when it is deflated."""
_READ_BYTES: Final = 20_000_000
_FILES: Final = 2_000
_TIMEOUT_S: Final = 10.0
_CONTENT_FILES: Final = 2_000
_CONTENT_BYTES: Final = 50_000_000
_CONTENT_FOLDERS: Final = 5_000
_LINK: Final = "120000"
_SUBMODULE: Final = "160000"
_GONE: Final = "000000"
_STATUS: Final = (
    "status",
    "--porcelain=v2",
    "-z",
    "--no-renames",
    "--ignore-submodules=dirty",
    "--untracked-files=all",
)
_DIFF: Final = (
    "diff-index", "--cached", "-p", "--binary", "--full-index", "--no-renames", "--no-ext-diff", "--no-textconv",
    "--no-color", "--diff-algorithm=myers", "--unified=3", "--src-prefix=a/", "--dst-prefix=b/",
)  # fmt: skip
_SECRET: Final = re.compile(
    r"\.env(\..*)?|.*\.(pem|key|p12|pfx|jks|keystore|kdbx)|id_(rsa|dsa|ecdsa|ed25519)(\..*)?|\.netrc|\.pgpass|\.pypirc|"
    r"[^.]*(credential|secret|passwo?r?d|api[-_]?key|(?<![a-z])token)s?(\.(json|ya?ml|toml|ini|txt|cfg|conf))?",
    re.IGNORECASE,
)
"""Names of untracked files that are never read: what is meant to be secret is no code."""
_CONTROL: Final = re.compile(rb'[\x00-\x1f"\\]')
_NOT_CODE: Final = frozenset({"__pycache__", "node_modules", "site-packages", "dist-packages"})


@dataclass(frozen=True, slots=True)
class Patch:
    """What a working tree has beyond its commit.

    Args:
        digest: BLAKE2b of the patch, 32 hexadecimal digits; empty when it was refused.
        size: bytes of the patch.
        deflated: the patch, as zlib makes it smaller.
        untracked: how many of its files git does not track.
        left_out: paths that are not in it: names that look like secrets, other repositories.
        refused: why there is no patch; empty when there is one.
    """

    digest: str = ""
    size: int = 0
    deflated: bytes = b""
    untracked: int = 0
    left_out: tuple[str, ...] = ()
    refused: str = ""


def make(folder: Path, *, most_bytes: int = MOST_BYTES, timeout_s: float = _TIMEOUT_S) -> Patch | None:
    """Gives the patch from HEAD to the working tree around a folder; None when there is nothing to say.

    It holds changed, deleted and new files that git does not ignore, as the bytes that lie there, whatever filters and
    line ends git would put between. Nothing is written to the repository. Equal trees give equal patches.

    Args:
        folder: any folder of the work tree.
        most_bytes: a larger one, deflated, is refused.
        timeout_s: the longest that it may take.

    Raises:
        Missing: no git, no repository, or no commit.
        TimeoutError: it took too long.
    """
    asked = _Asked(folder, time.monotonic() + timeout_s)
    root = Path(os.fsdecode(asked.run("rev-parse", "--show-toplevel")).removesuffix("\n"))
    head = asked.run("rev-parse", "--verify", "HEAD^{commit}").decode().strip()
    state = _state(asked.run(*_STATUS))
    if not state.changed and not state.untracked:
        return Patch(left_out=state.left_out) if state.left_out else None
    if refused := _too_much(root, state):
        return Patch(untracked=len(state.untracked), left_out=state.left_out, refused=refused)
    asked = _Asked(root, asked.end)
    with Git(root) as git, private(git, root) as around:
        asked.around = around
        asked.run("read-tree", head)
        asked.run("update-index", "-z", "--index-info", given=b"".join(_entries(asked, root, state, b"0" * len(head))))
        patch = _readable(asked.run(*_DIFF, head, "--"), (*state.untracked, *(path for _, path in state.changed)))
    if not patch:
        return None
    deflated = zlib.compress(patch, 6)
    if len(deflated) > most_bytes:
        refused = f"the patch has {len(deflated)} bytes deflated, more than {most_bytes}"
        return Patch(untracked=len(state.untracked), left_out=state.left_out, refused=refused)
    return Patch(digest(patch), len(patch), deflated, len(state.untracked), state.left_out)


def digest(patch: bytes) -> str:
    """Gives the name of a patch.

    >>> digest(b"")
    'cae66941d9efbd404e4d88758ea67670'
    """
    return blake2b(patch, digest_size=16).hexdigest()


def inflated(deflated: bytes, name: str, size: int) -> bytes:
    """Gives a patch back.

    Args:
        deflated: as `Patch.deflated`.
        name: its digest.
        size: its bytes; more are never made.

    Raises:
        Corrupt: these bytes are not that patch.
    """
    engine = zlib.decompressobj()
    try:
        patch = engine.decompress(deflated, size + 1)
    except zlib.error:
        patch = b""
    if len(patch) != size or digest(patch) != name:
        raise Corrupt(f"patch {name}: the stored bytes are not that patch", hint="Restore a backup of the server.")
    return patch


def apply(git: Git, commit: str, patch: bytes, folder: Path) -> list[str]:
    """Brings a materialised commit to the state of a patch and gives the paths that it changed.

    Args:
        git: the repository; nothing is written to it.
        commit: the one on which the patch stands.
        patch: as `make` made it.
        folder: holds the files of the commit, see `code.tree.materialise`.

    Raises:
        Corrupt: the patch does not fit the commit.
    """
    found = git.resolve(commit)
    with private(git, folder) as around:
        _command(folder, around, "read-tree", found)
        words = ("apply", "--cached", "--binary", "--whitespace=nowarn", "--no-ignore-whitespace", "-")
        code, _, complaint = attempt(words, folder.absolute(), extra=around, given=patch)
        if code:
            said = complaint.strip().splitlines()[:1] or ["no reason"]
            raise Corrupt(
                f"the patch {digest(patch)} does not fit {found[:12]}: {said[0].removeprefix('error: ')}",
                hint="Look at whether it belongs to this commit.",
            )
        listed = _command(folder, around, "diff-index", "--cached", "--raw", "-z", "--no-renames", "--no-abbrev", found)
        entries = list(_raw(listed))
        names = [name for mode, name, _, _ in entries if mode not in {_GONE, _SUBMODULE}]
        given = "".join(f"{name}\n" for name in names).encode()
        contents = _contents(_command(folder, around, "cat-file", "--batch", "--buffer", given=given))
        try:
            for _, _, path, state in entries:
                if state != "A":
                    _remove(folder, path)
            for mode, name, path, _ in entries:
                if mode != _GONE:
                    _write(folder, path, mode, contents.get(name, b""))
        except OSError as error:
            raise Denied(f"{error.filename}: {error.strerror}", hint="Look at the disk and at the folder.") from None
    return [path for _, _, path, _ in entries]


def content(folder: Path) -> str:
    """Gives a name for the Python code below a folder, which changes when any of its files does; empty when it is none.

    It is for code without git: `content:` and a BLAKE2b digest over the paths and bytes of its `*.py` files. Hidden
    folders, environments and installed packages are left out; more than 2,000 files, 50 MB or 5,000 folders have no
    name.
    """
    files: list[tuple[str, Path]] = []
    size = 0
    for found in _sources(folder):
        if found is None:
            return ""
        size += found.stat().st_size
        files.append((found.relative_to(folder).as_posix(), found))
        if len(files) > _CONTENT_FILES or size > _CONTENT_BYTES:
            return ""
    engine = blake2b(digest_size=16)
    for name, path in sorted(files):
        data = path.read_bytes()
        engine.update(b"%d %d\n" % (len(os.fsencode(name)), len(data)) + os.fsencode(name) + data)
    return f"content:{engine.hexdigest()}" if files else ""


def _sources(folder: Path) -> Iterator[Path | None]:
    """The files of a folder that are code; None in the end when there are too many folders to look at."""
    for number, (place, folders, names) in enumerate(os.walk(folder)):
        if number >= _CONTENT_FOLDERS:
            yield None
            return
        here = Path(place)
        folders[:] = sorted(
            name
            for name in folders
            if not name.startswith(".") and name not in _NOT_CODE and not (here / name / "pyvenv.cfg").exists()
        )
        yield from (here / name for name in sorted(names) if name.endswith(".py") and (here / name).is_file())


# Reading a working tree


@dataclass(slots=True)
class _Asked:
    """Git commands that together may not take longer than until a moment."""

    folder: Path
    end: float
    around: Mapping[str, str] | None = None

    def run(self, *words: str, given: bytes = b"") -> bytes:
        import subprocess

        left_s = self.end - time.monotonic()
        if left_s <= 0:
            raise TimeoutError(f"{self.folder}: git took too long")
        try:
            done = subprocess.run(  # noqa: S603
                ["git", "-c", "core.fsmonitor=false", "-c", "core.quotepath=false", *words],  # noqa: S607
                cwd=self.folder,
                env=environment(self.around),
                input=given,
                capture_output=True,
                timeout=left_s,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise TimeoutError(f"{self.folder}: git took too long") from None
        except OSError as error:
            raise Missing(f"{self.folder}: git cannot run here: {error.strerror}", hint="Install git.") from None
        if done.returncode:
            said = done.stderr.decode("utf-8", "replace").strip().splitlines()[:1]
            raise Missing(f"{self.folder}: git {words[0]}: {' '.join(said)}", hint="Look at it with `git status`.")
        return done.stdout


@dataclass(frozen=True, slots=True)
class _State:
    """What git sees of a working tree: (mode, path) of what is tracked and changed, paths of what is not tracked."""

    changed: tuple[tuple[str, str], ...]
    untracked: tuple[str, ...]
    left_out: tuple[str, ...]


def _state(listed: bytes) -> _State:
    changed: list[tuple[str, str]] = []
    untracked: list[str] = []
    left_out: list[str] = []
    for line in os.fsdecode(listed).split("\0"):
        kind = line[:2]
        if kind == "1 ":
            _, _, _, _, _, mode, _, _, path = line.split(" ", 8)
            changed.append((mode, path))
        elif kind == "u ":
            *_, mode, _, _, _, path = line.split(" ", 10)
            changed.append((mode, path))
        elif kind == "? ":
            path = line[2:]
            secret = any(_SECRET.fullmatch(part) for part in path.split("/"))
            (left_out if path.endswith("/") or secret or path.startswith(".modelkeep/") else untracked).append(path)
    return _State(tuple(changed), tuple(untracked), tuple(left_out))


def _too_much(root: Path, state: _State) -> str:
    paths = [path for mode, path in state.changed if mode not in {_GONE, _SUBMODULE}] + list(state.untracked)
    if len(paths) > _FILES:
        return f"{len(paths)} files differ from the commit, more than {_FILES}"
    size = 0
    for path in paths:
        try:
            size += (root / path).lstat().st_size
        except OSError:
            continue
    return (
        f"the files that differ from the commit have {size} bytes, more than {_READ_BYTES}"
        if size > _READ_BYTES
        else ""
    )


def _entries(asked: _Asked, root: Path, state: _State, nothing: bytes) -> Iterator[bytes]:
    """Lines for `update-index --index-info`; removals first, since a file may have become a folder."""
    there: list[tuple[str, str]] = []
    for mode, path in (*state.changed, *((_mode(root / path), path) for path in state.untracked)):
        if mode == _GONE:
            yield b"0 " + nothing + b"\t" + os.fsencode(path) + b"\0"
        else:
            there.append((mode, path))
    files = [path for mode, path in there if mode not in {_LINK, _SUBMODULE}]
    given = b"".join(_quoted(path) + b"\n" for path in files)
    names = asked.run("hash-object", "-w", "--no-filters", "--stdin-paths", given=given).split() if files else []
    named = dict(zip(files, names, strict=True))
    for mode, path in there:
        name = named[path] if path in named else _other(asked, root, mode, path)
        if name:
            yield mode.encode() + b" " + name + b"\t" + os.fsencode(path) + b"\0"


def _other(asked: _Asked, root: Path, mode: str, path: str) -> bytes:
    """The id of a link's target, or of the commit in a submodule; empty where there is none."""
    if mode == _LINK:
        return asked.run("hash-object", "-w", "--stdin", given=os.fsencode((root / path).readlink())).strip()
    try:
        return _Asked(root / path, asked.end).run("rev-parse", "--verify", "HEAD").strip()
    except Missing:
        return b""


def _mode(path: Path) -> str:
    try:
        found = path.lstat().st_mode
    except OSError:
        return _GONE
    if stat.S_ISLNK(found):
        return _LINK
    return "100755" if found & stat.S_IXUSR else "100644"


def _readable(patch: bytes, paths: Iterable[str]) -> bytes:
    """Quotes names with a space before a slash: git writes them where a file begins, but cannot read them there."""
    for path in paths:
        if " /" in path:
            raw = os.fsencode(path)
            line = b"diff --git a/%s b/%s\n" % (raw, raw)
            quoted = b'diff --git "a/%s" "b/%s"\n' % (raw, raw)
            patch = (
                quoted + patch[len(line) :] if patch.startswith(line) else patch.replace(b"\n" + line, b"\n" + quoted)
            )
    return patch


def _quoted(path: str) -> bytes:
    """A path on a line of its own, as git quotes what has control characters."""
    raw = os.fsencode(path)
    if min(raw) >= 0x20 and not raw.startswith(b'"'):
        return raw
    return b'"' + _CONTROL.sub(lambda found: b"\\%03o" % found[0][0], raw) + b'"'


# Writing one


def _command(folder: Path, around: Mapping[str, str], *words: str, given: bytes = b"") -> bytes:
    code, out, complaint = attempt(words, folder.absolute(), extra=around, given=given)
    if code:
        raise Corrupt(f"{folder}: git {words[0]}: {complaint.strip()}", hint="Look at the repository with `git fsck`.")
    return out


def _raw(listed: bytes) -> Iterator[tuple[str, str, str, str]]:
    """Mode, id and path of the new side of each line of `diff-index --raw -z`, and what became of it."""
    parts = iter(listed.split(b"\0"))
    for head in parts:
        if head.startswith(b":"):
            _, mode, _, name, state = head.decode().split(" ")
            yield mode, name, os.fsdecode(next(parts)), state


def _contents(answer: bytes) -> dict[str, bytes]:
    found: dict[str, bytes] = {}
    at = 0
    while (end := answer.find(b"\n", at)) >= 0:
        name, _, size = answer[at:end].decode().split(" ")
        found[name] = answer[end + 1 : end + 1 + int(size)]
        at = end + 2 + int(size)
    return found


def _remove(folder: Path, path: str) -> None:
    place = folder / path
    _inside(folder, place)
    if place.is_dir() and not place.is_symlink():
        place.rmdir()  # where a submodule was
    else:
        place.unlink(missing_ok=True)
    for above in place.relative_to(folder).parents:
        if above != Path() and not any((folder / above).iterdir()):
            (folder / above).rmdir()


def _write(folder: Path, path: str, mode: str, data: bytes) -> None:
    place = folder / path
    _inside(folder, place)
    if mode == _SUBMODULE:
        place.mkdir(parents=True, exist_ok=True)
        return
    place.parent.mkdir(parents=True, exist_ok=True)
    if mode == _LINK:
        place.symlink_to(os.fsdecode(data))
        return
    place.write_bytes(data)
    if mode == "100755":
        place.chmod(place.stat().st_mode | 0o111)


def _inside(folder: Path, place: Path) -> None:
    """Refuses a path that leads out of the folder by a link."""
    for above in place.relative_to(folder).parents:
        if (folder / above).is_symlink() and above != Path():
            raise BadInput(f"{place}: {above} is a link", hint="Look at the patch.")
