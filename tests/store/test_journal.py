"""The journal: order, durability, tokens, groups, readers, retention and what it does about damage."""

from __future__ import annotations

import asyncio
import os
import random
import shutil
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, rule

from modelkeep.core.clock import DAY, Fixed
from modelkeep.core.errors import BadInput, Busy, Conflict, Unreachable
from modelkeep.core.shapes import Part
from modelkeep.store.disk import Disk
from modelkeep.store.journal.journal import Journal, Receipt
from modelkeep.store.journal.receipts import Receipts, Run, Span, key


class SlowDisk(Disk):
    """A disk whose syncs take their time."""

    def __init__(self, sync_s: float) -> None:
        self.sync_s, self.syncs = sync_s, 0

    def sync(self, fd: int) -> None:
        self.syncs += 1
        time.sleep(self.sync_s)
        super().sync(fd)


def parts(number: int, size: int = 0) -> list[Part]:
    return [Part("event", pa.record_batch({"number": [number], "filler": ["x" * size]}))]


def numbers(journal: Journal, after: int = 0, limit_bytes: int = 1 << 24) -> dict[int, int]:
    found: dict[int, int] = {}
    while entries := journal.read(after, limit_bytes=limit_bytes):
        found |= {entry.seq: entry.parts[0].batch["number"][0].as_py() for entry in entries}
        after = entries[-1].seq
    return found


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "journal"


def test_what_is_appended_is_read_back_with_everything(folder):
    schema = pa.schema([("at", pa.int64())], metadata={"model": "m"})
    given_parts = [Part("prediction", pa.record_batch([pa.array([1, 2])], schema=schema)), parts(5)[0]]
    for tail_bytes in (0, 1 << 20):
        journal = Journal(folder, clock=Fixed(77), tail_bytes=tail_bytes)
        receipt = journal.append(given_parts, token=f"tökén {tail_bytes}")
        (entry,) = journal.read(receipt.seq - 1)
        assert (entry.seq, entry.token, entry.received_ns) == (receipt.seq, f"tökén {tail_bytes}", 77)
        assert [part.kind for part in entry.parts] == ["prediction", "event"]
        assert entry.parts[0].meta("model") == "m"
        assert entry.parts[0].batch.schema.equals(schema, check_metadata=True)
        assert [part.batch for part in entry.parts] == [part.batch for part in given_parts]
        journal.close()


