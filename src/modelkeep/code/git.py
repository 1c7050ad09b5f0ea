"""What code runs here: commit, dirty flag, author, branch and remote of a working folder."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

_TIMEOUT_S: Final = 2.0
_STATUS: Final = ("status", "--porcelain=v2", "--branch", "--untracked-files=no")
_AUTHOR: Final = ("log", "-1", "--no-show-signature", "--format=%an <%ae>")
_REMOTES: Final = ("config", "--get-regexp", r"^remote\..*\.url$")
_COMMIT: Final = re.compile(r"[0-9a-f]{40}(?:[0-9a-f]{24})?\Z")
_URL: Final = re.compile(r"([a-z][a-z0-9+.-]*)://([^/]*)(.*)\Z", re.IGNORECASE | re.DOTALL)
_PLACE: Final = re.compile(r"(?:\[[0-9a-fA-F:.]+\]|[^@:\[\]]*)(?::\d*)?\Z")
_SHORT: Final = re.compile(r"(?:[^/]*@)?([^/@:]+:.*)\Z", re.DOTALL)
_SECTION: Final = re.compile(r'\s*\[\s*(\w+)\s*(?:"(.*)")?\s*\]')


@dataclass(frozen=True, slots=True)
class Code:
    """The state of a folder's code; what is not known is empty.

    Args:
        commit: the full hash.
        dirty: a tracked file differs from the commit; False when that could not be found out.
        author: who wrote the commit, `Name <address>`.
        branch: empty when detached.
        remote: the address of `origin`, or of the first remote, without user, password or query.
    """

    commit: str = ""
    dirty: bool = False
    author: str = ""
    branch: str = ""
    remote: str = ""


def describe(folder: Path) -> Code:
    """Gives what is known about the code in a folder; never raises, and takes a few seconds at the very most.

    Asks git; reads the repository's files when git is missing, refuses or is too slow; where there is no
    repository, takes what GitHub Actions or GitLab CI say in the environment.

    >>> describe(Path("/nowhere/at/all")).dirty
    False
    """
    declared = _declared()
    try:
        place = _repository(folder)
        if place is None:
            return declared
        found = _asked(folder) or _read(place)
    except (OSError, ValueError):
        return declared
    if not found.commit:
        return replace(declared, branch=found.branch or declared.branch, remote=found.remote or declared.remote)
    if not found.branch and found.commit == declared.commit:
        return replace(found, branch=declared.branch)
    return found


def without_secrets(address: str) -> str:
    """Gives a remote's address without user, password, query and fragment; empty when in doubt.

    >>> without_secrets("https://me:token@git.example.org/team/model.git?private_token=x")
    'https://git.example.org/team/model.git'
    >>> without_secrets("git@git.example.org:team/model.git")
    'git.example.org:team/model.git'
    """
    address = address.strip()
    url = _URL.match(address)
    if url:
        scheme, place, path = url.groups()
        place = place.rpartition("@")[2]
        path = re.split(r"[?#]", path)[0]
        return f"{scheme}://{place}{path}" if _PLACE.match(place) else ""
    if "://" in address:
        return ""
    short = _SHORT.match(address)
    return short[1] if short else address


def _declared() -> Code:
    said = os.environ.get
    if commit := said("GITHUB_SHA"):
        server, repository = said("GITHUB_SERVER_URL", ""), said("GITHUB_REPOSITORY", "")
        remote = without_secrets(f"{server}/{repository}") if server and repository else ""
        return Code(commit, False, said("GITHUB_ACTOR", ""), said("GITHUB_REF_NAME", ""), remote)
    if commit := said("CI_COMMIT_SHA"):
        remote = without_secrets(said("CI_PROJECT_URL", ""))
        return Code(commit, False, said("CI_COMMIT_AUTHOR", ""), said("CI_COMMIT_REF_NAME", ""), remote)
    return Code()


def _repository(folder: Path) -> Path | None:
    start = folder.resolve()
    for place in (start, *start.parents):
        dot = place / ".git"
        if dot.is_dir():
            return dot
        if dot.is_file():
            target = dot.read_text("utf-8", "replace").partition("gitdir:")[2].strip()
            return (place / target) if target else None
    return None


def _asked(folder: Path) -> Code | None:
    status = _git(folder, *_STATUS)
    if status is None:
        return None
    heads = {line[2:].partition(" ")[0]: line[2:].partition(" ")[2] for line in status if line.startswith("# ")}
    commit, branch = heads.get("branch.oid", ""), heads.get("branch.head", "")
    if not _COMMIT.match(commit):
        return Code(branch=branch, remote=_origin(_git(folder, *_REMOTES) or []))
    return Code(
        commit,
        any(not line.startswith("# ") for line in status),
        "".join((_git(folder, *_AUTHOR) or [])[:1]),
        "" if branch == "(detached)" else branch,
        _origin(_git(folder, *_REMOTES) or []),
    )


def _git(folder: Path, *arguments: str) -> list[str] | None:
    import subprocess  # a model's process pays for this only when it asks

    environment = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    environment |= {"GIT_OPTIONAL_LOCKS": "0", "GIT_TERMINAL_PROMPT": "0", "LC_ALL": "C"}
    try:
        done = subprocess.run(  # noqa: S603
            ["git", "-C", str(folder), "-c", "core.fsmonitor=false", *arguments],  # noqa: S607
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_TIMEOUT_S,
            check=False,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.decode("utf-8", "replace").splitlines() if done.returncode == 0 else None


def _origin(lines: list[str]) -> str:
    remotes = dict(line.partition(" ")[::2] for line in reversed(lines))
    address = remotes.get("remote.origin.url") or next(reversed(remotes.values()), "")
    return without_secrets(address)


def _read(place: Path) -> Code:
    shared = place
    if (pointer := place / "commondir").is_file():
        shared = place / pointer.read_text("utf-8", "replace").strip()
    head = (place / "HEAD").read_text("utf-8", "replace").strip()
    remote = _origin(_addresses(shared / "config"))
    if not head.startswith("ref:"):
        return Code(commit=head if _COMMIT.match(head) else "", remote=remote)
    ref = head[4:].strip()
    commit = _loose(place, ref) or _loose(shared, ref) or _packed(shared, ref)
    return Code(commit=commit, branch=ref.removeprefix("refs/heads/"), remote=remote)


def _loose(place: Path, ref: str) -> str:
    path = place / ref
    if ".." in Path(ref).parts or not path.is_file():
        return ""
    commit = path.read_text("utf-8", "replace").strip()
    return commit if _COMMIT.match(commit) else ""


def _packed(place: Path, ref: str) -> str:
    path = place / "packed-refs"
    if path.is_file():
        for line in path.read_text("utf-8", "replace").splitlines():
            commit, _, name = line.partition(" ")
            if name == ref and _COMMIT.match(commit):
                return commit
    return ""


def _addresses(path: Path) -> list[str]:
    """The remotes of a configuration file in the form `remote.<name>.url <address>`."""
    found, remote = [], ""
    for line in path.read_text("utf-8", "replace").splitlines() if path.is_file() else ():
        if section := _SECTION.match(line):
            remote = section[2] or "" if section[1].lower() == "remote" else ""
        name, _, value = line.partition("=")
        if remote and name.strip().lower() == "url":
            found.append(f"remote.{remote}.url {value.strip().strip(chr(34))}")
    return found
