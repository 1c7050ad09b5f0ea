"""kill -9 of the server under load: nothing acknowledged is lost, nothing counts twice, silences included."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from modelkeep.cli.client import Client
from modelkeep.core.encoding import MEDIA_TYPE, Envelope, Facts, Logs, Predictions, encode
from modelkeep.core.errors import Error
from modelkeep.core.ids import token
from tests.server_process import ServerProcess

KILLS = 20
ROWS = 50


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ServerProcess]:
    process = ServerProcess(tmp_path / "data")
    yield process
    process.stop()


def envelope(batch: int) -> Envelope:
    """Fifty predictions, half of them with their labels, and one log line."""
    now = time.time_ns()
    ids = [f"{batch}-{row}" for row in range(ROWS)]
    half = ids[: ROWS // 2]
    return Envelope(
        token=token(),
        facts=[
            Facts(
                ids=half,
                model=["m"] * len(half),
                kind=["label"] * len(half),
                value=[True] * len(half),
                source=["test"] * len(half),
                at=[now] * len(half),
            )
        ],
        logs=[
            Logs(
                service="test",
                host="h",
                at=[now],
                severity=[9],
                level=["INFO"],
                logger=["l"],
                message=[f"batch {batch}"],
                trace_id=[None],
                prediction_id=[None],
                attributes=["{}"],
            )
        ],
        predictions=[
            Predictions(
                model="m",
                version="1",
                release="r",
                ids=ids,
                at=[now] * ROWS,
                features={"x": [float(batch)] * ROWS},
                prediction=[True] * ROWS,
                score=[0.5] * ROWS,
            )
        ],
    )


class Sender(threading.Thread):
    """Sends envelopes without a pause; after an error it sends the same one again, as a client must."""

    def __init__(self, url: str) -> None:
        super().__init__(daemon=True)
        self.client = Client(url, timeout_s=5)
        self.acknowledged: list[int] = []
        self.done = threading.Event()

    def run(self) -> None:
        batch = 0
        while not self.done.is_set():
            body = encode(envelope(batch))
            while True:
                try:
                    self.client.ingest(body, MEDIA_TYPE)
                except Error:
                    time.sleep(0.02)
                else:
                    break
            self.acknowledged.append(batch)
            batch += 1


def silence(client: Client, number: int) -> str:
    answer = client.post(
        "/api/v1/silences",
        {"matchers": {"alertname": f"rule-{number}"}, "duration": "30d", "by": "test", "reason": "kill"},
    )
    return str(answer["id"])


@pytest.mark.timeout(400)
def test_twenty_kills_lose_nothing_and_count_nothing_twice(server: ServerProcess) -> None:
    seed = random.Random(11)
    client = server.start()
    sender = Sender(client.url)
    sender.start()
    silences = []
    for number in range(KILLS):
        silences.append(silence(client, number))
        time.sleep(seed.uniform(0.05, 0.8))
        server.kill()
        client = server.start()
    sender.done.set()
    sender.join(30)
    assert not sender.is_alive()
    assert len(sender.acknowledged) > KILLS
    sent = len(sender.acknowledged)

    told = client.post("/api/v1/sql", {"sql": "select count(*), count(distinct id) from prediction"})
    assert told["rows"] == [[sent * ROWS, sent * ROWS]]
    told = client.post("/api/v1/sql", {"sql": "select count(*), count(distinct id) from fact"})
    assert told["rows"] == [[sent * ROWS // 2, sent * ROWS // 2]]
    quality = client.get("/api/v1/quality", model="m")
    (row,) = quality["rows"]  # type: ignore[misc, union-attr]
    assert (row["predictions"], row["labels"]) == (sent * ROWS, sent * ROWS // 2)  # type: ignore[index, call-overload]
    assert client.get("/api/v1/logs", q='message:"batch"', limit=1)["count"] == sent
    kept = {str(one["id"]) for one in client.get("/api/v1/silences")["silences"]}  # type: ignore[union-attr, index, call-overload]
    assert set(silences) == kept
    assert server.stop() == 0
