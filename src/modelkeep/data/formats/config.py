"""Settings of a repository: DVC's four levels, each hiding the one before (system, global, repository, local).

A secret never leaves this module in a message: `masked` stands wherever a value is shown.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Final, Self

from modelkeep.core.errors import BadInput, Conflict, Missing
from modelkeep.data.formats.masking import SECRETS, is_secret, masked, masked_url
from modelkeep.data.formats.rewrite import content, rewrite, shown

if TYPE_CHECKING:
    from modelkeep.data.formats.ini import Ini

__all__ = ["LEVELS", "LINK_TYPES", "SECRETS", "Config", "RemoteSettings", "masked", "masked_url"]

LEVELS: Final = ("system", "global", "repo", "local")
"""In the order in which they hide each other; the last one wins."""
_PATHS: Final = frozenset(
    {
        "url",
        "credentialpath",
        "configpath",
        "keyfile",
        "cert_path",
        "key_path",
        "gdrive_user_credentials_file",
        "gdrive_service_account_json_file_path",
    }
)
"""Options that hold a path, which counts from the folder of the file that they stand in."""
LINK_TYPES: Final = ("reflink", "hardlink", "symlink", "copy")
_SCHEME: Final = re.compile(r"\w+://")
_NAME: Final = re.compile(r"[^\s\"'\[\]#,][^\"'\[\]#,\n\r]*\Z")
_Values = dict[str, dict[str, "str | list[str]"]]


@dataclass(frozen=True, slots=True)
class RemoteSettings:
    """A remote as all levels together say.

    Args:
        name: its name, lower case.
        url: where it is; a relative path is made absolute from the folder of its settings file.
        options: its other options by lower-case name; paths in them are absolute.
        level: the level that its url stands in.
    """

    name: str
    url: str = field(repr=False)
    options: Mapping[str, str] = field(repr=False)
    level: str


class Config:
    """The settings of a repository, read when first asked for.

    Args:
        root: the folder that holds `.dvc`.
        files: the settings file of each level.
        given: bytes that stand in for a level's file, as from a git revision.
    """

    def __init__(self, root: Path, files: Mapping[str, Path], given: Mapping[str, bytes] | None = None) -> None:
        self._root = root
        self._files = dict(files)
        self._given = dict(given or {})

    @classmethod
    def load(cls, root: Path, *, environment: Mapping[str, str] = os.environ) -> Self:
        """Gives a repository's settings with those of its user and of the machine."""
        return cls(root, {**_machine(environment), **_repository(root)})

    @classmethod
    def of(cls, root: Path, data: bytes, *, environment: Mapping[str, str] = os.environ) -> Self:
        """Gives the settings of a repository whose `.dvc/config` has these bytes, as at a git revision.

        Its `config.local` does not count; the user's and the machine's settings do.
        """
        files = {**_machine(environment), **_repository(root)}
        del files["local"]
        return cls(root, files, {"repo": data})

    def __repr__(self) -> str:
        return f"Config({str(self._root)!r})"

    def get(self, section: str, key: str, default: str = "") -> str:
        """Gives a setting: the last level that has it decides; a list is joined by commas.

        Raises:
            BadInput: a settings file has a line that means nothing.
        """
        for level in reversed(LEVELS):
            value = self._level(level).get(section, {}).get(key)
            if value is not None:
                return _joined(value)
        return default

    def flag(self, section: str, key: str, default: bool = False) -> bool:
        """Gives a setting that is true or false.

        Raises:
            BadInput: it is neither.
        """
        value = self.get(section, key).lower()
        if value not in {"", "true", "false"}:
            raise BadInput(f"{self._place(section, key)}: {section}.{key}: expected true or false")
        return value == "true" if value else default

    def value(self, level: str, section: str, key: str) -> str:
        """Gives a setting as one level has it, or ""."""
        return _joined(self._level(_level(level)).get(section, {}).get(key, ""))

    def remotes(self, level: str | None = None) -> dict[str, RemoteSettings]:
        """Gives all remotes that have a url, by name.

        Args:
            level: the one level that counts; None: all.

        Raises:
            BadInput: a settings file has a line that means nothing.
        """
        levels = LEVELS if level is None else (_level(level),)
        names = {title[8:-1]: None for one in levels for title in self._level(one) if title.startswith('remote "')}
        found = {name: self._settings(name, levels) for name in names}
        return {name: settings for name, settings in found.items() if settings is not None}

    def remote(self, name: str = "") -> RemoteSettings:
        """Gives one remote, with what it takes from the one that its url names (`remote://…`).

        Args:
            name: its name; "" is the default one.

        Raises:
            Missing: there is none of this name, or no default.
            BadInput: remotes that name each other in a circle.
        """
        name = (name or self.get("core", "remote")).lower()
        if not name:
            known = list(self.remotes())
            add = f"modelkeep remote default {known[0]}" if known else "modelkeep remote add -d NAME URL"
            raise Missing("no default remote is set", hint=add)
        return self._based(name, ())

    def _based(self, name: str, behind: tuple[str, ...]) -> RemoteSettings:
        settings = self._settings(name)
        if settings is None:
            near = ", ".join(sorted(self.remotes())) or "none"
            raise Missing(f"no remote {name!a}; there are: {near}", hint=f"modelkeep remote add {name} URL")
        if not settings.url.startswith("remote://"):
            return settings
        if name in behind:
            raise BadInput(f"{self._place(_title(name), 'url')}: remotes that name each other: {', '.join(behind)}")
        base_name, _, rest = settings.url.removeprefix("remote://").partition("/")
        base = self._based(base_name.lower(), (*behind, name))
        url = f"{base.url.rstrip('/')}/{rest}" if rest else base.url
        return RemoteSettings(name, url, {**base.options, **settings.options}, settings.level)

    def _settings(self, name: str, levels: Sequence[str] = LEVELS) -> RemoteSettings | None:
        url, where, options = "", "", dict[str, str]()
        for level in levels:
            for key, value in self._level(level).get(_title(name), {}).items():
                text = _joined(value)
                if key in _PATHS:
                    text = _absolute(text, self._files[level].parent)
                if key == "url":
                    url, where = text, level
                else:
                    options[key] = text
        return RemoteSettings(name, url, options, where) if url else None

    @property
    def cache_folder(self) -> Path:
        """Where objects lie: `cache.dir`, or `.dvc/cache`."""
        for level in reversed(LEVELS):
            value = self._level(level).get("cache", {}).get("dir")
            if value:
                return Path(_absolute(_joined(value), self._files[level].parent))
        return self._root / ".dvc" / "cache"

    @property
    def link_types(self) -> tuple[str, ...]:
        """How files come from the cache into the workspace, the wanted way first.

        Raises:
            BadInput: `cache.type` names another way.
        """
        found = tuple(filter(None, (kind.strip() for kind in self.get("cache", "type").split(","))))
        for kind in found:
            if kind not in LINK_TYPES:
                place = self._place("cache", "type")
                raise BadInput(f"{place}: cache.type: {kind!a}, expected {', '.join(LINK_TYPES)}")
        return found or ("reflink", "copy")

    @property
    def shared(self) -> bool:
        """Whether the cache belongs to a group of users."""
        return self.get("cache", "shared").lower() == "group"

    @property
    def autostage(self) -> bool:
        """Whether changed metafiles are staged in git."""
        return self.flag("core", "autostage")

    def warnings(self) -> list[str]:
        """Gives what somebody should know: secrets in the file that git publishes, by file, line and key."""
        found = []
        for title, values in self._level("repo").items():
            for key, value in values.items():
                if is_secret(key, _joined(value)):
                    found.append(self._warning(title, key))
        return found

    def _warning(self, title: str, key: str) -> str:
        place = f"{self._place(title, key, 'repo')}: {key}"
        if not title.startswith('remote "'):
            return f"{place}: a secret in a file that git publishes. Keep it in .dvc/config.local."
        name = title[8:-1]
        move = (
            f"`modelkeep remote modify {name} {key} --unset`, then `modelkeep remote modify --local {name} {key} VALUE`"
        )
        if key == "url":
            move = f"`modelkeep remote modify {name} url URL` without it, then the password with `--local`"
        return (
            f"{place}: a secret in a file that git publishes. Make a new one, then keep it out: {move}, "
            "or give it by the environment."
        )

    def set(self, level: str, section: str, key: str, value: str) -> None:
        """Writes a setting; every other line of the file stays.

        Args:
            level: system, global, repo (or project) or local.
            section: as in `core` or `remote "name"`.
            key: the option.
            value: what it becomes; a relative path counts from the current folder.

        Raises:
            BadInput: it cannot be written, or the file has a line that means nothing.
        """
        section, key = section.lower(), key.lower()
        path = self._file(level)
        if (key in _PATHS and section.startswith("remote ")) or (section, key) == ("cache", "dir"):
            value = _relative(value, path.parent)
        self._edit(level, lambda ini: ini.set(section, key, value))

    def unset(self, level: str, section: str, key: str) -> bool:
        """Takes a setting away; False: it was not there."""
        section, key = section.lower(), key.lower()
        there = key in self._level(_level(level)).get(section, {})
        if there:
            self._edit(level, lambda ini: ini.unset(section, key))
        return there

    def add_remote(
        self, name: str, url: str, *, default: bool = False, force: bool = False, level: str = "repo"
    ) -> None:
        """Adds a remote.

        Args:
            name: kept in lower case.
            url: a relative path counts from the current folder and is kept relative to the settings file.
            default: make it the one that is used when none is named.
            force: take the place of one of this name, with all its options.
            level: where to write it.

        Raises:
            Conflict: there is one of this name.
            BadInput: the name or the url cannot be written.
        """
        name = _named(name)
        if not url.strip():
            raise BadInput(f"remote {name}: expected a URL or a path")
        there = _title(name) in self._level(_level(level))
        if there and not force:
            raise Conflict(f"the remote {name!a} is there already", hint="Take its place with --force.")
        kept = _relative(url, self._file(level).parent)

        def change(ini: Ini) -> None:
            for key in list(ini.sections[_title(name)].entries) if there else ():
                if key != "url":
                    ini.unset(_title(name), key)
            ini.set(_title(name), "url", kept)
            if default:
                ini.set("core", "remote", name)

        self._edit(level, change)

    def modify(self, name: str, option: str, value: str, *, level: str = "repo") -> None:
        """Gives a remote's option a value.

        Raises:
            Missing: there is no such remote on this level or one below.
        """
        name = self._known(name, level)
        self.set(level, _title(name), option, value)

    def modify_unset(self, name: str, option: str, *, level: str = "repo") -> bool:
        """Takes a remote's option away; False: it was not there.

        Raises:
            Missing: there is no such remote on this level or one below.
        """
        return self.unset(level, _title(self._known(name, level)), option)

    def rename(self, name: str, new: str, *, level: str = "repo") -> None:
        """Renames a remote, also where it is the default.

        Raises:
            Missing: this level has no such remote.
            Conflict: the new name is taken.
        """
        name, new = name.lower(), _named(new)
        if any(_title(new) in self._level(one) for one in LEVELS):
            raise Conflict(f"the remote {new!a} is there already", hint="Choose another name.")
        self._here(name, level)
        for one in reversed(LEVELS):
            is_level = one == _level(level)
            is_default = _joined(self._level(one).get("core", {}).get("remote", "")).lower() == name

            def change(ini: Ini, here: bool = is_level, default: bool = is_default) -> None:
                if here:
                    ini.rename(_title(name), _title(new))
                if default:
                    ini.set("core", "remote", new)

            if is_level or is_default:
                self._edit(one, change)
            if is_level:
                break

    def remove(self, name: str, *, level: str = "repo") -> None:
        """Removes a remote, also as the default.

        Raises:
            Missing: this level has no such remote.
        """
        name = name.lower()
        self._here(name, level)
        self._edit(level, lambda ini: ini.drop(_title(name)))
        for one in reversed(LEVELS):
            if _joined(self._level(one).get("core", {}).get("remote", "")).lower() == name:
                self._edit(one, lambda ini: ini.unset("core", "remote"))
            if one == _level(level):
                break

    def default(self, name: str | None, *, level: str = "repo") -> None:
        """Makes a remote the default; None: there is no default any more.

        Raises:
            Missing: there is no such remote on this level or one below.
        """
        if name is None:
            self.unset(level, "core", "remote")
        else:
            self.set(level, "core", "remote", self._known(name, level))

    def _known(self, name: str, level: str) -> str:
        """A remote's name, if this level or one that it hides has it."""
        name = name.lower()
        levels = LEVELS[: LEVELS.index(_level(level)) + 1]
        if not any(_title(name) in self._level(one) for one in levels):
            raise Missing(f"no remote {name!a}", hint=f"modelkeep remote add {name} URL")
        return name

    def _here(self, name: str, level: str) -> None:
        if _title(name) not in self._level(_level(level)):
            others = [one for one in LEVELS if _title(name) in self._level(one)]
            hint = f"It is on the level {others[0]}: add --{_option(others[0])}." if others else "modelkeep remote list"
            raise Missing(f"no remote {name!a} on the level {_level(level)}", hint=hint)

    def _edit(self, level: str, change: Callable[[Ini], object]) -> None:
        path = self._file(level)
        ini = self._ini(path, content(path) or b"")
        change(ini)
        secret = any(
            is_secret(key, _joined(entry.value)) for one in ini.sections.values() for key, entry in one.entries.items()
        )
        rewrite(path, ini.text().encode(), private=secret and _level(level) in {"global", "local"})
        self._given.pop(_level(level), None)
        self.__dict__.pop("_read", None)

    def _file(self, level: str) -> Path:
        return self._files[_level(level)]

    @cached_property
    def _read(self) -> dict[str, _Values]:
        return {}

    def _level(self, level: str) -> _Values:
        """One level's settings; an empty file costs no parser."""
        known = self._read.get(level)
        if known is None:
            known = self._read[level] = {}
            path = self._files.get(level)
            data = self._given.get(level) or (content(path) if path is not None else None)
            if path is not None and data and data.strip():
                ini = self._ini(path, data)
                known.update(
                    {
                        title: {key: one.value for key, one in part.entries.items()}
                        for title, part in ini.sections.items()
                    }
                )
        return known

    def _ini(self, path: Path, data: bytes) -> Ini:
        from modelkeep.data.formats.ini import Ini

        try:
            text = data.decode("utf-8")
        except UnicodeDecodeError as error:
            line = data.count(b"\n", 0, error.start) + 1
            raise BadInput(f"{shown(path)}:{line}: not UTF-8 at byte {error.start}") from None
        return Ini(text, shown(path))

    def _place(self, title: str, key: str, level: str = "") -> str:
        """File and line of a setting, on the level that decides."""
        for one in (level,) if level else reversed(LEVELS):
            if key in self._level(one).get(title, {}):
                path = self._files[one]
                data = self._given.get(one) or content(path) or b""
                section = self._ini(path, data).sections.get(title)
                entry = section.entries.get(key) if section is not None else None
                return f"{shown(path)}:{entry.first + 1}" if entry is not None else shown(path)
        return shown(self._files["repo"])


