"""Recognising what a caller calls a row or a table, without importing the libraries that make them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Protocol, cast

from modelkeep.core.errors import BadInput

if TYPE_CHECKING:
    from modelkeep.core.encoding import Scalar

SCALARS: Final = (str, bytes, int, float, bool, type(None))
Column = object
"""Something of one value per row: a list, or an array, Series or ChunkedArray that nobody else changes."""


class _Array(Protocol):
    shape: tuple[int, ...]

    def __getitem__(self, key: object) -> _Array: ...
    def copy(self) -> _Array: ...


@dataclass(slots=True)
class Table:
    """Rows as columns.

    Args:
        rows: how many.
        columns: name → one value per row.
    """

    rows: int
    columns: dict[str, Column] = field(default_factory=dict)


def row_of(features: object) -> dict[str, object] | None:
    """Gives one row as a new dict, or None when it is not a row.

    A row is a mapping, a named tuple, a dataclass, a pydantic or msgspec object, a Series, or a list, tuple or
    array of one dimension, whose values are then named f0, f1 ….

    >>> row_of({"a": 1}), row_of([0.5, 2])
    ({'a': 1}, {'f0': 0.5, 'f1': 2})
    """
    if isinstance(features, Mapping):
        return dict(features)
    if (fields := _object(features)) is not None:
        return fields
    shape = getattr(features, "shape", None)
    if shape is not None and len(shape) == 1:
        return _series(features)
    if isinstance(features, list | tuple) and not any(isinstance(value, Mapping | list | tuple) for value in features):
        return {f"f{index}": value for index, value in enumerate(features)}
    return None


def _object(features: object) -> dict[str, object] | None:
    if isinstance(features, type):
        return None
    for name in ("_asdict", "model_dump"):
        if hasattr(features, name):
            return dict(cast("Callable[[], Mapping[str, object]]", getattr(features, name))())
    if hasattr(features, "__struct_fields__"):
        return {name: getattr(features, name) for name in features.__struct_fields__}
    fields = getattr(features, "__dataclass_fields__", None)
    return None if fields is None else {name: getattr(features, name) for name in fields}


def table_of(features: object, rows: int | None = None) -> Table | None:
    """Gives a table as columns that the caller can no longer change, or None when it is not a table.

    A table is a DataFrame (pandas, polars, pyarrow), an array of two dimensions (columns f0, f1 …) or with named
    fields, a list of rows, or a mapping of columns.

    Args:
        features: what may be a table.
        rows: rows expected; a mapping is a table of columns only where each has this many.

    >>> table_of([{"a": 1}, {"a": 2, "b": 3}]).columns
    {'a': [1, 2], 'b': [None, 3]}
    """
    if isinstance(features, Mapping):
        return _mapping(features, rows)
    return _listed(features) if isinstance(features, list | tuple) else _foreign(features)


def _foreign(features: object) -> Table | None:
    names = getattr(features, "column_names", None)
    if names is not None and hasattr(features, "column"):
        return Table(int(features.num_rows), {str(name): features.column(i) for i, name in enumerate(names)})  # type: ignore[attr-defined]
    if hasattr(features, "get_columns") and hasattr(features, "height"):
        return Table(int(features.height), {str(column.name): column for column in features.get_columns()})
    if hasattr(features, "columns") and hasattr(features, "iloc"):
        return _frame(features)
    return _array(features)


def _array(features: object) -> Table | None:
    shape: tuple[int, ...] = tuple(getattr(features, "shape", ()))
    fields = getattr(getattr(features, "dtype", None), "names", None)
    array = cast("_Array", features)
    if fields and len(shape) == 1:
        return Table(shape[0], {str(name): array[name].copy() for name in fields})
    if len(shape) == 2:
        return Table(shape[0], {f"f{index}": array[:, index].copy() for index in range(shape[1])})
    return None


def length(values: object) -> int | None:
    """Gives how many values there are, or None for a single one.

    >>> length([1, 2]), length("text"), length(0.5)
    (2, None, None)
    """
    if isinstance(values, (*SCALARS, Mapping)):
        return None
    shape = getattr(values, "shape", None)
    if shape is not None:
        return int(shape[0]) if len(shape) else None
    return len(values) if hasattr(values, "__len__") else None


def keep(values: object) -> Column:
    """Gives values of one column that the caller can no longer change."""
    if hasattr(values, "to_numpy") and hasattr(values, "iloc"):
        return values.to_numpy(copy=True)
    if hasattr(values, "to_list") or hasattr(values, "to_pylist"):
        return values
    if hasattr(values, "shape") and hasattr(values, "copy"):
        return values.copy()
    return list(cast("Iterable[object]", values))


def listed(column: Column) -> list[object]:
    """Gives the values of one column as a list of Python values."""
    if isinstance(column, list):
        return column
    if getattr(getattr(column, "dtype", None), "kind", "") == "M" and hasattr(column, "astype"):
        return [str(moment) if moment is not None else None for moment in _moments(column)]
    for name in ("tolist", "to_list", "to_pylist"):
        if hasattr(column, name):
            return cast("list[object]", getattr(column, name)())
    return list(cast("Iterable[object]", column))


def split_scores(scores: object, rows: int) -> tuple[Column | None, dict[str, Column]]:
    """Gives the score of the positive class per row, or class → scores per row, from what a model answered.

    Args:
        scores: one number per row, an array of rows × classes (two columns: the second is the score), a mapping of
            class → scores, or None.
        rows: how many rows there must be.

    Raises:
        BadInput: there are not as many as rows.
    """
    if scores is None:
        return None, {}
    if isinstance(scores, Mapping):
        wrong = [name for name, values in scores.items() if length(values) != rows]
        if wrong:
            raise BadInput(f"{length(scores[wrong[0]])} scores of {wrong[0]!r} for {rows} rows", hint="Give one a row.")
        return None, {str(name): keep(values) for name, values in scores.items()}
    if length(scores) != rows:
        raise BadInput(f"{length(scores)} scores for {rows} rows", hint="Give one score per row.")
    shape: Sequence[int] = getattr(scores, "shape", ())
    if len(shape) == 2:
        array = cast("_Array", scores)
        if shape[1] <= 2:
            return keep(array[:, shape[1] - 1]), {}
        return None, {str(index): keep(array[:, index]) for index in range(shape[1])}
    return keep(scores), {}


def _moments(column: object) -> list[object]:
    moments = cast("Callable[[str], object]", getattr(column, "astype"))("datetime64[us]")  # noqa: B009
    return [
        moment.isoformat() if hasattr(moment, "isoformat") else None
        for moment in cast("Iterable[object]", getattr(moments, "tolist")())  # noqa: B009
    ]


def _series(features: object) -> dict[str, object] | None:
    if hasattr(features, "items") and hasattr(features, "index"):
        return {str(name): value for name, value in features.items()}
    dtype = getattr(features, "dtype", None)
    if getattr(dtype, "names", None):
        return None
    values = listed(features)
    return {f"f{index}": value for index, value in enumerate(values)}


def _frame(features: object) -> Table:
    names = [str(name) for name in features.columns]  # type: ignore[attr-defined]
    at = features.iloc  # type: ignore[attr-defined]
    columns = {name: at[:, index].to_numpy(copy=True) for index, name in enumerate(names)}
    return Table(int(features.shape[0]), columns)  # type: ignore[attr-defined]


def _mapping(features: Mapping[object, object], rows: int | None) -> Table | None:
    lengths = {length(values) for values in features.values()}
    if None in lengths or len(lengths) != 1:
        return None
    found = cast("int", lengths.pop())
    if rows is not None and rows != found:
        return None
    return Table(found, {str(name): keep(values) for name, values in features.items()})


def _listed(features: Sequence[object]) -> Table | None:
    if not features or not all(isinstance(row, Mapping | list | tuple) or hasattr(row, "_asdict") for row in features):
        return None
    rows = [cast("Mapping[str, Scalar]", row_of(row) or {}) for row in features]
    names = dict.fromkeys(name for row in rows for name in row)
    return Table(len(rows), {str(name): [row.get(name) for row in rows] for name in names})
