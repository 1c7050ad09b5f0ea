"""Frames: what is written is read back, and nothing else is."""

from __future__ import annotations

import random

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelkeep.core.errors import BadInput, Corrupt
from modelkeep.core.shapes import Part
from modelkeep.store.journal.frames import (
    FORMAT,
    MAGIC,
    NO_LIMIT,
    TOKEN_LIMIT,
    Frame,
    Head,
    Hole,
    Stretch,
    body,
    checksum,
    parts_of,
    scan,
    unpack,
)

SALT = 0xC0FFEE


def batch(rows: int, note: str = "x") -> pa.RecordBatch:
    return pa.record_batch({"at": pa.array(range(rows), pa.int64()), "note": pa.array([note] * rows)})


def frame(seq: int, content: bytes, token: bytes = b"", salt: int = SALT) -> bytes:
    content += bytes(-len(content) % 8)
    return Head(seq, seq * 10, token, len(content), checksum([content])).pack(salt) + content


def scanned(data: bytes, *, low: int = 0, high: int = NO_LIMIT, bodies: bool = True) -> list[Frame | Hole]:
    return list(scan(lambda at, size: data[at : at + size], Stretch(0, len(data), SALT, low, high), bodies=bodies))


def test_a_body_gives_back_kinds_schemas_metadata_and_columns():
    schema = pa.schema([pa.field("at", pa.int64())], metadata={"model": "flights", "version": "3"})
    tagged = pa.record_batch([pa.array([1, None, 3])], schema=schema)
    series = pa.record_batch(
        {"series": pa.array(["a", "b", "a"]).dictionary_encode(), "value": [1.0, float("nan"), 2.0]}
    )
    empty = batch(0)
    sliced = batch(100).slice(10, 5)
    given_parts = [Part("prediction", tagged), Part("sample", series), Part("event", empty), Part("log", sliced)]
    found = parts_of(b"".join(bytes(memoryview(piece)) for piece in body(given_parts)))
    assert [part.kind for part in found] == ["prediction", "sample", "event", "log"]
    assert found[0].meta("model") == "flights"
    assert found[1].batch.schema == series.schema
    for was, now in zip(given_parts, found, strict=True):
        assert now.batch.schema.equals(was.batch.schema, check_metadata=True)
        assert now.batch.to_pydict().keys() == was.batch.to_pydict().keys()
        assert str(now.batch.to_pydict()) == str(was.batch.to_pydict())


def test_a_slice_takes_only_its_own_bytes():
    whole, slice_ = batch(10_000), batch(10_000).slice(5_000, 10)
    size = sum(len(memoryview(piece)) for piece in body([Part("event", slice_)]))
    assert size < sum(len(memoryview(piece)) for piece in body([Part("event", whole)])) / 50


@pytest.mark.parametrize("parts", [[], [Part("", batch(1))], [Part("k" * 256, batch(1))]])
def test_what_is_no_entry_is_refused(parts):
    with pytest.raises(BadInput):
        body(parts)


@given(
    seq=st.integers(0, 2**63 - 1),
    received=st.integers(-(2**63), 2**63 - 1),
    token=st.binary(max_size=TOKEN_LIMIT),
    size=st.integers(0, 1 << 30),
    crc=st.integers(0, 2**32 - 1),
    salt=st.integers(0, 2**32 - 1),
)
def test_a_head_gives_itself_back_under_its_own_salt_only(seq, received, token, size, crc, salt):
    head = Head(seq, received, token, size, crc)
    packed = head.pack(salt)
    assert len(packed) == head.body_offset
    assert len(packed) % 8 == 0
    assert unpack(packed, salt) == head
    assert unpack(packed, salt ^ 1) is None


@given(st.binary(max_size=700), st.booleans())
def test_any_bytes_are_a_head_or_none(data, magic):
    assert unpack((MAGIC if magic else b"") + data, SALT) is None


@given(st.binary(max_size=300))
def test_any_bytes_are_a_body_or_corrupt(data):
    with pytest.raises(Corrupt):
        parts_of(data)