def _machine(environment: Mapping[str, str]) -> dict[str, Path]:
    """Where a user's and a machine's settings lie."""
    home = Path(environment.get("HOME") or environment.get("USERPROFILE") or os.path.expanduser("~"))  # noqa: PTH111
    if sys.platform == "darwin":
        system, user = Path("/Library/Application Support/dvc"), home / "Library" / "Application Support" / "dvc"
    elif sys.platform == "win32":
        system = Path(environment.get("PROGRAMDATA") or "C:/ProgramData", "iterative", "dvc")
        user = Path(environment.get("LOCALAPPDATA") or home / "AppData" / "Local", "iterative", "dvc")
    else:
        first = environment.get("XDG_CONFIG_DIRS", "").split(os.pathsep)[0].strip()
        system = Path(first or "/etc/xdg", "dvc")
        user = Path(environment.get("XDG_CONFIG_HOME", "").strip() or home / ".config", "dvc")
    return {
        "system": Path(environment.get("DVC_SYSTEM_CONFIG_DIR") or system) / "config",
        "global": Path(environment.get("DVC_GLOBAL_CONFIG_DIR") or user) / "config",
    }


def _repository(root: Path) -> dict[str, Path]:
    return {"repo": root / ".dvc" / "config", "local": root / ".dvc" / "config.local"}


