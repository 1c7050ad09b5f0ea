"""Against a server that goes away, is busy, refuses, hangs: everything arrives once or is counted."""

from __future__ import annotations

import time
from collections import Counter
from pathlib import Path

import pytest

import modelkeep as mk
from modelkeep.sdk import client, sender
from modelkeep.sdk.buffer import FACT, PREDICTION, Buffer


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sender, "_BACKOFF_S", 0.02)
    monkeypatch.setattr(sender, "_LONGEST_S", 0.1)


def log(numbers: range) -> list[str]:
    return [str(mk.log_prediction("m", {"a": number}, number, id=f"p{number:05}")) for number in numbers]


def until(condition, timeout_s: float = 10.0) -> None:
    end = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


def spooled(tmp_path: Path) -> list[Path]:
    return sorted((tmp_path / "spool").glob("*/*/*.spool"))


def test_what_was_called_while_the_server_was_away_arrives_once_and_in_order(sending, tmp_path, capsys) -> None:
    made = log(range(100))
    assert mk.flush()
    sending.stop()
    for start in range(100, 1000, 100):
        made += log(range(start, start + 100))
        time.sleep(0.05)
    assert not mk.flush(0.3)
    until(lambda: spooled(tmp_path))
    sending.start()
    made += log(range(1000, 1100))
    assert mk.flush(10)
    assert sending.ids == made
    assert not client.here().dropped
    assert spooled(tmp_path) == []
    assert "does not take records" in capsys.readouterr().err


def test_a_server_that_is_away_from_the_beginning(sending, tmp_path) -> None:
    sending.stop()
    made = log(range(50))
    until(lambda: spooled(tmp_path))
    sending.start()
    assert mk.flush(10)
    assert sending.ids == made
    assert next(one for one in sending.envelopes if one.predictions).releases


@pytest.mark.parametrize(
    "answer",
    [
        (500, {}, b""),
        (502, {}, b"<html>bad gateway</html>"),
        (503, {"Retry-After": "0"}, b""),
        (429, {"Retry-After": "0.1"}, b'{"error": {"name": "Busy", "message": "full", "hint": ""}}'),
        (401, {}, b'{"error": {"name": "Denied", "message": "no token", "hint": ""}}'),
        (302, {"Location": "/elsewhere"}, b""),
        (200, {"Connection": "close"}, b"{}"),
    ],
)
def test_what_may_succeed_later_is_sent_again(sending, answer) -> None:
    sending.answers = [answer] * 3 if answer[0] != 200 else []
    made = log(range(10))
    assert mk.flush(10)
    assert sending.ids == made
    assert not client.here().dropped


def test_retry_after_is_respected(sending) -> None:
    assert mk.flush()
    sending.answers = [(429, {"Retry-After": "1"}, b"")]
    start = time.monotonic()
    made = log(range(3))
    until(lambda: sending.ids == made)
    assert time.monotonic() - start > 0.9


@pytest.mark.parametrize("status", [409, 415, 422])
def test_what_is_refused_is_counted_with_its_reason(sending, capsys, status: int) -> None:
    log(range(1))
    assert mk.flush()
    body = b'{"error": {"name": "BadInput", "message": "predictions[0].at: expected int", "hint": "Mend it."}}'
    sending.answers = [(status, {}, body)]
    log(range(10, 15))
    assert mk.flush()
    made = log(range(20, 25))
    assert mk.flush()
    dropped = client.here().dropped
    assert set(dropped) == {"refused"}
    assert 5 <= dropped["refused"] <= 30
    assert sending.ids == ["p00000", *made]
    assert sending.envelopes[-1].dropped == dropped
    assert sending.envelopes[-1].releases, "the release that the refused envelope may have told of is told again"
    assert f"{status} predictions[0].at: expected int Mend it." in capsys.readouterr().err


