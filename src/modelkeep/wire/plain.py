"""Plain JSON for services in other languages: one object, an array of objects, or one object a line."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import ClassVar, Final, Generic, TypeVar

import msgspec
import orjson

from modelkeep.core import encoding
from modelkeep.core.clock import SECOND
from modelkeep.core.encoding import Scalar
from modelkeep.core.errors import BadInput
from modelkeep.core.ids import Ids
from modelkeep.core.series import NAME
from modelkeep.core.shapes import Json, Part
from modelkeep.core.times import time_ns
from modelkeep.wire import limits, native, objects
from modelkeep.wire.form import Decoded, HttpForm, Sent

Time = str | float | int | None
SEVERITIES: Final = {
    "trace": 1,
    "debug": 5,
    "info": 9,
    "notice": 10,
    "warn": 13,
    "warning": 13,
    "error": 17,
    "err": 17,
    "critical": 21,
    "crit": 21,
    "alert": 22,
    "emerg": 23,
    "fatal": 21,
}
"""Level names → OpenTelemetry severity; an unknown or absent level is 9 (INFO).

Source: https://opentelemetry.io/docs/specs/otel/logs/data-model/#mapping-of-severitynumber
"""


_NOTHING: Final = msgspec.Raw(b"{}")


class Row(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """What every plain record may carry."""

    at: Time = None


class Prediction(Row, kw_only=True):
    """One prediction, as plain JSON."""

    model: str
    features: dict[str, Scalar] = {}
    prediction: Scalar = None
    id: str = ""
    version: str = ""
    score: float | dict[str, float] | None = None
    latency_s: float | None = None
    error: str | None = None
    release: str = ""


class Fact(Row, kw_only=True):
    """One fact about a prediction, as plain JSON."""

    id: str
    value: Scalar
    kind: str = "label"
    model: str | None = None
    source: str = ""


class Event(Row, kw_only=True):
    """One event of a user, as plain JSON."""

    name: str
    user: str
    prediction_id: str | None = None
    value: float | None = None
    properties: msgspec.Raw = _NOTHING


class Log(Row, kw_only=True):
    """One log record, as plain JSON."""

    message: str
    level: str = "INFO"
    service: str = ""
    host: str = ""
    logger: str = ""
    trace_id: str | None = None
    prediction_id: str | None = None
    attributes: msgspec.Raw = _NOTHING


class Sample(Row, kw_only=True):
    """One sample of a series, as plain JSON."""

    name: str
    labels: dict[str, str] = {}
    value: float


class Reference(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """Rows of reference data, as plain JSON columns."""

    model: str
    version: str
    features: dict[str, list[Scalar]]
    label: list[Scalar] = []
    score: list[float | None] = []


T = TypeVar("T", Prediction, Fact, Event, Log, Sample, Reference)


class Records(Generic[T]):
    r"""Decodes a body into records of one type.

    >>> [fact.id for fact in Records(Fact, "fact")(b'{"id": "a", "value": 1}\n{"id": "b", "value": 0}')]
    ['a', 'b']
    """

    def __init__(self, kind: type[T], what: str) -> None:
        self._one: msgspec.json.Decoder[T] = msgspec.json.Decoder(kind)
        self._many: msgspec.json.Decoder[list[T]] = msgspec.json.Decoder(list[kind])  # type: ignore[valid-type]
        self._what = what

    def __call__(self, body: bytes) -> list[T]:
        """Gives the records of one object, an array, or one object a line.

        Raises:
            BadInput: not JSON, or a record lacks or misspells a key; the message names its row.
        """
        text = body.strip()
        if text[:1] not in {b"[", b"{"}:
            what = f"it begins with {limits.show(text[:1].decode('latin-1'))}" if text else "it is empty"
            raise BadInput(f"body: {what}", hint=f"Send one {self._what} object, an array, or one object a line.")
        try:
            return self._many.decode(text) if text[:1] == b"[" else self._objects(text)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            hint = "The keys are listed in docs/reference/http.md."
            raise BadInput(f"{self._what}: {error}", hint=hint) from None

    def _objects(self, text: bytes) -> list[T]:
        try:
            return [self._one.decode(text)]
        except msgspec.DecodeError as error:
            if "trailing characters" not in str(error):
                raise
        return self._one.decode_lines(text)


def at_ns(value: Time, now_ns: int, where: str) -> int:
    """Gives the time of a record.

    Args:
        value: ISO 8601 text, unix seconds, or None for now.
        now_ns: now.
        where: which record, for the message.

    Raises:
        BadInput: it is no time.

    >>> at_ns(1.5, 0, "event 0"), at_ns(None, 7, "event 0")
    (1500000000, 7)
    """
    if value is None:
        return now_ns
    if isinstance(value, str):
        return _text_ns(value, where)
    if not abs(value) < 9e9:
        raise BadInput(f"{where}: at is {value}, expected unix seconds", hint="Milliseconds? Divide by 1000.")
    return value * SECOND if isinstance(value, int) else round(value * 1e6) * 1000


def _text_ns(text: str, where: str) -> int:
    try:
        datetime.fromisoformat(text)
        return time_ns(text, now_ns=0)
    except (BadInput, ValueError, OverflowError):
        raise BadInput(
            f"{where}: at is {limits.show(text)}, expected ISO 8601 or unix seconds", hint="2026-01-31T08:00:00Z"
        ) from None


_make_id: Final = Ids()


def _ids(rows: Sequence[Prediction], sent: Sent) -> list[str]:
    """Ids for records without one; with an idempotency key a retry makes the same ids."""
    token = _token("/api/v1/predictions", sent)
    if not token:
        return [row.id or _make_id() for row in rows]
    made = (hashlib.blake2b(f"{token}\0{place}".encode(), digest_size=16).hexdigest() for place in range(len(rows)))
    return [row.id or key for row, key in zip(rows, made, strict=True)]


def _predictions(rows: list[Prediction], sent: Sent) -> tuple[list[Part], tuple[str, ...]]:
    ids = _ids(rows, sent)
    groups: dict[tuple[str, str, str], list[int]] = {}
    for place, row in enumerate(rows):
        groups.setdefault((row.model, row.version, row.release), []).append(place)
    parts = [_group([rows[place] for place in places], [ids[place] for place in places], sent, places)
             for places in groups.values()]  # fmt: skip
    return parts, tuple(ids)


def _group(rows: list[Prediction], ids: list[str], sent: Sent, places: list[int]) -> Part:
    first = rows[0]
    features = list(dict.fromkeys(name for row in rows for name in row.features))
    scores = [row.score if isinstance(row.score, dict) else {} for row in rows]
    classes = list(dict.fromkeys(name for score in scores for name in score))
    for row, place in zip(rows, places, strict=True):
        if row.prediction is None and row.score is None and not row.error:
            raise BadInput(
                f"prediction {place}: no prediction", hint='Send "prediction", or "error" when the call failed.'
            )
    columns = encoding.Predictions(
        model=first.model,
        version=first.version,
        release=first.release,
        ids=ids,
        at=[at_ns(row.at, sent.now_ns, f"prediction {place}") for row, place in zip(rows, places, strict=True)],
        features={name: [row.features.get(name) for row in rows] for name in features},
        prediction=[row.prediction for row in rows],
        score=[None if isinstance(row.score, dict) else row.score for row in rows],
        scores={name: [score.get(name) for score in scores] for name in classes},
        latency_ns=[_latency(row.latency_s, place) for row, place in zip(rows, places, strict=True)],
        error=[row.error for row in rows],
    )
    return native.predictions(columns)


def _latency(seconds: float | None, place: int) -> int | None:
    if seconds is None:
        return None
    if not 0 <= seconds < 9e9:
        raise BadInput(f"prediction {place}: latency_s is {seconds}, expected seconds")
    return round(seconds * SECOND)


def _facts(rows: list[Fact], sent: Sent) -> list[Part]:
    return [
        native.facts(
            encoding.Facts(
                ids=[row.id for row in rows],
                model=[row.model for row in rows],
                kind=[row.kind for row in rows],
                value=[row.value for row in rows],
                source=[row.source for row in rows],
                at=[at_ns(row.at, sent.now_ns, f"fact {place}") for place, row in enumerate(rows)],
            )
        )
    ]


def _events(rows: list[Event], sent: Sent) -> list[Part]:
    return [
        native.events(
            encoding.Events(
                at=[at_ns(row.at, sent.now_ns, f"event {place}") for place, row in enumerate(rows)],
                name=[row.name for row in rows],
                user=[row.user for row in rows],
                prediction_id=[row.prediction_id for row in rows],
                value=[row.value for row in rows],
                properties=[_object(row.properties, f"event {place}: properties") for place, row in enumerate(rows)],
            )
        )
    ]


def _object(raw: msgspec.Raw, where: str) -> str:
    text = bytes(raw)
    if text == b"{}":
        return objects.EMPTY
    try:
        value: Json = orjson.loads(text)
    except ValueError as error:
        raise BadInput(f"{where}: {error}") from None
    if not isinstance(value, dict):
        raise BadInput(f"{where}: expected an object")
    objects.measure(value, where)
    return orjson.dumps(value).decode()


def _logs(rows: list[Log], sent: Sent) -> list[Part]:
    groups: dict[tuple[str, str], list[int]] = {}
    for place, row in enumerate(rows):
        groups.setdefault((row.service, row.host), []).append(place)
    return [_log_group([(place, rows[place]) for place in places], sent) for places in groups.values()]


def _log_group(rows: list[tuple[int, Log]], sent: Sent) -> Part:
    columns = encoding.Logs(
        service=rows[0][1].service,
        host=rows[0][1].host,
        at=[at_ns(row.at, sent.now_ns, f"log {place}") for place, row in rows],
        severity=[SEVERITIES.get(row.level.lower(), 9) for _, row in rows],
        level=[row.level.upper() for _, row in rows],
        logger=[row.logger for _, row in rows],
        message=[row.message for _, row in rows],
        trace_id=[row.trace_id for _, row in rows],
        prediction_id=[row.prediction_id for _, row in rows],
        attributes=[_object(row.attributes, f"log {place}: attributes") for place, row in rows],
    )
    return native.logs(columns)


def _samples(rows: list[Sample], sent: Sent) -> list[Part]:
    columns = encoding.Samples(
        labels=[{**row.labels, NAME: row.name} for row in rows],
        series=list(range(len(rows))),
        at=[at_ns(row.at, sent.now_ns, f"sample {place}") for place, row in enumerate(rows)],
        value=[row.value for row in rows],
    )
    return [native.samples(columns)]


def _references(rows: list[Reference], sent: Sent) -> list[Part]:
    return [
        native.reference(encoding.Reference(row.model, row.version, row.features, row.label, row.score)) for row in rows
    ]


def _reader(records: Records[T], build: Callable[[list[T], Sent], list[Part]]) -> Callable[[bytes, Sent], list[Part]]:
    return lambda body, sent: build(records(body), sent)


_predict: Final = Records(Prediction, "prediction")


class Plain:
    """The JSON forms, one route for each kind of record."""

    paths: ClassVar[tuple[str, ...]] = (
        "/api/v1/predictions",
        "/api/v1/facts",
        "/api/v1/events",
        "/api/v1/logs",
        "/api/v1/samples",
        "/api/v1/references",
    )

    def __init__(self) -> None:
        self._kinds: dict[str, Callable[[bytes, Sent], list[Part]]] = {
            "/api/v1/facts": _reader(Records(Fact, "fact"), _facts),
            "/api/v1/events": _reader(Records(Event, "event"), _events),
            "/api/v1/logs": _reader(Records(Log, "log"), _logs),
            "/api/v1/samples": _reader(Records(Sample, "sample"), _samples),
            "/api/v1/references": _reader(Records(Reference, "reference"), _references),
        }

    def decode(self, path: str, body: bytes, sent: Sent) -> Decoded:
        """Gives the records of a JSON body."""
        ids: tuple[str, ...] = ()
        if path == "/api/v1/predictions":
            parts, ids = _predictions(_predict(body), sent)
        else:
            parts = self._kinds[path](body, sent)
        newest = [part.batch.column("at").to_numpy().max() for part in parts if part.kind == "prediction"]
        counts: dict[str, int] = {}
        for part in parts:
            counts[part.kind] = counts.get(part.kind, 0) + part.batch.num_rows
        return Decoded(
            token=_token(path, sent),
            parts=tuple(part for part in parts if part.batch.num_rows),
            counts=counts,
            newest_prediction_ns=int(max(newest, default=0)),
            ids=ids,
        )

    def answer(self, path: str, decoded: Decoded, *, repeated: bool) -> bytes:
        """Says how many rows were kept, and the ids of predictions."""
        said: dict[str, Json] = {"kept": decoded.rows, "repeated": repeated}
        if path == "/api/v1/predictions":
            said["ids"] = list(decoded.ids)
        return orjson.dumps(said)


def _token(path: str, sent: Sent) -> str:
    """The key, made the sender's own: two senders that count 1, 2, 3 do not shadow each other."""
    if not sent.key:
        return ""
    limits.ids([sent.key], "Idempotency-Key")
    return hashlib.blake2b(f"{sent.sender}\0{path}\0{sent.key}".encode(), digest_size=16).hexdigest()


plugin: type[HttpForm] = Plain
