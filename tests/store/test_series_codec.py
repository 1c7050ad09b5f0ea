from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from modelkeep.core.errors import Corrupt
from modelkeep.core.series import STALE_BITS
from modelkeep.store.series.codec import decode, decode_times, encode, encode_times
from modelkeep.store.series.head import HOLE_BITS

SHAPES = hnp.array_shapes(min_dims=2, max_dims=2, min_side=0, max_side=30)
MARKERS = st.sampled_from([STALE_BITS, HOLE_BITS, 0x7FF8000000000001, -(2**63), 0x7FF0000000000000])


def kept(values: np.ndarray) -> bool:
    back = decode(encode(values))
    return back.shape == values.shape and bool((back.view(np.int64) == values.view(np.int64)).all())


@given(bits=hnp.arrays(np.int64, SHAPES))
def test_any_bits_survive(bits: np.ndarray) -> None:
    assert kept(bits.view(np.float64))


@given(values=hnp.arrays(np.float64, SHAPES, elements=st.floats(width=64)))
def test_any_floats_survive(values: np.ndarray) -> None:
    assert kept(values)


@given(
    numbers=hnp.arrays(np.int64, SHAPES, elements=st.integers(-(10**12), 10**12)),
    decimals=st.integers(0, 12),
    markers=st.lists(st.tuples(st.floats(0, 1, exclude_max=True), MARKERS), max_size=6),
)
def test_decimals_with_markers_among_them_survive(numbers: np.ndarray, decimals: int, markers: list) -> None:
    values = numbers / 10.0**decimals
    for place, bits in markers:
        if values.size:
            values.view(np.int64).reshape(-1)[int(place * values.size)] = bits
    assert kept(values)


@given(times=st.lists(st.integers(-(2**62), 2**62), unique=True, max_size=60))
def test_any_times_survive(times: list[int]) -> None:
    array = np.array(sorted(times), np.int64)
    assert decode_times(encode_times(array)).tolist() == array.tolist()


@pytest.mark.parametrize(
    ("make", "bytes_a_sample"),
    [
        (lambda rng: np.cumsum(rng.integers(0, 20, (100, 480)), axis=1).astype(float), 0.7),
        (lambda rng: np.round(np.cumsum(rng.normal(0, 1, (100, 480)), axis=1), 3), 1.9),
        (lambda rng: np.round(rng.exponential(0.1, (100, 480)), 6), 3.0),
        (lambda rng: np.cumsum(rng.normal(0, 1, (100, 480)), axis=1), 7.2),
        (lambda rng: np.full((100, 480), 0.1), 0.01),
    ],
    ids=["counter", "three decimals", "six decimals", "random walk", "constant"],
)
def test_samples_stay_small(make, bytes_a_sample: float) -> None:
    values = make(np.random.default_rng(1))
    assert kept(values)
    assert len(encode(values)) / values.size < bytes_a_sample


def test_a_steady_rhythm_costs_nothing_and_jitter_in_milliseconds_little() -> None:
    steady = np.arange(0, 480 * 15 * 10**9, 15 * 10**9)
    assert len(encode_times(steady)) < 50
    jitter = steady + np.random.default_rng(1).integers(0, 100, 480) * 1_000_000
    assert len(encode_times(jitter)) < 480 * 2.2


@given(at=st.integers(0, 10_000), bit=st.integers(0, 7))
def test_a_flipped_bit_never_gives_other_samples(at: int, bit: int) -> None:
    values = np.arange(200.0).reshape(2, 100) ** 1.5
    data = bytearray(encode(values))
    data[at % len(data)] ^= 1 << bit
    try:
        back = decode(bytes(data))
    except Corrupt:
        return
    assert (back == values).all()
