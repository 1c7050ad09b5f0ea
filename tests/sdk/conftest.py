"""A strict server of the SDK's own form, on loopback."""

from __future__ import annotations

import contextlib
import threading
import zlib
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from modelkeep.core.encoding import FORM, MEDIA_TYPE, Envelope, Events, Facts, Logs, Predictions, decode
from modelkeep.sdk import client
from modelkeep.sdk.complaints import _last
from modelkeep.sdk.privacy import privacy
from modelkeep.wire.native import parts

Answer = tuple[int, dict[str, str], bytes]


class Receiver:
    """Keeps each token's envelope once; `answers` are given first, one per request; refuses what is not exact."""

    def __init__(self) -> None:
        self.envelopes: list[Envelope] = []
        self.bodies: list[bytes] = []
        self.repeated = 0
        self.faults: list[str] = []
        self.answers: list[Answer] = []
        self.largest_bytes = 1 << 30
        self.poison = b""
        self.wrong = b""
        self.headers: list[dict[str, str]] = []
        self.silent = threading.Event()
        self._tokens: set[str] = set()
        self._lock = threading.Lock()
        self._server: ThreadingHTTPServer | None = None
        self._port = 0
        self._sockets: list[object] = []
        self.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    def start(self) -> None:
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                receiver._sockets.append(self.connection)
                data = self.rfile.read(int(self.headers["Content-Length"]))
                while receiver.silent.is_set():
                    threading.Event().wait(0.02)
                status, headers, body = receiver.take(self.path, dict(self.headers), data)
                lines = [f"HTTP/1.1 {status} x", f"Content-Length: {len(body)}"]
                lines += [f"{name}: {value}" for name, value in headers.items()]
                with contextlib.suppress(OSError):
                    self.wfile.write(("\r\n".join(lines) + "\r\n\r\n").encode() + body)

            def log_message(self, *_: object) -> None:
                pass

        class Server(ThreadingHTTPServer):
            daemon_threads = True
            block_on_close = False

            def handle_error(self, *_: object) -> None:
                pass

        self._server = Server(("127.0.0.1", self._port), Handler)
        self._port = self._server.server_port
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()

    def stop(self) -> None:
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._server = None
        for each in self._sockets:
            with contextlib.suppress(OSError):
                each.shutdown(2)  # type: ignore[attr-defined]
                each.close()  # type: ignore[attr-defined]
        self._sockets.clear()

    def take(self, path: str, headers: dict[str, str], data: bytes) -> Answer:
        with self._lock:
            self.headers.append(headers)
            if self.answers:
                return self.answers.pop(0)
            if path != "/api/v1/ingest" or headers.get("Content-Type") != MEDIA_TYPE:
                self.faults.append(f"{path} {headers}")
                return 404, {}, b""
            if headers.get("Content-Encoding") == "deflate":
                data = zlib.decompress(data)
            if self.wrong and self.wrong in data:
                return 400, {}, b'{"error": {"name": "BadInput", "message": "wrong", "hint": ""}}'
            if self.poison and self.poison in data:
                return 500, {}, b""
            if len(data) > self.largest_bytes:
                return 413, {}, b'{"error": {"name": "BadInput", "message": "too large", "hint": "Send less."}}'
            try:
                envelope = decode(data)
                check(envelope)
                parts(data)
            except Exception as error:  # noqa: BLE001
                self.faults.append(repr(error))
                return 400, {}, b'{"error": {"name": "BadInput", "message": "not an envelope", "hint": ""}}'
            if envelope.token in self._tokens:
                self.repeated += 1
                return 200, {}, b'{"kept": 0, "repeated": true}'
            self._tokens.add(envelope.token)
            self.envelopes.append(envelope)
            self.bodies.append(data)
            return 200, {}, b'{"kept": 1, "repeated": false}'

    @property
    def predictions(self) -> list[Predictions]:
        return [part for envelope in list(self.envelopes) for part in envelope.predictions]

    @property
    def ids(self) -> list[str]:
        return [one for part in self.predictions for one in part.ids]

    @property
    def facts(self) -> list[dict[str, object]]:
        return [row for envelope in list(self.envelopes) for part in envelope.facts for row in unrolled(part)]

    @property
    def events(self) -> list[dict[str, object]]:
        return [row for envelope in list(self.envelopes) for part in envelope.events for row in unrolled(part)]

    @property
    def logs(self) -> list[dict[str, object]]:
        return [row for envelope in list(self.envelopes) for part in envelope.logs for row in unrolled(part)]

    @property
    def messages(self) -> list[str]:
        return [str(row["message"]) for row in self.logs]

    def rows(self) -> list[dict[str, object]]:
        """Every prediction as one dict."""
        found: list[dict[str, object]] = []
        for part in self.predictions:
            for row, one in enumerate(part.ids):
                found.append(
                    {
                        "id": one,
                        "model": part.model,
                        "version": part.version,
                        "at": part.at[row],
                        "features": {name: values[row] for name, values in part.features.items()},
                        "prediction": part.prediction[row],
                        "score": part.score[row] if part.score else None,
                        "scores": {name: values[row] for name, values in part.scores.items()},
                        "latency_ns": part.latency_ns[row] if part.latency_ns else None,
                        "error": part.error[row] if part.error else None,
                    }
                )
        return found

    def series(self) -> dict[tuple[tuple[str, str], ...], float]:
        """The last value of every series."""
        found = {}
        for envelope in self.envelopes:
            for part in envelope.samples:
                for series, value in zip(part.series, part.value, strict=True):
                    found[tuple(sorted(part.labels[series].items()))] = value
        return found


