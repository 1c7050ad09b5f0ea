"""Bare clones of other people's repositories, kept under the user's cache folder and brought up to date on use."""

from __future__ import annotations

import os
import re
import shutil
from hashlib import sha256
from pathlib import Path
from typing import Final

from modelkeep.code.command import PROTOCOLS, attempt, explained, run, without_user
from modelkeep.code.lock import held
from modelkeep.code.repository import Git
from modelkeep.core.errors import BadInput, Denied, Error, Missing

_SCHEME: Final = re.compile(r"([a-zA-Z][a-zA-Z0-9+.-]*)://")
_SHORT: Final = re.compile(r"(?:[\w.+-]+@)?(?:\[[0-9a-fA-F:.]+\]|[\w.][\w.-]*):(?!:)[^\\]", re.ASCII)
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f]")
_FULL: Final = re.compile(r"[0-9a-f]{40}(?:[0-9a-f]{24})?\Z")
_HEAD: Final = "refs/modelkeep/head"
_BRANCHES: Final = ("+refs/heads/*:refs/heads/*", "+refs/tags/*:refs/tags/*")
_FETCH: Final = (
    "-c", "gc.autoDetach=false", "fetch", "--quiet", "--prune", "--force", "--no-tags", "--no-write-fetch-head",
    "--recurse-submodules=no", "--filter=blob:none", "origin",
)  # fmt: skip


def address(url: str) -> str:
    """Gives a git address that is safe to hand to git.

    Args:
        url: `https://…`, `ssh://…`, `file://…` or `git@host:path`; `GIT_ALLOW_PROTOCOL` may allow others.

    Raises:
        BadInput: it is of another kind, or meant to be taken for an option.

    >>> address("git@host.example:team/data.git")
    'git@host.example:team/data.git'
    >>> address("ext::sh -c reboot")
    Traceback (most recent call last):
    modelkeep.core.errors.BadInput: 'ext::sh -c reboot' is no address of a git repository
    """
    allowed = os.environ.get("GIT_ALLOW_PROTOCOL", PROTOCOLS).split(":")
    scheme = _SCHEME.match(url)
    if scheme is not None:
        place = url[scheme.end() :]
        if scheme[1].lower() in allowed and not place.startswith("-") and not _CONTROL.search(url):
            return url
        if scheme[1].lower() in allowed:
            raise BadInput(f"{without_user(url)!r} is no address of a git repository", hint="Look at the host's name.")
        raise BadInput(
            f"{without_user(url)!r}: git may not use {scheme[1]}:// here",
            hint=f"Use {', '.join(allowed)} or git@host:path. If you trust it: GIT_ALLOW_PROTOCOL={scheme[1]}",
        )
    if _SHORT.match(url) and "ssh" in allowed and not _CONTROL.search(url):
        return url
    raise BadInput(f"{without_user(url)!r} is no address of a git repository", hint="Name a folder, https://… or git@…")


def clone(url: str, *, rev: str = "", cache: Path | None = None) -> Git:
    """Gives a bare clone of a repository, brought up to date unless it has the very commit that is asked for.

    File contents come when they are read, if the other side can do that. Names of branches and tags are the other
    side's own, and so is HEAD.

    Args:
        url: see `address`; user and password are used, but never kept.
        rev: what will be read; a full commit id that is there needs no network.
        cache: the folder of all clones; the user's cache folder when None.

    Raises:
        Unreachable: the other side does not answer.
        Denied: it asks for a credential that git does not have.
        Missing: there is no repository at that address.
    """
    safe = address(url)
    above = cache or _cache_folder()
    folder = above / sha256(without_user(safe).encode()).hexdigest()[:32]
    extra = _settings(safe)
    try:
        above.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise Denied(f"{above}: {error.strerror}", hint="Set XDG_CACHE_HOME to a folder of yours.") from None
    with held(folder.with_suffix(".lock"), hint="Set XDG_CACHE_HOME to a folder of yours."):
        if not (folder / "HEAD").exists():
            _create(folder, extra)
        elif not _FULL.match(rev) or not _has(folder, rev):
            _update(folder, extra)
    return Git(folder, extra=extra)


def _create(folder: Path, extra: dict[str, str]) -> None:
    fresh = folder.with_name(f"{folder.name}.{os.urandom(4).hex()}")
    try:
        run(("init", "--quiet", "--bare", "--template=", str(fresh)), folder.parent)
        _update(fresh, extra)
        fresh.rename(folder)
    except OSError as error:
        raise Denied(f"{folder}: {error.strerror}", hint="Set XDG_CACHE_HOME to a folder of yours.") from None
    finally:
        shutil.rmtree(fresh, ignore_errors=True)


def _update(folder: Path, extra: dict[str, str]) -> None:
    code, _, complaint = attempt((*_FETCH, *_BRANCHES, f"+HEAD:{_HEAD}"), folder, extra=extra)
    if code and "remote ref HEAD" in complaint:  # its HEAD is a branch without a commit
        code, _, complaint = attempt((*_FETCH, *_BRANCHES), folder, extra=extra)
    if code:
        raise _told(complaint, folder, extra)
    found, head, _ = attempt(("rev-parse", "--verify", "--quiet", _HEAD), folder)
    if not found:
        run(("update-ref", "--no-deref", "HEAD", head.decode().strip()), folder)


def _told(complaint: str, folder: Path, extra: dict[str, str]) -> Error:
    url = without_user(next(value for name, value in extra.items() if value and name.startswith("GIT_CONFIG_VALUE")))
    error = explained(complaint, Path(url))
    if "does not appear to be a git repository" in complaint or "not found" in complaint:
        return Missing(f"{url}: no git repository there", hint=error.hint)
    return type(error)(error.message.replace(str(Path(url)), url).replace(str(folder), url), hint=error.hint)


def _has(folder: Path, rev: str) -> bool:
    """Whether a clone has a commit; the other side is not asked."""
    return attempt(("rev-list", "--quiet", "--max-count=1", "--exclude-promisor-objects", rev, "--"), folder)[0] == 0


def _settings(url: str) -> dict[str, str]:
    """The address as a setting in the environment: no file and no list of processes shows what secret it may hold."""
    count = os.environ.get("GIT_CONFIG_COUNT", "0")
    at = int(count) if count.isdigit() else 0
    return {
        "GIT_CONFIG_COUNT": str(at + 1),
        f"GIT_CONFIG_KEY_{at}": "remote.origin.url",
        f"GIT_CONFIG_VALUE_{at}": url,
    }


def _cache_folder() -> Path:
    home = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(home) / "modelkeep" / "repositories"
