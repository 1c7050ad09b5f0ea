"""Python's logging, attached in every usual way: the same text as before, and a structured copy."""

from __future__ import annotations

import asyncio
import json
import logging
import logging.config
import logging.handlers
import queue
import sys
import threading
import types
from collections.abc import Iterator

import pytest

import modelkeep as mk


@pytest.fixture
def root(sending) -> Iterator[logging.Logger]:
    own = logging.getLogger()
    handlers, level = own.handlers[:], own.level
    own.handlers[:] = []
    own.setLevel(logging.WARNING)
    yield own
    mk.logging.uninstall()
    own.handlers[:] = handlers
    own.setLevel(level)


def test_install_copies_and_the_text_stays_the_same(sending, root, capsys) -> None:
    root.handlers[:] = []
    mk.logging.install()
    logging.getLogger("shop").info("paid %d", 5)
    logging.getLogger("shop").debug("unseen")
    logging.getLogger("shop").warning("late")
    assert mk.flush()
    assert [(row["level"], row["severity"], row["message"], row["logger"]) for row in sending.logs] == [
        ("INFO", 9, "paid 5", "shop"),
        ("WARN", 13, "late", "shop"),
    ]
    assert capsys.readouterr().err == "late\n"


def test_install_survives_configuration_before_and_after(sending, root, capsys) -> None:
    logging.config.dictConfig(
        {
            "version": 1,
            "disable_existing_loggers": False,
            "handlers": {"out": {"class": "logging.StreamHandler", "stream": "ext://sys.stdout", "formatter": "f"}},
            "formatters": {"f": {"format": "%(levelname)s %(message)s"}},
            "root": {"level": "INFO", "handlers": ["out"]},
        }
    )
    mk.logging.install()
    mk.logging.install()
    logging.info("one")
    logging.basicConfig(force=True, stream=sys.stdout, format="%(message)s!", level="DEBUG")
    logging.debug("not copied")
    logging.info("two")
    assert mk.flush()
    assert sending.messages == ["one", "two"]
    assert capsys.readouterr().out == "INFO one\nnot copied!\ntwo!\n"


def test_a_handler_by_configuration_and_install_copy_once(sending, root) -> None:
    logging.config.dictConfig(
        {
            "version": 1,
            "disable_existing_loggers": False,
            "handlers": {"keep": {"class": "modelkeep.sdk.logging.Handler", "level": "INFO"}},
            "root": {"level": "INFO", "handlers": ["keep"]},
        }
    )
    mk.logging.install()
    logging.getLogger("a.b").info("once")
    assert mk.flush()
    assert sending.messages == ["once"]


def test_extra_exceptions_and_context_become_attributes(sending, root) -> None:
    mk.logging.install()
    log = logging.getLogger("shop")
    with mk.log_context(prediction_id="p1", trace_id="t1", tenant="blue"), mk.log_context(step=2):
        log.warning("slow", extra={"seconds": 2.5, "order": {"id": 7}})
        try:
            raise LookupError("gone")
        except LookupError:
            log.exception("failed")
    log.warning("outside", stack_info=True)
    assert mk.flush()
    slow, failed, outside = sending.logs
    assert json.loads(slow["attributes"]) == {"tenant": "blue", "step": 2, "seconds": 2.5, "order": {"id": 7}}
    assert (slow["prediction_id"], slow["trace_id"]) == ("p1", "t1")
    attributes = json.loads(failed["attributes"])
    assert attributes["exception.type"] == "LookupError"
    assert attributes["exception.message"] == "gone"
    assert "raise LookupError" in attributes["exception.stacktrace"]
    assert outside["prediction_id"] is None
    assert "test_logging" in json.loads(outside["attributes"])["stack"]


