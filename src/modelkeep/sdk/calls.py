"""The calls of a model's process: none raises, waits for the network, or keeps what it was given by reference."""

from __future__ import annotations

import random
import re
from collections.abc import Mapping
from math import isfinite
from time import time_ns
from typing import Final, TypeGuard

from modelkeep.core.errors import BadInput
from modelkeep.sdk.buffer import EVENT, FACT, PREDICTION, REFERENCE, SAMPLE, TABLE, Rows
from modelkeep.sdk.client import Client, Process, here
from modelkeep.sdk.context import Context, current
from modelkeep.sdk.moments import Moment, moment_ns, moments_ns
from modelkeep.sdk.privacy import privacy
from modelkeep.sdk.tables import Table, keep, length, listed, row_of, split_scores, table_of
from modelkeep.sdk.tied import tied
from modelkeep.sdk.values import PLAIN, named, number, scalar

_METRIC: Final = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]*")
_LABEL: Final = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*")
RESERVOIR_ROWS: Final = 100_000
_SEED: Final = 7300
Id = str | int


def log_prediction(
    model: str,
    features: object,
    prediction: object,
    *,
    score: object = None,
    id: object = None,  # noqa: A002
    at: object = None,
    version: str | None = None,
) -> str | list[str]:
    """Records one prediction, or one per row of a table, and gives its id or their ids.

    Args:
        model: its name.
        features: a mapping, or a row or table as in `sdk.tables`. A new dict or copied columns are kept.
        prediction: number, bool or class name; one per row for a table.
        score: probability of the positive class, or class → probability; for a table one per row, or an array of
            rows × classes.
        id: any text or number, unique per model; for a table one per row; None: of the request, or a new one.
        at: when, see `sdk.moments.Moment`; None: of `mk.at`, or now.
        version: of the model; None: of `mk.load`, MODELKEEP_MODEL_VERSION, or the commit that runs.

    Returns:
        Ids for `truth` and `feedback`; also when nothing is sent.

    >>> import modelkeep as mk
    >>> mk.log_prediction("credit", {"income": 41_000}, True, score=0.71, id="order-7")
    'order-7'
    >>> len(mk.log_prediction("credit", [{"income": 41_000}, {"income": 9_000}], [True, False]))
    2
    """
    client = Process.client
    if client is None or not client.on:
        client = here()
    try:
        if type(features) is dict and type(prediction) in PLAIN:
            around = current.get()
            made = client.ids() if id is None and around is None else _one_id(client, id, around, model)
            if client.on:
                when = time_ns() if at is None and around is None else _when(at, around)
                version = tied.version(model) if version is None else version
                client.put((PREDICTION, model, version, made, when, features.copy(), prediction, score, None, None))
            return made
        return _any_prediction(client, model, features, prediction, score=score, id=id, at=at, version=version)
    except Exception as error:  # noqa: BLE001
        client.failed("log_prediction", error)
        return _fallback(id)


def truth(id: object, value: object, *, model: str | None = None, at: object = None, source: str = "") -> None:  # noqa: A002
    """Tells what turned out to be true for a prediction, or for many: a list of ids and one of values.

    Args:
        id: the prediction's id; it may not have arrived yet.
        value: number, bool or class name; None, NaN and infinities are not known yet and are not sent.
        model: needed where several models used the id.
        at: when it became known; None: of `mk.at`, or now.
        source: who says so; the latest of each source counts.

    >>> import modelkeep as mk
    >>> mk.truth("order-7", True)
    """
    _facts("label", id, {source: value}, model=model, at=at)


def feedback(
    id: object,  # noqa: A002
    value: object = None,
    *,
    model: str | None = None,
    at: object = None,
    source: str = "",
    **fields: object,
) -> None:
    """Tells what a user thinks of a prediction.

    Args:
        id: the prediction's id.
        value: number, bool or text.
        model: needed where several models used the id.
        at: when; None: of `mk.at`, or now.
        source: who says so; the latest of each source counts.
        fields: more, each kept as a source of its own, for example `thumb="down", note="wrong limit"`.

    >>> import modelkeep as mk
    >>> mk.feedback("order-7", thumb="down", note="wrong limit")
    """
    values = {source: value} if value is not None else {}
    _facts("feedback", id, {**values, **fields}, model=model, at=at)


def event(
    name: str,
    user: object = "",
    *,
    at: object = None,
    prediction_id: object = None,
    value: float | None = None,
    **properties: object,
) -> None:
    """Records what a user did.

    Args:
        name: of the event, for example `checkout`.
        user: who; empty: of the request.
        at: when; None: of `mk.at`, or now.
        prediction_id: the prediction it answers; None: the latest of the request.
        value: a number, for example money.
        properties: anything else.

    >>> import modelkeep as mk
    >>> mk.event("checkout", "ann", value=49.0, items=3)
    """
    client = here()
    if not client.on:
        return
    try:
        around = current.get()
        request = around.request if around else None
        who = "" if user is None else str(user)
        who = who or (request.user if request else "")
        about = prediction_id if prediction_id is not None else request.prediction_id if request else None
        about = None if about is None else str(about)
        client.put((EVENT, _when(at, around), str(name), who, about, number(value), properties))
    except Exception as error:  # noqa: BLE001
        client.failed("event", error)