def unrolled(part: Facts | Events | Logs) -> list[dict[str, object]]:
    """Every row of a columns object as one dict."""
    found = []
    for row in range(len(part.at)):
        each = {name: getattr(part, name) for name in part.__struct_fields__}
        found.append({name: value[row] if isinstance(value, list) else value for name, value in each.items()})
    return found


def check(envelope: Envelope) -> None:
    """All columns of one object have the same length; every prediction's release is known by form."""
    assert envelope.token
    assert envelope.form == FORM
    assert envelope.process
    for part in envelope.predictions:
        columns = [part.at, part.prediction, *part.features.values(), *part.scores.values()]
        columns += [column for column in (part.score, part.latency_ns, part.error) if column]
        assert {len(column) for column in columns} == {len(part.ids)}
        assert part.version
        assert part.release
    for fact in envelope.facts:
        assert {len(getattr(fact, name)) for name in fact.__struct_fields__} == {len(fact.ids)}
    for event in envelope.events:
        assert {len(getattr(event, name)) for name in event.__struct_fields__} == {len(event.at)}
    for log in envelope.logs:
        names = [name for name in log.__struct_fields__ if name not in {"service", "host"}]
        assert {len(getattr(log, name)) for name in names} == {len(log.at)}
    for sample in envelope.samples:
        assert len(sample.series) == len(sample.at) == len(sample.value)
        assert max(sample.series) < len(sample.labels)
        assert all("__name__" in labels for labels in sample.labels)
    for reference in envelope.references:
        lengths = {len(column) for column in (*reference.features.values(), reference.label, reference.score) if column}
        assert len(lengths) == 1


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    made = Receiver()
    yield made
    made.silent.clear()
    made.stop()
    assert made.faults == []


@pytest.fixture
def sending(receiver: Receiver, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Receiver]:
    """This process sends to the receiver."""
    client.reset()
    monkeypatch.setenv("MODELKEEP_URL", receiver.url)
    monkeypatch.setenv("MODELKEEP_SPOOL", str(tmp_path / "spool"))
    monkeypatch.setenv("MODELKEEP_MODEL_VERSION", "v1")
    monkeypatch.setenv("MODELKEEP_EXIT_S", "2")
    _last.clear()
    yield receiver
    receiver.silent.clear()
    client.reset()
    privacy.withheld.clear()
    privacy.shares.clear()


@pytest.fixture(autouse=True)
def _apart() -> Iterator[None]:
    client.reset()
    yield
    client.reset()
