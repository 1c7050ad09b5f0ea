"""Predictions over HTTP: how many a second, and how many a second and core, through a real server process.

    python bench/ingest.py [--seconds 5] [--connections 4] [--rows 500] [--features 20] [--coding deflate]

Bodies are made and compressed before the clock starts; every acknowledgement means: on disk. The server's CPU time is
read from the system at three moments: before, when the last body was acknowledged, and when every reader (rows,
series, text, quality) has taken everything, so the last figure holds all work that the records cause but sealing.
"""

from __future__ import annotations

import argparse
import http.client
import json
import random
import subprocess
import sys
import tempfile
import threading
import time
import zlib
from pathlib import Path

import psutil
import zstandard

from modelkeep.core.encoding import MEDIA_TYPE, Envelope, Predictions, encode
from modelkeep.core.ids import token


def envelope(rows: int, features: int, start: int) -> bytes:
    """One body: four of five features are numbers, the others words of a small set."""
    now = time.time_ns()
    numbers = features * 4 // 5
    columns: dict[str, list[float | str]] = {f"n{n}": [random.random() for _ in range(rows)] for n in range(numbers)}
    columns |= {f"c{n}": [random.choice(("ewr", "jfk", "lga")) for _ in range(rows)] for n in range(features - numbers)}
    return encode(
        Envelope(
            token=token(),
            predictions=[
                Predictions(
                    model="bench",
                    version="1",
                    release="r",
                    ids=[f"{start + row:032x}" for row in range(rows)],
                    at=[now + row for row in range(rows)],
                    features=columns,  # type: ignore[arg-type]
                    prediction=[row % 2 == 0 for row in range(rows)],
                    score=[random.random() for _ in range(rows)],
                )
            ],
        )
    )


def packed(body: bytes, coding: str) -> bytes:
    return {"none": lambda: body, "deflate": lambda: zlib.compress(body, 1), "zstd": lambda: zstandard.compress(body)}[
        coding
    ]()


class Server:
    """A `modelkeep serve` of its own."""

    def __init__(self, folder: Path) -> None:
        command = [sys.executable, "-m", "modelkeep", "serve", "--data", str(folder), "--port", "0"]
        self.process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
        told = folder / "server.json"
        while not told.exists():
            time.sleep(0.05)
            if self.process.poll() is not None:
                sys.exit("the server did not start")
        self.port = int(json.loads(told.read_text())["url"].rpartition(":")[2])
        self.cpu = psutil.Process(self.process.pid)

    def cpu_s(self) -> float:
        times = self.cpu.cpu_times()
        return times.user + times.system

    def ask(self, path: str) -> dict[str, object]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port)
        connection.request("GET", path)
        found = json.loads(connection.getresponse().read())
        connection.close()
        return dict(found)

    def settled(self) -> bool:
        status = self.ask("/api/v1/status")
        last = status["journal"]["last"]  # type: ignore[index]
        return all(reader["applied"] >= last for reader in status["readers"])  # type: ignore[union-attr, index]


def sender(port: int, bodies: list[bytes], coding: str, end: float, kept: list[int], waits: list[float]) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", port)
    headers = {"Content-Type": MEDIA_TYPE} | ({} if coding == "none" else {"Content-Encoding": coding})
    rows = 0
    while bodies and time.perf_counter() < end:
        start = time.perf_counter()
        connection.request("POST", "/api/v1/ingest", bodies.pop(), headers)
        answer = connection.getresponse()
        told = json.loads(answer.read())
        if answer.status != 200:
            time.sleep(float(answer.getheader("Retry-After") or 1))
            continue
        waits.append(time.perf_counter() - start)
        rows += told["kept"]
    kept.append(rows)
    connection.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=5)
    parser.add_argument("--connections", type=int, default=4)
    parser.add_argument("--rows", type=int, default=500)
    parser.add_argument("--features", type=int, default=20)
    parser.add_argument("--coding", choices=("none", "deflate", "zstd"), default="deflate")
    parser.add_argument("--bodies", type=int, default=600)
    given = parser.parse_args()
    plain = [envelope(given.rows, given.features, number * given.rows) for number in range(given.bodies)]
    bodies = [packed(body, given.coding) for body in plain]
    sizes = (len(plain[0]), len(bodies[0]))
    with tempfile.TemporaryDirectory() as place:
        server = Server(Path(place) / "data")
        try:
            run(server, bodies, sizes, given)
        finally:
            server.process.terminate()
            server.process.wait(60)


def run(server: Server, bodies: list[bytes], sizes: tuple[int, int], given: argparse.Namespace) -> None:
    kept: list[int] = []
    waits: list[float] = []
    cpu, start = server.cpu_s(), time.perf_counter()
    threads = [
        threading.Thread(target=sender, args=(server.port, bodies, given.coding, start + given.seconds, kept, waits))
        for _ in range(given.connections)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    seconds, acknowledged = time.perf_counter() - start, server.cpu_s() - cpu
    while not server.settled():
        time.sleep(0.1)
    total, lag = server.cpu_s() - cpu, time.perf_counter() - start - seconds
    rows = sum(kept)
    waits.sort()
    print(f"{rows} predictions, {given.features} features, bodies of {given.rows} rows: {sizes[0]} bytes,")
    print(f"{sizes[1]} as sent ({given.coding}), {given.connections} connections, {seconds:.1f} s")
    p50, p99 = (waits[len(waits) * part // 100] * 1e3 for part in (50, 99))
    print(f"acknowledged:                    {rows / seconds:10,.0f} predictions/s")
    print(f"a body, p50 / p99:               {p50:.1f} / {p99:.1f} ms")
    print(f"server CPU until the last answer: {acknowledged:.2f} s = {rows / acknowledged:,.0f} predictions/s and core")
    print(f"readers caught up after:          {lag:.2f} s")
    print(f"server CPU with all readers:      {total:.2f} s = {rows / total:,.0f} predictions/s and core")


if __name__ == "__main__":
    main()