def reference(model: str, version: str | None, X: object, y: object = None, scores: object = None) -> None:  # noqa: N803
    """Sends the data that a model version was accepted on; drift is measured against it.

    Of more than 100,000 rows, a sample of 100,000 is sent, the same one every time.

    Args:
        model: its name.
        version: of the model; None: as in `log_prediction`.
        X: a table as in `sdk.tables`.
        y: the true values, one per row; None: unknown.
        scores: probability of the positive class per row, or an array of rows × 2; None: unknown.

    >>> import modelkeep as mk
    >>> mk.reference("credit", "3", {"income": [41_000, 9_000]}, [1, 0], [0.7, 0.2])
    """
    client = here()
    if not client.on:
        return
    try:
        table = table_of(X)
        if table is None:
            raise BadInput(f"{type(X).__name__} is not a table", hint="Give a DataFrame, array or mapping of columns.")
        score, classes = split_scores(scores, table.rows)
        if y is not None and length(y) != table.rows:
            raise BadInput(f"{length(y)} labels for {table.rows} rows", hint="Give one label per row.")
        rows = Rows(table.rows, [], 0, table.columns, None if y is None else keep(y), score, classes)
        rows = _sampled(rows)
        client.put(
            (REFERENCE, str(model), tied.version(str(model)) if version is None else str(version), rows), rows.count
        )
    except Exception as error:  # noqa: BLE001
        client.failed("reference", error)


def redact(*names: str) -> None:
    """Withholds fields from now on: features of these names are not sent, in logs and events they are blanked.

    >>> import modelkeep as mk
    >>> mk.redact("ssn", "iban")
    """
    privacy.withheld.update(str(name) for name in names)


def sampling(**shares: float) -> None:
    """Sends a field with only a share of the predictions, the others have null; chosen by the prediction's id.

    Args:
        shares: field → 0 to 1, for example `comment=0.1`.

    >>> import modelkeep as mk
    >>> mk.sampling(comment=0.1)
    """
    for name, share in shares.items():
        given = number(share)
        privacy.shares[name] = 1.0 if given is None else min(1.0, max(0.0, given))


def sample(name: str, value: float, **labels: object) -> None:
    """Records one value of a series of your own.

    Args:
        name: of the metric, for example `queue_length`.
        value: in the unit that the name ends with.
        labels: of the series.

    >>> import modelkeep as mk
    >>> mk.sample("queue_length", 3, queue="orders")
    """
    client = here()
    if not client.on:
        return
    try:
        given = number(value)
        if given is None:
            raise BadInput(f"{name}: {value!r} is not a number", hint="Give an int or float.")
        texts = {str(key): named(label) for key, label in labels.items()}
        for text in ("a" if _METRIC.fullmatch(name) else name, *texts):
            if not _LABEL.fullmatch(text):
                raise BadInput(f"{text!r} is not a name of a metric or label", hint="Use letters, digits and _.")
        client.put((SAMPLE, {"__name__": str(name), **texts}, _when(None, current.get()), given))
    except Exception as error:  # noqa: BLE001
        client.failed("sample", error)


def flush(timeout_s: float = 5.0) -> bool:
    """Waits until everything recorded so far is on the server's disk.

    Returns:
        Whether it is; True at once when nothing is sent at all.

    >>> import modelkeep as mk
    >>> mk.flush()
    True
    """
    client = here()
    try:
        return client.sender is None or client.sender.flush(timeout_s)
    except Exception as error:  # noqa: BLE001
        client.failed("flush", error)
        return False


def record(
    client: Client,
    model: str,
    version: str | None,
    features: dict[str, object],
    prediction: object,
    *,
    score: object = None,
    id: object = None,  # noqa: A002
    latency_ns: int | None = None,
    error: str | None = None,
) -> str:
    """Records one row whose features are this call's own; `watch` measures and calls this."""
    around = current.get()
    made = _one_id(client, id, around, model)
    if client.on:
        when = _when(None, around)
        version = tied.version(model) if version is None else version
        client.put((PREDICTION, model, version, made, when, features, prediction, score, latency_ns, error))
    return made


def record_table(
    client: Client,
    model: str,
    version: str | None,
    table: Table,
    prediction: object,
    *,
    score: object = None,
    ids: object = None,
    at: object = None,
    latency_ns: int | None = None,
) -> list[str]:
    """Records one prediction per row of a table whose columns are this call's own."""
    around = current.get()
    made = _many_ids(client, ids, around, model, table.rows)
    if length(prediction) != table.rows:
        raise BadInput(f"{length(prediction)} predictions for {table.rows} rows", hint="Give one prediction per row.")
    if not client.on or not table.rows:
        return made
    times = _when(None, around) if at is None else moments_ns(at, table.rows)
    single, classes = split_scores(score, table.rows)
    version = tied.version(model) if version is None else version
    rows = Rows(table.rows, made, times, table.columns, keep(prediction), single, classes, latency_ns)
    client.put((TABLE, model, version, rows), table.rows)
    return made


