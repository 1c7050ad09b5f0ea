"""Annotated tags as records: listed fast, made once, deleted, sent to other repositories, and annotated by notes."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

import msgspec

from modelkeep.code.command import explained, without_user
from modelkeep.code.lock import held
from modelkeep.code.repository import Git
from modelkeep.code.tagobjects import Said, read, remember, remembered
from modelkeep.core.errors import BadInput, Busy, Conflict, Corrupt, Denied, Error, Missing

NOTES: Final = "refs/notes/modelkeep"
"""Where annotations are; they name objects, so a tag that is made anew starts without any."""

_THEIRS: Final = "refs/notes/modelkeep-theirs"
_TAGS: Final = "refs/tags/"
_BY: Final = re.compile(r"(?P<name>[^<>]*?)\s*(?:<(?P<mail>[^<>]*)>)?\s*\Z")
_ID: Final = re.compile(r"[0-9a-f]{40}(?:[0-9a-f]{24})?\Z")
_LOCKED: Final = re.compile(r"\.lock': File exists|Unable to create '[^']*\.lock'")
_MERGER: Final = "modelkeep <modelkeep@localhost>"
_NS: Final = 1_000_000_000
_MANY: Final = 200
"""As many tags that the record of tags does not know have it written anew."""
_LOOSE: Final = 1_000
"""As many tags in files of their own have git pack them."""
_TRIES: Final = 20
_PAUSE_S: Final = 0.05


class Tag(msgspec.Struct, frozen=True, gc=False):
    """One tag.

    Args:
        name: without `refs/tags/`.
        object: the id of the tag object; empty for a tag that is only a name (not annotated).
        commit: what it names in the end; empty when that is no commit.
        tagger: `Name <address>`; empty when not annotated.
        at_ns: what the tagger's clock said; 0 when not annotated.
        message: without a signature.
    """

    name: str
    object: str
    commit: str
    tagger: str
    at_ns: int
    message: str


def tags(git: Git, pattern: str = "") -> list[Tag]:
    """Gives the tags of a repository, sorted by name.

    What tag objects say is remembered in `modelkeep/tags` below git's folder, by their ids, so that a second question
    over ten thousands of tags reads names only. Without leave to write there, every question reads them all.

    Args:
        git: the repository.
        pattern: names with `*` and `?`, which do not stand for a slash; all when empty.

    Raises:
        Corrupt: a tag names an object that is not there.
    """
    named = _named(git, pattern)
    place = git.folder / "modelkeep" / "tags"
    known = remembered(place)
    fresh = {found for _, found in named if found not in known}
    if fresh:
        known |= read(git, fresh)
        if len(fresh) >= _MANY:
            alive = {found for _, found in named}
            remember(place, known if pattern else {found: what for found, what in known.items() if found in alive})
    return [_tag(git, name, found, known) for name, found in named]


def tag(git: Git, name: str) -> Tag | None:
    """Gives one tag by its exact name; None when there is none."""
    checked(name)
    code, out, _ = git.attempt("rev-parse", "--verify", "--quiet", _TAGS + name)
    if code:
        return None
    found = out.decode().strip()
    return _tag(git, name, found, read(git, {found}))


def create(git: Git, name: str, commit: str, message: str, *, by: str = "", at_ns: int | None = None) -> Tag:
    """Makes an annotated tag and gives it; of several who make one name at once, exactly one succeeds.

    Args:
        git: the repository.
        name: without `refs/tags/`; anything that git takes for a name.
        commit: a revision.
        message: kept to the byte; not empty.
        by: who makes it, `Name <address>`; git's own user when empty.
        at_ns: when; now when None.

    Raises:
        Conflict: there is a tag of that name, or one whose name is a folder of this one.
        BadInput: git refuses the name, the message is empty, or git does not know who you are.
        Missing: there is no such revision.
    """
    checked(name)
    if not message.strip():
        raise BadInput(f"{name}: a tag without a message", hint="Say what it is.")
    target = git.resolve(commit)
    given = message.encode("utf-8", "surrogateescape")
    words = ("tag", "--annotate", "--cleanup=verbatim", "--file=-", "--end-of-options", name, target)
    complaint = _patiently(git, words, given, _identity(by, at_ns))
    if complaint:
        raise _refused(git, name, complaint)
    _pack(git)
    made = tag(git, name)
    if made is None:
        raise Conflict(f"{git.root}: the tag {name} was deleted while it was made", hint="Look at who works here.")
    return made


def delete(git: Git, name: str, *, expected: str = "") -> None:
    """Deletes a tag here; other repositories keep theirs until `push(gone=…)`.

    Args:
        git: the repository.
        name: of the tag.
        expected: the object that it must still name; whatever it names when empty.

    Raises:
        Missing: there is no such tag.
        Conflict: it names something else by now.
    """
    found = tag(git, name)
    if found is None:
        raise Missing(f"{git.root}: no tag {name}", hint="See the tags: git tag --list")
    here = found.object or git.run("rev-parse", "--verify", _TAGS + name).decode().strip()
    if expected and here != expected:
        raise Conflict(f"{git.root}: the tag {name} was moved: it names {here}", hint="Look at it, then try again.")
    complaint = _patiently(git, ("update-ref", "-d", _TAGS + name, here), None, {})
    if complaint:
        raise _refused(git, name, complaint)


def checked(name: str) -> str:
    """Gives a name back if git can take it for a tag's.

    Raises:
        BadInput: it cannot.

    >>> checked("credit-risk@v1.2.0")
    'credit-risk@v1.2.0'
    >>> checked("a..b")
    Traceback (most recent call last):
    modelkeep.core.errors.BadInput: 'a..b' cannot be the name of a git tag
    """
    parts = name.split("/")
    wrong = (
        not name
        or name.startswith("-")
        or name == "@"
        or name.endswith(".")
        or any(char in name for char in " ~^:?*[\\\x7f")
        or any(ord(char) < 32 for char in name)
        or ".." in name
        or "@{" in name
        or any(not part or part.startswith(".") or part.endswith(".lock") for part in parts)
    )
    if wrong:
        raise BadInput(f"{name!r} cannot be the name of a git tag", hint="Use letters, digits, - _ / and single dots.")
    return name


# Other repositories


def push(
    git: Git, names: Iterable[str] = (), *, gone: Iterable[str] = (), remote: str = "origin", notes: bool = False
) -> None:
    """Sends tags and notes to another repository: all of the tags or none.

    Args:
        git: the repository.
        names: tags that are sent.
        gone: tags that are deleted there.
        remote: its name or address.
        notes: send annotations; those of others are taken in first.

    Raises:
        Conflict: the other side has another tag of that name.
        Missing: there is no such remote, or no such tag here.
        Unreachable: it does not answer.
        Denied: it wants a credential.
    """
    told = _remote(remote)
    refs = [f"{_TAGS}{checked(name)}:{_TAGS}{name}" for name in names] + [f":{_TAGS}{checked(name)}" for name in gone]
    if refs:
        code, out, complaint = git.attempt(
            "push", "--porcelain", "--atomic", "--no-verify", "--end-of-options", told, *refs
        )
        if code:
            raise _rejected(git, told, out.decode("utf-8", "replace"), complaint)
    if notes:
        _push_notes(git, told)


def fetch(git: Git, remote: str = "origin") -> None:
    """Gets the tags and annotations of another repository; what is here stays.

    Args:
        git: the repository.
        remote: its name or address.

    Raises:
        Conflict: a tag of the same name was moved there, or here.
        Unreachable: it does not answer.
    """
    told = _remote(remote)
    code, out, complaint = git.attempt(
        "fetch", "--no-write-fetch-head", "--no-tags", "--end-of-options", told, f"{_TAGS}*:{_TAGS}*"
    )
    if code:
        moved = sorted(re.findall(r"! \[rejected\]\s+(\S+)\s+->.*would clobber", complaint))
        if moved:
            raise Conflict(
                f"{without_user(told)} has moved the tag{'s' * (len(moved) > 1)} {', '.join(moved)}, or they were here",
                hint=f"Look at both; to take theirs: git fetch --force {without_user(told)} tag {moved[0]}",
            )
        raise explained(complaint or out.decode("utf-8", "replace"), git.root)
    _take_notes(git, told)


def _push_notes(git: Git, remote: str) -> None:
    for _ in range(_TRIES):
        if git.attempt("rev-parse", "--verify", "--quiet", NOTES)[0]:
            return
        _take_notes(git, remote)
        code, out, complaint = git.attempt(
            "push", "--porcelain", "--no-verify", "--end-of-options", remote, f"{NOTES}:{NOTES}"
        )
        if not code:
            return
        said = out.decode("utf-8", "replace")
        if "[rejected]" not in said and "[remote rejected]" not in said:
            raise explained(complaint, git.root)
        time.sleep(_PAUSE_S)
    raise Busy(f"{without_user(remote)}: others annotate all the time", hint="Try again.")


def _take_notes(git: Git, remote: str) -> None:
    """Merges the other side's notes into ours: every line of both, once."""
    code, _, complaint = git.attempt(
        "fetch", "--quiet", "--no-write-fetch-head", "--no-tags", "--end-of-options", remote, f"+{NOTES}:{_THEIRS}"
    )
    if code:
        if "couldn't find remote ref" in complaint or "no matching remote head" in complaint.lower():
            return
        raise explained(complaint, git.root)
    with held(_folder(git) / "notes.lock"):
        if git.attempt("rev-parse", "--verify", "--quiet", NOTES)[0]:
            git.run("update-ref", NOTES, _THEIRS)
        else:
            git.run(
                "notes",
                f"--ref={NOTES}",
                "merge",
                "--quiet",
                "-s",
                "cat_sort_uniq",
                _THEIRS,
                extra=_identity(_MERGER, None),
            )


