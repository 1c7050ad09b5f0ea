"""What recording one prediction with 30 features costs the caller: modelkeep beside what people use instead.

    python bench/sdk.py [--seconds 2] [--rate 5000] [--without-whylogs]

Each contender runs in a process of its own, in turns, with its background work running: modelkeep's sends to a server
in another process, the queue's listener writes a file. `tight` is a loop of nothing but calls; `paced` makes RATE
calls a second with work between them, as a service does. whylogs needs its own environment: it is made once under
build/peers from bench/peers/whylogs.txt.

Not equal work: prometheus_client keeps one number and no features; whylogs keeps sketches and no rows.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections import deque
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

HERE = Path(__file__).resolve()
ROOT = HERE.parent.parent
FEATURES = {f"feature_{number}": number * 1.1 for number in range(30)}
ROUNDS = 3
AIM_P50_US, AIM_P99_US = 2.0, 20.0


def modelkeep() -> Callable[[], object]:
    import modelkeep as mk

    return lambda: mk.log_prediction("bench", FEATURES, True, score=0.7, version="1")


def copied() -> Callable[[], object]:
    waiting: deque[object] = deque(maxlen=10_000)
    return lambda: waiting.append((time.time_ns(), FEATURES.copy(), True, 0.7))


def encoded() -> Callable[[], object]:
    import msgspec

    encode, waiting = msgspec.msgpack.Encoder().encode, deque[object](maxlen=10_000)
    return lambda: waiting.append((time.time_ns(), encode(FEATURES), True, 0.7))


def prometheus() -> Callable[[], object]:
    from prometheus_client import Counter, Histogram

    scores = Histogram("score", "Scores.", ["model", "version"])
    calls = Counter("calls", "Predictions.", ["model", "version"])

    def call() -> None:
        scores.labels("bench", "1").observe(0.7)
        calls.labels("bench", "1").inc()

    return call


def _logger(handler: object) -> Callable[[], object]:
    import logging

    log = logging.getLogger("bench")
    log.propagate = False
    log.setLevel("INFO")
    log.addHandler(handler)  # type: ignore[arg-type]
    return lambda: log.info(
        json.dumps({"model": "bench", "version": "1", "features": FEATURES, "prediction": True, "score": 0.7})
    )


def logging_json() -> Callable[[], object]:
    import logging

    return _logger(logging.FileHandler(Path(tempfile.mkdtemp()) / "log"))


def logging_queue() -> Callable[[], object]:
    import logging.handlers
    import queue

    waiting: queue.SimpleQueue[object] = queue.SimpleQueue()
    logging.handlers.QueueListener(waiting, logging.FileHandler(Path(tempfile.mkdtemp()) / "log")).start()  # type: ignore[arg-type]
    return _logger(logging.handlers.QueueHandler(waiting))  # type: ignore[arg-type]


def whylogs() -> Callable[[], object]:
    import whylogs as why

    logger = why.logger(mode="rolling", interval=5, when="M", base_name="bench")
    logger.append_writer("local", base_dir=tempfile.mkdtemp())
    row = {**FEATURES, "prediction": True, "score": 0.7}
    return lambda: logger.log(row=row)


CONTENDERS: dict[str, Callable[[], Callable[[], object]]] = {
    "modelkeep": modelkeep,
    "  of it: copy and append": copied,
    "  instead: msgspec on the caller and append": encoded,
    "prometheus_client (no features)": prometheus,
    "logging + json.dumps to a file": logging_json,
    "logging + json.dumps by QueueHandler": logging_queue,
    "whylogs rolling logger": whylogs,
}


def tight(call: Callable[[], object], seconds: float) -> float:
    """Gives µs per call, the best of several loops."""
    loop, best, end = 200, float("inf"), time.perf_counter() + seconds
    while time.perf_counter() < end:
        start = time.perf_counter_ns()
        for _ in range(loop):
            call()
        best = min(best, (time.perf_counter_ns() - start) / loop / 1000)
        time.sleep(0.002)
    return best


def paced(call: Callable[[], object], seconds: float, rate: float) -> list[float]:
    """Gives µs at p50, p99 and p99.9, less what taking the time costs."""
    clock, taken, floor = time.perf_counter_ns, [], []
    step = round(1e9 / rate)
    due = clock() + step
    end = due + round(seconds * 1e9)
    while due < end:
        work = 0
        while clock() < due:
            work += 1
        start = clock()
        call()
        taken.append(clock() - start)
        start = clock()
        floor.append(clock() - start)
        due += step
    taken.sort()
    base = sorted(floor)[len(floor) // 2]
    return [(taken[int(len(taken) * share)] - base) / 1000 for share in (0.5, 0.99, 0.999)]


def child(name: str, seconds: float, rate: float) -> None:
    call = CONTENDERS[name]()
    for _ in range(300):
        call()
    time.sleep(0.5)
    line = {"tight": tight(call, seconds / 2)}
    time.sleep(0.5)
    print(json.dumps({**line, "paced": paced(call, seconds, rate)}), flush=True)
    if name == "modelkeep":
        import modelkeep as mk
        from modelkeep.sdk.client import here

        print(json.dumps({"arrived": mk.flush(30), "dropped": here().dropped}), flush=True)
    sys.stdout.flush()
    os._exit(0)


class Swallow(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")

    def log_message(self, *_: object) -> None:
        return


def server() -> None:
    made = ThreadingHTTPServer(("127.0.0.1", 0), Swallow)
    print(made.server_port, flush=True)
    threading.Thread(target=made.serve_forever, daemon=True).start()
    sys.stdin.read()


def environment_of_whylogs() -> Path:
    """Makes the peer's own environment once and gives its Python."""
    folder = ROOT / "build" / "peers" / "whylogs"
    python = folder / "bin" / "python"
    if not (folder / "ready").exists():
        print("Making build/peers/whylogs (once)", flush=True)
        subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
        pip = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        subprocess.run([*pip, "-r", str(ROOT / "bench" / "peers" / "whylogs.txt")], check=True)
        (folder / "ready").touch()
    return python


