"""Bounded decompression: what honest senders send comes back, bombs and cut bodies are refused."""

from __future__ import annotations

import gzip
import os
import zlib
from contextlib import suppress

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from modelkeep.core.errors import BadInput
from modelkeep.wire.compression import ALWAYS, decompress

MIB = 1 << 20


def raw_deflate(data: bytes) -> bytes:
    compressor = zlib.compressobj(wbits=-15)
    return compressor.compress(data) + compressor.flush()


PACK = {
    "gzip": gzip.compress,
    "deflate": zlib.compress,
    "zstd": zstandard.ZstdCompressor().compress,
}


@given(data=st.binary(max_size=5_000), kind=st.sampled_from(sorted(PACK)))
def test_round_trip(data: bytes, kind: str) -> None:
    assert decompress(PACK[kind](data), kind) == data
    assert decompress(raw_deflate(data), "deflate") == data
    assert decompress(data, "identity") == data


@given(data=st.binary(max_size=300), kind=st.sampled_from(["gzip", "deflate", "zstd", "br", "gzip, gzip", "\x00"]))
def test_any_bytes_come_out_or_are_refused(data: bytes, kind: str) -> None:
    with suppress(BadInput):
        decompress(data, kind)


@given(cut=st.integers(0, 200), kind=st.sampled_from(sorted(PACK)))
def test_a_cut_body_is_refused(cut: int, kind: str) -> None:
    packed = PACK[kind](os.urandom(400))
    with pytest.raises(BadInput) as caught:
        decompress(packed[:cut], kind)
    assert caught.value.status == 400


@pytest.mark.parametrize("kind", sorted(PACK))
def test_a_bomb_is_refused_by_ratio_and_by_size(kind: str) -> None:
    bomb = PACK[kind](bytes(64 * MIB))
    with pytest.raises(BadInput) as caught:
        decompress(bomb, kind)
    assert caught.value.status == 413
    with pytest.raises(BadInput) as caught:
        decompress(PACK[kind](os.urandom(2 * MIB)), kind, limit_bytes=MIB)
    assert caught.value.status == 413
    assert decompress(PACK[kind](bytes(ALWAYS)), kind) == bytes(ALWAYS)


def test_members_of_gzip_and_frames_of_zstd_are_joined() -> None:
    assert decompress(gzip.compress(b"a") + gzip.compress(b"b"), "gzip") == b"ab"
    pack = zstandard.ZstdCompressor().compress
    assert decompress(pack(b"a") + pack(b"b"), "zstd") == b"ab"
    with pytest.raises(BadInput, match="follow"):
        decompress(zlib.compress(b"a") + b"x", "deflate")


def test_large_plain_bodies_are_refused() -> None:
    with pytest.raises(BadInput) as caught:
        decompress(bytes(11), "", limit_bytes=10)
    assert caught.value.status == 413


def test_many_small_gzip_members_cannot_pass_the_cap() -> None:
    member = gzip.compress(bytes(MIB))
    with pytest.raises(BadInput) as caught:
        decompress(member * 100, "gzip", limit_bytes=8 * MIB)
    assert caught.value.status == 413