def _remote(remote: str) -> str:
    if not remote or remote.startswith("-") or "\0" in remote or "\n" in remote:
        raise BadInput(f"{remote!r} is no remote", hint="See the remotes: git remote -v")
    return remote


def _rejected(git: Git, remote: str, out: str, complaint: str) -> Error:
    taken = re.findall(
        r"^!\t\S*?:?refs/tags/(\S+)\t\[(?:remote )?rejected\] \((?:already exists|[^)]*exists)", out, re.M
    )
    where = without_user(remote)
    if taken:
        return Conflict(
            f"{where} has another tag {', '.join(sorted(taken))}",
            hint="Somebody else made it first. Take theirs: delete yours, then fetch.",
        )
    if match := re.search(r"src refspec refs/tags/(\S+) does not match any", complaint):
        return Missing(f"{git.root}: no tag {match[1]}", hint="See the tags: git tag --list")
    said = re.findall(r"^!\t\S+\t(\[.*)$", out, re.M)
    if said:
        return Conflict(f"{where} refuses: {said[0]}", hint="Look at the rules for tags on that server.")
    return explained(complaint, git.root)


# Annotations


def notes(git: Git) -> dict[str, list[str]]:
    """Gives the annotations of every object, one text each, in the order in which they were made here."""
    code, out, _ = git.attempt("notes", f"--ref={NOTES}", "list")
    if code:
        return {}
    pairs = [line.split() for line in out.decode().splitlines()]
    found = git.objects(pair[0] for pair in pairs if len(pair) == 2)
    return {pair[1]: _lines(found[pair[0]][1]) for pair in pairs if len(pair) == 2 and pair[0] in found}


