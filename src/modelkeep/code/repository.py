"""A git repository, asked through git's own command line: revisions, files of any revision, refs, hooks."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from threading import Lock
from typing import IO, TYPE_CHECKING, Final, NamedTuple, Self

from modelkeep.code.command import attempt, environment, explained, run
from modelkeep.core.errors import BadInput, Conflict, Corrupt, Missing

if TYPE_CHECKING:
    from subprocess import Popen

SYMLINK: Final = "120000"
EXECUTABLE: Final = "100755"
_NEAR: Final = 3
_FULL: Final = re.compile(r"[0-9a-f]{40}(?:[0-9a-f]{24})?\Z")


class File(NamedTuple):
    """One file of a revision.

    Args:
        path: relative to the repository's root, with `/`.
        mode: git's six digits, such as `100644`.
        blob: the id of its content.
    """

    path: str
    mode: str
    blob: str


class Change(NamedTuple):
    """One file that differs between two revisions.

    Args:
        path: relative to the repository's root.
        state: `A` added, `D` deleted, `M` modified, `T` another type.
    """

    path: str
    state: str


class Git:
    """A git repository on this machine, with a work tree or bare.

    Args:
        folder: any folder inside the work tree, or a bare repository.
        extra: more environment variables for every git command.

    Raises:
        Missing: there is no repository, or git is not installed.
        Denied: git does not trust the folder's owner.
    """

    def __init__(self, folder: Path | str = ".", *, extra: dict[str, str] | None = None) -> None:
        start = Path(folder).absolute()
        self._extra: Final = dict(extra or {})
        code, out, complaint = attempt(
            ("rev-parse", "--is-bare-repository", "--is-shallow-repository", "--show-toplevel"),
            start,
            extra=self._extra,
        )
        lines = os.fsdecode(out).split("\n", 2)
        self.bare: Final = lines[0] == "true"
        if code and not self.bare:
            raise explained(complaint, start)
        self.shallow: Final = lines[1] == "true"
        self.root: Final = start if self.bare else Path(lines[2].removesuffix("\n"))
        self._batch: Popen[bytes] | None = None
        self._lock: Final = Lock()
        self._commits: Final[set[str]] = set()
        self._fetched: Final[set[str]] = set()
        self._partial: bool | None = None

    @classmethod
    def find(cls, folder: Path | str = ".") -> Git | None:
        """Gives the repository around a folder; None when there is none.

        Raises:
            Denied: git does not trust the folder's owner.
        """
        start = Path(folder).absolute()
        if not any((place / ".git").exists() for place in (start, *start.parents)):
            return None
        return cls(start)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """Ends the helper process that reads objects, if one runs."""
        with self._lock:
            self._end()

    @property
    def folder(self) -> Path:
        """The folder that the repository's work trees share (`.git`)."""
        return self._place("--git-common-dir")

    def hooks_folder(self) -> Path:
        """Gives the folder in which git looks for hooks; `core.hooksPath` and work trees are respected."""
        return self._place("--git-path", "hooks")

    # Revisions

    def resolve(self, rev: str) -> str:
        """Gives the full id of the commit that a revision names.

        Args:
            rev: anything git understands: a branch, a tag, `HEAD~1`, an abbreviated id.

        Raises:
            Missing: there is no such commit; near names are in the hint.
        """
        if rev in self._commits:
            return rev
        if not rev or "\0" in rev or "\n" in rev:
            raise BadInput(f"{rev!r} is no revision", hint="Name a branch, a tag or a commit.")
        code, out, complaint = self.attempt("rev-parse", "--verify", "--quiet", "--end-of-options", rev + "^{commit}")
        if code:
            raise self._unknown(rev, complaint)
        commit = out.decode().strip()
        self._commits.add(commit)
        return commit

    def has_commits(self) -> bool:
        """Says whether HEAD is a commit; False on a branch without one."""
        return self.attempt("rev-parse", "--verify", "--quiet", "HEAD^{commit}")[0] == 0

    def branches(self) -> dict[str, str]:
        """Gives the commit of every local branch by its name."""
        return self._refs("refs/heads")

    def tags(self) -> dict[str, str]:
        """Gives the commit of every tag by its name, annotated or not; tags of other things are left out."""
        return self._refs("refs/tags")

    def heads(self) -> list[str]:
        """Gives the commit that each work tree of this repository has checked out."""
        listed = os.fsdecode(self.run("worktree", "list", "--porcelain"))
        found = [line.removeprefix("HEAD ") for line in listed.splitlines() if line.startswith("HEAD ")]
        return list(dict.fromkeys(commit for commit in found if commit.strip("0")))

    def stashes(self) -> list[str]:
        """Gives the commit of every stash, the newest first."""
        code, out, _ = self.attempt("log", "-g", "--no-show-signature", "--format=%H", "refs/stash", "--")
        return [] if code else out.decode().split()

    def commits(self) -> list[str]:
        """Gives every commit that a ref, a work tree or a stash reaches, the newest first."""
        return self.run("rev-list", "--all", "--stdin", given=self._tips()).decode().split()

    # Files

    def files(self, rev: str, *, suffixes: Sequence[str] = (), folder: str = "") -> list[File]:
        """Gives the files of a revision, sorted by path; submodules are left out.

        Args:
            rev: the revision.
            suffixes: how names must end; none means all files.
            folder: a folder of the repository; the root when empty. Nothing when the revision has no such folder.

        Raises:
            Missing: there is no such revision.
        """
        commit = self.resolve(rev)
        given = ("--", folder.rstrip("/") + "/") if folder.strip("/") else ()
        listed = self.run("ls-tree", "-r", "-z", "--full-tree", commit, *given)
        ends = tuple(suffixes)
        return [file for file in _listed(listed) if not ends or file.path.endswith(ends)]

    def folders(self, rev: str) -> dict[str, str]:
        """Gives the folders of a revision and the ids of their listings."""
        listed = self.run("ls-tree", "-d", "-r", "-z", "--full-tree", self.resolve(rev))
        lines = (line.partition(b"\t") for line in listed.split(b"\0"))
        return {os.fsdecode(path): head.split()[2].decode() for head, tab, path in lines if tab and b" tree " in head}

    def sizes(self, names: Iterable[str]) -> dict[str, int]:
        """Gives the sizes in bytes of contents, or of folders' listings, by their ids."""
        wanted = sorted(set(names))
        if not wanted:
            return {}
        self.prefetch(wanted)
        lines = self.run("cat-file", "--batch-check=%(objectname) %(objectsize)", given="\n".join(wanted).encode())
        pairs = (line.split() for line in lines.decode().splitlines())
        return {name: int(size) for name, size in pairs if size.isdigit()}

    def history(self, suffixes: Sequence[str]) -> set[File]:
        """Gives every version that files of some names had in any commit of any ref, work tree or stash.

        One walk over the history answers it, however many commits there are.

        Args:
            suffixes: how names must end.
        """
        listed = self.run(
            "log", "--all", "--stdin", "-m", "--root", "--raw", "-z", "--no-abbrev", "--no-renames",
            "--no-show-signature", "--diff-filter=AMT", "--format=", given=self._tips(),
        )  # fmt: skip
        return {file for file in _raw(listed) if file.path.endswith(tuple(suffixes))}

    def read(self, rev: str, path: str) -> bytes:
        """Gives a file's bytes as a revision has them.

        Raises:
            Missing: the revision has no such file.
            BadInput: the path is a folder.
        """
        commit = self.resolve(rev)
        if any(char in path for char in "\n\r\0"):  # git takes a line break, of either kind, for the end of the path
            code, out, _ = self.attempt("rev-parse", "--verify", "--quiet", "--end-of-options", f"{commit}:{path}")
            found = None if code else self._object(out.decode().strip())
        else:
            found = self._object(f"{commit}:{path}")
        if found is None:
            raise Missing(f"{path}: not in {rev}", hint=f"See what it has: git ls-tree -r --name-only {rev}")
        if found[0] != "blob":
            raise BadInput(f"{path}: not a file in {rev}", hint="Name a file below it.")
        return found[1]

    def blob(self, name: str) -> bytes:
        """Gives the content with an id.

        Raises:
            Missing: the repository has no such content.
        """
        found = self._object(name)
        if found is None or found[0] != "blob":
            raise Missing(f"{self.root}: no content {name}", hint="Look at the repository with `git fsck`.")
        return found[1]

    def prefetch(self, blobs: Iterable[str]) -> None:
        """Gets contents that a partial clone left out, all in one question to the other side."""
        if not self._promised():
            return
        asked = sorted(set(blobs) - self._fetched)
        if asked:
            self.run(
                "-c", "fetch.negotiationAlgorithm=noop", "fetch", "--quiet", "--no-tags", "--no-write-fetch-head",
                "--recurse-submodules=no", "--filter=blob:none", "--stdin", "origin", given="\n".join(asked).encode(),
            )  # fmt: skip
            self._fetched.update(asked)

    def changed(self, a: str, b: str = "") -> list[Change]:
        """Gives the files that differ between two revisions, or a revision and the work tree, sorted by path."""
        revisions = [self.resolve(a), *([self.resolve(b)] if b else [])]
        listed = self.run("diff", "--name-status", "-z", "--no-renames", "--no-ext-diff", *revisions, "--")
        parts = os.fsdecode(listed).split("\0")
        return sorted(Change(path, state) for state, path in zip(parts[0::2], parts[1::2], strict=False))

    # Writing

    def stage(self, paths: Iterable[Path | str]) -> None:
        """Puts files into git's index, as they are now; a file that is gone is taken out.

        Raises:
            Conflict: git ignores one of them.
            Busy: another git holds the index.
        """
        names = sorted({self._inside(path) for path in paths})
        if names:
            self.run("add", "-A", "--pathspec-from-file=-", "--pathspec-file-nul", given=os.fsencode("\0".join(names)))

    def ignored(self, paths: Iterable[str]) -> set[str]:
        """Gives those of some paths, relative to the root, that git ignores."""
        given = os.fsencode("\0".join(paths))
        extra = self._extra | {"GIT_LITERAL_PATHSPECS": "0"}  # this command knows none
        code, out, complaint = attempt(("check-ignore", "-z", "--stdin"), self.root, extra=extra, given=given)
        if code > 1:
            raise explained(complaint, self.root)
        return {path for path in os.fsdecode(out).split("\0") if path}

    # Any command

    def run(self, *arguments: str, given: bytes | None = None, extra: Mapping[str, str] | None = None) -> bytes:
        """Gives what a git command printed; see `code.command.run`."""
        return run(arguments, self.root, extra={**self._extra, **(extra or {})}, given=given)

    def attempt(
        self, *arguments: str, given: bytes | None = None, extra: Mapping[str, str] | None = None
    ) -> tuple[int, bytes, str]:
        """Gives the exit code, what a git command printed and what it complained about."""
        return attempt(arguments, self.root, extra={**self._extra, **(extra or {})}, given=given)

    def objects(self, names: Iterable[str]) -> dict[str, tuple[str, bytes]]:
        """Gives kind and bytes of many objects by their ids, in one question; what is not there is left out."""
        wanted = list(dict.fromkeys(names))
        if not wanted:
            return {}
        return dict(_batched(self.run("cat-file", "--batch", "--buffer", given="\n".join(wanted).encode())))

    # The parts of which the above is made

    def _place(self, *asked: str) -> Path:
        answer = os.fsdecode(self.run("rev-parse", *asked)).removesuffix("\n")
        return Path(os.path.normpath(self.root / Path(answer).expanduser()))

    def _promised(self) -> bool:
        if self._partial is None:
            self._partial = self.attempt("config", "--get-regexp", r"^remote\..*\.promisor$")[0] == 0
        return self._partial

    def _tips(self) -> bytes:
        return "".join(f"{commit}\n" for commit in (*self.heads(), *self.stashes())).encode()

    def _refs(self, below: str) -> dict[str, str]:
        form = "%(refname)%00%(objecttype) %(objectname)%00%(*objecttype) %(*objectname)"
        found: dict[str, str] = {}
        for line in os.fsdecode(self.run("for-each-ref", f"--format={form}", below + "/")).splitlines():
            name, *objects = line.split("\0")
            commit = next((text.partition(" ")[2] for text in objects if text.startswith("commit ")), "")
            if commit:
                found[name.removeprefix(below + "/")] = commit
        return found

    def _unknown(self, rev: str, complaint: str) -> Missing:
        if not self.has_commits():
            return Missing(f"{rev}: {self.root} has no commit yet", hint="Make one: git commit -m 'Start'")
        if self.shallow:
            return Missing(
                f"{rev}: no such revision in {self.root}, which is a shallow clone",
                hint="Get the full history: git fetch --unshallow",
            )
        if _FULL.match(rev):
            return Missing(
                f"{rev}: no such commit in {self.root}: it was never fetched, or the history was rewritten",
                hint=f"Get it from who has it: git fetch origin {rev}",
            )
        from difflib import get_close_matches

        names = [*self.branches(), *self.tags(), "HEAD"]
        near = get_close_matches(rev, names, n=_NEAR, cutoff=0.5)
        hint = f"Near: {', '.join(near)}" if near else "See what there is: git branch -a; git tag; git log"
        reason = " (ambiguous)" if "ambiguous" in complaint else ""
        return Missing(f"{rev}: no such revision in {self.root}{reason}", hint=hint)

    def _inside(self, path: Path | str) -> str:
        absolute = Path(os.path.normpath(Path(path).absolute()))
        for root in (self.root, self.root.resolve()):
            if absolute.is_relative_to(root):
                return absolute.relative_to(root).as_posix()
        raise BadInput(f"{path}: outside of {self.root}", hint="Name a file of this repository.")

    def _object(self, name: str) -> tuple[str, bytes] | None:
        """Kind and bytes of an object; None when there is none. A process that died is started once more."""
        with self._lock:
            asked = self._asked(name)
            if asked is None:
                self._end()
                asked = self._asked(name)
            if asked is None:
                complaint = self._end()
                raise explained(complaint, self.root) if complaint else Corrupt(f"{self.root}: git cannot read {name}")
            return asked or None

    def _asked(self, name: str) -> tuple[str, bytes] | tuple[()] | None:
        """Kind and bytes of an object; empty when there is none; None when the process died."""
        batch = self._started()
        into, back = _pipes(batch)
        try:
            into.write(name.encode("utf-8", "surrogateescape") + b"\n")
            into.flush()
        except BrokenPipeError:
            return None
        head = back.readline()
        if not head.endswith(b"\n"):
            return None
        fields = head.split()
        if len(fields) != 3 or not fields[2].isdigit() or fields[1] not in {b"blob", b"tree", b"commit", b"tag"}:
            return ()
        size = int(fields[2])
        data = back.read(size + 1)
        return (fields[1].decode(), data[:size]) if len(data) == size + 1 else None

    def _started(self) -> Popen[bytes]:
        if self._batch is None:
            import subprocess
            import tempfile

            self._complaints = tempfile.TemporaryFile()  # noqa: SIM115
            self._batch = subprocess.Popen(
                ["git", "-c", "core.fsmonitor=false", "cat-file", "--batch"],  # noqa: S607
                cwd=self.root,
                env=environment(self._extra),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._complaints,
            )
        return self._batch

    def _end(self) -> str:
        if self._batch is None:
            return ""
        batch, self._batch = self._batch, None
        into, back = _pipes(batch)
        for pipe in (into, back):
            try:
                pipe.close()
            except OSError:
                continue
        batch.wait()
        with self._complaints as complaints:
            complaints.seek(0)
            return complaints.read().decode("utf-8", "replace")


