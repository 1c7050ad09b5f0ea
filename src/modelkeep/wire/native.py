"""modelkeep's own form: one msgpack envelope of columns, as the SDK sends it, becomes one batch per columns object."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Sequence
from typing import ClassVar, Final

import msgspec
import orjson
import pyarrow as pa
import pyarrow.compute as pc

from modelkeep.core import encoding
from modelkeep.core.encoding import FORM, Envelope, Scalar
from modelkeep.core.errors import BadInput
from modelkeep.core.layouts import CONFIGURATION, FEATURE, LOG, RELEASE, SCORES, TRAINING
from modelkeep.core.series import canonical, labels
from modelkeep.core.shapes import Part
from modelkeep.wire import limits, objects
from modelkeep.wire.columns import Column, batch, column, even, scalars, times
from modelkeep.wire.form import Decoded, HttpForm, Sent

FACT_KINDS: Final = frozenset({"label", "feedback", "engagement"})
CONFIGURATION_STATES: Final = frozenset({"applied", "rejected", "rolled back", "unreachable", "recovered"})
TRAINING_STATUSES: Final = frozenset({"running", "finished", "failed"})
TRAINING_SOURCES: Final = frozenset({"train", "mlflow", "dvc", "git"})
_HASH: Final = re.compile(r"[0-9a-f]{64}\Z")
_WHOLE: Final = limits.Limits(depth=110, keys=100_000)
_NEWER: Final = "Upgrade the server, or send with an older modelkeep."


class _Head(msgspec.Struct):
    form: int = 1


_head: Final = msgspec.msgpack.Decoder(_Head)


def parts(data: bytes, *, sender: str = "") -> Decoded:
    """Gives the records of one envelope.

    Args:
        data: msgpack, decompressed.
        sender: name of the token used; becomes the `deployer` of releases.

    Raises:
        BadInput: not an envelope, a newer form, or a column that does not hold what it should; the message
            names the object, the column and the row.

    >>> facts = encoding.Facts(ids=["a"], model=[None], kind=["label"], value=[1], source=[""], at=[1])
    >>> decoded = parts(encoding.encode(Envelope(token="t", facts=[facts])))
    >>> decoded.rows, decoded.parts[0].batch.to_pylist()[0]["value"]
    (1, 1.0)
    """
    envelope = _decode(data)
    if not envelope.token:
        raise BadInput("token: empty", hint="Send 128 random bits as hex, the same for every retry.")
    limits.ids([envelope.token, envelope.process], "token and process", empty=True)
    found = [*_releases(envelope.releases, sender)]
    found += [reference(item) for item in envelope.references]
    found += [predictions(item) for item in envelope.predictions]
    found += [facts(item) for item in envelope.facts]
    found += [events(item) for item in envelope.events]
    found += [logs(item) for item in envelope.logs]
    found += [samples(item) for item in envelope.samples]
    found += [configurations(item, sender) for item in envelope.configurations]
    found += [trainings(item, sender) for item in envelope.trainings]
    counts: Counter[str] = Counter()
    for part in found:
        counts[part.kind] += part.batch.num_rows
    return Decoded(
        token=envelope.token,
        parts=tuple(part for part in found if part.batch.num_rows),
        counts=+counts,
        process=envelope.process,
        dropped=_dropped(envelope.dropped),
        newest_prediction_ns=max((max(item.at) for item in envelope.predictions if item.at), default=0),
    )


def _decode(data: bytes) -> Envelope:
    try:
        envelope = encoding.decode(data)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        if (form := _form(data)) > FORM:
            raise _newer(form) from None
        raise BadInput(f"body: not an envelope: {error}", hint="See modelkeep.core.encoding.Envelope.") from None
    if envelope.form != FORM:
        raise _newer(envelope.form)
    return envelope


def _form(data: bytes) -> int:
    try:
        return _head.decode(data).form
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return FORM


def _newer(form: int) -> BadInput:
    return BadInput(f"form: {form} is not known, this server reads form {FORM}", hint=_NEWER)


def _dropped(counts: dict[str, int]) -> dict[str, int]:
    for reason, count in counts.items():
        limits.name(reason, "dropped")
        if not 0 <= count < 1 << 53:
            raise BadInput(f"dropped: {reason} is {count}, expected a count")
    if len(counts) > 100:
        raise BadInput(f"dropped: {len(counts)} reasons, at most 100 are allowed")
    return counts


def _releases(items: list[encoding.Release], deployer: str) -> list[Part]:
    if not items:
        return []
    for item in items:
        limits.name(item.model, "release: model")
        limits.name(item.version, "release: version", empty=True)
    limits.ids([item.id for item in items], "release")
    objects.texts([item.extra for item in items], "release extra")
    rows: dict[str, Sequence[object]] = {
        name: [getattr(item, name) for item in items] for name, _ in RELEASE if name != "deployer"
    }
    rows["deployer"] = [deployer] * len(items)
    columns = {name: column(rows[name], kind, f"release {name}") for name, kind in RELEASE}
    return [batch("release", columns)]


def predictions(item: encoding.Predictions) -> Part:
    """Gives the batch of predictions of one model, version and release.

    A score that is not finite becomes null; features and predictions keep NaN and infinities as sent.

    Raises:
        BadInput: names, lengths or types are wrong.
    """
    what = f"predictions of model {limits.show(item.model)}"
    meta = _identity(item.model, item.version, what)
    meta["release"] = limits.name(item.release, f"{what}: release", empty=True)
    optional: dict[str, Sequence[object]] = {"score": item.score, "latency_ns": item.latency_ns, "error": item.error}
    lengths = {"ids": len(item.ids), "at": len(item.at), "prediction": len(item.prediction)}
    lengths |= {name: len(values) for name, values in optional.items() if values}
    lengths |= {FEATURE + name: len(values) for name, values in item.features.items()}
    lengths |= {SCORES + name: len(values) for name, values in item.scores.items()}
    rows = _rows(lengths, what)
    limits.ids(item.ids, what)
    limits.names(item.features, f"{what}: feature", most=limits.STANDARD.features)
    limits.names(item.scores, f"{what}: class", most=limits.STANDARD.classes)
    columns: dict[str, Column] = {
        "id": column(item.ids, "string", f"{what}: ids"),
        "at": times(item.at, f"{what}: at"),
        "score": finite(item.score or [None] * rows, f"{what}: score"),
        "latency_ns": column(item.latency_ns or [None] * rows, "int64", f"{what}: latency_ns"),
        "error": column(item.error or [None] * rows, "string", f"{what}: error"),
        "prediction": scalars(item.prediction, f"{what}: prediction"),
    }
    for name, values in item.scores.items():
        columns[SCORES + name] = finite(values, f"{what}: score of class {limits.show(name)}")
    for name, features in item.features.items():
        columns[FEATURE + name] = scalars(features, f"{what}: feature {limits.show(name)}")
    return batch("prediction", columns, meta)


def _identity(model: str, version: str, what: str) -> dict[str, str]:
    return {
        "model": limits.name(model, f"{what}: model"),
        "version": limits.name(version, f"{what}: version", empty=True),
    }


def _rows(lengths: dict[str, int], what: str) -> int:
    rows = even(lengths, what)
    if rows > limits.STANDARD.rows:
        raise BadInput(f"{what}: {rows} rows, at most {limits.STANDARD.rows} are allowed", status=413)
    return rows


def finite(values: Sequence[float | None], what: str) -> Column:
    """Gives a column of doubles in which NaN and infinities are null.

    >>> finite([0.5, float("nan"), None], "score").to_pylist()
    [0.5, None, None]
    """
    array = column(values, "double", what)
    kept: Column = pc.if_else(pc.is_finite(array), array, pa.scalar(None, pa.float64()))
    return kept


def reference(item: encoding.Reference) -> Part:
    """Gives the batch of reference rows of one model version.

    Raises:
        BadInput: names, lengths or types are wrong, or there is neither feature, label nor score.
    """
    what = f"reference of model {limits.show(item.model)}"
    meta = _identity(item.model, item.version, what) | {"release": ""}
    lengths = {FEATURE + name: len(values) for name, values in item.features.items()}
    lengths |= {name: len(values) for name, values in (("label", item.label), ("score", item.score)) if values}
    if not lengths:
        raise BadInput(f"{what}: no features, labels or scores")
    rows = _rows(lengths, what)
    limits.names(item.features, f"{what}: feature", most=limits.STANDARD.features)
    label = scalars(item.label, f"{what}: label") if item.label else pa.nulls(rows, pa.float64())
    text = label.type == pa.string()
    columns: dict[str, Column] = {
        "label": pa.nulls(rows, pa.float64()) if text else label.cast(pa.float64()),
        "label_text": label if text else pa.nulls(rows, pa.string()),
        "score": finite(item.score or [None] * rows, f"{what}: score"),
    }
    for name, values in item.features.items():
        columns[FEATURE + name] = scalars(values, f"{what}: feature {limits.show(name)}")
    return batch("reference", columns, meta)


def facts(item: encoding.Facts) -> Part:
    """Gives the batch of facts: numbers and bools in `value`, text in `text`.

    Raises:
        BadInput: names, lengths or types are wrong, an unknown kind, or a value that is null, NaN or infinite.
    """
    lengths = {name: len(getattr(item, name)) for name in ("ids", "model", "kind", "value", "source", "at")}
    _rows(lengths, "facts")
    limits.ids(item.ids, "facts")
    _choices(item.kind, FACT_KINDS, "facts: kind")
    for model in set(item.model):
        limits.name(model or "", "facts: model", empty=True)
    for source in set(item.source):
        limits.name(source, "facts: source", empty=True)
    numbers = [None if isinstance(value, str) else _number(value, row) for row, value in enumerate(item.value)]
    columns = {
        "id": column(item.ids, "string", "facts: ids"),
        "model": column([model or None for model in item.model], "string", "facts: model"),
        "kind": column(item.kind, "string", "facts: kind"),
        "value": column(numbers, "double", "facts: value"),
        "text": column([value if isinstance(value, str) else None for value in item.value], "string", "facts: value"),
        "source": column(item.source, "string", "facts: source"),
        "at": times(item.at, "facts: at"),
    }
    return batch("fact", columns)


def _choices(values: list[str], allowed: frozenset[str], what: str) -> None:
    if unknown := set(values) - allowed:
        row = next(row for row, value in enumerate(values) if value in unknown)
        raise BadInput(f"{what} row {row}: {limits.show(values[row])}, expected {', '.join(sorted(allowed))}")


def _number(value: Scalar, row: int) -> float:
    try:
        number = math.nan if value is None else float(value)
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        raise BadInput(
            f"facts: value row {row}: {'null' if value is None else 'not finite'}, expected a number, bool or text",
            hint="A label that is not known yet is not sent at all.",
        )
    return number


def events(item: encoding.Events) -> Part:
    """Gives the batch of events.

    Raises:
        BadInput: lengths or types are wrong, or properties are not JSON objects.
    """
    names = ("at", "name", "user", "prediction_id", "value", "properties")
    _rows({name: len(getattr(item, name)) for name in names}, "events")
    for name in set(item.name):
        limits.name(name, "events: name")
    limits.ids(item.user, "events: user", empty=True)
    objects.texts(item.properties, "events: properties")
    columns = {
        "at": times(item.at, "events: at"),
        "name": column(item.name, "string", "events: name"),
        "user": column(item.user, "string", "events: user"),
        "prediction_id": column(item.prediction_id, "string", "events: prediction_id"),
        "value": finite(item.value, "events: value"),
        "properties": column(item.properties, "string", "events: properties"),
    }
    return batch("event", columns)


def logs(item: encoding.Logs) -> Part:
    """Gives the batch of log records of one service and host.

    Raises:
        BadInput: lengths or types are wrong, a severity outside 0-24, or attributes that are not JSON objects.
    """
    names = [name for name, _ in LOG if name not in {"service", "host"}]
    rows = _rows({name: len(getattr(item, name)) for name in names}, "logs")
    for name in ("service", "host"):
        limits.name(getattr(item, name), f"logs: {name}", empty=True)
    for values, what in ((set(item.level), "level"), (set(item.logger), "logger")):
        limits.names((value or "-" for value in values), f"logs: {what}", most=rows)
    if wrong := [row for row, severity in enumerate(item.severity) if not 0 <= severity <= 24]:
        raise BadInput(f"logs: severity row {wrong[0]}: {item.severity[wrong[0]]}, expected 0 to 24")
    objects.texts(item.attributes, "logs: attributes")
    columns = {
        name: column(getattr(item, name), kind, f"logs: {name}") for name, kind in LOG if name in names and name != "at"
    }
    columns["at"] = times(item.at, "logs: at")
    columns["service"] = column([item.service] * rows, "string", "logs: service")
    columns["host"] = column([item.host] * rows, "string", "logs: host")
    return batch("log", columns)


def samples(item: encoding.Samples) -> Part:
    """Gives the batch of samples; the series are dictionary-encoded.

    Raises:
        BadInput: lengths are wrong, labels are not Prometheus' or an index points nowhere.
    """
    rows = _rows({"series": len(item.series), "at": len(item.at), "value": len(item.value)}, "samples")
    for index, pairs in enumerate(item.labels):
        limits.series(pairs, f"samples: labels {index}")
    if rows and not (min(item.series) >= 0 and max(item.series) < len(item.labels)):
        row = next(row for row, index in enumerate(item.series) if not 0 <= index < len(item.labels))
        raise BadInput(f"samples: series row {row}: {item.series[row]}, there are {len(item.labels)} label sets")
    places: dict[str, int] = {}
    order = [places.setdefault(canonical(labels(pairs)), len(places)) for pairs in item.labels]
    series = pa.DictionaryArray.from_arrays(
        pa.array([order[index] for index in item.series], pa.int32()), column(list(places), "string", "samples: labels")
    )
    columns = {
        "series": series,
        "at": times(item.at, "samples: at"),
        "value": column(item.value, "double", "samples: value"),
    }
    return batch("sample", columns)


def configurations(item: encoding.Configurations, deployer: str = "") -> Part:
    """Gives the batch of what became of one process's configurations.

    Raises:
        BadInput: lengths or types are wrong, an unknown state, a hash that is none, or texts that are not JSON.
    """
    given = [name for name, _ in CONFIGURATION if name not in {"id", "service", "host", "process", "deployer"}]
    rows = _rows({"ids": len(item.ids)} | {name: len(getattr(item, name)) for name in given}, "configurations")
    limits.ids(item.ids, "configurations")
    _choices(item.state, CONFIGURATION_STATES, "configurations: state")
    for content in (*item.hash, *item.previous):
        if content and not _HASH.fullmatch(content):
            raise BadInput(f"configurations: hash {limits.show(content)}, expected 64 hex digits")
    for values, what in ((item.name, "name"), ([item.service], "service"), ([item.host], "host")):
        limits.names((value or "-" for value in values), f"configurations: {what}", most=rows + 1)
    objects.texts(item.tree, "configurations: tree", limits=_WHOLE)
    objects.texts(item.marks, "configurations: marks", limits=_WHOLE)
    objects.texts([f'{{"":{text}}}' for text in item.differences], "configurations: differences", limits=_WHOLE)
    fixed = {"service": item.service, "host": item.host, "process": item.process, "deployer": deployer}
    found: dict[str, Sequence[object]] = {name: [value] * rows for name, value in fixed.items()}
    found |= {"id": item.ids} | {name: getattr(item, name) for name in given}
    columns = {name: column(found[name], kind, f"configurations: {name}") for name, kind in CONFIGURATION}
    columns["at"] = times(item.at, "configurations: at")
    return batch("configuration", columns)


def trainings(item: encoding.Trainings, deployer: str = "") -> Part:
    """Gives the batch of one process's trainings.

    Raises:
        BadInput: lengths or types are wrong, an unknown status or source, an end before the start, or texts that are
            not JSON objects.
    """
    given = [name for name, _ in TRAINING if name not in {"id", "host", "process", "deployer"}]
    rows = _rows({"ids": len(item.ids)} | {name: len(getattr(item, name)) for name in given}, "trainings")
    limits.ids(item.ids, "trainings")
    _choices(item.status, TRAINING_STATUSES, "trainings: status")
    _choices(item.source, TRAINING_SOURCES, "trainings: source")
    for values, what in ((item.model, "model"), ([value or "-" for value in item.version], "version")):
        limits.names(values, f"trainings: {what}", most=rows)
    for name in (item.host, item.process):
        limits.name(name, "trainings: host and process", empty=True)
    for row, (start, end) in enumerate(zip(item.at, item.end, strict=True)):
        if end and end < start:
            raise BadInput(f"trainings row {row}: it ends before it begins")
    objects.texts(item.metrics, "trainings: metrics", limits=_WHOLE)
    objects.texts(item.parameters, "trainings: parameters", limits=_WHOLE)
    fixed = {"host": item.host, "process": item.process, "deployer": deployer}
    found: dict[str, Sequence[object]] = {name: [value] * rows for name, value in fixed.items()}
    found |= {"id": item.ids} | {name: getattr(item, name) for name in given}
    columns = {name: column(found[name], kind, f"trainings: {name}") for name, kind in TRAINING}
    return batch("training", columns)


class Native:
    """The SDK's own form at `/api/v1/ingest`."""

    paths: ClassVar[tuple[str, ...]] = ("/api/v1/ingest",)

    def decode(self, path: str, body: bytes, sent: Sent) -> Decoded:
        """Gives the records of the envelope in the body."""
        return parts(body, sender=sent.sender)

    def answer(self, path: str, decoded: Decoded, *, repeated: bool) -> bytes:
        """Says how many rows were kept."""
        return orjson.dumps({"kept": decoded.rows, "repeated": repeated})


plugin: type[HttpForm] = Native
