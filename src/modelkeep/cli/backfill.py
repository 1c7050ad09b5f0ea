"""History from a file of predictions: columns mapped to fields, sent in envelopes whose tokens repeat with the file."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds

from modelkeep.core.encoding import Envelope, Facts, Predictions, Scalar
from modelkeep.core.errors import BadInput
from modelkeep.core.times import datetime_ns, time_ns

ROWS: Final = 2_000


@dataclass(frozen=True, slots=True)
class Columns:
    """Which column of the file is what; an empty name means the file has no such column.

    Args:
        features: the feature columns; empty means every column that has no other part.
    """

    id: str
    at: str
    prediction: str
    score: str = ""
    label: str = ""
    label_at: str = ""
    features: tuple[str, ...] = ()

    def named(self) -> list[str]:
        """All columns that must be in the file."""
        fields = (self.id, self.at, self.prediction, self.score, self.label, self.label_at, *self.features)
        return [name for name in fields if name]


def envelopes(path: Path, model: str, version: str, columns: Columns) -> Iterator[tuple[Envelope, int]]:
    """Gives the file as envelopes in its own order, each with its number of rows.

    Args:
        path: Parquet or CSV with a head line.
        model: the model that predicted.
        version: its version.
        columns: see `Columns`.

    Raises:
        BadInput: the file cannot be read or lacks a column; the message names both.
    """
    digest = _digest(path, model, version, columns)
    try:
        dataset = _dataset(path)
        names = dataset.schema.names
        if missing := [name for name in columns.named() if name not in names]:
            raise BadInput(f"{path}: no column {', '.join(missing)}", hint=f"There are: {', '.join(names)}.")
        features = columns.features or tuple(name for name in names if name not in columns.named())
        row = 0
        for batch in dataset.to_batches(batch_size=ROWS):
            if batch.num_rows:
                token = hashlib.blake2b(f"{digest}:{row}".encode(), digest_size=16).hexdigest()
                yield _envelope(batch, f"{path}:{row + 1}", model, version, columns, features, token), batch.num_rows
                row += batch.num_rows
    except (pa.ArrowInvalid, OSError) as error:
        raise BadInput(f"{path}: {error}", hint="Give Parquet, or CSV with a head line.") from None


def count_rows(path: Path) -> int:
    """Gives the number of rows of a Parquet or CSV file."""
    return int(_dataset(path).count_rows())


def _dataset(path: Path) -> ds.Dataset:
    return ds.dataset(path, format="csv" if path.suffix == ".csv" else "parquet")


def _digest(path: Path, model: str, version: str, columns: Columns) -> str:
    """Gives a text that is the same whenever the same file is imported the same way."""
    with path.open("rb") as file:
        content = hashlib.file_digest(file, "blake2b").hexdigest()
    return f"{content}:{model}:{version}:{columns}"


def _envelope(
    batch: pa.RecordBatch,
    where: str,
    model: str,
    version: str,
    columns: Columns,
    features: Sequence[str],
    token: str,
) -> Envelope:
    ids = [str(value) for value in _values(batch, columns.id)]
    at = _times(batch, columns.at, where)
    predictions = Predictions(
        model=model,
        version=version,
        release="",
        ids=ids,
        at=at,
        features={name: _values(batch, name) for name in features},
        prediction=_values(batch, columns.prediction),
        score=_numbers(batch, columns.score, where) if columns.score else [],
    )
    facts: list[Facts] = []
    if columns.label:
        labels = _values(batch, columns.label)
        label_at = _times(batch, columns.label_at, where) if columns.label_at else at
        keep = [index for index, label in enumerate(labels) if label is not None]
        facts.append(
            Facts(
                ids=[ids[index] for index in keep],
                model=[model] * len(keep),
                kind=["label"] * len(keep),
                value=[labels[index] for index in keep],
                source=["import"] * len(keep),
                at=[label_at[index] for index in keep],
            )
        )
    return Envelope(token=token, facts=facts, predictions=[predictions])


def _values(batch: pa.RecordBatch, name: str) -> list[Scalar]:
    """Gives a column as scalars; times, decimals and everything else become numbers or text."""
    column = batch.column(name)
    kind = column.type
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
        column = pc.cast(column, kind)
    if pa.types.is_decimal(kind):
        column = pc.cast(column, pa.float64())
    elif not (pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_boolean(kind)):
        column = pc.cast(column, pa.string())
    values: list[Scalar] = column.to_pylist()
    return values


def _numbers(batch: pa.RecordBatch, name: str, where: str) -> list[float | None]:
    try:
        numbers: list[float | None] = pc.cast(batch.column(name), pa.float64()).to_pylist()
    except pa.ArrowInvalid as error:
        raise BadInput(f"{where} {name}: {error}", hint="A score is a number.") from None
    return numbers


def _times(batch: pa.RecordBatch, name: str, where: str) -> list[int]:
    """Gives a column as ns: timestamps (without zone: UTC), dates, unix seconds, or text in ISO 8601."""
    column = batch.column(name)
    if column.null_count:
        raise BadInput(f"{where} {name}: {column.null_count} rows without a time", hint="Every prediction needs one.")
    if pa.types.is_timestamp(column.type) or pa.types.is_date(column.type):
        exact = pc.cast(column, pa.timestamp("ns", tz=getattr(column.type, "tz", None)))
        return [stamp for stamp in pc.cast(exact, pa.int64()).to_pylist() if stamp is not None]
    return [time_ns(str(value), now_ns=datetime_ns(_now())) for value in column.to_pylist()]


def _now() -> datetime:
    return datetime.now(UTC)
