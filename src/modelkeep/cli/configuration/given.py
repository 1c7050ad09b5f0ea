"""Sources and a schema as people give them on a command line."""

from __future__ import annotations

import importlib
import os
import re
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal, TypeVar

import click

from modelkeep.cli.extra import need
from modelkeep.core.errors import BadInput

if TYPE_CHECKING:
    from modelkeep.configuration.config import Config

F = TypeVar("F", bound=Callable[..., object])
_OVERRIDE: Final = re.compile(r"[A-Za-z_][\w-]*(?:\.[\w-]+|\[-?\w+\])*=")
_LISTS: Final = ("replace", "extend", "extend_unique")


@dataclass(frozen=True, slots=True)
class Given:
    """What one configuration is to be made of.

    Args:
        words: paths, patterns and addresses in order, and `key=value` pairs, which win.
        env: prefix of environment variables; None takes none.
        schema: `module:Class`, or empty.
        lists: what a later list does to an earlier one.
        loose: whether keys that the schema does not have are let in.
        secrets: further keys whose values are never shown.
    """

    words: tuple[str, ...]
    env: str | None = None
    schema: str = ""
    lists: Literal["replace", "extend", "extend_unique"] = "replace"
    loose: bool = False
    secrets: tuple[str, ...] = ()

    def config(self, words: Sequence[str] | None = None) -> Config[Any]:
        """Gives the configuration; nothing is told to a server.

        Raises:
            BadInput: a source, the schema or the whole is wrong.
            Missing, Unreachable, Denied: a source cannot be read.
        """
        need("config", "omegaconf", "pydantic", "yaml")
        from modelkeep.configuration.history import Memory
        from modelkeep.configuration.make import config

        sources, pairs = parted(self.words if words is None else words)
        given: list[object] = [self.kind(), *sources] if self.schema else [*sources]
        return config(
            *given,
            env=self.env,
            cli=pairs or False,
            lists=self.lists,
            strict=not self.loose,
            secrets=self.secrets,
            ledger=Memory(),
        )

    def kind(self) -> type:
        """Gives the schema's class.

        Raises:
            BadInput: there is no such module or class.
        """
        module, sign, name = self.schema.partition(":")
        if not sign:
            raise BadInput(f"schema {self.schema!r} is not module:Class", hint="For example --schema app.settings:App.")
        if os.getcwd() not in sys.path:  # noqa: PTH109 - as Python itself writes it there
            sys.path.insert(0, os.getcwd())  # noqa: PTH109
        try:
            found = importlib.import_module(module)
            for part in name.split("."):
                found = getattr(found, part)
        except (ImportError, AttributeError, SyntaxError) as error:
            raise BadInput(f"schema {self.schema}: {error}", hint="Is it importable from this folder?") from None
        if not isinstance(found, type):
            raise BadInput(f"schema {self.schema} is no class", hint="Give a Pydantic model or a dataclass.")
        return found


def parted(words: Sequence[str]) -> tuple[list[str], list[str]]:
    """Gives the sources and the `key=value` pairs among words.

    >>> parted(["conf/base.yaml", "db.pool=9", "consul://127.0.0.1/app?dc=x"])
    (['conf/base.yaml', 'consul://127.0.0.1/app?dc=x'], ['db.pool=9'])
    """
    pairs = [word for word in words if _OVERRIDE.match(word) and not Path(word).exists()]
    return [word for word in words if word not in pairs], pairs


def source_options(required: bool = True) -> Callable[[F], F]:
    """Gives a decorator that adds the sources and their options to a command and hands them over as `given`."""

    def added(command: F) -> F:
        @click.argument("words", nargs=-1, required=required, metavar="SOURCE... [KEY=VALUE]...")
        @click.option("--env", metavar="PREFIX", help="Take environment variables that begin so: APP_DB__POOL.")
        @click.option("--schema", default="", metavar="MODULE:CLASS", help="Pydantic model or dataclass to check by.")
        @click.option("--lists", type=click.Choice(_LISTS), default="replace", show_default=True,
                      help="What a later list does to an earlier one.")  # fmt: skip
        @click.option("--loose", is_flag=True, help="Let keys in that the schema does not have.")
        @click.option("--secret", "secrets", multiple=True, metavar="KEY", help="A key never to be shown; repeatable.")
        @wraps(command)
        def with_given(
            words: tuple[str, ...],
            env: str | None,
            schema: str,
            lists: Literal["replace", "extend", "extend_unique"],
            loose: bool,
            secrets: tuple[str, ...],
            **rest: object,
        ) -> object:
            return command(given=Given(words, env, schema, lists, loose, secrets), **rest)

        return with_given  # type: ignore[return-value]

    return added
