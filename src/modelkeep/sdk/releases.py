"""What runs in this process: told to the server once per model, version and configuration."""

from __future__ import annotations

import os
import re
import sys
from hashlib import blake2b
from pathlib import Path
from typing import Final

from modelkeep.code.git import Code, describe
from modelkeep.core.encoding import Release
from modelkeep.sdk.settings import Settings, host
from modelkeep.sdk.tied import tied

_MD5: Final = re.compile(r"\bmd5:\s*([0-9a-f]{32}(?:\.dir)?)\b")
_SHORT: Final = 12
_MOST: Final = 1000
"""Releases that are remembered; a configuration that changes without end makes more."""


class Releases:
    """Makes and remembers the releases of this process; used by the sending thread only.

    Args:
        settings: where versions come from that a call does not name.
        process: name of this process.
        folder: where the program's code is; None: the folder of the running script, else the working folder.
    """

    def __init__(self, settings: Settings, process: str, folder: Path | None = None) -> None:
        self._settings = settings
        self._process = process
        self._folder = folder
        self._code: Code | None = None
        self._made: dict[tuple[str, str, str], Release] = {}
        self._configurations: dict[str, str] = {}
        self._content = ""
        self._waiting: dict[str, Release] = {}

    def version(self, named: str | None) -> str:
        """Gives the version of a prediction: the one named, the environment's, the commit, or `unversioned`."""
        return named or self._settings.model_version or self.code().commit[:_SHORT] or "unversioned"

    def of(self, model: str, version: str, at_ns: int) -> str:
        """Gives the id of the release of a model and version as configured now, and has it announced if it is new."""
        made = self._made.get((model, version, self._content))
        if made is None:
            made = self._make(model, version, at_ns)
            self._made[model, version, self._content] = made
            self._waiting[made.id] = made
            if len(self._made) > _MOST:
                del self._made[next(iter(self._made))]
        return made.id

    @property
    def process(self) -> str:
        """The name of this process."""
        return self._process

    def configured(self, name: str, content: str) -> None:
        """Takes the hash of a configuration that holds from now on: predictions that follow have another release.

        Args:
            name: of the configuration; a process may have several.
            content: its content hash; empty changes nothing.
        """
        if content and self._configurations.get(name) != content:
            self._configurations[name] = content
            self._content = "+".join(self._configurations.values())

    def announce(self) -> list[Release]:
        """Gives the releases that the server has not been told of, and considers them told."""
        told = list(self._waiting.values())
        self._waiting.clear()
        return told

    def again_all(self) -> None:
        """Has every release announced again: an envelope that told of one may have been lost."""
        self._waiting = {made.id: made for made in self._made.values()}

    def code(self) -> Code:
        """Gives the commit that runs; asked of git once."""
        if self._code is None:
            self._code = describe(self._folder or _program())
        return self._code

    def stamp(self) -> tuple[Code, str, str]:
        """Gives what runs now whatever the model: the code, the version of data, that of the configuration."""
        data = data_version(self._settings.data_version)
        return self.code(), data, self._settings.config_version or self._content

    def _make(self, model: str, version: str, at_ns: int) -> Release:
        code, tie = self.code(), tied.of(model, version)
        name = "\0".join((self._process, model, version, *([self._content] if self._content else [])))
        return Release(
            id=blake2b(name.encode("utf-8", "backslashreplace"), digest_size=16).hexdigest(),
            at=at_ns,
            model=model,
            version=version,
            code=code.commit,
            dirty=code.dirty,
            author=code.author,
            data_version=(tie.data_version if tie else "") or data_version(self._settings.data_version),
            config_version=self._settings.config_version or self._content or (tie.configuration if tie else ""),
            host=host(),
            process=self._process,
        )


def data_version(given: str) -> str:
    """Gives the version of data: what was given, or the hash in the `.dvc` file it names.

    >>> data_version("2026-03")
    '2026-03'
    """
    if not given.endswith(".dvc"):
        return given
    try:
        with Path(given).open(encoding="utf-8") as file:
            found = _MD5.search(file.read(65_536))
    except (OSError, ValueError):
        return given
    return found[1] if found else given


def _program() -> Path:
    script = getattr(sys.modules.get("__main__"), "__file__", None)
    return Path(script).resolve().parent if isinstance(script, str) else Path(os.curdir).resolve()