def annotate(git: Git, object: str, line: str, *, by: str = "") -> None:  # noqa: A002
    """Adds one line to the annotations of an object; nothing that others add at the same time is lost.

    Args:
        git: the repository.
        object: the id, such as `Tag.object`.
        line: without a line break.
        by: who adds it, `Name <address>`; git's own user when empty.

    Raises:
        BadInput: the line is empty or several.
        Missing: there is no such object.
    """
    if not line.strip() or "\n" in line or "\r" in line:
        raise BadInput("An annotation is one line, and not empty", hint="Put it on one line.")
    _known_object(git, object)
    with held(_folder(git) / "notes.lock"):
        code, out, _ = git.attempt("notes", f"--ref={NOTES}", "show", object)
        text = "".join(f"{was}\n" for was in (*([] if code else _lines(out)), line))
        blob = git.run("hash-object", "-w", "--stdin", given=text.encode("utf-8", "surrogateescape")).decode().strip()
        words = ("notes", f"--ref={NOTES}", "add", "--force", f"--reuse-message={blob}", object)
        complaint = _patiently(git, words, None, _identity(by, None))
    if complaint:
        raise _refused(git, object, complaint)


def _known_object(git: Git, name: str) -> None:
    if not _ID.match(name) or git.attempt("cat-file", "-e", name)[0]:
        raise Missing(f"{git.root}: no object {name}", hint="See the tags: git tag --list")


