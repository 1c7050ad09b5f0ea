"""Counts of log records over time: in memory, on disk and both, against a list."""

from __future__ import annotations

import tempfile
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modelkeep.core.clock import DAY, HOUR
from modelkeep.core.errors import BadInput
from modelkeep.store.engines.text import Text
from modelkeep.store.text.counts import BANDS, MOST, band
from tests.store.test_text import START, entry, record

SEVERITIES = [0, 1, 8, 9, 12, 13, 16, 17, 24]
RECORDS = st.lists(
    st.tuples(st.integers(-20, 60), st.sampled_from(SEVERITIES), st.sampled_from(["wanted", "other"])), max_size=12
)


@settings(max_examples=25, deadline=None)
@given(RECORDS, RECORDS, st.integers(-10, 20), st.integers(0, 50), st.sampled_from([HOUR, 3 * HOUR, DAY]))
def test_counting_is_counting_a_list(sealed, recent, first, length, step):
    start, end = START + first * HOUR, START + (first + length) * HOUR
    with tempfile.TemporaryDirectory() as place:
        engine = Text(Path(place), heap_bytes=15_000_000)
        for seq, part in enumerate((sealed, recent), 1):
            made = [record(START + hour * HOUR, text, severity=severity) for hour, severity, text in part]
            engine.apply([entry(seq, *made)])
            if seq == 1:
                engine.seal()
        found = engine.counts("wanted", start_ns=start, end_ns=end, step_ns=step)
        engine.close()
    times = [(START + hour * HOUR, severity) for hour, severity, text in sealed + recent if text == "wanted"]
    wanted = Counter((at // step, band(severity)) for at, severity in times if start <= at < end)
    given = {
        (found.start // step + place, name): number
        for name, numbers in found.bands.items()
        for place, number in enumerate(numbers)
        if number
    }
    assert given == wanted
    assert found.count == wanted.total()
    assert tuple(found.bands) == BANDS
    assert {len(numbers) for numbers in found.bands.values()} == {-(-end // step) - start // step}


def test_too_many_stretches_or_a_wrong_query_are_refused(tmp_path):
    engine = Text(tmp_path, heap_bytes=15_000_000)
    with pytest.raises(BadInput, match="at most 5000"):
        engine.counts(start_ns=0, end_ns=(MOST + 1) * HOUR, step_ns=HOUR)
    with pytest.raises(BadInput, match="column 2"):
        engine.counts("(", start_ns=0, end_ns=HOUR, step_ns=HOUR)
    with pytest.raises(BadInput, match="not before the start"):
        engine.counts(start_ns=HOUR, end_ns=0, step_ns=HOUR)
    engine.close()
