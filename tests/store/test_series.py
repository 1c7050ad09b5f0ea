"""The series engine against a dictionary: any order of batches, seals, crashes and failing disks."""

from __future__ import annotations

import contextlib
import errno
import itertools
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modelkeep.core.clock import DAY, HOUR, MINUTE, SECOND, Fixed
from modelkeep.core.errors import BadInput, Conflict, Corrupt
from modelkeep.core.series import STALE_BITS, Matcher, Want, canonical, labels
from modelkeep.core.shapes import Entry, Part
from modelkeep.store.disk import Disk
from modelkeep.store.engines.series import Series
from modelkeep.store.series import head, strata

ALL = [Matcher("__name__", "=~", ".+")]
EVER = Want(0, 10**18, 1, 10**18)
Points = list[tuple[int, int, float]]


def text(number: int) -> str:
    return canonical(labels({"__name__": "x" if number % 2 else "y", "n": str(number)}))


def entry(seq: int, points: Points) -> Entry:
    columns = {
        "series": pa.array([text(one) for one, _, _ in points], pa.string()).dictionary_encode(),
        "at": pa.array([at for _, at, _ in points], pa.int64()),
        "value": pa.array(np.array([value for _, _, value in points], np.float64)),
    }
    return Entry(seq, "", 0, (Part("sample", pa.record_batch(columns)),))


def stored(engine: Series, want: Want = EVER) -> dict[str, dict[int, bytes]]:
    found: dict[str, dict[int, bytes]] = {}
    for block in engine.select(ALL, want):
        assert (np.diff(block.times) > 0).all()
        assert block.values.flags.c_contiguous
        assert block.values.shape == (len(block.labels), len(block.times))
        for name, row in zip(block.labels, block.values, strict=True):
            assert canonical(name) not in found
            found[canonical(name)] = {at: value.tobytes() for at, value in zip(block.times.tolist(), row, strict=True)}
    return found


class Model:
    """What the engine should hold."""

    def __init__(self, window: int) -> None:
        self.window = window
        self.data: dict[str, dict[int, bytes]] = {}
        self.refused: Counter[str] = Counter()

    def apply(self, points: Points) -> None:
        first: dict[tuple[int, int], bytes] = {}
        for one, at, value in points:
            bits = np.float64(value).tobytes()
            if first.setdefault((one, at), bits) != bits:
                self.refused["duplicate"] += 1
        for (one, at), bits in sorted(first.items(), key=lambda item: item[0][1]):
            mine = self.data.setdefault(text(one), {})
            if mine and at < max(mine) - self.window:
                self.refused["out_of_order"] += 1
            elif mine.setdefault(at, bits) != bits:
                self.refused["duplicate"] += 1


class Failing(Disk):
    """A disk whose n-th change fails."""

    def __init__(self, left: int) -> None:
        self.left = left

    def _step(self) -> None:
        self.left -= 1
        if self.left < 0:
            raise OSError(errno.ENOSPC, "No space left on device")

    def write(self, fd, offset, pieces) -> None:
        self._step()
        super().write(fd, offset, pieces)

    def sync(self, fd) -> None:
        self._step()
        super().sync(fd)

    def rename(self, path, to) -> None:
        self._step()
        super().rename(path, to)

    def sync_folder(self, folder) -> None:
        self._step()
        super().sync_folder(folder)


