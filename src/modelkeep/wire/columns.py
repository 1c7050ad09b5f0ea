"""Lists of scalars, as senders give them, become Arrow columns; a whole column at a time."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Final, TypeAlias, cast

import pyarrow as pa

from modelkeep.core.encoding import Scalar
from modelkeep.core.errors import BadInput
from modelkeep.core.layouts import KINDS
from modelkeep.core.shapes import Part

Column: TypeAlias = "pa.Array[pa.Scalar[pa.DataType]]"
"""One column of a batch."""

_KEPT: Final = (pa.float64(), pa.string(), pa.bool_())
_TYPES: Final[dict[str, pa.DataType]] = {
    "string": pa.string(),
    "int64": pa.int64(),
    "double": pa.float64(),
    "bool": pa.bool_(),
}
_LOWEST: Final = -(1 << 63)
_HIGHEST: Final = (1 << 63) - 1


def scalars(values: Sequence[Scalar], what: str) -> Column:
    """Gives a column of values that may be anything a feature may be.

    Bools give bool, numbers double (integers beyond 2^53 lose their last digits), text string; bools among
    numbers become 0 and 1; text among anything else makes all of it text, as JSON writes it. All null is double.

    Args:
        values: shape (n,).
        what: which column, for the message.

    Raises:
        BadInput: a number is beyond double, or a text is not valid Unicode.

    >>> scalars([1, 2.5, None, True], "feature x").to_pylist()
    [1.0, 2.5, None, 1.0]
    >>> scalars([1, "a", True], "feature x").to_pylist()
    ['1', 'a', 'true']
    """
    try:
        found: Column = pa.array(cast("Sequence[float | None]", values))
    except (pa.ArrowException, OverflowError, ValueError, TypeError):
        return _mixed(values, what)
    if pa.types.is_int64(found.type) or pa.types.is_null(found.type):
        return found.cast(pa.float64(), safe=False)
    return found if found.type in _KEPT else _mixed(values, what)


def _mixed(values: Sequence[Scalar], what: str) -> Column:
    """A column of values that Arrow does not put together by itself."""
    if any(isinstance(value, str) for value in values):
        return column([None if value is None else as_text(value) for value in values], "string", what)
    return column([None if value is None else _double(value, what) for value in values], "double", what)


def as_text(value: bool | float | str) -> str:
    """Gives a scalar as text: text itself, everything else as JSON writes it.

    >>> as_text(True), as_text("a"), as_text(1.5)
    ('true', 'a', '1.5')
    """
    return value if isinstance(value, str) else json.dumps(value)


def _double(value: Scalar, what: str) -> float:
    try:
        return float(value or 0)
    except OverflowError:
        raise BadInput(f"{what}: a whole number beyond 1.8e308") from None


def column(values: Sequence[object], type_name: str, what: str) -> Column:
    """Gives a column of one type.

    Args:
        values: shape (n,); None is null.
        type_name: string, int64, double or bool.
        what: which column, for the message.

    Raises:
        BadInput: a value does not fit the type; the message names its row.

    >>> column([1, None], "int64", "at").to_pylist()
    [1, None]
    """
    try:
        return pa.array(values, _TYPES[type_name])
    except (pa.ArrowException, OverflowError, ValueError, TypeError):
        row = next((row for row, value in enumerate(values) if not _fits(value, type_name)), 0)
        raise BadInput(f"{what} row {row}: the value does not fit {type_name}") from None


def _fits(value: object, type_name: str) -> bool:
    try:
        pa.array([value], _TYPES[type_name])
    except (pa.ArrowException, OverflowError, ValueError, TypeError):
        return False
    return True


def times(values: Sequence[int], what: str) -> Column:
    """Gives a column of times.

    Raises:
        BadInput: a time is not within 64 bits of ns (years 1677 to 2262).

    >>> times([1 << 64], "event at")
    Traceback (most recent call last):
    modelkeep.core.errors.BadInput: event at row 0: 18446744073709551616 is not a time in ns
    """
    try:
        return pa.array(values, pa.int64())
    except (pa.ArrowException, OverflowError):
        row = next(row for row, value in enumerate(values) if not _LOWEST <= value <= _HIGHEST)
        raise BadInput(f"{what} row {row}: {values[row]} is not a time in ns") from None


def batch(kind: str, columns: dict[str, Column], meta: dict[str, str] | None = None) -> Part:
    """Gives one part of a kind.

    Args:
        kind: a key of `core.layouts.KINDS`.
        columns: the fixed columns in any order, and the kind's variable ones.
        meta: the schema's metadata.

    >>> batch("event", {name: column([], kind, name) for name, kind in KINDS["event"]}).batch.num_rows
    0
    """
    fixed = [name for name, _ in KINDS[kind]]
    order = [*fixed, *(name for name in columns if name not in set(fixed))]
    schema = pa.schema(
        [pa.field(name, columns[name].type) for name in order],
        metadata={key.encode(): value.encode() for key, value in (meta or {}).items()} or None,
    )
    return Part(kind, pa.record_batch([columns[name] for name in order], schema=schema))


def even(lengths: dict[str, int], what: str) -> int:
    """Gives the length that all columns share.

    Raises:
        BadInput: two columns differ; the message names one and its length.

    >>> even({"ids": 2, "at": 3}, "facts")
    Traceback (most recent call last):
    modelkeep.core.errors.BadInput: facts: column at has 3 values, ids has 2
    """
    first, rows = next(iter(lengths.items()))
    for name, length in lengths.items():
        if length != rows:
            raise BadInput(f"{what}: column {name} has {length} values, {first} has {rows}")
    return rows
