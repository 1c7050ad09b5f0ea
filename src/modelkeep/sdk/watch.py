"""Recording every call of a function that predicts."""

from __future__ import annotations

import inspect
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Generator, Mapping
from functools import wraps
from time import perf_counter_ns
from typing import Final, ParamSpec, TypeVar, cast

from modelkeep.sdk.calls import record, record_table
from modelkeep.sdk.client import Client, here
from modelkeep.sdk.tables import Table, length, listed, row_of, table_of
from modelkeep.sdk.values import number

P = ParamSpec("P")
R = TypeVar("R")
Choice = str | Callable[..., object] | None
_HALF: Final = 0.5
_MOST_PIECES: Final = 10_000
_SELF: Final = {"self", "cls"}


def watch(
    model: str, *, score: Choice = None, features: Choice = None, version: str | None = None
) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Gives a decorator that records features, answer, latency and errors of every call.

    Works on plain, async, generator and async generator functions. A generator is one prediction: its text pieces
    joined, else its last piece. An exception is recorded by its type's name and raised again.

    Args:
        model: its name.
        score: None: a float in [0, 1] is the score and 0.5 or more the prediction True, a mapping is looked up
            for `score` and `prediction`, anything else is the prediction. A text: that key of the answer.
            A function: of the answer, gives the score.
        features: None: the first argument that is a mapping, row or table. A text: the argument of this name.
            A function: of the call's arguments, gives the features.
        version: of the model; None: as in `log_prediction`.

    >>> import modelkeep as mk
    >>> @mk.watch("credit")
    ... def score(features):
    ...     return 0.7
    >>> score({"income": 41_000})
    0.7
    """

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        kind = _Watched(function, str(model), score, features, version)
        return cast("Callable[P, R]", kind.wrapped())

    return decorate


class _Watched:
    """One function that is watched."""

    def __init__(
        self, function: Callable[..., object], model: str, score: Choice, features: Choice, version: str | None
    ) -> None:
        self._function = function
        self._model = model
        self._score = score
        self._features = features
        self._version = version
        self._names = _names(function)

    def wrapped(self) -> Callable[..., object]:
        if inspect.isasyncgenfunction(self._function):
            return self._async_generator()
        if inspect.iscoroutinefunction(self._function):
            return self._coroutine()
        if inspect.isgeneratorfunction(self._function):
            return self._generator()
        return self._plain()

    def _plain(self) -> Callable[..., object]:
        function = self._function

        @wraps(function)
        def call(*given: object, **named: object) -> object:
            one = _Call(self, given, named)
            try:
                answer = function(*given, **named)
            except BaseException as error:
                one.failed(error)
                raise
            one.done(answer)
            return answer

        return call

    def _coroutine(self) -> Callable[..., object]:
        function = cast("Callable[..., Generator[object, object, object]]", self._function)

        @wraps(function)
        async def call(*given: object, **named: object) -> object:
            one = _Call(self, given, named)
            try:
                answer = await function(*given, **named)  # type: ignore[misc]
            except BaseException as error:
                one.failed(error)
                raise
            one.done(answer)
            return answer

        return call

    def _generator(self) -> Callable[..., object]:
        function = cast("Callable[..., Generator[object, object, object]]", self._function)

        @wraps(function)
        def call(*given: object, **named: object) -> Generator[object, object, object]:
            one, inner = _Call(self, given, named), function(*given, **named)
            try:
                piece = next(inner)
                while True:
                    one.piece(piece)
                    try:
                        sent = yield piece
                    except GeneratorExit:
                        inner.close()
                        raise
                    except BaseException as error:  # noqa: BLE001
                        piece = inner.throw(error)
                    else:
                        piece = inner.send(sent)
            except StopIteration as stop:
                one.streamed()
                return stop.value
            except GeneratorExit:
                one.streamed()
                raise
            except BaseException as error:
                one.failed(error)
                raise

        return call

    def _async_generator(self) -> Callable[..., object]:
        function = cast("Callable[..., AsyncGenerator[object, object]]", self._function)

        @wraps(function)
        async def call(*given: object, **named: object) -> AsyncIterator[object]:
            one, inner = _Call(self, given, named), function(*given, **named)
            try:
                piece = await anext(inner)
                while True:
                    one.piece(piece)
                    try:
                        sent = yield piece
                    except GeneratorExit:
                        await inner.aclose()
                        raise
                    except BaseException as error:  # noqa: BLE001
                        piece = await inner.athrow(error)
                    else:
                        piece = await inner.asend(sent)
            except (StopAsyncIteration, GeneratorExit) as end:
                one.streamed()
                if isinstance(end, GeneratorExit):
                    raise
            except BaseException as error:
                one.failed(error)
                raise

        return call

    def inputs(self, given: tuple[object, ...], named: Mapping[str, object]) -> dict[str, object] | Table:
        """Gives what the call was asked, as its own copy."""
        if callable(self._features):
            return _own(self._features(*given, **named)) or {}
        if self._features is not None:
            place = self._names.index(self._features) if self._features in self._names else len(given)
            return _own(named.get(self._features, given[place] if place < len(given) else None)) or {}
        for value in (*given, *named.values()):
            if (found := _own(value)) is not None:
                return found
        own = given[1:] if self._names[:1] and self._names[0] in _SELF else given
        names = self._names[len(given) - len(own) :]
        return {**dict(zip(names, own, strict=False)), **named}

    def outputs(self, answer: object) -> tuple[object, object]:
        """Gives prediction and score of one row's answer."""
        if callable(self._score):
            return answer, self._score(answer)
        if isinstance(answer, Mapping):
            key = self._score or "score"
            if "prediction" in answer or key in answer:
                found = answer.get(key)
                return answer.get("prediction", _decided(found)), found
            return _likeliest(answer)
        if self._score is not None:
            found = getattr(answer, self._score, None)
            return getattr(answer, "prediction", answer), found
        single = _single(answer)
        if _is_share(single):
            return _decided(single), single
        return single, None

    def keep(self, client: Client, inputs: dict[str, object] | Table, answer: object, latency_ns: int) -> None:
        """Records a call that went well."""
        if isinstance(inputs, dict):
            prediction, score = self.outputs(answer)
            record(client, self._model, self._version, inputs, prediction, score=score, latency_ns=latency_ns)
            return
        predictions, scores = self._columns(answer, inputs.rows)
        record_table(client, self._model, self._version, inputs, predictions, score=scores, latency_ns=latency_ns)

    def keep_error(self, client: Client, inputs: dict[str, object] | Table, error: str, latency_ns: int) -> None:
        """Records a call that raised: every row of a table failed."""
        rows = [inputs] if isinstance(inputs, dict) else _rows(inputs)
        for row in rows:
            record(client, self._model, self._version, row, None, latency_ns=latency_ns, error=error)

    def _columns(self, answer: object, rows: int) -> tuple[object, object]:
        scores = self._score(answer) if callable(self._score) else None
        shape = tuple(getattr(answer, "shape", ()))
        if len(shape) == 2 and shape[1] > 2:
            return [_largest(cast("list[float]", row)) for row in listed(answer)], answer
        if len(shape) == 2:
            answer = _last_column(answer)
        values = listed(answer) if length(answer) == rows else [answer] * rows
        if scores is None and values and all(_is_share(value) for value in values):
            return [_decided(value) for value in values], answer
        if scores is None and values and all(isinstance(value, Mapping) for value in values):
            pairs = [self.outputs(value) for value in values]
            return [pair[0] for pair in pairs], [pair[1] for pair in pairs]
        return answer if length(answer) == rows else values, scores


