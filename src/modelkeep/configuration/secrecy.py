"""What is secret, how it is named, and how it is kept out of sight."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Collection, Mapping, Sequence
from functools import lru_cache
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path
from typing import Final

from modelkeep.configuration.tree import Mark, above, join, leaves
from modelkeep.core.errors import BadInput, Missing
from modelkeep.core.secret import PREFIX, Secret, resolve

MASK: Final = "***"
KEY: Final = "MODELKEEP_SECRET_KEY"
"""The variable with the key of what is kept of secrets."""
SHORTEST_KEY: Final = 16
_WORDS: Final = frozenset(
    {
        *("password", "passwords", "passwd", "pwd", "passphrase", "secret", "secrets", "token", "apikey"),
        *("credential", "credentials", "privatekey", "accesskey", "secretkey"),
    }
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
_SPLIT: Final = re.compile(r"[^A-Za-z0-9]+|(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")
_CREDENTIALS: Final = re.compile(r"([a-zA-Z][a-zA-Z0-9+.-]*://)([^/\s:@]*):(?!\d{1,5}/)(\S+)@")
_PARAMETER: Final = re.compile(r"([?&;])([A-Za-z0-9_.-]+)=([^&;\s#'\"]+)")
_FOLDER: Final = "MODELKEEP_SECRETS"
_MOUNTED: Final = "/run/secrets"
_AWS: Final = "aws:"


def is_secret(key: str, extra: Sequence[str] = ()) -> bool:
    """Says whether a key's name tells that its value is secret.

    Args:
        key: dotted.
        extra: further names that are secret, whole keys or last parts.

    >>> is_secret("db.password"), is_secret("aws.secretAccessKey"), is_secret("APP_API_KEY"), is_secret("tokenizer")
    (True, True, True, False)
    """
    last = key.rpartition(".")[2]
    return key in extra or last in extra or _named_secret(last)


@lru_cache(maxsize=8192)
def _named_secret(name: str) -> bool:
    words = [word.lower() for word in _SPLIT.split(name) if word]
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
    """Finds a secret by its name: in the environment, in a file, in the keyring, or at AWS when it begins with `aws:`.

    Raises:
        Missing: it is nowhere.
        BadInput: this is no name.
    """
    if name.startswith(_AWS):
        return _at_aws(name.removeprefix(_AWS))
    folder = Path(os.environ.get(_FOLDER, _MOUNTED))
    try:
        return resolve(f"{PREFIX}{name}", folder=folder)
    except Missing as error:
        kept = _in_keyring(name)
        if kept is not None:
            return kept
        raise Missing(error.message, hint=f"{error.hint} Or: keyring set modelkeep {name}") from None


def _in_keyring(name: str) -> Secret | None:
    if find_spec("keyring") is None:
        return None
    import keyring
    from keyring.errors import KeyringError

    try:
        found = keyring.get_password("modelkeep", name)
    except (KeyringError, OSError):  # none is set up, or it is locked: as good as absent
        return None
    return Secret(found) if found is not None else None


def _at_aws(name: str) -> Secret:
    """One secret of Secrets Manager; `prod/db#password` is a member of one whose text is a JSON object."""
    from modelkeep.configuration import aws

    identity, _, member = name.partition("#")
    shown = f"{PREFIX}{_AWS}{name}"
    text = aws.secret_text(identity, shown)
    if text is not None and member:
        try:
            text = json.loads(text)[member]
        except (ValueError, KeyError, TypeError):
            raise BadInput(f"{shown}: the secret has no member {member!r}", hint="Its text is a JSON object?") from None
    if not isinstance(text, str):
        raise BadInput(f"{shown} is no text", hint="Store a text, or name a member: secret:aws:NAME#member")
    return Secret(text)


def mask_url(text: str) -> str:
    """Gives a text with the passwords of its addresses masked.

    >>> mask_url("postgresql://ann:hunter2@host/db")
    'postgresql://ann:***@host/db'
    >>> mask_url("https://host/app?token=hunter2&raw=1")
    'https://host/app?token=***&raw=1'
    """
    if "://" not in text:
        return text
    text = _CREDENTIALS.sub(rf"\1\2:{MASK}@", text)
    return _PARAMETER.sub(lambda found: f"{found[1]}{found[2]}={MASK if is_secret(found[2]) else found[3]}", text)


def mask_text(text: str, values: Collection[str]) -> str:
    """Gives a text without the given values and without the passwords of addresses."""
    if values:
        for value in sorted((value for value in values if len(value) > 3), key=len, reverse=True):
            text = text.replace(value, MASK)
    return mask_url(text)


def mask_tree(node: object, keys: Collection[str], values: Collection[str] = (), key: str = "") -> object:
    """Gives a tree whose secret values are masked: those under the keys, those named like secrets, and their copies.

    >>> mask_tree({"db": {"password": "hunter2", "url": "pg://a:hunter2@h/d"}}, set(), ["hunter2"])
    {'db': {'password': '***', 'url': 'pg://a:***@h/d'}}
    """
    return _masked(node, keys, values, key, is_hidden(key, keys))


def _masked(node: object, keys: Collection[str], values: Collection[str], key: str, hidden: bool) -> object:
    if isinstance(node, Mapping):
        return {name: _member(value, keys, values, join(key, str(name)), hidden) for name, value in node.items()}
    if isinstance(node, list | tuple):
        return [_member(value, keys, values, join(key, place), hidden) for place, value in enumerate(node)]
    if hidden and node is not None and not isinstance(node, bool):
        return MASK
    return mask_text(node, values) if isinstance(node, str) else node


def _member(node: object, keys: Collection[str], values: Collection[str], key: str, hidden: bool) -> object:
    return _masked(node, keys, values, key, hidden or key in keys or is_secret(key))


def secret_texts(tree: object, keys: Collection[str]) -> set[str]:
    """Gives the texts of all secret values of a tree; references to secrets are none.

    >>> secret_texts({"db": {"password": "hunter2", "pool": 5}}, ())
    {'hunter2'}
    """
    return {
        str(value)
        for key, value in leaves(tree)
        if value is not None and not isinstance(value, bool) and is_hidden(key, keys) and not reference(str(value))
    }


def secret_mark(mark: Mark) -> Mark:
    """Gives a place without the value that a command line shows: `cli db.password=…`."""
    name, sign, _ = mark.source.partition("=")
    return Mark(f"{name}={MASK}", mark.line) if sign and is_secret(name) else Mark(mask_url(mark.source), mark.line)