def _any_prediction(
    client: Client,
    model: str,
    features: object,
    prediction: object,
    *,
    score: object,
    id: object,  # noqa: A002
    at: object,
    version: str | None,
) -> str | list[str]:
    model = str(model)
    version = tied.version(model) if version is None else str(version)
    rows = length(prediction)
    table = table_of(features, rows) if rows is not None or not isinstance(features, Mapping) else None
    if table is not None and rows is not None:
        return record_table(client, model, version, table, prediction, score=score, ids=id, at=at)
    row = _only_row(table) if table is not None else row_of(features)
    if row is None:
        raise BadInput(
            f"{type(features).__name__} features with one prediction", hint="Give one row, or one prediction per row."
        )
    around = current.get()
    made = _one_id(client, id, around, model)
    if client.on:
        client.put((PREDICTION, model, version, made, _when(at, around), row, prediction, score, None, None))
    return made


def _only_row(table: Table) -> dict[str, object] | None:
    if table.rows != 1:
        return None
    return {name: listed(column)[0] for name, column in table.columns.items()}


def _one_id(client: Client, given: object, around: Context | None, model: str) -> str:
    made = "" if given is None else str(given)
    request = around.request if around else None
    if request is None:
        return made or client.ids()
    made = made or request.take(model) or client.ids()
    request.prediction_id = made
    return made


def _many_ids(client: Client, given: object, around: Context | None, model: str, rows: int) -> list[str]:
    if given is not None:
        if length(given) != rows:
            raise BadInput(f"{length(given)} ids for {rows} rows", hint="Give one id per row.")
        return [("" if one is None else str(one)) or client.ids() for one in listed(keep(given))]
    request = around.request if around else None
    if request is not None and request.id:
        made = [request.take(model) for _ in range(rows)]
        request.prediction_id = made[-1] if made else request.prediction_id
        return made
    first = client.table_ids()
    start, rest = int(first[:16], 16), first[16:]
    return [f"{start + row:016x}{rest}" for row in range(rows)]


def _fallback(given: object) -> str | list[str]:
    """Ids to give back after a failure: those that were given, where they can be read."""
    try:
        if _is_listed(given):
            return [str(one) for one in given]
        return here().ids() if given is None else str(given)
    except Exception:  # noqa: BLE001
        return here().ids()


def _is_listed(given: object) -> TypeGuard[list[object]]:
    return isinstance(given, list | tuple)


def _when(at: object, around: Context | None) -> int:
    if at is not None:
        return moment_ns(at)
    if around is not None and around.at_ns is not None:
        return around.at_ns
    return time_ns()


def _facts(kind: str, id: object, values: Mapping[str, object], *, model: str | None, at: object) -> None:  # noqa: A002
    client = here()
    if not client.on:
        return
    try:
        around = current.get()
        name = None if model is None else str(model)
        rows = length(id)
        if any(one is None or not str(one) for one in ([id] if rows is None else listed(keep(id)))):
            raise BadInput("the id is empty", hint="Give the id that log_prediction gave.")
        for source, value in values.items():
            if rows is None:
                if _is_known(value):
                    client.put((FACT, str(id), name, kind, value, str(source), _when(at, around)))
                continue
            if length(value) != rows:
                raise BadInput(f"{length(value)} values for {rows} ids", hint="Give one value per id.")
            times = _when(None, around) if at is None else moments_ns(at, rows)
            each = times if isinstance(times, list) else [times] * rows
            for one, said, when in zip(listed(keep(id)), listed(keep(value)), each, strict=True):
                if _is_known(said):
                    client.put((FACT, str(one), name, kind, said, str(source), when))
    except Exception as error:  # noqa: BLE001
        client.failed("truth" if kind == "label" else kind, error)


def _is_known(value: object) -> bool:
    if type(value) is float:
        return isfinite(value)
    sent = scalar(value)
    return sent is not None and (not isinstance(sent, float) or isfinite(sent))


def _sampled(rows: Rows) -> Rows:
    if rows.count <= RESERVOIR_ROWS:
        return rows
    picked = sorted(random.Random(_SEED).sample(range(rows.count), RESERVOIR_ROWS))  # noqa: S311

    def pick(column: object) -> object:
        values = listed(column)
        return [values[index] for index in picked]

    rows.columns = {name: pick(column) for name, column in rows.columns.items()}
    rows.prediction = None if rows.prediction is None else pick(rows.prediction)
    rows.score = None if rows.score is None else pick(rows.score)
    rows.count = RESERVOIR_ROWS
    return rows


__all__ = [
    "Id",
    "Moment",
    "event",
    "feedback",
    "flush",
    "log_prediction",
    "record",
    "record_table",
    "redact",
    "reference",
    "sample",
    "sampling",
    "truth",
]
