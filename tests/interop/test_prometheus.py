"""The same samples and the same questions to a real Prometheus and to us: the answers are equal.

Prometheus 2.x sees windows closed on the left, so ours are too here.
"""

from __future__ import annotations

import http.client
import json
import math
import random
import shutil
import signal
import socket
import struct
import subprocess
import time
import urllib.parse
from collections.abc import Iterator, Sequence
from pathlib import Path

import cramjam
import numpy as np
import pyarrow as pa
import pytest

from modelkeep.core.errors import BadInput
from modelkeep.core.series import STALE_BITS, canonical, labels
from modelkeep.core.shapes import Entry, Part
from modelkeep.metrics.promql.answer import answer_json
from modelkeep.metrics.promql.evaluate import PromQL
from modelkeep.store.engines.series import Series

pytestmark = [pytest.mark.needs("prometheus"), pytest.mark.timeout(900)]

STALE = struct.unpack("<d", struct.pack("<Q", STALE_BITS))[0]
BASE = 1_700_000_000_000
HOURS = 2
Data = dict[tuple[tuple[str, str], ...], list[tuple[int, float]]]


def data() -> Data:
    """Counters with resets, gauges, histograms, ragged, stale, changing and strange series over two hours."""
    rng = random.Random(5)
    found: Data = {}
    grid = range(BASE, BASE + HOURS * 3_600_000, 15_000)

    def add(points: list[tuple[int, float]], **pairs: str) -> None:
        found[labels(pairs)] = points

    for job in ("api", "web"):
        for instance in "012":
            for code in ("200", "500"):
                count, points = 0.0, []
                for at in grid:
                    count = 0.0 if rng.random() < 0.01 else count + rng.randrange(5)
                    points.append((at, count))
                add(points, __name__="requests_total", job=job, instance=instance, code=code)
            level, memory = 100.0, []
            for at in grid:
                level += rng.gauss(0, 3)
                memory.append((at, round(level, 3)))
            add(memory, __name__="memory_mb", job=job, instance=instance)
            ragged = [(at + rng.randrange(15_000), rng.gauss(0, 10)) for at in grid if rng.random() < 0.7]
            add(ragged, __name__="temperature", job=job, instance=instance)
        totals = dict.fromkeys(("0.1", "0.5", "1", "5", "+Inf"), 0.0)
        buckets: dict[str, list[tuple[int, float]]] = {le: [] for le in totals}
        for at in grid:
            seen = rng.expovariate(1.5)
            for le in totals:
                totals[le] += 3 * (seen <= float(le))
                buckets[le].append((at, totals[le]))
        for le, points in buckets.items():
            add(points, __name__="latency_seconds_bucket", job=job, le=le)
    gaps = [(at, float(at % 7)) for at in grid if (at - BASE) // 900_000 % 2 == 0]
    add(gaps, __name__="gappy", job="api")
    stale = [(at, STALE if (at - BASE) // 15_000 % 40 == 39 else 1.0 + (at - BASE) // 15_000 % 40) for at in grid]
    add(stale, __name__="restarted", job="api", instance="0")
    add([(at, 3.25) for at in grid], __name__="restarted", job="web", instance="1")
    half = BASE + HOURS * 1_800_000
    add([(at, 1.0) for at in grid if at < half] + [(half, STALE)], __name__="build_info", job="api", version="v1")
    add([(at, 1.0) for at in grid if at >= half], __name__="build_info", job="api", version="v2")
    add([(at, 1.0) for at in grid], __name__="build_info", job="web", version="v9")
    odd = [math.nan, math.inf, -math.inf, 0.0, -0.0, 1.0, 2.5, 1e9, -1e-9, 7.0]
    add([(at, odd[i % 10]) for i, at in enumerate(grid)], __name__="odd", kind="mixed")
    add([(at, math.nan) for at in grid], __name__="odd", kind="nan")
    add([(at, 42.0) for at in grid], __name__="odd", kind="flat")
    add([(at, float(i)) for i, at in enumerate(grid)], __name__="odd", kind="line")
    add([(BASE + 3_000_000, 7.0)], __name__="once")
    add([(at, float(1_700_000_000 + (at - BASE) * 40)) for at in grid], __name__="dates")
    return found


def _varint(number: int) -> bytes:
    out = bytearray()
    number &= (1 << 64) - 1
    while number > 127:
        out.append(number & 127 | 128)
        number >>= 7
    out.append(number)
    return bytes(out)


def _field(tag: int, data: bytes) -> bytes:
    return _varint(tag << 3 | 2) + _varint(len(data)) + data


def remote_write(samples: Data) -> bytes:
    """One body of Prometheus' remote write."""
    body = bytearray()
    for pairs, points in samples.items():
        series = b"".join(_field(1, _field(1, name.encode()) + _field(2, value.encode())) for name, value in pairs)
        for at, value in points:
            series += _field(2, b"\x09" + struct.pack("<d", value) + b"\x10" + _varint(at))
        body += _field(1, series)
    return bytes(cramjam.snappy.compress_raw(bytes(body)))


class Peer:
    """A private Prometheus on a free loopback port."""

    def __init__(self, folder: Path) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        (folder / "prometheus.yml").write_text("{}")
        program = shutil.which("prometheus")
        assert program
        self.log = (folder / "log").open("wb")
        self.process = subprocess.Popen(
            [
                program,
                f"--config.file={folder / 'prometheus.yml'}",
                f"--storage.tsdb.path={folder / 'data'}",
                f"--web.listen-address=127.0.0.1:{self.port}",
                "--web.enable-remote-write-receiver",
                "--storage.tsdb.retention.time=100y",
            ],
            stdout=self.log,
            stderr=self.log,
        )
        self.connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        for _ in range(300):
            try:
                if self.request("GET", "/-/ready")[0] == 200:
                    return
            except OSError:
                self.connection.close()
            time.sleep(0.05)
        raise AssertionError((folder / "log").read_text())

    def request(self, method: str, path: str, body: bytes = b"", **headers: str) -> tuple[int, bytes]:
        self.connection.request(method, path, body, {k.replace("_", "-"): v for k, v in headers.items()})
        answer = self.connection.getresponse()
        return answer.status, answer.read()

    def load(self, samples: Data) -> None:
        for start in range(BASE, BASE + HOURS * 3_600_000, 600_000):
            part = {pairs: [p for p in points if start <= p[0] < start + 600_000] for pairs, points in samples.items()}
            body = remote_write({pairs: points for pairs, points in part.items() if points})
            status, text = self.request("POST", "/api/v1/write", body, Content_Encoding="snappy")
            assert status == 204, text

    def ask(self, path: str, **parameters: str) -> dict[str, object]:
        form = urllib.parse.urlencode(parameters).encode()
        _, text = self.request("POST", f"/api/v1/{path}", form, Content_Type="application/x-www-form-urlencoded")
        found: dict[str, object] = json.loads(text)
        return found

    def close(self) -> None:
        self.connection.close()
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(20)
        self.log.close()


def ours(folder: Path, samples: Data) -> PromQL:
    engine = Series(folder)
    entries = []
    for seq, (pairs, points) in enumerate(samples.items(), 1):
        batch = pa.record_batch(
            {
                "series": pa.array([canonical(pairs)] * len(points)).dictionary_encode(),
                "at": pa.array([at * 1_000_000 for at, _ in points], pa.int64()),
                "value": pa.array(np.array([value for _, value in points])),
            }
        )
        entries.append(Entry(seq, "", 0, (Part("sample", batch),)))
    engine.apply(entries)
    return PromQL([engine], closed_windows=True)


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Peer, PromQL]]:
    samples = data()
    peer = Peer(tmp_path_factory.mktemp("prometheus"))
    try:
        peer.load(samples)
        yield peer, ours(tmp_path_factory.mktemp("ours"), samples)
    finally:
        peer.close()


def close(left: str, right: str) -> bool:
    a, b = float(left), float(right)
    if math.isnan(a) or math.isnan(b):
        return math.isnan(a) and math.isnan(b)
    return a == b or abs(a - b) <= 1e-9 * max(abs(a), abs(b)) + 1e-11


def difference(theirs: dict, mine: dict) -> str:
    """Says what differs, or nothing."""
    if theirs["resultType"] != mine["resultType"]:
        return f"kind {theirs['resultType']} but {mine['resultType']}"
    if theirs["resultType"] in {"scalar", "string"}:
        same = theirs["result"] == mine["result"] or close(theirs["result"][1], mine["result"][1])
        return "" if same else f"{theirs['result']} but {mine['result']}"
    tables = []
    for side in (theirs, mine):
        rows = {}
        for one in side["result"]:
            points = one.get("values") or [one["value"]]
            rows[json.dumps(one["metric"], sort_keys=True)] = dict(points)
        tables.append(rows)
    if tables[0].keys() != tables[1].keys():
        return f"series {sorted(tables[0].keys() ^ tables[1].keys())[:4]} ({len(tables[0])} but {len(tables[1])})"
    for key, points in tables[0].items():
        other = tables[1][key]
        if points.keys() != other.keys():
            return f"{key}: {len(points)} points but {len(other)}: {sorted(points.keys() ^ other.keys())[:3]}"
        for at, value in points.items():
            if not close(value, other[at]):
                return f"{key} at {at}: {value} but {other[at]}"
    return ""


def compare(both: tuple[Peer, PromQL], query: str, start: int, end: int, step: int) -> str:
    """Asks both; step 0 is an instant query at `start` (ms)."""
    peer, promql = both
    if step:
        theirs = peer.ask("query_range", query=query, start=f"{start / 1e3}", end=f"{end / 1e3}", step=f"{step / 1e3}")
    else:
        theirs = peer.ask("query", query=query, time=f"{start / 1e3}")
    try:
        if step:
            result = promql.range(query, start * 1_000_000, end * 1_000_000, step * 1_000_000)
        else:
            result = promql.instant(query, start * 1_000_000)
    except BadInput as error:
        return "" if theirs["status"] == "error" else f"refused: {error}"
    if theirs["status"] == "error":
        return f"answered, Prometheus refuses: {theirs['error']}"
    return difference(theirs["data"], json.loads(answer_json(result))["data"])


def spans(rng: random.Random) -> Sequence[tuple[int, int, int]]:
    """One instant and one range, not aligned with the samples."""
    at = BASE + rng.randrange(-300_000, HOURS * 3_600_000 + 600_000)
    start = BASE + rng.randrange(0, HOURS * 3_600_000)
    step = rng.choice([15_000, 60_000, 71_000, 300_000])
    return [(at, at, 0), (start, start + step * rng.randrange(1, 40), step)]


def _selector(rng: random.Random) -> str:
    name = rng.choice(
        [
            "requests_total",
            "memory_mb",
            "temperature",
            "latency_seconds_bucket",
            "gappy",
            "restarted",
            "build_info",
            "odd",
            "once",
            "nothing",
        ]
    )
    matcher = rng.choice(
        ["", "", "", '{job="api"}', '{job!="api"}', '{instance=~"0|1"}', '{code!~"5.."}', '{kind="line"}']
    )
    return name + matcher


def _moved(rng: random.Random) -> str:
    return rng.choice(
        [""] * 8 + [" offset 2m", " offset -90s", f" @ {BASE // 1000 + 4000}", " @ end()", " @ start() offset 1m"]
    )


def _ranged(rng: random.Random, depth: int) -> str:
    if depth > 0 and rng.random() < 0.2:
        return (
            f"({expression(rng, depth - 1)})[{rng.choice(['3m', '10m'])}:{rng.choice(['', '30s', '47s'])}]{_moved(rng)}"
        )
    return f"{_selector(rng)}[{rng.choice(['30s', '1m', '5m', '17m'])}]{_moved(rng)}"


def _grouping(rng: random.Random) -> str:
    chosen = rng.sample(["job", "instance", "code", "le", "version", "kind"], rng.randrange(3))
    return rng.choice(["", f"by({','.join(chosen)})", f"without({','.join(chosen)})"])


OVER_TIME = [
    *["rate", "increase", "delta", "irate", "idelta", "deriv", "changes", "resets", "avg_over_time", "min_over_time"],
    *["max_over_time", "sum_over_time", "count_over_time", "last_over_time", "present_over_time"],
    *["stddev_over_time", "stdvar_over_time", "absent_over_time"],
]
INEXACT = {"deriv", "predict_linear"}
ON_SAMPLES = {"rate", "increase", "irate", "changes", "resets"}
OF_VECTOR = ["abs", "sqrt", "ln", "log2", "log10", "sgn", "sort", "sort_desc", "absent", "timestamp"]
OF_SELECTOR = ["exp", "ceil", "floor", "round", "hour", "minute", "day_of_week", "month"]


def _of_selector(rng: random.Random) -> str:
    """What turns a difference in the last digit into a visible one is asked of samples only.

    Of NaN Prometheus 2.x makes a date and a deviation of 0; we answer NaN, as its later releases do.
    """
    real = _selector(rng).replace("odd", "dates")
    if rng.random() < 0.5:
        return f"{rng.choice(OF_SELECTOR)}({real})"
    fold, first = rng.choice([("stddev", ""), ("stdvar", ""), ("count_values", '"v", ')])
    return f"{fold} {_grouping(rng)} ({first}{real})"


def expression(rng: random.Random, depth: int) -> str:
    """A random instant vector."""
    kind = rng.randrange(8 if depth > 0 else 2)
    if kind == 0:
        return _selector(rng) + _moved(rng)
    if kind == 1:
        over = rng.choice([*OVER_TIME, "quantile_over_time", "predict_linear"])
        if over == "quantile_over_time":
            return f"quantile_over_time({rng.choice(['0', '0.5', '0.93', '1'])}, {_ranged(rng, depth)})"
        if over == "predict_linear":
            pinned = _ranged(rng, depth).split(" @")[0]  # there 2.x lets the window move with the steps
            return f"predict_linear({pinned}, {rng.choice(['0', '60', '-300'])})"
        return f"{over}({_ranged(rng, 0 if over in ON_SAMPLES else depth)})"
    inner = expression(rng, depth - 1)
    exact = INEXACT.isdisjoint(inner.split("("))
    if kind == 2:
        fold = rng.choice(["sum", "avg", "min", "max", "count", "group", "quantile"])
        first = "0.7, " if fold == "quantile" else ""
        return f"{fold} {_grouping(rng)} ({first}{inner})"
    if kind == 3:
        return rng.choice([f"{rng.choice(OF_VECTOR)}({inner})", _of_selector(rng)])
    if kind == 4:
        written = [
            f"clamp({inner}, -2, {rng.randrange(5)})",
            f"clamp_min({inner}, 1)",
            f"-({inner})",
            f"histogram_quantile(0.8, {inner if exact else _selector(rng)})",
            f'label_replace({inner}, "job", "$1x", "job", "(a.*)")',
            f'label_join({inner}, "both", "/", "job", "instance")',
            f"vector(scalar({inner}))",
        ]
        return rng.choice(written)
    op = rng.choice(
        ["+", "-", "*", "/", "==", "!=", ">", "<", ">=", "<="] if INEXACT.isdisjoint(inner.split("(")) else ["+", "*"]
    )
    if kind == 5:
        as_bool = " bool" if op in {"==", "!=", ">", "<", ">=", "<="} and rng.random() < 0.5 else ""
        number = rng.choice(["2", "0", "-1.5", "100", "time()"])
        sides = [inner, number] if rng.random() < 0.7 else [number, inner]
        return f"({sides[0]}) {op}{as_bool} ({sides[1]})"
    other = expression(rng, depth - 1)
    names = ",".join(rng.sample(["job", "instance", "code", "le"], rng.randrange(3)))
    matching = rng.choice(["", f"on({names})", f"ignoring({names})"])
    if kind == 6:
        return f"({inner}) {rng.choice(['and', 'or', 'unless'])} {matching} ({other})"
    group = rng.choice(["", "", " group_left", " group_right"]) if matching else ""
    return f"({inner}) {op} {matching}{group} ({other})"


EXPRESSIONS = [
    line
    for line in (Path(__file__).parents[1] / "scripts/promql/expressions.txt").read_text().splitlines()
    if line and not line.startswith("#")
]


def test_there_are_enough_expressions() -> None:
    assert len(set(EXPRESSIONS)) >= 150


@pytest.mark.parametrize("part", range(8))
def test_hand_written_expressions_give_what_prometheus_gives(both: tuple[Peer, PromQL], part: int) -> None:
    rng = random.Random(part)
    fixed = [(BASE + 3_601_234, BASE + 3_601_234, 0), (BASE + 3_600_000, BASE + 3_600_000, 0)]
    over_all = (BASE - 60_000, BASE + 7_800_000, 45_000)
    for query in EXPRESSIONS[part::8]:
        for span in [*fixed, over_all, *spans(rng)]:
            assert not compare(both, query, *span), (query, span)


def _random(both: tuple[Peer, PromQL], seeds: range) -> None:
    for seed in seeds:
        rng = random.Random(seed)
        query = expression(rng, 3)
        span = spans(rng)[seed % 2]
        found = compare(both, query, *span)
        assert not found, (seed, query, span, found)


def test_random_expressions_give_what_prometheus_gives(both: tuple[Peer, PromQL]) -> None:
    _random(both, range(100_000, 100_600))


@pytest.mark.slow
def test_many_random_expressions_give_what_prometheus_gives(both: tuple[Peer, PromQL]) -> None:
    _random(both, range(200_000, 210_000))


@pytest.mark.parametrize(
    "query", ["sort(memory_mb)", "sort_desc(memory_mb)", "topk(3, memory_mb)", "bottomk(3, memory_mb)"]
)
def test_the_order_of_an_instant_answer_is_prometheus_own(both: tuple[Peer, PromQL], query: str) -> None:
    peer, promql = both
    at = BASE + 3_600_000
    theirs = peer.ask("query", query=query, time=f"{at / 1e3}")["data"]
    mine = json.loads(answer_json(promql.instant(query, at * 1_000_000)))["data"]
    assert [one["metric"] for one in theirs["result"]] == [one["metric"] for one in mine["result"]]


def test_numbers_and_times_are_written_as_prometheus_writes_them(both: tuple[Peer, PromQL]) -> None:
    peer, promql = both
    for text in (
        "1e20",
        "1e21",
        "1.5e300",
        "1e-6",
        "1e-7",
        "0.1",
        "123456789.125",
        "-0",
        "NaN",
        "-Inf",
        "1e15",
        "1/3",
        "1e10",
        "12345678901.5",
    ):
        for query in (text, f'count_values("v", vector({text}))', f"vector({text})"):
            theirs = peer.ask("query", query=query, time="1700000000.25")["data"]
            mine = json.loads(answer_json(promql.instant(query, 1_700_000_000_250_000_000)))["data"]
            assert theirs == mine, query