STEADY = st.builds(
    lambda start, some, count, value: [
        (one, (start + step) * MINUTE, value + step) for step in range(count) for one in sorted(some)
    ],
    st.integers(0, 200),
    st.sets(st.integers(0, 6), min_size=1),
    st.integers(1, 6),
    st.sampled_from([0.0, 0.5, 1e18, -3.0]),
)
WILD = st.lists(
    st.tuples(
        st.integers(0, 6),
        st.integers(0, 400).map(lambda minute: minute * MINUTE),
        st.sampled_from([0.0, 1.0, -0.0, float("nan"), float("inf"), 0.1]),
    ),
    max_size=12,
)
OPS = st.lists(
    st.one_of(STEADY, WILD, st.sampled_from(["seal", "seal", "crash", "reopen"]), st.integers(0, 12)), max_size=14
)


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Groups close, increments are rewritten and blocks are merged after a few steps, not after hours."""
    monkeypatch.setattr(head, "_ENOUGH", 3)
    monkeypatch.setattr(head, "_MOST", 8)
    monkeypatch.setattr("modelkeep.store.engines.series._INCREMENTS", 3)
    monkeypatch.setattr("modelkeep.store.engines.series._IDLE_SEALS", 2)
    monkeypatch.setattr("modelkeep.store.series.blocks.TILE", 3)
    monkeypatch.setattr("modelkeep.store.series.tiles.TILE", 3)
    monkeypatch.setattr(strata, "_FAN_IN", 2)


def play(folder: Path, ops: list, window: int) -> None:
    engine = Series(folder, out_of_order_ns=window)
    model, journal = Model(window), []

    def again() -> Series:
        opened = Series(folder, out_of_order_ns=window)
        opened.apply(journal[opened.sealed() :])
        return opened

    for op in ops:
        if isinstance(op, list):
            journal.append(entry(len(journal) + 1, op))
            engine.apply([journal[-1]])
            model.apply(op)
        elif op == "seal":
            assert engine.seal() == len(journal)
        elif op == "crash":
            engine = again()
        elif op == "reopen":
            engine.seal()
            engine.close()
            engine = again()
        else:
            engine = Series(folder, out_of_order_ns=window, disk=Failing(1000))
            engine.apply(journal[engine.sealed() :])
            engine._strata._disk.left = op
            with contextlib.suppress(OSError):
                engine.seal()
            assert stored(engine) == {name: points for name, points in model.data.items() if points}
            engine = again()
        assert stored(engine) == {name: points for name, points in model.data.items() if points}
        assert {why: n for why, n in engine.status().refused.items() if n} == dict(model.refused)


@settings(max_examples=150)
@given(ops=OPS, window=st.sampled_from([0, 30 * MINUTE, 1000 * HOUR]))
def test_the_engine_holds_what_a_dictionary_would(ops: list, window: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        play(Path(folder), ops, window)


@pytest.mark.slow
@settings(max_examples=5_000)
@given(ops=OPS, window=st.sampled_from([0, 30 * MINUTE, 1000 * HOUR]))
def test_the_engine_holds_what_a_dictionary_would_for_long(ops: list, window: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        play(Path(folder), ops, window)


@settings(max_examples=80)
@given(
    batches=st.lists(st.one_of(STEADY, WILD), max_size=6),
    start=st.integers(0, 400),
    span=st.integers(0, 200),
    length=st.integers(1, 100),
)
def test_a_part_of_the_time_has_exactly_the_samples_in_it(batches: list, start: int, span: int, length: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        engine = Series(Path(folder), out_of_order_ns=10**18)
        for seq, points in enumerate(batches, 1):
            engine.apply([entry(seq, points)])
            if seq % 2:
                engine.seal()
        want = Want(start * MINUTE, (start + span) * MINUTE, MINUTE, length * MINUTE)
        low, high = want.start_ns - want.range_ns, want.end_ns
        inside = {
            name: kept
            for name, points in stored(engine).items()
            if (kept := {at: value for at, value in points.items() if low < at <= high})
        }
        assert stored(engine, want) == inside
        assert {canonical(one) for one in engine.series(ALL, low + 1, high)} == inside.keys()


def test_samples_of_one_scrape_share_a_block(tmp_path: Path) -> None:
    engine = Series(tmp_path)
    for seq in range(1, 7):
        engine.apply([entry(seq, [(one, seq * MINUTE, float(one)) for one in range(50)])])
        engine.seal()
    blocks = engine.select(ALL, EVER)
    assert [block.values.shape for block in blocks] == [(50, 6)]


def test_a_series_that_misses_a_scrape_has_a_gap_and_is_not_stale(tmp_path: Path) -> None:
    engine = Series(tmp_path)
    for seq in range(1, 4):
        engine.apply([entry(seq, [(one, seq * MINUTE, 1.0) for one in range(4) if (one, seq) != (2, 2)])])
    assert list(stored(engine)[text(2)]) == [MINUTE, 3 * MINUTE]
    assert list(stored(engine)[text(1)]) == [MINUTE, 2 * MINUTE, 3 * MINUTE]


def test_stale_markers_are_kept(tmp_path: Path) -> None:
    stale = np.array([STALE_BITS]).view(np.float64)[0]
    engine = Series(tmp_path)
    engine.apply([entry(1, [(1, 1, 5.0), (1, 2, stale)])])
    engine.seal()
    (block,) = Series(tmp_path).select(ALL, EVER)
    assert block.values.view(np.int64)[0, 1] == STALE_BITS


def test_refusals_are_counted_by_reason_and_outlive_a_restart(tmp_path: Path) -> None:
    engine = Series(tmp_path, out_of_order_ns=MINUTE, max_series=3)
    engine.apply([entry(1, [(1, 10 * MINUTE, 1.0), (2, 10 * MINUTE, 1.0), (3, 10 * MINUTE, 1.0)])])
    engine.apply([entry(2, [(1, 10 * MINUTE, 1.0)])])
    engine.apply([entry(3, [(1, 10 * MINUTE, 2.0)])])
    engine.apply([entry(4, [(1, 8 * MINUTE, 2.0)])])
    engine.apply([entry(5, [(4, 10 * MINUTE, 2.0), (5, 10 * MINUTE, 2.0), (1, 11 * MINUTE, 3.0)])])
    refused = {"duplicate": 1, "out_of_order": 1, "series_limit": 2}
    assert engine.status().refused == refused
    assert engine.status().samples == 4
    assert engine.status().series == 3
    engine.seal()
    assert Series(tmp_path).status().refused == refused


def test_what_is_no_series_or_incomplete_is_refused(tmp_path: Path) -> None:
    columns = {
        "series": pa.array(['{"a":"b"}', "no json", '["a"]', '{"a":1}', '{"a":"b"}', None]),
        "at": pa.array([1, 1, 1, 1, None, 1], pa.int64()),
        "value": pa.array([1.0] * 6),
    }
    engine = Series(tmp_path)
    engine.apply([Entry(1, "", 0, (Part("sample", pa.record_batch(columns)), Part("log", pa.record_batch({}))))])
    assert engine.status().refused == {"malformed": 5}
    assert engine.status().samples == 1


def test_series_may_be_years_apart(tmp_path: Path) -> None:
    engine = Series(tmp_path, out_of_order_ns=0, retention_ns=10**6 * DAY)
    for seq in range(1, 40):
        engine.apply([entry(seq, [(1, seq * 9 * DAY, 1.0), (2, 10**18 + seq * SECOND, 2.0)])])
        engine.seal()
    assert engine.status().refused == {}
    assert {name: len(points) for name, points in stored(engine, Want(0, 2 * 10**18, 1, 10**19)).items()} == {
        text(1): 39,
        text(2): 39,
    }


def test_old_blocks_go_with_their_series(tmp_path: Path) -> None:
    clock = Fixed(DAY)
    engine = Series(tmp_path, clock=clock, retention_ns=10 * DAY)
    for seq in range(1, 9):
        engine.apply([entry(seq, [(1, DAY + seq * HOUR, 1.0)])])
        engine.seal()
    for seq in range(9, 40):
        clock.at_ns += HOUR // 2
        engine.apply([entry(seq, [(2, 20 * DAY + seq * HOUR, 1.0)])])
        engine.seal()
    assert engine.status().series == 2
    engine = Series(tmp_path, clock=Fixed(22 * DAY), retention_ns=10 * DAY)
    engine.seal()
    assert set(stored(engine)) == {text(2)}
    assert engine.status().series == 1
    engine.apply([entry(40, [(1, 22 * DAY, 5.0)])])
    assert stored(engine)[text(1)] == {22 * DAY: np.float64(5.0).tobytes()}


def test_a_clock_that_leaps_ahead_deletes_nothing(tmp_path: Path) -> None:
    clock = Fixed(DAY)
    engine = Series(tmp_path, clock=clock, retention_ns=10 * DAY)
    for seq in range(1, 30):
        engine.apply([entry(seq, [(1, DAY + seq * HOUR, 1.0)])])
        engine.seal()
    clock.at_ns = 5000 * DAY
    engine.apply([entry(30, [(2, 5000 * DAY, 1.0)])])
    engine.seal()
    assert len(stored(engine)[text(1)]) == 29
    assert len(stored(Series(tmp_path, clock=clock, retention_ns=10 * DAY))[text(1)]) == 29


def test_too_much_in_memory_goes_to_disk(tmp_path: Path) -> None:
    engine = Series(tmp_path, memory_bytes=1)
    engine.apply([entry(1, [(1, 1, 1.0)])])
    engine.seal()
    assert engine.status().blocks == 1
    assert engine.status().memory_bytes == 0


def _sealed(folder: Path) -> Series:
    engine = Series(folder, memory_bytes=1)
    for seq in range(1, 5):
        engine.apply([entry(seq, [(one, seq * MINUTE, 1.0) for one in range(20)])])
    engine.seal()
    return engine


@pytest.mark.parametrize("cut", [1, 7, 30])
def test_a_damaged_file_is_named(tmp_path: Path, cut: int) -> None:
    _sealed(tmp_path).close()
    (path,) = tmp_path.glob("*.block")
    data = path.read_bytes()
    for broken in (data[:-cut], data[:-cut] + b"\0" * cut, b""):
        path.write_bytes(broken)
        with pytest.raises(Corrupt, match=path.name):
            Series(tmp_path)
    path.unlink()
    with pytest.raises(Corrupt, match=path.name):
        Series(tmp_path)


def test_a_newer_form_is_refused(tmp_path: Path) -> None:
    _sealed(tmp_path).close()
    path = tmp_path / "manifest.json"
    path.write_text(path.read_text().replace('"form":1', '"form":2'))
    with pytest.raises(Conflict, match="form 2"):
        Series(tmp_path)
    path.write_text("{")
    with pytest.raises(Corrupt, match="manifest"):
        Series(tmp_path)


def test_selecting_by_every_kind_of_matcher(tmp_path: Path) -> None:
    engine = Series(tmp_path)
    names = [{"__name__": "a", "k": "1"}, {"__name__": "a", "k": "2"}, {"__name__": "a"}, {"__name__": "b", "k": "1"}]
    texts = [canonical(labels(one)) for one in names]
    columns = {"series": pa.array(texts), "at": pa.array([1] * 4, pa.int64()), "value": pa.array([0.0] * 4)}
    engine.apply([Entry(1, "", 0, (Part("sample", pa.record_batch(columns)),))])
    values = ["", "1", "2", "1|2", ".*", ".+", "x"]
    for op, value, name in itertools.product(["=", "!=", "=~", "!~"], values, ["k", "nothing"]):
        matchers = [Matcher("__name__", "=", "a"), Matcher(name, op, value)]  # type: ignore[arg-type]
        wanted = {canonical(labels(one)) for one in names if all(m.matches(one.get(m.name, "")) for m in matchers)}
        found = {canonical(one) for block in engine.select(matchers, EVER) for one in block.labels}
        assert found == wanted


def test_reading_while_samples_come_and_blocks_are_sealed(tmp_path: Path) -> None:
    """A reader sees for each series a beginning of what was sent, with the right values."""
    engine = Series(tmp_path)
    failures: list[str] = []
    done = threading.Event()

    def read() -> None:
        while not done.is_set():
            try:
                for points in stored(engine).values():
                    times = sorted(points)
                    assert times == [at * MINUTE for at in range(1, len(times) + 1)]
                    assert all(points[at] == np.float64(at).tobytes() for at in times)
            except Exception as error:  # noqa: BLE001
                failures.append(repr(error))

    readers = [threading.Thread(target=read) for _ in range(2)]
    for reader in readers:
        reader.start()
    for seq in range(1, 80):
        engine.apply([entry(seq, [(one, seq * MINUTE, float(seq * MINUTE)) for one in range(10)])])
        if seq % 3 == 0:
            engine.seal()
    done.set()
    for reader in readers:
        reader.join()
    assert failures == []


def test_the_cache_of_decoded_tiles_is_bounded(tmp_path: Path) -> None:
    _sealed(tmp_path)
    engine = Series(tmp_path, cache_bytes=500)
    wanted = stored(engine)
    assert stored(engine) == wanted
    assert 0 < engine._tiles.size_bytes <= 500


def test_no_pattern_takes_long(tmp_path: Path) -> None:
    engine = Series(tmp_path)
    name = canonical(labels({"__name__": "x", "k": "a" * 200}))
    columns = {"series": pa.array([name]), "at": pa.array([1], pa.int64()), "value": pa.array([0.0])}
    engine.apply([Entry(1, "", 0, (Part("sample", pa.record_batch(columns)),))])
    started = time.monotonic()
    assert not engine.select([Matcher("k", "=~", "(a+)+b")], EVER)
    assert engine.select([Matcher("k", "!~", "(a|aa)+b")], EVER)
    assert time.monotonic() - started < 5
    with pytest.raises(BadInput, match="k=~"):
        engine.select([Matcher("k", "=~", "(?=a)a")], EVER)