def run(name: str, python: str, arguments: argparse.Namespace, port: str) -> tuple[dict[str, object], str]:
    with tempfile.TemporaryDirectory() as folder:
        own = {"MODELKEEP_URL": f"http://127.0.0.1:{port}", "MODELKEEP_SPOOL": folder, "WHYLOGS_NO_ANALYTICS": "True"}
        done = subprocess.run(
            [python, str(HERE), "--child", name, "--seconds", str(arguments.seconds), "--rate", str(arguments.rate)],
            env={**os.environ, **own},
            cwd=folder,
            capture_output=True,
            text=True,
            check=False,
        )
    lines = [line for line in done.stdout.splitlines() if line.startswith("{")]
    if not lines:
        raise RuntimeError(f"{name}: {done.stderr.strip()[-500:]}")
    return json.loads(lines[0]), lines[1] if len(lines) > 1 else ""


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--rate", type=float, default=5000.0)
    parser.add_argument("--without-whylogs", action="store_true")
    parser.add_argument("--child", default="")
    parser.add_argument("--server", action="store_true")
    arguments = parser.parse_args()
    if arguments.server:
        server()
    elif arguments.child:
        child(arguments.child, arguments.seconds, arguments.rate)
    else:
        compare(arguments)


def compare(arguments: argparse.Namespace) -> None:
    names = [name for name in CONTENDERS if not (arguments.without_whylogs and "whylogs" in name)]
    pythons = dict.fromkeys(names, sys.executable)
    if not arguments.without_whylogs:
        pythons["whylogs rolling logger"] = str(environment_of_whylogs())
    with subprocess.Popen(
        [sys.executable, str(HERE), "--server"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as sink:
        assert sink.stdout is not None
        assert sink.stdin is not None
        port = sink.stdout.readline().strip()
        found: dict[str, list[dict[str, object]]] = {name: [] for name in names}
        for _ in range(ROUNDS):
            for name in names:
                line, note = run(name, pythons[name], arguments, port)
                found[name].append(line)
                if note:
                    print(f"modelkeep's background: {note}", flush=True)
        sink.stdin.close()
    show(found, arguments.rate)


def show(found: dict[str, list[dict[str, object]]], rate: float) -> None:
    def best(name: str, place: int | None) -> float:
        values = [line["tight"] if place is None else line["paced"][place] for line in found[name]]  # type: ignore[index]
        return float(min(values))  # type: ignore[type-var]

    print(f"\nµs per call with 30 features, best of {ROUNDS} processes; paced at {rate:,.0f} calls/s")
    print(f"{'':44}{'tight':>9}{'p50':>9}{'p99':>9}{'p99.9':>9}{'ratio':>9}")
    for name in found:
        values = [best(name, place) for place in (None, 0, 1, 2)]
        ratio = values[0] / best("modelkeep", None)
        print(f"{name:44}" + "".join(f"{value:9.2f}" for value in values) + f"{ratio:8.1f}x")
    p50, p99 = best("modelkeep", 0), best("modelkeep", 1)
    met = p50 <= AIM_P50_US and p99 <= AIM_P99_US
    print(
        f"\nAim: p50 ≤ {AIM_P50_US:g} µs, p99 ≤ {AIM_P99_US:g} µs: {'met' if met else 'missed'} ({p50:.2f}, {p99:.2f})"
    )


if __name__ == "__main__":
    main()
