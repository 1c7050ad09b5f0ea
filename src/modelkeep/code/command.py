"""Runs the git program: without prompts, without strange transports, and with its complaints put into our errors."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from modelkeep.core.errors import BadInput, Busy, Conflict, Corrupt, Denied, Error, Missing, Unreachable

PROTOCOLS: Final = "file:https:ssh"
_PLACES: Final = frozenset(
    {
        "GIT_ALTERNATE_OBJECT_DIRECTORIES",
        "GIT_COMMON_DIR",
        "GIT_CONFIG",
        "GIT_DIR",
        "GIT_GRAFT_FILE",
        "GIT_IMPLICIT_WORK_TREE",
        "GIT_INDEX_FILE",
        "GIT_INTERNAL_SUPER_PREFIX",
        "GIT_NAMESPACE",
        "GIT_NO_REPLACE_OBJECTS",
        "GIT_OBJECT_DIRECTORY",
        "GIT_PREFIX",
        "GIT_QUARANTINE_PATH",
        "GIT_REPLACE_REF_BASE",
        "GIT_SHALLOW_FILE",
        "GIT_WORK_TREE",
    }
)
_OPTIONS: Final = ("-c", "core.fsmonitor=false", "-c", "core.quotepath=false", "-c", "protocol.ext.allow=never")
_USER: Final = re.compile(r"([a-zA-Z][a-zA-Z0-9+.-]*://)[^/@\s']*@")
_QUERY: Final = re.compile(r"([a-zA-Z][a-zA-Z0-9+.-]*://[^\s'?#]*)[?#][^\s']*")
_OWNER: Final = re.compile(r"dubious ownership in repository at '([^']*)'")

# What git says in the C locale → which error, and what to do next. The first that fits is taken.
_COMPLAINTS: Final[tuple[tuple[str, type[Error], str], ...]] = (
    (
        r"dubious ownership",
        Denied,
        "The folder belongs to another user. If you trust it: git config --global --add safe.directory {owner}",
    ),
    (r"not a git repository", Missing, "Start one with `git init`, or go into one."),
    (
        r"index\.lock|\.lock': File exists|cannot lock ref",
        Busy,
        "Another git works here; if none does, remove the lock file that it left.",
    ),
    (
        r"Authentication failed|could not read (Username|Password)|Permission denied|access denied|HTTP Basic|"
        r"terminal prompts disabled|error: 40[13]",
        Denied,
        "Give git a credential for that host: an ssh key, or a credential store (`git help credentials`).",
    ),
    (r"transport '.*' not allowed", BadInput, "Use a path, https, ssh or git@host:path."),
    (
        r"Could not resolve host|unable to access|Connection (refused|timed out|reset)|Network is unreachable|"
        r"Operation timed out|early EOF|RPC failed|Host key verification failed|unable to look up|hung up|"
        r"could not fetch .* from promisor",
        Unreachable,
        "Try again when the network is there; a full commit id that was used before works without it.",
    ),
    (
        r"[Rr]epository .*not found|does not appear to be a git repository|does not exist|No such file or directory",
        Missing,
        "Look at the address, and at whether you may read it.",
    ),
    (r"ignored by one of your \.gitignore", Conflict, "Take it out of .gitignore; git cannot keep it otherwise."),
    (r"shallow", Missing, "This clone has no full history; get it by `git fetch --unshallow`."),
    (r"object file .* is empty|corrupt|bad object|loose object", Corrupt, "Look at it with `git fsck`."),
)


def environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """Gives the environment in which git runs: no prompts, English messages, no repository inherited from a hook."""
    found = {name: value for name, value in os.environ.items() if name not in _PLACES}
    found.setdefault("GIT_ALLOW_PROTOCOL", PROTOCOLS)
    found |= {"GIT_TERMINAL_PROMPT": "0", "GIT_LITERAL_PATHSPECS": "1", "LC_ALL": "C", "LANGUAGE": ""}
    found |= {"GIT_OPTIONAL_LOCKS": "0", "GIT_ADVICE": "0"}
    return found | dict(extra or {})


def without_user(text: str) -> str:
    """Gives a text whose addresses have lost user, password, query and fragment.

    >>> without_user("fatal: unable to access 'https://me:token@host.example/a.git?key=x': no")
    "fatal: unable to access 'https://host.example/a.git': no"
    """
    return _QUERY.sub(r"\1", _USER.sub(r"\1", text))


def run(
    arguments: Sequence[str], folder: Path, *, extra: Mapping[str, str] | None = None, given: bytes | None = None
) -> bytes:
    """Gives what a git command printed.

    Args:
        arguments: the command and its arguments, options first.
        folder: where it runs.
        extra: more environment variables.
        given: what it reads from standard input.

    Raises:
        Missing: git is not installed, or there is no repository.
        Busy: another git holds a lock.
        Unreachable: the other side does not answer.
        Denied: the other side, or git's own ownership check, says no.
        BadInput: git refuses for another reason; the message is git's own.
    """
    code, out, complaint = attempt(arguments, folder, extra=extra, given=given)
    if code:
        raise explained(complaint, folder)
    return out


def attempt(
    arguments: Sequence[str], folder: Path, *, extra: Mapping[str, str] | None = None, given: bytes | None = None
) -> tuple[int, bytes, str]:
    """Gives the exit code, what a git command printed and what it complained about.

    Raises:
        Missing: git is not installed, or the folder is not there.
    """
    import subprocess

    try:
        done = subprocess.run(  # noqa: S603
            ["git", *_OPTIONS, *arguments],  # noqa: S607
            cwd=folder,
            env=environment(extra),
            input=given if given is not None else b"",
            capture_output=True,
            check=False,
        )
    except (FileNotFoundError, NotADirectoryError):
        raise _absent(folder) from None
    except PermissionError as error:
        raise Denied(f"{folder}: {error.strerror}", hint="Look at who may enter the folder.") from None
    return done.returncode, done.stdout, done.stderr.decode("utf-8", "replace")


def explained(complaint: str, folder: Path) -> Error:
    """Gives the error for what git complained about."""
    text = without_user(complaint.strip())
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith("hint:")]
    said = next((line for line in lines if line.startswith(("fatal:", "error:"))), " ".join(lines) or "no reason")
    said = said.removeprefix("fatal: ").removeprefix("error: ")
    for pattern, kind, hint in _COMPLAINTS:
        if re.search(pattern, text):
            owner = _OWNER.search(text)
            return kind(f"git: {said} ({folder})", hint=hint.format(owner=owner[1] if owner else folder))
    return BadInput(f"git: {said} ({folder})")


def _absent(folder: Path) -> Missing:
    if folder.is_dir():
        return Missing("git is not installed, or not on PATH", hint="Install git: https://git-scm.com/downloads")
    return Missing(f"{folder}: no such folder", hint="Look at the path.")