def _lines(text: bytes) -> list[str]:
    return [line for line in text.decode("utf-8", "replace").split("\n") if line.strip()]


# Reading


def _named(git: Git, pattern: str) -> list[tuple[str, str]]:
    if "\0" in pattern or "\n" in pattern:
        raise BadInput(f"{pattern!r} is no pattern of tags", hint="Use names with * and ?.")
    listed = git.run("for-each-ref", "--format=%(objectname) %(refname:strip=2)", _TAGS + pattern)
    pairs = [line.partition(" ") for line in os.fsdecode(listed).splitlines()]
    exact = bool(pattern) and not any(char in pattern for char in "*?[")
    return [(name, found) for found, _, name in pairs if not exact or name == pattern]


def _tag(git: Git, name: str, found: str, known: dict[str, Said]) -> Tag:
    what = known.get(found)
    if what is None:
        raise Corrupt(
            f"{git.root}: the tag {name} names {found}, which is not there",
            hint="Look at it with `git fsck`; get it again: git fetch --tags --force",
        )
    return Tag(name, found if what.annotated else "", what.commit, what.tagger, what.at_ns, what.message)


# Writing


def _folder(git: Git) -> Path:
    folder = git.folder / "modelkeep"
    try:
        folder.mkdir(exist_ok=True)
    except OSError as error:
        raise Denied(f"{folder}: {error.strerror}", hint="Look at who may write there.") from None
    return folder


def _identity(by: str, at_ns: int | None) -> dict[str, str]:
    who: dict[str, str] = {}
    if by:
        match = _BY.match(by)
        if match is None or not match["name"] or "\n" in by or "\0" in by:
            raise BadInput(f"{by!r} is nobody's name", hint="Write it as: Name <address>")
        mail = match["mail"] or ""
        who = {"GIT_COMMITTER_NAME": match["name"], "GIT_COMMITTER_EMAIL": mail}
        who |= {"GIT_AUTHOR_NAME": match["name"], "GIT_AUTHOR_EMAIL": mail}
    if at_ns is not None:
        who["GIT_COMMITTER_DATE"] = who["GIT_AUTHOR_DATE"] = f"@{at_ns // _NS} +0000"
    return who


def _patiently(git: Git, words: Sequence[str], given: bytes | None, extra: dict[str, str]) -> str:
    """What git complained about in the end; empty when it went well. Another git's lock is waited for."""
    complaint = ""
    for _ in range(_TRIES):
        code, _, complaint = git.attempt(*words, given=given, extra=extra)
        if not code:
            return ""
        if not _LOCKED.search(complaint):
            break
        time.sleep(_PAUSE_S)
    return complaint or "git ended without a word"


def _refused(git: Git, name: str, complaint: str) -> Error:
    where = f"{git.root}: the tag {name}"
    if match := re.search(r"'refs/tags/(\S+)' exists; cannot create", complaint):
        return Conflict(
            f"{where} cannot be beside the tag {match[1]}", hint="Git keeps names as folders; take another."
        )
    if "already exists" in complaint:
        return Conflict(f"{where} is there already", hint=f"Look at it: git show {name}")
    if re.search(r"is at \w+ but expected|unable to resolve reference", complaint):
        return Conflict(f"{where} was moved or deleted at this moment", hint="Look at it, then try again.")
    if re.search(r"tell me who you are|empty ident|no (name|email) was given|auto-detect", complaint):
        return BadInput(
            f"{git.root}: git does not know who you are",
            hint="Tell it: git config user.name 'Your Name'; git config user.email you@example.org",
        )
    if match := re.search(
        r"(insufficient permission|Read-only file system|No space left|unable to write)[^\n]*", complaint
    ):
        return Denied(f"{git.root}: git cannot write: {match[0]}", hint="Look at who may write there, and at the disk.")
    return explained(complaint, git.root)


def _pack(git: Git) -> None:
    """Has git put its tags into one file when they are many; reading ten thousand files takes a second."""
    if sum(len(files) for _, _, files in os.walk(git.folder / "refs" / "tags")) >= _LOOSE:
        git.attempt("pack-refs")
