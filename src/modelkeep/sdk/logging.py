"""Python's logging, copied to the server: `mk.logging.install()`, or `Handler` where handlers are configured."""

from __future__ import annotations

import logging
import threading
import traceback
from collections.abc import Callable
from time import gmtime
from typing import Final

from modelkeep.sdk.buffer import LOG
from modelkeep.sdk.client import Client, here
from modelkeep.sdk.context import Context, current, trace_id
from modelkeep.sdk.envelopes import severity
from modelkeep.sdk.values import json

_STANDARD: Final = frozenset(logging.LogRecord("", 0, "", 0, "", (), None).__dict__) | {
    "message",
    "asctime",
    "taskName",
}
_LONGEST: Final = 65_536
_LEVELS: Final = {logging.WARNING: "WARN", logging.CRITICAL: "FATAL"}


class Handler(logging.Handler):
    """Copies records to the server; takes no lock, formats only the message, never raises.

    `extra` fields and those of `mk.log_context` become attributes; an exception becomes the attributes
    `exception.type`, `exception.message` and `exception.stacktrace`.

    Args:
        level: records below it are not copied.

    >>> logger = logging.getLogger("doctest")
    >>> logger.addHandler(Handler("INFO"))
    """

    def __init__(self, level: int | str = logging.NOTSET) -> None:
        super().__init__(level)

    def createLock(self) -> None:  # noqa: N802
        """Makes none: appending to the buffer is atomic."""
        self.lock = None

    def handle(self, record: logging.LogRecord) -> bool:
        """Copies one record, unless a filter of this handler refuses it."""
        found: object = self.filter(record)
        if found:
            self.emit(found if isinstance(found, logging.LogRecord) else record)
        return bool(found)

    def emit(self, record: logging.LogRecord) -> None:
        """Copies one record."""
        client = here()
        if client.on:
            try:
                _copy(client, record)
            except Exception as error:  # noqa: BLE001
                client.failed("logging", error)


class JSONFormatter(logging.Formatter):
    """Writes each record as one line of JSON with the same fields that the server keeps.

    >>> record = logging.LogRecord("shop", logging.INFO, "", 0, "paid %d", (5,), None)
    >>> JSONFormatter().format(record)
    '{"timestamp":"...","severity":9,"level":"INFO","logger":"shop","message":"paid 5"}'
    """

    def format(self, record: logging.LogRecord) -> str:
        """Gives the line, without a line end."""
        around = current.get()
        trace, prediction = _joined(around)
        attributes = _attributes(record, around)
        fields: dict[str, object] = {
            "timestamp": self._stamp(record),
            "severity": severity(record.levelno),
            "level": level_name(record),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if trace:
            fields["trace_id"] = trace
        if prediction:
            fields["prediction_id"] = prediction
        if attributes:
            fields["attributes"] = attributes
        return json(fields)

    def _stamp(self, record: logging.LogRecord) -> str:
        seconds = self.formatTime(record, "%Y-%m-%dT%H:%M:%S")
        return f"{seconds}.{int(record.msecs):03d}Z"

    converter = staticmethod(gmtime)


class _Installed:
    """The handler that `install` put behind every logger."""

    handler: Handler | None = None
    before: Callable[[logging.Logger, logging.LogRecord], None] | None = None
    lock = threading.Lock()


def install(level: int | str = logging.INFO) -> Handler:
    """Copies every record of every logger from here on, whatever is configured before or after.

    Handlers, formats and files stay as they are: the same text appears as before. Where logging is not configured at
    all, the root logger's level is lowered to `level` so that such records are made.

    Args:
        level: records below it are not copied.

    Returns:
        The handler, for filters and `setLevel`.
    """
    with _Installed.lock:
        root = logging.getLogger()
        if _Installed.handler is not None:
            _Installed.handler.setLevel(level)
        else:
            _Installed.handler = Handler(level)
            _Installed.before = logging.Logger.callHandlers
            setattr(logging.Logger, "callHandlers", _call_handlers)  # noqa: B010
        if not root.handlers and root.level == logging.WARNING and _Installed.handler.level < root.level:
            root.setLevel(_Installed.handler.level)
        return _Installed.handler


def uninstall() -> None:
    """Ends what `install` began."""
    with _Installed.lock:
        if _Installed.before is not None:
            setattr(logging.Logger, "callHandlers", _Installed.before)  # noqa: B010
        _Installed.handler = _Installed.before = None


def level_name(record: logging.LogRecord) -> str:
    """Gives the level's name as OpenTelemetry has it: WARN and FATAL for Python's WARNING and CRITICAL."""
    return _LEVELS.get(record.levelno) or str(record.levelname)


def _call_handlers(logger: logging.Logger, record: logging.LogRecord) -> None:
    before, handler = _Installed.before, _Installed.handler
    if before is not None:
        before(logger, record)
    if handler is not None and record.levelno >= handler.level and not _attached(logger):
        handler.handle(record)


def _attached(logger: logging.Logger) -> bool:
    one: logging.Logger | None = logger
    while one is not None:
        if any(isinstance(handler, Handler) for handler in one.handlers):
            return True
        one = one.parent if one.propagate else None
    return False


def _copy(client: Client, record: logging.LogRecord) -> None:
    if client.sender is not None and threading.get_ident() == client.sender.ident:
        return
    around = current.get()
    trace, prediction = _joined(around)
    when = around.at_ns if around and around.at_ns is not None else int(record.created * 1e9)
    message = record.getMessage()[:_LONGEST]
    level = level_name(record)
    fields = _attributes(record, around)
    number = record.levelno or logging.NOTSET
    client.put((LOG, when, number, level, str(record.name), message, trace, prediction, fields))
    if number >= logging.CRITICAL:
        client.buffer.nudge()


def _joined(around: Context | None) -> tuple[str | None, str | None]:
    trace = trace_id(around)
    if around is None:
        return trace, None
    request = around.request
    return trace, (request.prediction_id if request else None) or around.prediction_id


def _attributes(record: logging.LogRecord, around: Context | None) -> dict[str, object]:
    names = record.__dict__.keys() - _STANDARD
    found: dict[str, object] = {**around.fields} if around else {}
    for name in names:
        found[name] = record.__dict__[name]
    if record.exc_info and record.exc_info[0] is not None:
        kind, error, trace = record.exc_info
        found["exception.type"] = kind.__name__
        found["exception.message"] = str(error)
        found["exception.stacktrace"] = "".join(traceback.format_exception(kind, error, trace))[:_LONGEST]
    if record.stack_info:
        found["stack"] = record.stack_info
    return found