def test_a_newer_form_is_refused_by_number():
    packed = bytearray(Head(1, 1, b"", 0, 0).pack(0))
    packed[4] = FORMAT + 1
    from isal.isal_zlib import crc32

    packed[32:36] = crc32(bytes(packed[:32]), 0).to_bytes(4, "little")
    with pytest.raises(BadInput, match=f"form {FORMAT + 1}.*up to {FORMAT}"):
        unpack(bytes(packed), 0)


@given(
    contents=st.lists(st.binary(max_size=200), min_size=1, max_size=8),
    cut=st.integers(0, 3_000),
    zeros=st.integers(0, 100),
)
def test_a_cut_file_gives_every_whole_frame(contents, cut, zeros):
    frames = [frame(seq, content) for seq, content in enumerate(contents, 1)]
    data = b"".join(frames)
    cut = min(cut, len(data))
    whole, end = 0, 0
    while whole < len(frames) and end + len(frames[whole]) <= cut:
        end += len(frames[whole])
        whole += 1
    found = scanned(data[:cut] + bytes(zeros))
    kept = [each.head.seq for each in found if isinstance(each, Frame)]
    # zeros behind the cut may be just the zeros that the next frame had lost
    assert kept[:whole] == list(range(1, whole + 1))
    assert len(kept) <= whole + 1
    for each in found:
        if isinstance(each, Hole):
            assert each.offset >= end
            assert each.offset + each.size <= cut + zeros


@given(
    contents=st.lists(st.binary(min_size=1, max_size=100), min_size=2, max_size=8),
    flips=st.lists(st.tuples(st.integers(0, 10_000), st.integers(1, 255)), min_size=1, max_size=4),
)
def test_flipped_bytes_cost_only_the_frames_they_hit(contents, flips):
    frames = [frame(seq, content) for seq, content in enumerate(contents, 1)]
    data, hit = bytearray(b"".join(frames)), set()
    ends = [sum(map(len, frames[: n + 1])) for n in range(len(frames))]
    for place, change in flips:
        place %= len(data)
        data[place] ^= change
        hit.add(1 + next(n for n, end in enumerate(ends) if place < end))
    found = scanned(bytes(data), high=len(frames) + 1)
    kept = {each.head.seq: each.body for each in found if isinstance(each, Frame)}
    assert set(range(1, len(frames) + 1)) - kept.keys() <= hit
    for seq, content in kept.items():
        assert content.rstrip(b"\0") == contents[seq - 1].rstrip(b"\0")
    assert sum(each.lost for each in found if isinstance(each, Hole)) == len(frames) - len(kept)


def test_a_frame_inside_a_body_never_passes_for_one():
    forged = frame(2, b"forged", salt=SALT + 1) * 50
    data = bytearray(frame(1, forged) + frame(2, b"real"))
    data[0] ^= 1
    assert [each.body.rstrip(b"\0") for each in scanned(bytes(data)) if isinstance(each, Frame)] == [b"real"]


def test_seqs_outside_the_stretch_do_not_count():
    data = b"".join(frame(seq, b"") for seq in (5, 6, 7, 8))
    assert [each.head.seq for each in scanned(data, low=4, high=7) if isinstance(each, Frame)] == [5, 6]
    assert [each.lost for each in scanned(data, low=4, high=7) if isinstance(each, Hole)] == [0]


def test_a_search_over_many_chunks_and_false_magic_ends():
    rng = random.Random(1)
    junk = bytearray(rng.randbytes(3 << 20))
    junk[8::64] = b"".join(MAGIC[:1] for _ in junk[8::64])
    for at in range(0, len(junk) - 8, 4096):
        junk[at : at + 4] = MAGIC
    data = bytes(junk) + frame(9, b"found")
    found = scanned(data)
    assert [type(each) for each in found] == [Hole, Frame]
    assert found[0] == Hole(0, len(junk), 8)


def test_heads_alone_skip_bodies():
    data = bytearray(frame(1, b"a" * 80) + frame(2, b"b" * 80))
    data[60] ^= 1
    assert [each.head.seq for each in scanned(bytes(data), bodies=False) if isinstance(each, Frame)] == [1, 2]
    assert [each.head.seq for each in scanned(bytes(data)) if isinstance(each, Frame)] == [2]
