"""What one body may hold, and the checks of names: length, control characters, counts."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from modelkeep.core.errors import BadInput

_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
_METRIC: Final = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]*\Z")
_LABEL: Final = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*\Z")


@dataclass(frozen=True, slots=True)
class Limits:
    """Caps on one decoded body.

    Args:
        name_length: characters of a model, version, feature, class, event or label name.
        id_length: characters of a prediction's id, a user or a token.
        features: features of one model in one batch.
        classes: classes with a score in one batch.
        labels: labels of one series.
        label_length: characters of a label's value.
        rows: rows of one kind in one body.
        depth: nesting of JSON in properties and attributes.
        keys: keys in one JSON object of properties or attributes, all levels together.
    """

    name_length: int = 200
    id_length: int = 512
    features: int = 2_000
    classes: int = 1_000
    labels: int = 64
    label_length: int = 2_048
    rows: int = 1_000_000
    depth: int = 16
    keys: int = 256


STANDARD: Final = Limits()
"""The caps in force."""


def show(text: str) -> str:
    r"""Gives a text for a message: quoted, escaped, at most 60 characters of it.

    >>> show("a\x1b[31m" + "x" * 100)
    "'a\\x1b[31mxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx…'"
    """
    return repr(text if len(text) <= 60 else text[:60] + "…")


def name(text: str, what: str, *, empty: bool = False, limits: Limits = STANDARD) -> str:
    r"""Gives the name back when it is one.

    Args:
        text: the name.
        what: whose name, for the message.
        empty: whether it may be empty.
        limits: the caps.

    Raises:
        BadInput: it is empty, too long or holds a control character.

    >>> name("credit-risk", "model")
    'credit-risk'
    >>> name("a\nb", "model")
    Traceback (most recent call last):
    modelkeep.core.errors.BadInput: model 'a\nb': a name holds no control characters
    """
    if not text and not empty:
        raise BadInput(f"{what}: the name is empty", hint="Give it a name.")
    if len(text) > limits.name_length:
        raise BadInput(f"{what} {show(text)}: {len(text)} characters, at most {limits.name_length} are allowed")
    if not (text.isascii() and text.isprintable()) and _CONTROL.search(text):
        raise BadInput(f"{what} {show(text)}: a name holds no control characters")
    return text


def names(texts: Iterable[str], what: str, *, most: int, limits: Limits = STANDARD) -> None:
    """Checks many names and how many they are.

    Raises:
        BadInput: one of them is no name, or there are more than `most`.
    """
    count = 0
    for count, text in enumerate(texts, 1):  # noqa: B007
        name(text, what, limits=limits)
    if count > most:
        raise BadInput(f"{what}: {count} names, at most {most} are allowed", hint="Send fewer, or group them.")


def ids(texts: list[str], what: str, *, empty: bool = False, limits: Limits = STANDARD) -> None:
    """Checks the length of every id.

    Args:
        texts: one id per row.
        what: whose ids, for the message.
        empty: whether an id may be empty.
        limits: the caps.

    Raises:
        BadInput: an id is empty or too long; the message names its row.
    """
    if not texts:
        return
    lengths = list(map(len, texts))
    if not empty and min(lengths) == 0:
        raise BadInput(f"{what} row {lengths.index(0)}: the id is empty")
    if max(lengths) > limits.id_length:
        row = lengths.index(max(lengths))
        raise BadInput(f"{what} row {row}: an id of {lengths[row]} characters, at most {limits.id_length} are allowed")


def series(pairs: dict[str, str], what: str, *, limits: Limits = STANDARD) -> None:
    """Checks the labels of one series, `__name__` included.

    Raises:
        BadInput: a name is not one Prometheus takes, or a cap is passed.

    Source: https://prometheus.io/docs/concepts/data_model/
    """
    if not _METRIC.match(pairs.get("__name__", "")):
        raise BadInput(
            f"{what}: {show(pairs.get('__name__', ''))} is not a metric name",
            hint="Letters, digits, _ and :, not beginning with a digit.",
        )
    if len(pairs) > limits.labels + 1:
        raise BadInput(f"{what}: {len(pairs) - 1} labels, at most {limits.labels} are allowed")
    for label, value in pairs.items():
        if not _LABEL.match(label) or len(label) > limits.name_length:
            raise BadInput(f"{what}: {show(label)} is not a label name", hint="Letters, digits and _.")
        if len(value) > limits.label_length:
            raise BadInput(f"{what}: label {label} is {len(value)} characters, at most {limits.label_length}")
