"""The SDK's encoding: what one request of a model's process carries, as msgpack columns.

This is modelkeep's own wire form (media type `application/vnd.modelkeep+msgpack`). The sender drains its buffer in
order into one `Envelope`; everything in an envelope is acknowledged together, and an envelope whose token was kept
before is answered as repeated without effect. All lists of one columns object have the same length.
"""

from __future__ import annotations

from typing import Final

import msgspec

MEDIA_TYPE: Final = "application/vnd.modelkeep+msgpack"
FORM: Final = 1
"""The number of this form; a reader refuses a higher one by name."""

Scalar = None | bool | int | float | str


class Release(msgspec.Struct, omit_defaults=True):
    """What runs in the sending process; see `core.layouts.RELEASE`."""

    id: str
    at: int
    model: str
    version: str
    code: str = ""
    dirty: bool = False
    author: str = ""
    data_version: str = ""
    config_version: str = ""
    host: str = ""
    process: str = ""
    extra: str = "{}"


class Predictions(msgspec.Struct, omit_defaults=True):
    """Predictions of one model, version, release and set of features.

    Args:
        ids: one per row.
        at: ns.
        features: name → one value per row.
        prediction: one value per row: number, bool or class name; null after an error.
        score: probability of the positive class per row; empty when no row has one.
        scores: class → probability per row, for several classes.
        latency_ns: per row; empty when not measured.
        error: exception type per row, null where the call went well; empty when no row failed.
    """

    model: str
    version: str
    release: str
    ids: list[str]
    at: list[int]
    features: dict[str, list[Scalar]]
    prediction: list[Scalar]
    score: list[float | None] = []
    scores: dict[str, list[float | None]] = {}
    latency_ns: list[int | None] = []
    error: list[str | None] = []


class Facts(msgspec.Struct, omit_defaults=True):
    """Labels, feedback and engagement; see `core.layouts.FACT`. `value` holds number, bool or text."""

    ids: list[str]
    model: list[str | None]
    kind: list[str]
    value: list[Scalar]
    source: list[str]
    at: list[int]


class Events(msgspec.Struct, omit_defaults=True):
    """Events of users; `properties` are JSON objects as text."""

    at: list[int]
    name: list[str]
    user: list[str]
    prediction_id: list[str | None]
    value: list[float | None]
    properties: list[str]


class Logs(msgspec.Struct, omit_defaults=True):
    """Log records of one service and host; `attributes` are JSON objects as text."""

    service: str
    host: str
    at: list[int]
    severity: list[int]
    level: list[str]
    logger: list[str]
    message: list[str]
    trace_id: list[str | None]
    prediction_id: list[str | None]
    attributes: list[str]


class Samples(msgspec.Struct, omit_defaults=True):
    """Samples of series: `labels[series[i]]` has `value[i]` at `at[i]`. Labels include `__name__`."""

    labels: list[dict[str, str]]
    series: list[int]
    at: list[int]
    value: list[float]


class Reference(msgspec.Struct, omit_defaults=True):
    """Rows of the data that a model version was accepted on; `label` and `score` may be empty."""

    model: str
    version: str
    features: dict[str, list[Scalar]]
    label: list[Scalar] = []
    score: list[float | None] = []


class Configurations(msgspec.Struct, omit_defaults=True):
    """What became of the configurations of one process; see `core.layouts.CONFIGURATION`."""

    service: str
    host: str
    process: str
    ids: list[str]
    at: list[int]
    state: list[str]
    hash: list[str]
    previous: list[str]
    name: list[str]
    source: list[str]
    author: list[str]
    reason: list[str]
    error: list[str]
    differences: list[str]
    tree: list[str]
    marks: list[str]


class Trainings(msgspec.Struct, omit_defaults=True):
    """Trainings that one process ran or read elsewhere; see `core.layouts.TRAINING`."""

    host: str
    process: str
    ids: list[str]
    at: list[int]
    end: list[int]
    model: list[str]
    version: list[str]
    status: list[str]
    code: list[str]
    dirty: list[bool]
    data_version: list[str]
    config_version: list[str]
    metrics: list[str]
    parameters: list[str]
    by: list[str]
    source: list[str]
    run: list[str]
    error: list[str]
    url: list[str]


class Envelope(msgspec.Struct, omit_defaults=True):
    """One request.

    Args:
        token: idempotency token: 128 random bits as hex, made once per batch and kept over retries.
        form: see `FORM`.
        sent_at: the sender's wall time, ns.
        process: who sends: a name for this process that stays the same over its life.
        dropped: what this process dropped so far, by reason; cumulative.
    """

    token: str
    form: int = FORM
    sent_at: int = 0
    process: str = ""
    releases: list[Release] = []
    references: list[Reference] = []
    facts: list[Facts] = []
    events: list[Events] = []
    logs: list[Logs] = []
    samples: list[Samples] = []
    configurations: list[Configurations] = []
    trainings: list[Trainings] = []
    predictions: list[Predictions] = []
    dropped: dict[str, int] = {}


_encoder: Final = msgspec.msgpack.Encoder()
_decoder: Final = msgspec.msgpack.Decoder(Envelope)


def encode(envelope: Envelope) -> bytes:
    """Gives the envelope as msgpack.

    >>> decode(encode(Envelope(token="t"))).token
    't'
    """
    return _encoder.encode(envelope)


def decode(data: bytes) -> Envelope:
    """Gives back what `encode` was given.

    Raises:
        msgspec.DecodeError: the bytes are not an envelope (`msgspec.ValidationError` names the place).
    """
    return _decoder.decode(data)