def _level(name: str) -> str:
    level = {"project": "repo"}.get(name, name)
    if level not in LEVELS:
        raise BadInput(f"{name!a} is no level: expected {', '.join(LEVELS)}")
    return level


def _option(level: str) -> str:
    return "project" if level == "repo" else level


def _title(name: str) -> str:
    return f'remote "{name}"'


def _named(name: str) -> str:
    if _NAME.match(name) is None:
        raise BadInput(f"{name!a} cannot be a remote's name: no quotes, brackets, commas or # in it")
    return name.lower()


def _joined(value: str | list[str]) -> str:
    return value if isinstance(value, str) else ",".join(value)


def _absolute(path: str, folder: Path) -> str:
    """A path or URL from a settings file in one folder."""
    if _SCHEME.match(path) is not None:
        return path
    return os.path.abspath(os.path.join(folder, os.path.expanduser(path)))  # noqa: PTH100, PTH111, PTH118


def _relative(path: str, folder: Path) -> str:
    """A path as DVC keeps it: one from the current folder counts from the settings file's."""
    if not path or _SCHEME.match(path) is not None or os.path.isabs(path) or os.path.expanduser(path) != path:  # noqa: PTH111, PTH117
        return path
    return os.path.relpath(path, folder).replace(os.sep, "/")