def test_one_wrong_record_costs_no_other(sending, capsys) -> None:
    sending.wrong = b"wrong"
    log(range(1))
    assert mk.flush()
    made = log(range(10, 500))
    mk.log_prediction("m", {"a": "wrong"}, 1, id="bad")
    mk.truth("a", "wrong")
    made += log(range(500, 900))
    mk.truth("b", 1)
    assert mk.flush(10)
    assert sorted(sending.ids) == ["p00000", *made]
    assert [fact["ids"] for fact in sending.facts] == ["b"]
    assert client.here().dropped == {"refused": 2}
    assert "400 wrong" in capsys.readouterr().err


def test_a_process_that_is_always_wrong_asks_only_so_often(sending) -> None:
    sending.wrong = b"wrong"
    for number in range(2000):
        mk.log_prediction("m", {"a": "wrong"}, number)
    assert mk.flush(10)
    assert sending.ids == []
    assert client.here().dropped["refused"] >= 2000
    assert len(sending.headers) <= 2 * sender._SIFTS + 20


def test_what_is_too_large_is_parted(sending) -> None:
    sending.largest_bytes = 3000
    made = log(range(500))
    mk.log_prediction("m", {"long": "x" * 5000}, 1, id="too long")
    mk.truth("a", 1)
    assert mk.flush(10)
    assert sorted(sending.ids) == made
    assert len(sending.facts) == 1
    assert client.here().dropped == {"too_large": 1}


def test_what_the_server_cannot_take_lets_the_others_pass(sending, monkeypatch) -> None:
    monkeypatch.setattr(sender, "_BACKOFF_S", 0.001)
    monkeypatch.setattr(sender, "_LONGEST_S", 0.002)
    sending.poison = b"poison"
    mk.log_prediction("m", {"a": "poison"}, 1, id="bad")
    assert not mk.flush(0.5)
    made = log(range(10))
    until(lambda: sending.ids == made)
    sending.poison = b""
    assert mk.flush(10)
    assert sending.ids == [*made, "bad"]
    assert not client.here().dropped


def test_a_reference_that_is_too_large_is_thinned(sending) -> None:
    sending.largest_bytes = 20_000
    mk.reference("m", "1", {"a": [float(number) for number in range(8192)]})
    assert mk.flush(10)
    [reference] = [part for envelope in sending.envelopes for part in envelope.references]
    assert len(reference.features["a"]) in {1024, 2048}
    assert not client.here().dropped


def test_a_silent_server_costs_the_buffer_nothing(sending, tmp_path) -> None:
    log(range(1))
    assert mk.flush()
    sending.silent.set()
    made = []
    for start in range(100, 2100, 100):
        made += log(range(start, start + 100))
        time.sleep(0.1)
    until(lambda: len(client.here().buffer.items) < 200)
    assert spooled(tmp_path)
    sending.silent.clear()
    assert mk.flush(10)
    assert sending.ids == ["p00000", *made]
    assert not client.here().dropped


def test_the_quota_drops_the_oldest_and_counts(sending, monkeypatch, tmp_path) -> None:
    monkeypatch.setattr("modelkeep.sdk.spool._SEGMENT_BYTES", 2000)
    client.reset()
    monkeypatch.setenv("MODELKEEP_SPOOL_BYTES", "20000")
    sending.stop()
    made = []
    for start in range(0, 8000, 200):
        made += log(range(start, start + 200))
        time.sleep(0.03)
    mk.flush(0.3)
    assert sum(path.stat().st_size for path in spooled(tmp_path)) <= 20_000
    sending.start()
    assert mk.flush(10)
    dropped = client.here().dropped
    assert set(dropped) == {"spool_quota"}
    own = sum(len(part.at) for envelope in sending.envelopes for part in envelope.samples)
    assert len(made) - dropped["spool_quota"] <= len(sending.ids) <= len(made) - dropped["spool_quota"] + 10 + own
    assert sending.ids == made[-len(sending.ids) :]


def test_where_no_folder_can_be_written_memory_serves(sending, monkeypatch, tmp_path, capsys) -> None:
    client.reset()
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("MODELKEEP_SPOOL", str(tmp_path / "file" / "spool"))
    sending.stop()
    made = log(range(100))
    assert not mk.flush(0.5)
    sending.start()
    made += log(range(100, 200))
    assert mk.flush(10)
    assert sending.ids == made
    assert "keeping records in memory" in capsys.readouterr().err


