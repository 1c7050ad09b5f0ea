"""What surrounds a call: the request it serves, the time it stands for, the fields its logs carry."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from contextvars import ContextVar, Token
from dataclasses import dataclass, field, replace
from types import TracebackType
from typing import Final, Generic, TypeVar, cast

from modelkeep.core.ids import token
from modelkeep.sdk.complaints import complain
from modelkeep.sdk.moments import Moment, moment_ns

Given = TypeVar("Given")


@dataclass(slots=True)
class Request:
    """One request to the model.

    Args:
        id: the id of the first prediction of each model within; empty: predictions make their own.
        user: who asked; events within default to it.
        trace_id: joins the logs of one request.
        prediction: what was answered, for the caller's own use.
        prediction_id: the id of the latest prediction within.
    """

    id: str = ""
    user: str = ""
    trace_id: str = ""
    prediction: object = None
    prediction_id: str | None = None
    counts: dict[str, int] = field(default_factory=dict)

    def take(self, model: str) -> str:
        """Gives the id of the next prediction of one model: the request's own, then with `-2`, `-3` …; or nothing.

        >>> order = Request("o1")
        >>> order.take("credit"), order.take("credit"), order.take("fraud")
        ('o1', 'o1-2', 'o1')
        """
        if not self.id:
            return ""
        count = self.counts[model] = self.counts.get(model, 0) + 1
        return self.id if count == 1 else f"{self.id}-{count}"


@dataclass(frozen=True, slots=True)
class Context:
    """What one task or thread stands in; `fields` are attributes of its logs."""

    at_ns: int | None = None
    request: Request | None = None
    trace_id: str | None = None
    prediction_id: str | None = None
    fields: Mapping[str, object] = field(default_factory=dict)


current: Final[ContextVar[Context | None]] = ContextVar("modelkeep", default=None)
_OUTSIDE: Final = Context()


class Replay:
    """The latest time that any `at` of this process stood for; 0 while none did."""

    latest_ns: int = 0


class Scope(Generic[Given]):
    """Changes the context inside a `with` or `async with` block; can be entered again."""

    __slots__ = ("_changes", "_given", "_tokens")

    def __init__(self, given: Given, changes: Mapping[str, object]) -> None:
        self._given = given
        self._changes = changes
        self._tokens: list[Token[Context | None]] = []

    def __enter__(self) -> Given:
        around = current.get() or _OUTSIDE
        changes = dict(self._changes)
        if "fields" in changes:
            changes["fields"] = {**around.fields, **cast("Mapping[str, object]", changes["fields"])}
        self._tokens.append(current.set(replace(around, **changes)))  # type: ignore[arg-type]
        return self._given

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        before = self._tokens.pop()
        try:
            current.reset(before)
        except ValueError:
            current.set(None if before.old_value is Token.MISSING else before.old_value)

    async def __aenter__(self) -> Given:
        return self.__enter__()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.__exit__(kind, error, trace)


def request(id: object = None, *, user: object = None) -> Scope[Request]:  # noqa: A002
    """Gives a block whose predictions carry the request's id, so that truth and feedback join by it.

    Args:
        id: any text or number of yours, unique per model; None: each prediction makes its own.
        user: who asks.

    >>> with request("order-7", user="ann") as order:
    ...     order.prediction = 0.4
    >>> order.id, order.prediction
    ('order-7', 0.4)
    """
    made = Request("" if id is None else str(id), "" if user is None else str(user), token())
    return Scope(made, {"request": made, "trace_id": made.trace_id, "prediction_id": made.id or None})


def at(moment: Moment) -> Scope[int]:
    """Gives a block in which everything is dated `moment`: predictions, truth, events, logs and resource samples.

    Args:
        moment: a datetime (UTC when it names no zone), ISO 8601 text, unix seconds, or ns since 1970.
            What is not a time is reported on stderr and changes nothing.

    >>> with at("2013-04-01") as at_ns:
    ...     at_ns
    1364774400000000000
    """
    try:
        at_ns = moment_ns(moment)
    except Exception as error:  # noqa: BLE001
        complain("at", f"modelkeep: at: {error}")
        return Scope(0, {})
    Replay.latest_ns = max(Replay.latest_ns, at_ns)
    return Scope(at_ns, {"at_ns": at_ns})


def log_context(
    *, prediction_id: str | None = None, trace_id: str | None = None, **fields: object
) -> Scope[Mapping[str, object]]:
    """Gives a block whose logs carry these fields as attributes.

    Args:
        prediction_id: joins the logs to a prediction.
        trace_id: joins the logs of one request.
        fields: anything else, for example `model` and `version`.

    >>> with log_context(model="delay", version="3") as fields:
    ...     fields["model"]
    'delay'
    """
    changes: dict[str, object] = {"fields": fields}
    if prediction_id is not None:
        changes["prediction_id"] = str(prediction_id)
    if trace_id is not None:
        changes["trace_id"] = str(trace_id)
    return Scope(fields, changes)


def trace_id(around: Context | None) -> str | None:
    """Gives the trace the caller is in: OpenTelemetry's when it is loaded and has one, else the context's own."""
    tracing = sys.modules.get("opentelemetry.trace")
    if tracing is not None:
        try:
            span = tracing.get_current_span().get_span_context()
            if span.trace_id:
                return f"{span.trace_id:032x}"
        except (AttributeError, TypeError, ValueError):
            complain("opentelemetry", "modelkeep: the trace id of OpenTelemetry could not be read")
    return around.trace_id if around else None
