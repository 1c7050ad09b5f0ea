"""Parts of entries as `wire` makes them, for the tests of this room."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pyarrow as pa

from modelkeep.core.shapes import Entry, Part


def prediction(
    ids: Sequence[str],
    at: Sequence[int],
    *,
    model: str = "m",
    version: str = "1",
    score: Sequence[float | None] | None = None,
    prediction: Sequence[object] | None = None,
    features: Mapping[str, Sequence[object] | pa.Array] | None = None,
    scores: Mapping[str, Sequence[float]] | None = None,
    latency_ns: Sequence[int | None] | None = None,
    error: Sequence[str | None] | None = None,
) -> Part:
    count = len(ids)
    columns = {
        "id": pa.array(ids, pa.string()),
        "at": pa.array(at, pa.int64()),
        "score": pa.array(score if score is not None else [None] * count, pa.float64()),
        "latency_ns": pa.array(latency_ns or [None] * count, pa.int64()),
        "error": pa.array(error or [None] * count, pa.string()),
        "prediction": pa.array(prediction if prediction is not None else [None] * count),
    }
    columns |= {f"features.{name}": pa.array(values) for name, values in (features or {}).items()}
    columns |= {f"scores.{name}": pa.array(values, pa.float64()) for name, values in (scores or {}).items()}
    return Part("prediction", _marked(columns, model, version))


def fact(
    ids: Sequence[str],
    values: Sequence[float | str | None],
    at: Sequence[int],
    *,
    model: str | None = "m",
    kind: str = "label",
    source: str = "",
) -> Part:
    count = len(ids)
    columns = {
        "id": pa.array(ids, pa.string()),
        "model": pa.array([model] * count, pa.string()),
        "kind": pa.array([kind] * count, pa.string()),
        "value": pa.array([None if isinstance(one, str) else one for one in values], pa.float64()),
        "text": pa.array([one if isinstance(one, str) else None for one in values], pa.string()),
        "source": pa.array([source] * count, pa.string()),
        "at": pa.array(at, pa.int64()),
    }
    return Part("fact", pa.record_batch(columns))


def reference(
    features: Mapping[str, Sequence[object] | pa.Array],
    *,
    model: str = "m",
    version: str = "1",
    score: Sequence[float] | None = None,
) -> Part:
    count = len(next(iter(features.values())))
    columns = {
        "label": pa.nulls(count, pa.float64()),
        "label_text": pa.nulls(count, pa.string()),
        "score": pa.array(score, pa.float64()) if score is not None else pa.nulls(count, pa.float64()),
    }
    columns |= {f"features.{name}": pa.array(values) for name, values in features.items()}
    return Part("reference", _marked(columns, model, version))


def entries(*parts: Part, first: int = 1) -> list[Entry]:
    return [Entry(seq, "", 0, (part,)) for seq, part in enumerate(parts, first)]


def _marked(columns: Mapping[str, pa.Array], model: str, version: str) -> pa.RecordBatch:
    batch = pa.record_batch(dict(columns))
    return batch.replace_schema_metadata({"model": model, "version": version, "release": "r"})
