"""What is secret, how it is named, and how it is kept out of sight."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from itertools import pairwise
from typing import Final

from modelkeep.configuration.tree import Mark, above, join
from modelkeep.core.secret import PREFIX, Secret, resolve

MASK: Final = "***"
_WORDS: Final = frozenset(
    {"password", "passwd", "pwd", "passphrase", "secret", "secrets", "token", "apikey", "credential", "credentials"}
)
_PAIRS: Final = frozenset(
    {
        ("api", "key"),
        ("access", "key"),
        ("account", "key"),
        ("private", "key"),
        ("secret", "key"),
        ("connection", "string"),
    }
)
_SPLIT: Final = re.compile(r"[^A-Za-z0-9]+|(?<=[a-z0-9])(?=[A-Z])")
_CREDENTIALS: Final = re.compile(r"([a-zA-Z][a-zA-Z0-9+.-]*://)([^/\s:@]*):([^/\s@]+)@")


def is_secret(key: str, extra: Sequence[str] = ()) -> bool:
    """Says whether a key's name tells that its value is secret.

    Args:
        key: dotted.
        extra: further names that are secret, whole keys or last parts.

    >>> is_secret("db.password"), is_secret("aws.secretAccessKey"), is_secret("APP_API_KEY"), is_secret("tokenizer")
    (True, True, True, False)
    """
    if key in extra or key.rpartition(".")[2] in extra:
        return True
    words = [word.lower() for word in _SPLIT.split(key.rpartition(".")[2]) if word]
    return not _WORDS.isdisjoint(words) or any(pair in _PAIRS for pair in pairwise(words))


def is_hidden(key: str, keys: Collection[str] = ()) -> bool:
    """Says whether a value is not to be shown: its key, or one above it, is among the keys or named like a secret.

    >>> is_hidden("credentials.user"), is_hidden("db.pool", {"db"}), is_hidden("db.pool")
    (True, True, False)
    """
    while key:
        if key in keys or is_secret(key):
            return True
        key = above(key)
    return False


def reference(text: str) -> str:
    """Gives the name in `secret:NAME`, or an empty text."""
    return text.removeprefix(PREFIX) if text.startswith(PREFIX) else ""


def reveal(name: str) -> str:
    """Gives the secret of a name.

    Raises:
        Missing: there is none; the message has the name, never a value.
    """
    return find(name).reveal()


def find(name: str) -> Secret:
    """Finds a secret by its name."""
    return resolve(f"{PREFIX}{name}")


def mask_url(text: str) -> str:
    """Gives a text with the passwords of its addresses masked.

    >>> mask_url("postgresql://ann:hunter2@host/db")
    'postgresql://ann:***@host/db'
    """
    return _CREDENTIALS.sub(rf"\1\2:{MASK}@", text)


def mask_text(text: str, values: Collection[str]) -> str:
    """Gives a text without the given values and without the passwords of addresses."""
    for value in sorted((value for value in values if len(value) > 3), key=len, reverse=True):
        text = text.replace(value, MASK)
    return mask_url(text)


def mask_tree(node: object, keys: Collection[str], values: Collection[str] = (), key: str = "") -> object:
    """Gives a tree whose secret values are masked: those under the keys, those named like secrets, and their copies.

    >>> mask_tree({"db": {"password": "hunter2", "url": "pg://a:hunter2@h/d"}}, set(), ["hunter2"])
    {'db': {'password': '***', 'url': 'pg://a:***@h/d'}}
    """
    if isinstance(node, Mapping):
        return {name: mask_tree(value, keys, values, join(key, str(name))) for name, value in node.items()}
    if isinstance(node, list | tuple):
        return [mask_tree(value, keys, values, join(key, place)) for place, value in enumerate(node)]
    if node is not None and not isinstance(node, bool) and is_hidden(key, keys):
        return MASK
    return mask_text(node, values) if isinstance(node, str) else node


def secret_mark(mark: Mark) -> Mark:
    """Gives a place without the value that a command line shows: `cli db.password=…`."""
    name, sign, _ = mark.source.partition("=")
    return Mark(f"{name}={MASK}", mark.line) if sign and is_secret(name) else Mark(mask_url(mark.source), mark.line)
