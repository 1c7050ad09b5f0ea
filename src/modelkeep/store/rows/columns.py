"""Brings batches, whose columns may differ, to the columns that the row engine keeps."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, NamedTuple, cast

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from modelkeep.core.errors import BadInput
from modelkeep.core.layouts import EVENT, FACT, FEATURE, LOG, PREDICTION, REFERENCE, SCORES, Layout

if TYPE_CHECKING:
    Column = pa.ChunkedArray[Any] | pa.Array[Any]

Types = dict[str, str]
"""What a model's loose columns hold, as decided when each was first seen: `double` or `string`."""

_WHERE: Final[Layout] = (("seq", "int64"), ("row", "int64"), ("time", "time"))
_WHOSE: Final[Layout] = (("model", "string"), ("version", "string"), ("release", "string"))

FIXED: Final[dict[str, Layout]] = {
    "prediction": (*PREDICTION, *_WHOSE, ("misfits", "string"), *_WHERE),
    "reference": (("at", "int64"), *REFERENCE, *_WHOSE, ("misfits", "string"), *_WHERE),
    "fact": (*FACT, *_WHERE),
    "event": (*EVENT, *_WHERE),
    "log": (*LOG, *_WHERE),
}
"""The columns that every file of a kind has. `seq` and `row` say which journal entry brought a row and where in it
it stood; `time` is `at` in µs as a timestamp, for readers that do not count ns. A reference's `at` is its arrival."""

PER_MODEL: Final = frozenset({"prediction", "reference"})
LOOSE: Final = "prediction"
ARROW: Final[Mapping[str, pa.DataType]] = {
    "string": pa.string(),
    "double": pa.float64(),
    "int64": pa.int64(),
    "bool": pa.bool_(),
    "time": pa.timestamp("us", "UTC"),
}

_NUMBER: Final = r"^-?\d{1,400}(\.\d{1,400})?([eE][-+]?\d{1,9})?$|^-?Infinity$|^NaN$"


class Stream(NamedTuple):
    """One kind of rows of one model; the model is empty for kinds that are not kept per model."""

    kind: str
    model: str

    @property
    def key(self) -> str:
        """The stream as one text."""
        return f"{self.kind}/{self.model}"


@dataclass(frozen=True, slots=True)
class Whose:
    """Whose rows a batch holds; empty texts for kinds that do not belong to one model."""

    model: str = ""
    version: str = ""
    release: str = ""


@dataclass(frozen=True, slots=True)
class Shaped:
    """Rows in the engine's columns.

    Args:
        table: the fixed columns of the kind, then the loose ones.
        types: the model's types with what these rows added.
        misfits: column → values that did not fit its type and went to the column `misfits`.
    """

    table: pa.Table
    types: Types
    misfits: dict[str, int] = field(default_factory=dict)


def shaped(kind: str, table: pa.Table, whose: Whose, places: pa.Table, types: Mapping[str, str]) -> Shaped:
    """Gives rows in the columns of their kind.

    A loose column (`features.*`, `prediction`) is numeric or text as its first rows with a value were. Numbers and
    bools become double. In a numeric column a text that reads as a number becomes it; any other becomes null and
    stands in `misfits`. In a text column a number becomes text.

    Args:
        kind: one of `FIXED`.
        table: rows of one schema, columns as in `core.layouts`.
        whose: model, version and release of all rows.
        places: `seq`, `row` and `received` (ns), one row per row of `table`.
        types: what is known of the model's loose columns so far.

    Raises:
        BadInput: a column cannot be what its layout says.

    >>> rows = pa.table({"id": ["a", "b"], "at": [1, 2], "features.age": ["7", "old"]})
    >>> places = pa.table({"seq": [1, 1], "row": [0, 1], "received": [5, 5]})
    >>> found = shaped("prediction", rows, Whose("churn"), places, {"features.age": "double"})
    >>> found.table["features.age"].to_pylist(), found.table["misfits"].to_pylist()
    ([7.0, None], [None, '{"features.age": "old"}'])
    """
    try:
        return _shaped(kind, table, whose, places, types)
    except (pa.ArrowException, KeyError) as error:
        raise BadInput(f"a batch of kind {kind}, model {whose.model!r} does not fit: {error}") from error