def test_logs_of_a_request_join_its_prediction(sending, root) -> None:
    mk.logging.install()
    log = logging.getLogger()
    with mk.request():
        log.warning("before")
        made = mk.log_prediction("m", {"a": 1}, 1)
        log.warning("after")
    assert mk.flush()
    before, after = sending.logs
    assert (before["prediction_id"], after["prediction_id"]) == (None, made)
    assert before["trace_id"] == after["trace_id"]
    assert len(before["trace_id"]) == 32


def test_tasks_have_their_own_context(sending, root) -> None:
    mk.logging.install()

    async def one(number: int) -> None:
        with mk.log_context(task=number):
            await asyncio.sleep(0)
            logging.warning("%d", number)

    async def all_of_them() -> None:
        await asyncio.gather(*(one(number) for number in range(20)))

    asyncio.run(all_of_them())
    assert mk.flush()
    assert all(json.loads(row["attributes"]) == {"task": int(row["message"])} for row in sending.logs)
    assert len(sending.logs) == 20


def test_the_trace_of_opentelemetry_is_used_when_it_is_loaded(sending, root, monkeypatch) -> None:
    span = types.SimpleNamespace(get_span_context=lambda: types.SimpleNamespace(trace_id=0xABC))
    fake = types.SimpleNamespace(get_current_span=lambda: span)
    monkeypatch.setitem(sys.modules, "opentelemetry.trace", fake)
    mk.logging.install()
    logging.warning("x")
    assert mk.flush()
    assert sending.logs[0]["trace_id"] == f"{0xABC:032x}"


def test_queue_handlers_filters_threads_and_adapters(sending, root) -> None:
    waiting: queue.SimpleQueue[logging.LogRecord] = queue.SimpleQueue()
    handler = mk.logging.Handler(logging.INFO)
    handler.addFilter(lambda record: "secret" not in record.getMessage())
    listener = logging.handlers.QueueListener(waiting, handler)
    log = logging.getLogger("queued")
    log.setLevel("INFO")
    log.addHandler(logging.handlers.QueueHandler(waiting))
    listener.start()
    threads = [threading.Thread(target=lambda: [log.info("n %d", n) for n in range(100)]) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    log.info("secret")
    logging.LoggerAdapter(log, {"tenant": "blue"}).info("adapted")
    listener.stop()
    log.handlers.clear()
    assert mk.flush()
    assert len(sending.messages) == 401
    assert "secret" not in sending.messages
    assert json.loads(sending.logs[-1]["attributes"])["tenant"] == "blue"


def test_strange_records_never_raise(sending, root, capsys) -> None:
    log = logging.getLogger("strange")
    log.propagate = False
    log.addHandler(mk.logging.Handler())
    log.setLevel(1)
    log.warning("%d %s", "not a number")  # noqa: PLE1206
    log.warning({"a": float("nan")}, extra={"nan": float("nan"), "bytes": b"\xff", "self": log, "deep": [[[[]]]]})
    log.warning("\ud800")
    log.log(37, "between")
    log.critical("x" * 100_000)
    log.handlers.clear()
    assert mk.flush()
    assert sending.messages == ["{'a': nan}", "\\ud800", "between", "x" * 65_536]
    assert [row["severity"] for row in sending.logs] == [13, 13, 15, 21]
    assert [row["level"] for row in sending.logs] == ["WARN", "WARN", "Level 37", "FATAL"]
    assert "the model is not affected" in capsys.readouterr().err


def test_the_formatter_writes_json() -> None:
    record = logging.LogRecord("shop", logging.ERROR, "", 0, "paid %d", (5,), None)
    record.tenant = "blue"
    with mk.log_context(prediction_id="p1"):
        line = json.loads(mk.logging.JSONFormatter().format(record))
    assert line["message"] == "paid 5"
    assert line["attributes"] == {"tenant": "blue"}
    assert line["prediction_id"] == "p1"
    assert line["timestamp"].endswith("Z")


def test_uninstall_ends_it(sending, root) -> None:
    mk.logging.install()
    mk.logging.uninstall()
    logging.warning("x")
    assert mk.flush()
    assert sending.logs == []