def test_a_dead_thread_is_started_again(sending) -> None:
    log(range(1))
    assert mk.flush()
    own = client.here().sender
    assert own is not None
    own._stopping = True
    own._wake.set()
    until(lambda: own._thread is not None and not own._thread.is_alive())
    own._stopping, own._deadline = False, float("inf")
    made = log(range(10, 20))
    assert mk.flush()
    assert sending.ids == ["p00000", *made]


def test_an_error_inside_is_counted_and_the_thread_goes_on(sending, monkeypatch, capsys) -> None:
    own = client.here().sender
    assert own is not None
    monkeypatch.setattr(own, "_chores", lambda: 1 / 0)
    until(lambda: client.here().dropped["internal"] > 0)
    monkeypatch.setattr(own, "_chores", lambda: None)
    made = log(range(10))
    assert mk.flush()
    assert sending.ids == made
    assert "ZeroDivisionError" in capsys.readouterr().err


def test_a_reset_leaves_the_rest_on_disk_for_the_next(sending, tmp_path) -> None:
    sending.stop()
    made = log(range(100))
    client.reset()
    assert spooled(tmp_path)
    sending.start()
    made += log(range(100, 110))
    assert mk.flush(10)
    assert sending.ids == made


def test_another_server_never_gets_what_was_meant_for_the_first(sending, monkeypatch, tmp_path) -> None:
    from tests.sdk.conftest import Receiver

    sending.stop()
    log(range(10))
    client.reset()
    other = Receiver()
    try:
        monkeypatch.setenv("MODELKEEP_URL", other.url)
        made = log(range(20, 30))
        assert mk.flush()
        assert other.ids == made
    finally:
        client.reset()
        other.stop()
    assert spooled(tmp_path)


def test_the_token_is_sent(sending, monkeypatch) -> None:
    client.reset()
    monkeypatch.setenv("MODELKEEP_TOKEN", "mk_1_secret")
    log(range(1))
    assert mk.flush()
    assert sending.headers[-1]["Authorization"] == "Bearer mk_1_secret"


def test_the_process_tells_what_it_uses(sending) -> None:
    log(range(1))
    assert mk.flush()
    found = {dict(labels)["__name__"]: (dict(labels), value) for labels, value in sending.series().items()}
    labels, used = found["process_cpu_seconds_total"]
    assert used > 0
    assert labels["service"]
    assert ":" in labels["instance"]
    assert found["process_resident_memory_bytes"][1] > 1e6


def test_hold_leaves_what_follows_the_last_prediction() -> None:
    buffer = Buffer(100)
    for kind in (FACT, PREDICTION, FACT, FACT):
        buffer.put((kind, len(buffer.items)))
    assert [item[1] for item in buffer.take(100, hold=True)] == [0, 1]
    assert buffer.take(100, hold=True) == []
    assert [item[1] for item in buffer.take(100)] == [2, 3]
    assert buffer.dropped == Counter()


def test_small_tables_share_an_envelope_with_what_was_told_between(sending) -> None:
    """A process that predicts forty rows at a time needs one request for many calls, not one each."""
    sending.stop()
    made: list[str] = []
    for call in range(50):
        rows = [{"a": float(call), "b": "x"}, {"a": None, "b": "y"}]
        made += mk.log_prediction("m", rows, [True, False], score=[0.5, 0.25], id=[f"{call:02}-0", f"{call:02}-1"])
        mk.truth(f"{call:02}-0", True)
    sending.start()
    assert mk.flush(30)
    assert sending.ids == made
    sent = sending.predictions
    assert [value for part in sent for value in part.features["a"]][:4] == [0.0, None, 1.0, None]
    assert [value for part in sent for value in part.score] == [0.5, 0.25] * 50
    carrying = [envelope for envelope in sending.envelopes if envelope.predictions]
    assert len(carrying) < 10
