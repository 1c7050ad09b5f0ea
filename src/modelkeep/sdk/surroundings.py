"""What else is told of the code that runs: branch, remote, and what was not committed, found out aside."""

from __future__ import annotations

import threading
from base64 import b64encode
from pathlib import Path
from typing import Final

from modelkeep.code.git import Code
from modelkeep.code.patch import content, make
from modelkeep.core.shapes import Json
from modelkeep.sdk.complaints import complain

_NAMES: Final = 20
"""Names of files left out of a patch that are told; the rest is counted."""


class Surroundings:
    """Finds out on a thread of its own what a working tree has beyond its commit, once in a process.

    Without a commit it gives the Python code a name by its content.

    Args:
        folder: where the code is.
        code: what git said of it.
        patch: whether changes that are not committed may be told.
    """

    def __init__(self, folder: Path, code: Code, *, patch: bool) -> None:
        self._folder, self._code, self._patch = folder, code, patch
        self._found: dict[str, Json] = {}
        self._deflated = b""
        self._done = threading.Event()
        try:
            threading.Thread(target=self._look, name="modelkeep-code", daemon=True).start()
        except RuntimeError:  # the interpreter is going down
            self._done.set()

    @property
    def done(self) -> bool:
        """Whether everything is known that will be."""
        return self._done.is_set()

    def wait(self, timeout_s: float) -> bool:
        """Waits until everything is known; says whether it is."""
        return self._done.wait(timeout_s)

    def told(self, *, whole: bool) -> dict[str, Json]:
        """Gives what is known so far.

        Args:
            whole: with the patch itself, which the server needs once.
        """
        told: dict[str, Json] = {}
        if self._code.branch:
            told["branch"] = self._code.branch
        if self._code.remote:
            told["remote"] = self._code.remote
        if self.done:
            told |= self._found
            if whole and self._deflated:
                told["patch_deflate"] = b64encode(self._deflated).decode()
        return told

    def _look(self) -> None:
        try:
            if not self._code.commit:
                if name := content(self._folder):
                    self._found["content"] = name
            elif self._patch:
                self._take()
            elif self._code.dirty:
                self._found["patch_refused"] = "MODELKEEP_PATCH is 0"
        except Exception as error:  # noqa: BLE001
            if self._code.dirty:
                self._found["patch_refused"] = str(error) or type(error).__name__
            complain("code", f"modelkeep: what is not committed cannot be told: {error} (the model is not affected)")
        finally:
            self._done.set()

    def _take(self) -> None:
        made = make(self._folder)
        if made is None:
            return
        if made.digest:
            self._found |= {"patch": made.digest, "patch_size": made.size}
            self._deflated = made.deflated
        elif made.refused:
            self._found["patch_refused"] = made.refused
        if made.untracked:
            self._found["untracked"] = made.untracked
        if made.left_out:
            names = [name.encode("utf-8", "backslashreplace").decode() for name in made.left_out[:_NAMES]]
            more = len(made.left_out) - len(names)
            self._found["patch_left_out"] = [*names, *([f"and {more} more"] if more else [])]