def test_seqs_go_on_over_restarts_and_nothing_is_left_when_all_is_well(folder):
    for round_ in range(3):
        journal = Journal(folder)
        assert journal.recovered.last_seq == round_ * 2
        assert journal.recovered.cut_bytes == 0
        assert [journal.append(parts(n)).seq for n in range(2)] == [round_ * 2 + 1, round_ * 2 + 2]
        assert journal.first() == 1
        journal.close()
    journal = Journal(folder)
    assert numbers(journal) == dict(enumerate([0, 1] * 3, 1))
    assert [path.stat().st_size for path in sorted(folder.glob("*.v1"))] == [journal.status().bytes // 3] * 3
    journal.close()


def test_an_empty_journal(folder):
    journal = Journal(folder)
    assert (journal.first(), journal.last(), journal.read(0)) == (1, 0, [])
    assert not journal.wait(0, 0.01)
    with pytest.raises(BadInput, match="0 parts"):
        journal.append([])
    with pytest.raises(BadInput, match="token of 600 bytes"):
        journal.append(parts(1), token="x" * 600)
    journal.close()
    journal.close()
    with pytest.raises(Unreachable, match="closed"):
        journal.append(parts(1))
    assert list(folder.glob("*.v1")) == []


@given(sizes=st.lists(st.integers(0, 3_000), min_size=1, max_size=30), limit=st.integers(1, 10_000), tail=st.booleans())
@settings(max_examples=25)
def test_any_cursor_and_limit_gives_everything_once(tmp_path_factory, sizes, limit, tail):
    journal = Journal(tmp_path_factory.mktemp("j"), segment_bytes=8_000, tail_bytes=6_000 if tail else 0)
    for number, size in enumerate(sizes, 1):
        journal.append(parts(number, size))
    for after in range(len(sizes) + 1):
        assert list(numbers(journal, after, limit)) == list(range(after + 1, len(sizes) + 1))
    journal.close()


def test_a_second_journal_on_the_folder_is_refused_and_names_the_process(folder):
    journal = Journal(folder)
    with pytest.raises(Conflict, match=f"in use by process {os.getpid()}"):
        Journal(folder)
    journal.close()
    Journal(folder).close()


def test_a_newer_form_is_refused_naming_both(folder):
    folder.mkdir()
    (folder / "0000000001-00000000000000000001-00000000.v7").touch()
    with pytest.raises(Conflict, match=r"form 7.*up to 1"):
        Journal(folder)
    (folder / "0000000001-00000000000000000001-00000000.v7").unlink()
    Journal(folder).close()


# -- tokens ----------------------------------------------------------------------------------------------------------


def test_a_token_kept_before_writes_nothing(folder):
    journal = Journal(folder)
    assert journal.append(parts(1), token="a") == Receipt(1)
    assert journal.append(parts(2), token="a") == Receipt(1, repeated=True)
    assert journal.append(parts(3), token="b") == Receipt(2)
    assert journal.append(parts(4)) == Receipt(3)
    assert journal.append(parts(4)) == Receipt(4)
    journal.close()
    again = Journal(folder)
    assert again.append(parts(2), token="a") == Receipt(1, repeated=True)
    assert again.status().repeated == 1
    assert numbers(again) == {1: 1, 2: 3, 3: 4, 4: 4}
    again.close()


def test_the_same_token_at_once_from_many_is_written_once(folder):
    journal = Journal(folder, disk=SlowDisk(0.01))
    for round_ in range(5):
        start = threading.Barrier(8)

        def send(number: int, round_: int = round_, start: threading.Barrier = start) -> Receipt:
            start.wait()
            return journal.append(parts(number), token=f"round {round_}")

        with ThreadPoolExecutor(8) as pool:
            receipts = list(pool.map(send, range(8)))
        assert {receipt.seq for receipt in receipts} == {round_ + 1}
        assert sum(not receipt.repeated for receipt in receipts) == 1
    assert len(numbers(journal)) == 5
    journal.close()


def test_tokens_outlive_their_segments_for_a_week_and_more(folder):
    clock = Fixed(100 * DAY)
    for restart in range(2):
        journal = Journal(folder, clock=clock, segment_bytes=4_000)
        for number in range(60):
            journal.append(parts(number), token=f"{restart}-{number}")
        journal.release("rows", journal.last())
        assert journal.first() > 60 * restart + 50
        assert journal.status().segments == 1
        journal.close()
        clock.at_ns += DAY
    clock.at_ns += 6 * DAY
    journal = Journal(folder, clock=clock, segment_bytes=4_000)
    assert len(list((folder / "tokens").iterdir())) < 12
    for number in range(60):
        assert journal.append(parts(0), token=f"1-{number}") == Receipt(61 + number, repeated=True)
    clock.at_ns += 3 * DAY
    journal.append(parts(0), token="new")
    journal.release("rows", journal.last())
    assert journal.status().tokens < 60
    journal.close()


@given(st.lists(st.binary(max_size=3), unique=True, max_size=200), st.lists(st.binary(max_size=3), max_size=50))
def test_a_run_finds_exactly_what_is_in_it(tmp_path_factory, tokens, others):
    receipts = Receipts(Disk(), tmp_path_factory.mktemp("tokens"))
    for seq, token in enumerate(tokens, 1):
        receipts.note(key(token), seq)
    receipts.retire(Span(1, max(len(tokens), 1), 0, 0), map(key, tokens))
    for seq, token in enumerate(tokens, 1):
        assert receipts.find(key(token)) == seq
    for token in others:
        assert receipts.find(key(token)) == (tokens.index(token) + 1 if token in tokens else None)


def test_runs_are_merged_and_a_merge_cut_short_is_put_right(tmp_path):
    receipts = Receipts(Disk(), tmp_path)
    for number in range(1, 41):
        receipts.note(key(b"%d" % number), number)
        receipts.retire(Span(number, number, number, number), [key(b"%d" % number)])
    assert len(list(tmp_path.iterdir())) <= 6
    assert [receipts.find(key(b"%d" % number)) for number in range(1, 41)] == list(range(1, 41))
    left = tmp_path / f"{1:020d}-{2:020d}.receipts"
    left.write_bytes(next(tmp_path.iterdir()).read_bytes())
    assert len(Receipts(Disk(), tmp_path)) in {40, len(receipts)}


def test_a_run_of_many_tokens_is_quick():
    rows = b"".join(sorted(key(b"%d" % n) + n.to_bytes(8, "little") for n in range(50_000)))
    run = Run.of(Span(1, 50_000, 0, 0), rows)
    assert all(run.find(key(b"%d" % n)) == n for n in range(0, 50_000, 97))
    assert run.find(key(b"absent")) is None


# -- groups ----------------------------------------------------------------------------------------------------------


def test_many_senders_share_syncs(folder):
    disk = SlowDisk(0.005)
    journal = Journal(folder, disk=disk)
    with ThreadPoolExecutor(8) as pool:
        seqs = [receipt.seq for receipt in pool.map(lambda n: journal.append(parts(n)), range(160))]
    assert sorted(seqs) == list(range(1, 161))
    assert journal.status().entries == 160
    assert journal.status().groups < 80
    journal.close()


def test_a_lone_sender_does_not_wait(folder):
    journal = Journal(folder, group_wait_s=0.5)
    began = time.monotonic()
    for number in range(20):
        journal.append(parts(number))
    assert time.monotonic() - began < 5
    assert journal.status().groups == 20
    journal.close()


def test_after_company_a_lone_sender_waits_once_at_most(folder):
    journal = Journal(folder, group_wait_s=0.5)
    assert len({future.result(5).seq for future in [journal.submit(parts(n)) for n in range(50)]}) == 50
    began = time.monotonic()
    for number in range(10):
        journal.append(parts(number))
    assert time.monotonic() - began < 3
    journal.close()


def test_groups_close_at_their_limit(folder):
    disk = SlowDisk(0.02)
    journal = Journal(folder, disk=disk, group_bytes=10_000, group_wait_s=0.2)
    futures = [journal.submit(parts(n, 4_000)) for n in range(20)]
    assert [future.result(10).seq for future in futures] == list(range(1, 21))
    assert journal.status().groups >= 10
    journal.close()


def test_a_queue_that_grows_too_long_is_busy(folder):
    journal = Journal(folder, disk=SlowDisk(0.2), queue_bytes=20_000)
    futures = [journal.submit(parts(n, 4_000)) for n in range(20)]
    errors = [future.exception(10) for future in futures]
    assert any(isinstance(error, Busy) and error.retry_after_s > 0 for error in errors)
    assert len(numbers(journal)) == errors.count(None) == 20 - journal.status().refused
    journal.close()


def test_a_server_may_await_it_and_give_up(folder):
    journal = Journal(folder, disk=SlowDisk(0.05))

    async def serve() -> Receipt:
        gone = asyncio.wrap_future(journal.submit(parts(1), token="a"))
        await asyncio.sleep(0)
        gone.cancel()
        return await asyncio.wrap_future(journal.submit(parts(1), token="a"))

    assert asyncio.run(serve()) == Receipt(1, repeated=True)
    journal.close()


def test_closing_writes_what_waits(folder):
    journal = Journal(folder, disk=SlowDisk(0.02))
    futures = [journal.submit(parts(n)) for n in range(30)]
    journal.close()
    assert [future.result(0).seq for future in futures] == list(range(1, 31))
    again = Journal(folder)
    assert list(numbers(again).values()) == list(range(30))
    again.close()


# -- readers ---------------------------------------------------------------------------------------------------------


def test_waiting_for_the_next_entry(folder):
    journal = Journal(folder)
    timer = threading.Timer(0.05, journal.append, [parts(1)])
    timer.start()
    assert journal.wait(0, 5)
    assert journal.last() == 1
    assert journal.wait(0, 0)
    timer.join()
    threading.Timer(0.05, journal.close).start()
    began = time.monotonic()
    assert not journal.wait(1, 30)
    assert time.monotonic() - began < 10


def test_readers_follow_a_writer_through_memory_and_disk(folder):
    journal = Journal(folder, segment_bytes=50_000, tail_bytes=20_000)
    total = 800

    def follow(limit_bytes: int) -> list[int]:
        seen: list[int] = []
        while len(seen) < total:
            after = seen[-1] if seen else 0
            assert journal.wait(after, 10)
            seen += [entry.seq for entry in journal.read(after, limit_bytes=limit_bytes)]
        return seen

    with ThreadPoolExecutor(6) as pool:
        followers = [pool.submit(follow, limit) for limit in (1, 5_000, 1 << 24)]
        writers = [pool.submit(lambda: [journal.append(parts(n)) for n in range(total // 2)]) for _ in range(2)]
        for writer in writers:
            writer.result(60)
        for follower in followers:
            assert follower.result(60) == list(range(1, total + 1))
    journal.close()


def test_a_segment_goes_when_every_known_reader_has_sealed_it(folder):
    journal = Journal(folder, segment_bytes=4_000)
    journal.release("rows", 0)
    journal.release("series", 0)
    for number in range(40):
        journal.append(parts(number))
    before = journal.status().segments
    journal.release("rows", 40)
    assert journal.status().segments == before
    journal.release("series", 20)
    assert 10 < journal.first() <= 21
    assert list(numbers(journal, 20)) == list(range(21, 41))
    journal.close()
    again = Journal(folder, segment_bytes=4_000)
    again.release("rows", 40)
    assert again.first() <= 21, "series has not told yet"
    again.forget("series")
    again.release("rows", 40)
    assert again.first() > 30
    assert again.status().segments == 1
    assert again.append(parts(41)).seq == 41
    again.close()


def test_reading_while_segments_go(folder):
    journal = Journal(folder, segment_bytes=4_000, tail_bytes=0)
    for number in range(100):
        journal.append(parts(number))
    done = threading.Event()

    def read() -> None:
        while not done.is_set():
            seqs = [entry.seq for entry in journal.read(0)]
            assert seqs == list(range(seqs[0], seqs[-1] + 1))

    with ThreadPoolExecutor(2) as pool:
        readers = [pool.submit(read) for _ in range(2)]
        for sealed in range(0, 100, 5):
            journal.release("rows", sealed)
        done.set()
        for reader in readers:
            reader.result(10)
    journal.close()


def test_a_reader_that_has_more_than_the_journal_moves_it_on(folder):
    journal = Journal(folder)
    journal.append(parts(1))
    journal.advance(50)
    assert journal.last() == 50
    assert journal.append(parts(2)).seq == 51
    assert numbers(journal) == {1: 1, 51: 2}
    journal.close()
    again = Journal(folder)
    assert numbers(again) == {1: 1, 51: 2}
    assert again.append(parts(3)).seq == 52
    again.close()


# -- damage ----------------------------------------------------------------------------------------------------------


def test_a_torn_end_is_cut_kept_and_told(folder):
    journal = Journal(folder)
    for number in range(3):
        journal.append(parts(number, 500))
    journal.close()
    (segment,) = folder.glob("*.v1")
    whole = segment.read_bytes()
    third = len(whole) // 3 * 2
    with segment.open("r+b") as file:
        file.truncate(third + 300)
    again = Journal(folder)
    told, torn = again.recovered, whole[third : third + 300].rstrip(b"\0")
    assert (told.last_seq, told.cut_bytes, told.cut_file, told.cut_offset) == (2, len(torn), segment.name, third)
    assert (folder / told.kept_as).read_bytes() == torn
    assert numbers(again) == {1: 0, 2: 1}
    assert again.append(parts(9)).seq == 3
    again.close()
    third_time = Journal(folder)
    assert third_time.recovered.cut_bytes == 0
    assert numbers(third_time) == {1: 0, 2: 1, 3: 9}
    third_time.close()


def written(folder: Path, rng: random.Random) -> tuple[dict[int, int], dict[str, list[tuple[int, int, int]]]]:
    """A journal of several segments and runs; its entries, and where each frame lies."""
    journal = Journal(folder, segment_bytes=6_000)
    held = {journal.append(parts(n, rng.randrange(1_500)), token=f"t{n}").seq: n for n in range(40)}
    journal.release("rows", 10)
    held = {seq: n for seq, n in held.items() if seq >= journal.first()}
    journal.close()
    places: dict[str, list[tuple[int, int, int]]] = {}
    from modelkeep.store.journal.frames import Frame, Stretch, scan
    from modelkeep.store.journal.segments import listed

    for segment in listed(Disk(), folder):
        data = segment.path.read_bytes()
        stretch = Stretch(0, len(data), segment.salt)
        frames = scan(lambda at, size, data=data: data[at : at + size], stretch, bodies=True)
        places[segment.path.name] = [
            (each.offset, each.offset + each.head.size, each.head.seq) for each in frames if isinstance(each, Frame)
        ]
    return held, places


def flip(original: Path, folder: Path, rng: random.Random, held, places) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(original, folder)
    hit: set[int] = set()
    files = [path for path in sorted(folder.rglob("*")) if path.is_file() and path.stat().st_size]
    for _ in range(rng.randrange(1, 4)):
        path = rng.choice(files)
        data = bytearray(path.read_bytes())
        at = rng.randrange(len(data))
        data[at] ^= rng.randrange(1, 256)
        path.write_bytes(data)
        hit |= {seq for start, end, seq in places.get(path.name, []) if start <= at < end}
    journal = Journal(folder)
    try:
        found = numbers(journal, limit_bytes=5_000)
        assert found.items() <= held.items(), "wrong data"
        assert held.keys() - found.keys() <= hit
        lost = held.keys() - found.keys()
        cut = journal.recovered.cut_bytes > 0
        assert journal.status().lost == len(lost) or cut
        assert bool(lost) == (bool(journal.damage()) or cut)
        fresh = journal.append(parts(-1)).seq
        assert numbers(journal, fresh - 1) == {fresh: -1}
    finally:
        journal.close()


@pytest.mark.parametrize("times", [60, pytest.param(1_000, marks=pytest.mark.slow)])
@pytest.mark.timeout(900)
def test_flipped_bytes_cost_no_more_than_the_frames_they_hit(tmp_path, times):
    rng = random.Random(7)
    held, places = written(tmp_path / "original", rng)
    assert len(places) > 4
    for _ in range(times):
        flip(tmp_path / "original", tmp_path / "copy", rng, held, places)


def test_a_damaged_entry_is_told_once_and_passed_over(folder, caplog):
    journal = Journal(folder, segment_bytes=6_000, tail_bytes=0)
    for number in range(20):
        journal.append(parts(number, 500))
    second = sorted(folder.glob("*.v1"))[1]
    data = bytearray(second.read_bytes())
    data[200] ^= 255
    second.write_bytes(data)
    for _ in range(3):
        assert len(numbers(journal)) == 19
    (damage,) = journal.damage()
    assert (damage.file, damage.offset, damage.lost) == (second.name, 0, 1)
    assert (journal.status().damaged, journal.status().lost) == (1, 1)
    assert caplog.text.count("damaged") == 1
    journal.close()


# -- against a list --------------------------------------------------------------------------------------------------


class AgainstAList(RuleBasedStateMachine):
    """The journal is a list whose beginning may go, with a dictionary of tokens."""

    receipts = Bundle("receipts")

    def __init__(self) -> None:
        super().__init__()
        import tempfile

        self.folder = Path(tempfile.mkdtemp())
        self.entries: list[int] = []
        self.tokens: dict[str, int] = {}
        self.journal = self.opened()

    def opened(self) -> Journal:
        return Journal(self.folder, segment_bytes=5_000, tail_bytes=4_000, reserve_bytes=0)

    @rule(number=st.integers(0, 1_000), size=st.integers(0, 3_000), token=st.sampled_from(["", "a", "b", "c", "d"]))
    def append(self, number: int, size: int, token: str) -> None:
        receipt = self.journal.append(parts(number, size), token=token)
        if token in self.tokens:
            assert receipt == Receipt(self.tokens[token], repeated=True)
            return
        self.entries.append(number)
        assert receipt == Receipt(len(self.entries))
        if token:
            self.tokens[token] = receipt.seq

    @rule(count=st.integers(1, 20))
    def submit(self, count: int) -> None:
        futures = [self.journal.submit(parts(number, 300)) for number in range(count)]
        assert [future.result(10).seq for future in futures] == [len(self.entries) + n + 1 for n in range(count)]
        self.entries += range(count)

    @rule(share=st.floats(0, 1), limit=st.integers(1, 20_000))
    def read(self, share: float, limit: int) -> None:
        first = self.journal.first()
        after = max(int(share * len(self.entries)), first - 1)
        assert numbers(self.journal, after, limit) == dict(enumerate(self.entries[after:], after + 1))

    @rule(share=st.floats(0, 1), reader=st.sampled_from(["rows", "series"]))
    def release(self, share: float, reader: str) -> None:
        self.journal.release(reader, int(share * len(self.entries)))
        self.journal.release("always", int(share * len(self.entries)))

    @rule()
    def restart(self) -> None:
        self.journal.close()
        self.journal = self.opened()
        assert self.journal.last() == len(self.entries)

    def teardown(self) -> None:
        self.journal.close()
        shutil.rmtree(self.folder)


AgainstAList.TestCase.settings = settings(max_examples=25, stateful_step_count=30, deadline=None)
TestAgainstAList = AgainstAList.TestCase