def _pipes(batch: Popen[bytes]) -> tuple[IO[bytes], IO[bytes]]:
    if batch.stdin is None or batch.stdout is None:
        raise Conflict("git's pipes are closed")
    return batch.stdin, batch.stdout


def _batched(answer: bytes) -> Iterator[tuple[str, tuple[str, bytes]]]:
    at = 0
    while (end := answer.find(b"\n", at)) >= 0:
        fields = answer[at:end].split()
        at = end + 1
        if len(fields) == 3 and fields[2].isdigit():
            size = int(fields[2])
            yield fields[0].decode(), (fields[1].decode(), answer[at : at + size])
            at += size + 1


def _listed(listed: bytes) -> Iterator[File]:
    for line in listed.split(b"\0"):
        head, tab, path = line.partition(b"\t")
        mode, _, rest = head.partition(b" ")
        kind, _, blob = rest.partition(b" ")
        if tab and kind == b"blob":
            yield File(os.fsdecode(path), mode.decode(), blob.decode())


def _raw(listed: bytes) -> Iterator[File]:
    """The new side of every line of `log --raw -z`: `:mode mode blob blob state`, then the path."""
    parts = iter(listed.split(b"\0"))
    for part in parts:
        head = part.lstrip(b"\n")
        if head.startswith(b":"):
            _, mode, _, blob, _ = head.split(b" ")
            yield File(os.fsdecode(next(parts)), mode.decode(), blob.decode())
