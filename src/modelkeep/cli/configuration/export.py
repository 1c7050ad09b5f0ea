"""A configuration's tree as text that our own sources, and other programs, read back."""

from __future__ import annotations

import base64
import json
import math
import re
from collections.abc import Iterator, Mapping
from datetime import date
from typing import Final

from modelkeep.core.errors import BadInput

FORMATS: Final = ("yaml", "json", "toml", "env")
_BARE: Final = re.compile(r"[A-Za-z0-9_-]+\Z")
_PLAIN: Final = re.compile(r"[A-Za-z0-9_./:@%+,-]+\Z")


def written(tree: Mapping[str, object], kind: str, *, prefix: str = "") -> str:
    """Gives a tree as text.

    Args:
        tree: plain values.
        kind: one of `FORMATS`.
        prefix: how the names of variables begin; for `env` only.

    Raises:
        BadInput: the format has no way to write a value.

    >>> print(written({"a": {"b": [1, None], "c": "007"}}, "env", prefix="APP_"), end="")
    APP_A__B='[1, null]'
    APP_A__C='"007"'
    """
    if kind == "json":
        return json.dumps(tree, indent=2, ensure_ascii=False, default=_other) + "\n"
    if kind == "toml":
        return "\n".join(_toml(tree, "")).strip() + "\n"
    if kind == "env":
        return "".join(f"{line}\n" for line in _variables(tree, prefix))
    return _yaml(json.loads(json.dumps(tree, default=_other)))


def _yaml(tree: Mapping[str, object]) -> str:
    """Gives YAML in which a text is quoted where our reader, or the writer's own idea of YAML, takes it for more."""
    import yaml

    class Dumper(yaml.SafeDumper):
        """The safe one, with texts of ours."""

    def text(dumper: yaml.SafeDumper, value: str) -> yaml.ScalarNode:
        return dumper.represent_scalar("tag:yaml.org,2002:str", value, style=None if _is_text(value) else '"')

    Dumper.add_representer(str, text)
    return yaml.dump(tree, Dumper=Dumper, sort_keys=False, allow_unicode=True, width=1000)


def _other(value: object) -> object:
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    return value.isoformat() if isinstance(value, date) else str(value)


def _toml(table: Mapping[str, object], path: str) -> Iterator[str]:
    """Gives the lines of one table: its values first, then the tables in it.

    Source: https://toml.io/en/v1.0.0
    """
    inner = {name: value for name, value in table.items() if isinstance(value, Mapping)}
    for name, value in table.items():
        if name not in inner:
            yield f"{_name(name)} = {_value(value, f'{path}.{name}')}"
    for name, value in inner.items():
        full = f"{path}.{_name(name)}" if path else _name(name)
        yield ""
        yield f"[{full}]"
        yield from _toml(value, full)


def _name(name: object) -> str:
    text = str(name)
    return text if _BARE.match(text) else _text(text)


def _text(text: str) -> str:
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def _value(value: object, path: str) -> str:
    if value is None:
        raise BadInput(f"{path.strip('.')}: TOML has no null", hint="Export yaml or json, or give a value.")
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return repr(value) if math.isfinite(value) else str(value)
    if isinstance(value, int):
        return str(value)
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{_name(name)} = {_value(one, path)}" for name, one in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(_value(one, path) for one in value) + "]"
    return _text(value if isinstance(value, str) else str(_other(value)))


def _variables(tree: Mapping[str, object], name: str) -> Iterator[str]:
    """Gives `NAME=value` lines; two underscores stand between the parts of a key."""
    for key, value in tree.items():
        full = f"{name}{str(key).upper()}"
        if isinstance(value, Mapping) and value:
            yield from _variables(value, f"{full}__")
        else:
            yield f"{full}={_quoted(_read_back(value))}"


def _read_back(value: object) -> str:
    """Gives the text that our sources read as this value."""
    if isinstance(value, str) and _is_text(value):
        return value
    return json.dumps(value, ensure_ascii=False, default=_other)


def _is_text(value: str) -> bool:
    """Says whether our sources read a text as itself."""
    from modelkeep.configuration.scalars import scalar
    from modelkeep.configuration.tree import Mark

    try:
        return scalar(value, Mark("")) == value
    except BadInput:
        return False


def _quoted(text: str) -> str:
    if not text or _PLAIN.match(text):
        return text
    slashed = text.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{slashed}'"
