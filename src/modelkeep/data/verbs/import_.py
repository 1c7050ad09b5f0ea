"""`import`: a file or folder of another repository becomes tracked here, and remembers where it came from."""

from __future__ import annotations

import posixpath
from typing import TYPE_CHECKING

from modelkeep.core.errors import BadInput
from modelkeep.data.elsewhere.foreign import Foreign, open_foreign
from modelkeep.data.elsewhere.imports import Imported, place_for, settle, taken
from modelkeep.data.elsewhere.pieces import exists, gather
from modelkeep.data.formats.metafile import Dep, Out
from modelkeep.data.formats.side import Side
from modelkeep.data.progress import SILENT, Progress

if TYPE_CHECKING:
    from modelkeep.data.repository import Repository


def import_(
    repo: Repository,
    url: str,
    path: str,
    *,
    rev: str = "",
    out: str = "",
    remote: str = "",
    force: bool = False,
    no_download: bool = False,
    progress: Progress = SILENT,
) -> Imported:
    """Imports a file or folder of another repository, as one of its commits has it.

    The data stays the other repository's: a push leaves it out, a pull fetches it there.

    Args:
        repo: the repository.
        url: a folder, or an address of git; it is kept as it is written.
        path: a file or folder in it, tracked or in git, or a part of one.
        rev: a revision; "" is HEAD.
        out: where to put it; a folder that is there takes it under its own name. "" is here.
        remote: the remote there that holds its data; "" is its default one.
        force: take the place of what is there.
        no_download: only write the metafile.
        progress: hears of bytes.

    Raises:
        Missing: no such repository, revision or path; an object is nowhere.
        Corrupt: an object is corrupt wherever it was looked for.
        Conflict: something is at that place, or lies in or around something tracked.
        BadInput: it cannot be tracked there, or a name in the repository would lead out of the place.
    """
    from modelkeep.data.elsewhere.supply import Supply

    _without_secret(url)
    with open_foreign(url, rev, live=False) as foreign:
        place = place_for(repo, _name(foreign, path), out, force=force)
        dep = Dep(path=path, repo_url=url, repo_rev=rev, repo_rev_lock=foreign.commit, repo_remote=remote)
        with repo.writing(place, progress=progress):
            entry, told = Out(path=place.name), Side()
            if not no_download:
                supply = Supply(foreign, repo, remote=remote, progress=progress)
                entry, told = taken(repo, foreign, supply, gather(foreign, supply, path), place.name)
            elif not exists(foreign, path):
                raise foreign.unknown(foreign.clean(path))
            return settle(repo, place, entry, dep, told=told, download=not no_download, progress=progress)


def _name(foreign: Foreign, path: str) -> str:
    name = posixpath.basename(foreign.clean(path)) or posixpath.basename(foreign.name.rstrip("/"))
    if not name:
        raise BadInput(f"{path}: no name to give it here", hint="Say where to put it: --out PATH")
    return name


def _without_secret(url: str) -> None:
    from modelkeep.data.formats.config import masked_url

    if masked_url(url) != url:
        raise BadInput(
            f"{masked_url(url)}: a password in an address that git would publish",
            hint="Leave it out and let git know it: git help credentials",
        )
