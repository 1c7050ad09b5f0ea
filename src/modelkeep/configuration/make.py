"""`mk.config`: from a schema and sources to a configuration."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, TypedDict, TypeVar, Unpack, overload

from modelkeep.configuration.bare import bare
from modelkeep.core.errors import BadInput, Error

if TYPE_CHECKING:
    from modelkeep.configuration.change import Ledger
    from modelkeep.configuration.config import Config
    from modelkeep.configuration.layers import Lists
    from modelkeep.configuration.snapshot import View
    from modelkeep.configuration.source import Source
    from modelkeep.configuration.validate import Schema

T = TypeVar("T")


class Ledgers:
    """Where a history is kept when the caller names no ledger; the door sets it, as rooms do not know each other."""

    default: ClassVar[Callable[[str], Ledger | None] | None] = None


class Options(TypedDict, total=False):
    """What `config` takes by name; see there."""

    env: str | None
    cli: bool | Sequence[str]
    lists: Lists
    strict: bool
    secrets: Sequence[str]
    ledger: Ledger | None
    last_good: Path | str | None
    name: str


@overload
def config(schema: type[T], /, *sources: object, **options: Unpack[Options]) -> Config[T]: ...  # type: ignore[overload-overlap]  # a class is a schema, anything else a source
@overload
def config(*sources: object, **options: Unpack[Options]) -> Config[View]: ...
def config(
    *given: object,
    env: str | None = None,
    cli: bool | Sequence[str] = False,
    lists: Lists = "replace",
    strict: bool = True,
    secrets: Sequence[str] = (),
    ledger: Ledger | None = None,
    last_good: Path | str | None = None,
    name: str = "",
) -> Config[Any]:
    """Gives the configuration that sources make together, typed by a schema.

    Args:
        *given: first the schema, if there is one (a Pydantic model or a dataclass); then the sources in order, later
            ones win: paths and patterns, addresses, mappings, dataclasses, Pydantic and OmegaConf objects.
        env: take the environment variables that begin so, after all sources: `APP_DB__POOL` is `db.pool`.
        cli: take `key=value` arguments, last of all; True for those of this process, or a list of them.
        lists: what a later list does to an earlier one.
        strict: refuse keys that the schema does not have.
        secrets: further keys whose values are never shown.
        ledger: who keeps the history; the process itself when None.
        last_good: a folder for the last good copy of each live source, for starts while it is away; the copies are
            encrypted with MODELKEEP_SECRET_KEY, and none is kept without it.
        name: what the server calls it, where changes are told to one; the schema's name when empty, else `config`.

    Raises:
        BadInput: the configuration is wrong; every complaint has its place.
        Missing, Unreachable, Denied: a source cannot be read.

    >>> cfg = config({"db": {"pool": 5, "url": "${driver}://h"}}, {"driver": "pg"}, cli=["db.pool=9"])
    >>> cfg.db.pool, cfg["db.url"]
    (9, 'pg://h')
    >>> cfg.explain("db.pool").history
    (('an object', 5), ('cli db.pool', 9))
    """
    options: _Options = {"lists": lists, "strict": strict, "secrets": secrets, "ledger": ledger}
    made = _made(given, (env, cli), last_good, name, options)
    if isinstance(made, Error):
        given, cli, options["secrets"] = (), False, ()  # a traceback may be shown with a frame's variables
        raise made
    return made


class _Options(TypedDict):
    lists: Lists
    strict: bool
    secrets: Sequence[str]
    ledger: Ledger | None


def _made(
    given: Sequence[object],
    process: tuple[str | None, bool | Sequence[str]],
    last_good: Path | str | None,
    name: str,
    options: _Options,
) -> Config[Any] | Error:
    """Gives the configuration, or the error without the frames in which values were read."""
    try:
        from modelkeep.configuration.config import Config

        if given and isinstance(given[0], type):
            from modelkeep.configuration.validate import Schema
    except ModuleNotFoundError as error:
        hint = "pip install 'modelkeep[config]'"
        return BadInput(f"mk.config needs {error.name}, which the plain package leaves out", hint=hint)
    ledger = options["ledger"]
    sources: list[Source] = []
    try:
        schema: Schema[Any] | None = Schema(given[0]) if given and isinstance(given[0], type) else None
        sources += _sources(given[1:] if schema is not None else given, *process)
        if ledger is None and Ledgers.default is not None:
            ledger = Ledgers.default(name or (schema.kind.__name__ if schema is not None else "config"))
            options["ledger"] = ledger
        kept = None
        if last_good is not None:
            from modelkeep.configuration.lastgood import LastGood

            kept = LastGood.open(Path(last_good))
        return Config(sources, schema=schema, last_good=kept, **options)
    except Error as error:
        if ledger is not None and sources:
            _refused(ledger, sources, error)
        return bare(error)


def _sources(given: Sequence[object], env: str | None, cli: bool | Sequence[str]) -> list[Source]:
    from modelkeep.configuration.source import open_sources

    sources = [source for one in given for source in open_sources(one, prefix=env or "")]
    if env is not None:
        from modelkeep.configuration.sources.environment import Environment

        sources.append(Environment(env))
    if cli is not False:
        from modelkeep.configuration.sources.dotlist import Dotlist

        sources.append(Dotlist(sys.argv[1:] if cli is True else cli, loose=cli is True))
    return sources


def _refused(ledger: Ledger, sources: Sequence[Source], error: Error) -> None:
    from modelkeep.configuration.change import Change

    names = ", ".join(source.name for source in sources)
    ledger.record(Change(at_ns=time.time_ns(), state="rejected", hash="", source=names, error=error.message))