class _Call:
    """One call that is being measured; what goes wrong in here stays here."""

    __slots__ = ("_client", "_inputs", "_pieces", "_start", "_watched")

    def __init__(self, watched: _Watched, given: tuple[object, ...], named: Mapping[str, object]) -> None:
        self._watched = watched
        self._client = here()
        self._pieces: list[object] = []
        self._inputs: dict[str, object] | Table = {}
        if self._client.on:
            try:
                self._inputs = watched.inputs(given, named)
            except Exception as error:  # noqa: BLE001
                self._client.failed("watch", error)
        self._start = perf_counter_ns()

    def done(self, answer: object) -> None:
        taken = perf_counter_ns() - self._start
        if self._client.on:
            try:
                self._watched.keep(self._client, self._inputs, answer, taken)
            except Exception as error:  # noqa: BLE001
                self._client.failed("watch", error)

    def failed(self, error: BaseException) -> None:
        taken = perf_counter_ns() - self._start
        if self._client.on:
            try:
                self._watched.keep_error(self._client, self._inputs, type(error).__name__, taken)
            except Exception as inner:  # noqa: BLE001
                self._client.failed("watch", inner)

    def piece(self, piece: object) -> None:
        if self._client.on and (isinstance(piece, str) or not self._pieces) and len(self._pieces) < _MOST_PIECES:
            self._pieces.append(piece)
        elif self._pieces:
            self._pieces[-1] = piece

    def streamed(self) -> None:
        pieces = self._pieces
        if pieces and all(isinstance(piece, str) for piece in pieces):
            self.done("".join(cast("list[str]", pieces)))
        else:
            self.done(pieces[-1] if pieces else None)


def _names(function: Callable[..., object]) -> list[str]:
    try:
        return list(inspect.signature(function).parameters)
    except (TypeError, ValueError):
        return []


def _own(value: object) -> dict[str, object] | Table | None:
    """Gives a row or table as a copy of its own, or None for what is neither."""
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, str | bytes | int | float | bool | type(None)):
        return None
    return table_of(value) or row_of(value)


def _single(answer: object) -> object:
    if length(answer) == 1 and hasattr(answer, "shape"):
        found = listed(answer)[0]
        return _single(found[-1] if isinstance(found, list) and found else found)
    return answer


def _is_share(value: object) -> bool:
    if isinstance(value, bool) or not (
        isinstance(value, float) or getattr(getattr(value, "dtype", None), "kind", "") == "f"
    ):
        return False
    found = number(value)
    return found is not None and 0.0 <= found <= 1.0


def _decided(score: object) -> bool | None:
    found = None if isinstance(score, Mapping) else number(score)
    return None if found is None else found >= _HALF


def _largest(row: list[float]) -> int:
    return max(range(len(row)), key=row.__getitem__)


def _last_column(answer: object) -> object:
    return [cast("list[object]", row)[-1] for row in listed(answer)]


def _likeliest(answer: Mapping[object, object]) -> tuple[object, object]:
    if answer and all(_is_share(value) for value in answer.values()):
        shares = {str(name): cast("float", value) for name, value in answer.items()}
        return max(shares, key=lambda name: shares[name]), shares
    return answer, None


def _rows(table: Table) -> list[dict[str, object]]:
    columns = [listed(column) for column in table.columns.values()]
    return [dict(zip(table.columns, row, strict=True)) for row in zip(*columns, strict=True)]
