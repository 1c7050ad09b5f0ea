"""What runs in this process: told to the server once per model, version and configuration."""

from __future__ import annotations

import os
import re
import sys
from hashlib import blake2b
from pathlib import Path
from typing import Final

import msgspec

from modelkeep.code.git import Code, describe
from modelkeep.core.encoding import Release
from modelkeep.core.shapes import Json
from modelkeep.sdk.roles import roles
from modelkeep.sdk.settings import Settings, host
from modelkeep.sdk.surroundings import Surroundings
from modelkeep.sdk.tied import tied

_MD5: Final = re.compile(r"\bmd5:\s*([0-9a-f]{32}(?:\.dir)?)\b")
_PACKAGES: Final = frozenset({"site-packages", "dist-packages"})
_PROGRAMS: Final = frozenset({"bin", "Scripts"})
_SHORT: Final = 12
_MOST: Final = 1000
"""Releases that are remembered; a configuration that changes without end makes more."""


class Releases:
    """Makes and remembers the releases of this process; used by the sending thread only.

    Args:
        settings: where versions come from that a call does not name.
        process: name of this process.
        folder: where the program's code is; None: the folder of the running script, or the working folder where the
            script is an installed program.
    """

    def __init__(self, settings: Settings, process: str, folder: Path | None = None) -> None:
        self._settings = settings
        self._process = process
        self._folder = folder
        self._code: Code | None = None
        self._around: Surroundings | None = None
        self._known = False
        self._bearer = ""
        self._patience_s = 0.0
        self._made: dict[tuple[str, str, str, str], Release] = {}
        self._roles: dict[str, str] = {}
        self._configurations: dict[str, str] = {}
        self._content = ""
        self._waiting: dict[str, Release] = {}

    def version(self, named: str | None) -> str:
        """Gives the version of a prediction: the one named, the environment's, the commit, or `unversioned`."""
        return named or self._settings.model_version or self.code().commit[:_SHORT] or "unversioned"

    def of(self, model: str, version: str, at_ns: int) -> str:
        """Gives the id of the release of a model and version as configured now, and has it announced if it is new."""
        role = roles.of(model, version, self._settings.role)
        made = self._made.get((model, version, self._content, role))
        if made is None:
            made = self._make(model, version, role, at_ns)
            self._made[model, version, self._content, role] = made
            self._waiting[made.id] = made
            if len(self._made) > _MOST:
                oldest = self._made.pop(next(iter(self._made)))
                self._roles.pop(oldest.id, None)
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
        """Gives the releases that the server has not been told of, and considers them told.

        They are told again when it is known what was not committed.
        """
        if self._around is not None and not self._known:
            self._around.wait(self._patience_s)
            self._known = self._around.done
            if self._known:
                self._complete(self._around)
        told = list(self._waiting.values())
        self._waiting.clear()
        return told

    def closing(self, patience_s: float) -> None:
        """Lets the last releases be told with what is not committed, if that takes no longer.

        Args:
            patience_s: the longest that an announcement may wait for it.
        """
        self._patience_s = patience_s

    def again_all(self) -> None:
        """Has every release announced again: an envelope that told of one may have been lost."""
        self._waiting = {made.id: made for made in self._made.values()}

    def code(self) -> Code:
        """Gives the commit that runs; asked of git once."""
        if self._code is None:
            self._folder = self._folder or _program()
            self._code = describe(self._folder)
        return self._code

    def stamp(self) -> tuple[Code, str, str]:
        """Gives what runs now whatever the model: the code, the version of data, that of the configuration."""
        data = data_version(self._settings.data_version)
        return self.code(), data, self._settings.config_version or self._content

    def _make(self, model: str, version: str, role: str, at_ns: int) -> Release:
        code, tie = self.code(), tied.of(model, version)
        if self._around is None:
            self._around = Surroundings(self._folder or _program(), code, patch=self._settings.patch)
        other = [self._content] if self._content else []
        other += [f"role={role}"] if role != "live" else []
        name = "\0".join((self._process, model, version, *other))
        id_ = blake2b(name.encode("utf-8", "backslashreplace"), digest_size=16).hexdigest()
        self._bearer = self._bearer or id_
        self._roles[id_] = role
        return Release(
            id=id_,
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
            extra=self._extra(self._around, id_),
        )

    def _complete(self, around: Surroundings) -> None:
        for made in self._made.values():
            extra = self._extra(around, made.id)
            if extra != made.extra:
                made.extra = extra
                self._waiting[made.id] = made

    def _extra(self, around: Surroundings, id_: str) -> str:
        role = self._roles[id_]
        said: dict[str, Json] = {} if role == "live" else {"role": role}
        return msgspec.json.encode(said | around.told(whole=id_ == self._bearer)).decode()


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
    if isinstance(script, str):
        place = Path(script).resolve().parent
        if not _is_installed(place):
            return place
    return Path(os.curdir).resolve()


def _is_installed(place: Path) -> bool:
    """Whether a folder holds programs of others (gunicorn, pytest), whose code lies where they were started."""
    if _PACKAGES & set(place.parts) or place == Path(os.__file__).resolve().parent:
        return True
    prefixes = (Path(sys.prefix).resolve(), Path(sys.base_prefix).resolve())
    return place.parent in prefixes and place.name in _PROGRAMS
