"""Where configuration comes from: the protocol of a source, and how a text or an object becomes one."""

from __future__ import annotations

import glob
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final, Protocol, cast, runtime_checkable

from modelkeep.configuration.tree import Node, Reading
from modelkeep.core.errors import BadInput, Missing
from modelkeep.core.kinds import Kind

Option = str | int | float | bool


@runtime_checkable
class Source(Protocol):
    """One place where configuration comes from; a plugin of the kind `modelkeep.configuration.sources`.

    A plugin is made from the text that names it (`conf/base.yaml`, `consul://127.0.0.1:8500/app`).
    """

    @property
    def live(self) -> bool:
        """Whether it can change while the process runs."""

    @property
    def name(self) -> str:
        """What people see; without credentials."""

    def read(self) -> Reading:
        """Gives the whole tree as it is now.

        Raises:
            Missing: there is no such file, key or table.
            BadInput: it is there and cannot be read as configuration; the message has file and line.
            Unreachable: nobody answers.
            Denied: whoever answers refuses.
        """

    def watch(self, seen: str, wait_s: float) -> bool:
        """Blocks until the source may have changed since the version `seen`, at most `wait_s`; says whether.

        Raises:
            Unreachable: nobody answers; the caller waits and asks again.
        """

    def close(self) -> None:
        """Lets go of connections; a blocked `watch` returns soon."""


@runtime_checkable
class Writable(Protocol):
    """A source that can also be written, with a history of its own."""

    def write(self, values: Mapping[str, Node], *, author: str = "", reason: str = "") -> None:
        """Sets dotted keys; a value of None takes the key away.

        Raises:
            Denied, Unreachable: as `Source.read`.
        """


KIND: Final = Kind[Source]("modelkeep.configuration.sources")
_SUFFIXES: Final = {
    ".yaml": "yaml",
    ".yml": "yaml",
    ".json": "json",
    ".toml": "toml",
    ".ini": "ini",
    ".cfg": "ini",
    ".conf": "ini",
    ".env": "dotenv",
}
_SCHEMES: Final = {
    "file": "",
    "env": "environment",
    "sqlite": "sql",
    "postgresql": "sql",
    "mysql": "sql",
    "redis": "redis",
    "rediss": "redis",
    "consul": "consul",
    "zookeeper": "zookeeper",
    "zk": "zookeeper",
    "etcd": "etcd",
    "s3": "bucket",
    "gs": "bucket",
    "az": "bucket",
    "abfs": "bucket",
    "ssm": "ssm",
    "secretsmanager": "secretsmanager",
    "http": "http",
    "https": "http",
}
_SCHEME: Final = re.compile(r"([A-Za-z][A-Za-z0-9.-]+)(?:\+[A-Za-z0-9]+)?:(?://)?")
_OPTIONS: Final = re.compile(r"(.*?)(\?[a-z_]+=.*)?", re.DOTALL)
_OPTIONAL: Final = "optional:"


class Optional:
    """A source that may be absent: then it says nothing.

    Args:
        source: the source itself.
    """

    def __init__(self, source: Source) -> None:
        self.source = source

    @property
    def live(self) -> bool:
        return self.source.live

    @property
    def name(self) -> str:
        return self.source.name

    def read(self) -> Reading:
        """Gives the tree, or an empty one when there is none."""
        try:
            return self.source.read()
        except Missing:
            return Reading({}, version="absent")

    def watch(self, seen: str, wait_s: float) -> bool:
        return self.source.watch(seen, wait_s)

    def close(self) -> None:
        self.source.close()


def open_sources(given: object, *, prefix: str = "") -> list[Source]:
    """Gives the sources that a text or an object stands for; a pattern stands for several, in the order of their names.

    Args:
        given: a path or a pattern (`conf/*.yaml`), an address (`consul://127.0.0.1:8500/app`), a mapping, a dataclass,
            a Pydantic or OmegaConf object, or a source. `optional:` before a text lets it be absent.
        prefix: how the variables in `.env` files begin, as those of the environment do.

    Raises:
        BadInput: nobody knows this kind of text.
        Missing: a pattern fits no file.
    """
    if isinstance(given, Source):
        return [given]
    if not isinstance(given, str | Path):
        return [_made("objects", given)]
    text = str(given)
    if text.startswith(_OPTIONAL):
        try:
            return [Optional(source) for source in open_sources(text.removeprefix(_OPTIONAL), prefix=prefix)]
        except Missing:
            return []
    scheme = _SCHEME.match(text)
    if scheme and not Path(text).exists():
        return [_addressed(scheme[1].lower(), text)]
    return [_file(path, prefix) for path in _paths(text)]


def _paths(text: str) -> list[str]:
    pattern, options = _OPTIONS.fullmatch(text).groups("")  # type: ignore[union-attr]
    if not glob.has_magic(pattern) or Path(text).exists() or Path(pattern).exists():
        return [text]
    found = [f"{path}{options}" for path in sorted(glob.glob(pattern, recursive=True))]  # noqa: PTH207 - may be absolute
    if not found:
        raise Missing(f"{text} fits no file", hint=f"Write {_OPTIONAL}{text} if that is as it should be.")
    return found


def _addressed(scheme: str, text: str) -> Source:
    if scheme == "file":
        return _file(re.sub(r"^file:(//)?", "", text), "")
    plugin = _SCHEMES.get(scheme, scheme)
    if plugin not in KIND.names():
        known = ", ".join(sorted(_SCHEMES))
        raise BadInput(f"{scheme}: is no kind of source", hint=f"There are {known}, and files.")
    return _made(plugin, text)


def suffix_plugin(name: str) -> str:
    """Gives the format that a file's name tells; empty when it tells none.

    >>> suffix_plugin("base.yml"), suffix_plugin(".env"), suffix_plugin("notes.txt")
    ('yaml', 'dotenv', '')
    """
    return _SUFFIXES.get(Path(name).suffix.lower(), "dotenv" if name.startswith(".env") else "")


def _file(text: str, prefix: str) -> Source:
    name, _, options = text.partition("?")
    plugin = suffix_plugin(Path(name).name)
    if not plugin:
        known = ", ".join(sorted(_SUFFIXES))
        raise BadInput(f"{text}: cannot tell the format by its name", hint=f"Known endings: {known}.")
    if plugin == "dotenv" and prefix and "prefix=" not in options:
        text = f"{name}?{options}&prefix={prefix}" if options else f"{name}?prefix={prefix}"
    return _made(plugin, text)


def _made(plugin: str, given: object) -> Source:
    try:
        make = cast("Callable[[object], Source]", KIND.load(plugin))
    except ModuleNotFoundError as error:
        raise BadInput(
            f"{plugin} needs {error.name}, which the plain package leaves out", hint="pip install 'modelkeep[sources]'"
        ) from None
    return make(given)