def _shaped(kind: str, table: pa.Table, whose: Whose, places: pa.Table, types: Mapping[str, str]) -> Shaped:
    columns = {name: _fixed(name, form, table, whose, places) for name, form in FIXED[kind] if name != "misfits"}
    if kind not in PER_MODEL:
        return Shaped(table_of(columns), {})
    known, misfits = dict(types), dict[str, dict[int, str]]()
    for name in table.column_names:
        if name.startswith(SCORES):
            known[name] = "double"
            columns[name] = _cast(table[name], "double")
        elif (name.startswith(FEATURE) or name == LOOSE) and table[name].null_count < table.num_rows:
            columns[name], unfit = _typed(name, table[name], known)
            if unfit:
                misfits[name] = unfit
    columns["misfits"] = _told(misfits, table.num_rows)
    return Shaped(table_of(columns), known, {name: len(values) for name, values in misfits.items()})


def _fixed(name: str, form: str, table: pa.Table, whose: Whose, places: pa.Table) -> Column:
    if name in {"seq", "row"}:
        return places[name]
    if name == "time":
        return cast("Column", pa.array(whole(_at(table, places)) // 1000, pa.int64()).cast(ARROW["time"]))
    if name == "at":
        return _at(table, places)
    if name in {"version", "release"} or (name == "model" and whose.model):
        return cast("Column", pa.repeat(pa.scalar(getattr(whose, name), pa.string()), table.num_rows))
    return _cast(table[name], form) if name in table.column_names else nothing(form, table.num_rows)


def table_of(columns: Mapping[str, Column]) -> pa.Table:
    """Gives a table of columns, chunked or not.

    >>> table_of({"a": pa.array([1])}).num_rows
    1
    """
    return pa.Table.from_arrays(list(columns.values()), names=list(columns))


def whole(column: Column) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    """Gives a column of whole numbers without nulls as an array.

    >>> whole(pa.array([1, 2])).tolist()
    [1, 2]
    """
    return np.asarray(column.to_numpy(zero_copy_only=False), np.int64)


def nothing(form: str, rows: int) -> Column:
    """Gives a column of nulls; `form` is a key of `ARROW`.

    >>> nothing("double", 1).type
    DataType(double)
    """
    return cast("Column", pa.nulls(rows, ARROW[form]))  # type: ignore[call-overload]


def _cast(column: Column, form: str) -> Column:
    return column if column.type == ARROW[form] else cast("Column", pc.cast(column, ARROW[form], safe=False))


def _at(table: pa.Table, places: pa.Table) -> Column:
    if "at" not in table.column_names:
        return places["received"]
    at = _cast(table["at"], "int64")
    return pc.coalesce(at, places["received"]) if at.null_count else at


def _typed(name: str, column: Column, types: Types) -> tuple[Column, dict[int, str]]:
    if isinstance(column.type, pa.DictionaryType):
        column = cast("Column", pc.cast(column, column.type.value_type))
    kind = column.type
    number = pa.types.is_floating(kind) or pa.types.is_integer(kind) or pa.types.is_boolean(kind)
    if types.setdefault(name, "double" if number else "string") == "string":
        return _cast(column, "string"), {}
    return (_cast(column, "double"), {}) if number else _numbers(_cast(column, "string"))


def _numbers(column: Column) -> tuple[Column, dict[int, str]]:
    """Gives the numbers that texts say, and the texts that say none by their row."""
    texts = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    plain = pc.replace_substring_regex(pc.replace_substring_regex(texts, "^true$", "1"), "^false$", "0")
    good = pc.match_substring_regex(plain, _NUMBER).fill_null(True)
    kept = pc.if_else(good, plain, pa.scalar(None, pa.string()))
    rows = np.flatnonzero(~np.asarray(good.to_numpy(zero_copy_only=False))).tolist()
    unfit = [str(text) for text in texts.take(pa.array(rows, pa.int64())).to_pylist()]
    return cast("Column", pc.cast(kept, pa.float64())), dict(zip(rows, unfit, strict=True))


def _told(misfits: Mapping[str, Mapping[int, str]], rows: int) -> Column:
    if not misfits:
        return nothing("string", rows)
    found: dict[int, dict[str, str]] = {}
    for name, values in misfits.items():
        for row, value in values.items():
            found.setdefault(row, {})[name] = value
    texts = [json.dumps(found[row], ensure_ascii=False) if row in found else None for row in range(rows)]
    return pa.array(texts, pa.string())
